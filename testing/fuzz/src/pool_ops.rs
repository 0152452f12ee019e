//! The pools against vectors in the order connections were put. One thread: what threads do to each
//! other is for the loom tests of the crate.

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use pingora_pool::{ConnectionMeta, ConnectionPool, IdlePool, PoolNode};
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

/// The most operations, so that one input stays cheap.
const MAX_OPS: usize = 256;

/// As documented for `IdlePool::get`: expired connections one call drops.
const MAX_EXPIRED_PER_GET: usize = 16;

/// The size of all pools and what is done to them.
#[derive(Arbitrary, Debug)]
pub struct PoolOps {
    size: u8,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Put {
        key: u8,
        id: u8,
        expired: bool,
    },
    Get {
        key: u8,
    },
    Remove {
        key: u8,
        id: u8,
    },
    /// Remove connections whose number has its bit set.
    Sweep {
        dead: u64,
    },
}

/// Checks all three pools.
pub fn pool_ops(input: &PoolOps) {
    idle_pool(input);
    connection_pool(input);
    pool_node(input);
}

fn idle_pool(input: &PoolOps) {
    let capacity = usize::from(input.size % 20);
    let pool = IdlePool::new(capacity);
    // Key, connection, expired; oldest first.
    let mut twin: Vec<(u64, usize, bool)> = Vec::new();
    for (connection, op) in input.ops.iter().take(MAX_OPS).enumerate() {
        match op {
            Op::Put { key, expired, .. } => {
                let key = u64::from(key % 4);
                let timeout = expired.then_some(Duration::ZERO);
                twin.push((key, connection, *expired));
                let evicted = (twin.len() > capacity).then(|| twin.remove(0).1);
                assert_eq!(pool.put(key, connection, timeout), evicted);
            }
            Op::Get { key } | Op::Remove { key, .. } => {
                let key = u64::from(key % 4);
                let got = pool.get(key).map(|(connection, _)| connection);
                assert_eq!(got, twin_get(&mut twin, key));
            }
            Op::Sweep { dead } => {
                let is_dead = |connection: usize| dead >> (connection % 64) & 1 == 1;
                let mut swept = pool.sweep(Instant::now(), |connection| !is_dead(*connection));
                swept.sort_unstable();
                let (gone, kept): (Vec<_>, Vec<_>) = twin
                    .into_iter()
                    .partition(|(_, c, expired)| *expired || is_dead(*c));
                twin = kept;
                assert_eq!(
                    swept,
                    gone.into_iter().map(|(_, c, _)| c).collect::<Vec<_>>()
                );
            }
        }
        assert_eq!(pool.len(), twin.len());
    }
}

/// Takes the youngest connection of `key` that has not expired; drops expired ones on the way.
fn twin_get(twin: &mut Vec<(u64, usize, bool)>, key: u64) -> Option<usize> {
    for _ in 0..MAX_EXPIRED_PER_GET {
        let place = twin.iter().rposition(|(other, ..)| *other == key)?;
        let (_, connection, expired) = twin.remove(place);
        if !expired {
            return Some(connection);
        }
    }
    None
}

/// A connection that was put, and how its watcher learns what becomes of it.
struct Put {
    key: u64,
    id: i32,
    connection: usize,
    used: Receiver<bool>,
}

fn connection_pool(input: &PoolOps) {
    let size = usize::from(input.size % 20);
    let pool = ConnectionPool::new(size);
    let mut twin: Vec<Put> = Vec::new();
    for (connection, op) in input.ops.iter().take(MAX_OPS).enumerate() {
        match op {
            Op::Put { key, id, .. } => {
                let meta = meta(*key, *id);
                let (_evicted, used) = pool.put(&meta, connection);
                let named = |put: &Put| (put.key, put.id) == (meta.key, meta.id);
                let replaced = twin.iter().position(named);
                let mut gone: Vec<_> = replaced
                    .map(|place| twin.remove(place))
                    .into_iter()
                    .collect();
                twin.push(Put {
                    key: meta.key,
                    id: meta.id,
                    connection,
                    used,
                });
                if twin.len() > size {
                    gone.push(twin.remove(0));
                }
                for mut put in gone {
                    assert_eq!(put.used.try_recv(), Err(TryRecvError::Closed));
                }
            }
            Op::Get { key } => {
                let key = u64::from(key % 4);
                let youngest = twin.iter().rposition(|put| put.key == key);
                let expected = youngest.map(|place| twin.remove(place));
                assert_eq!(pool.get(&key), expected.as_ref().map(|put| put.connection));
                if let Some(mut put) = expected {
                    assert_eq!(put.used.try_recv(), Ok(true));
                }
            }
            Op::Remove { key, id } => {
                let meta = meta(*key, *id);
                pool.pop_closed(&meta);
                twin.retain(|put| (put.key, put.id) != (meta.key, meta.id));
            }
            Op::Sweep { .. } => {}
        }
        for put in &mut twin {
            assert_eq!(put.used.try_recv(), Err(TryRecvError::Empty));
        }
    }
}

fn pool_node(input: &PoolOps) {
    let node = PoolNode::new();
    let mut twin: Vec<(i32, usize)> = Vec::new();
    for (connection, op) in input.ops.iter().take(MAX_OPS).enumerate() {
        match op {
            Op::Put { id, .. } => {
                let id = i32::from(id % 8);
                node.insert(id, connection);
                twin.retain(|(other, _)| *other != id);
                twin.push((id, connection));
            }
            Op::Get { .. } => assert_eq!(node.get_any(), twin.pop()),
            Op::Remove { id, .. } => {
                let id = i32::from(id % 8);
                let place = twin.iter().position(|(other, _)| *other == id);
                assert_eq!(node.remove(id), place.map(|place| twin.remove(place).1));
            }
            Op::Sweep { .. } => {}
        }
        assert_eq!(node.is_empty(), twin.is_empty());
    }
}

fn meta(key: u8, id: u8) -> ConnectionMeta {
    ConnectionMeta::new(u64::from(key % 4), i32::from(id % 8))
}
