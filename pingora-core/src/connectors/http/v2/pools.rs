//! Where connections are while nobody opens a stream on them.
//!
//! ```text
//!            first stream                    last stream ends
//!   new ──────────────────> InUsePool ────────────────────────> idle pool ──> closed
//!                               ^                                   │  (timeout, eviction,
//!                               └────────── next stream ────────────┘   end of the connection)
//! ```
//!
//! A stream is reserved, and the last one noticed, under the lock of the connection's key: no
//! connection is moved out while somebody takes a stream on it, and none is forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;
use pingora_error::Result;
use pingora_pool::{ConnectionMeta, ConnectionPool};

use super::connection::ConnectionRef;
use crate::protocols::UniqueIDType;
use crate::protocols::http::v2::client::Http2Session;

/// Locks the connections in use are spread over.
const SHARDS: usize = 16;

/// Connections with at least one stream, by the reuse hash of their peer.
pub struct InUsePool {
    shards: [Mutex<Shard>; SHARDS],
}

type Shard = HashMap<u64, Vec<ConnectionRef>, BuildHasherDefault<IsHash>>;

/// Keys that are hashes already, keyed by the process: whoever chose what they are made of knows none.
#[derive(Default)]
struct IsHash(u64);

impl Hasher for IsHash {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl InUsePool {
    pub(super) fn new() -> Self {
        InUsePool {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Returns a connection of `reuse_hash` with room for a stream; it stays in the pool.
    pub fn get(&self, reuse_hash: u64) -> Option<ConnectionRef> {
        let shard = self.shard(reuse_hash).lock();
        let of_peer = shard.get(&reuse_hash)?;
        of_peer
            .iter()
            .find(|conn| conn.more_streams_allowed())
            .cloned()
    }

    /// Adds a connection; one of the same id is replaced.
    pub fn insert(&self, reuse_hash: u64, conn: ConnectionRef) {
        let mut shard = self.shard(reuse_hash).lock();
        let of_peer = shard.entry(reuse_hash).or_default();
        let replaced = of_peer.iter().position(|other| other.id() == conn.id());
        let replaced = replaced.map(|at| of_peer.swap_remove(at));
        of_peer.push(conn);
        drop(shard);
        drop(replaced);
    }

    /// Removes and returns the connection with this id; `None` when it is not here, or has streams
    /// and can take more.
    pub fn release(&self, reuse_hash: u64, id: UniqueIDType) -> Option<ConnectionRef> {
        self.remove_if(reuse_hash, |conn| {
            conn.id() == id && (conn.is_idle() || conn.is_closed())
        })
    }

    /// Reserves a stream on a connection; returns it with the stream already counted.
    fn reserve(&self, reuse_hash: u64) -> Option<ConnectionRef> {
        let shard = self.shard(reuse_hash).lock();
        let of_peer = shard.get(&reuse_hash)?;
        of_peer.iter().find(|conn| conn.reserve_stream()).cloned()
    }

    /// Adds a connection and reserves its next stream.
    fn insert_reserved(&self, reuse_hash: u64, conn: &ConnectionRef) -> bool {
        let mut shard = self.shard(reuse_hash).lock();
        if !conn.reserve_stream() {
            return false;
        }
        let of_peer = shard.entry(reuse_hash).or_default();
        of_peer.push(conn.clone());
        true
    }

    fn remove_if(
        &self,
        reuse_hash: u64,
        condition: impl Fn(&ConnectionRef) -> bool,
    ) -> Option<ConnectionRef> {
        let mut shard = self.shard(reuse_hash).lock();
        let of_peer = shard.get_mut(&reuse_hash)?;
        let at = of_peer.iter().position(condition)?;
        let removed = of_peer.swap_remove(at);
        if of_peer.is_empty() {
            shard.remove(&reuse_hash);
        }
        Some(removed)
    }

    fn shard(&self, reuse_hash: u64) -> &Mutex<Shard> {
        // The high bits: the map inside uses the low ones.
        &self.shards[(reuse_hash >> 60) as usize % SHARDS]
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let connections = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            shard.values().map(Vec::len).sum::<usize>().max(shard.len())
        };
        self.shards.iter().map(connections).sum()
    }
}

/// Both places.
pub(super) struct Pools {
    in_use: InUsePool,
    idle: Arc<ConnectionPool<ConnectionRef>>,
}

impl Pools {
    pub(super) fn new(size: usize) -> Self {
        Pools {
            in_use: InUsePool::new(),
            idle: Arc::new(ConnectionPool::new(size)),
        }
    }

    pub(super) fn in_use(&self) -> &InUsePool {
        &self.in_use
    }

    pub(super) fn idle(&self) -> &Arc<ConnectionPool<ConnectionRef>> {
        &self.idle
    }

    /// Returns a session on an open connection, `None` when none has a free stream.
    pub(super) fn reuse(&self, key: u64) -> Option<Http2Session> {
        // Each turn finds a connection that has closed, marks it and leaves it out from then on.
        while let Some(conn) = self.in_use.reserve(key) {
            if let Some(session) = conn.session_on_reserved() {
                return Some(session);
            }
        }
        while let Some(conn) = self.idle.get(&key) {
            if conn.is_usable()
                && let Ok(Some(session)) = self.share(key, &conn)
            {
                return Some(session);
            }
        }
        None
    }

    /// Puts a connection among those in use and returns a session on it; `None` when it takes none.
    pub(super) fn share(&self, key: u64, conn: &ConnectionRef) -> Result<Option<Http2Session>> {
        if !self.in_use.insert_reserved(key, conn) {
            return Ok(None);
        }
        Ok(conn.session_on_reserved())
    }

    /// A stream of the connection has ended.
    pub(super) fn stream_ended(&self, key: u64, id: UniqueIDType) {
        let Some(conn) = self.in_use.release(key, id) else {
            return;
        };
        if conn.is_usable() && conn.may_idle() {
            conn.idles_from_now();
            self.idle.put(&ConnectionMeta::new(key, id), conn);
        }
    }

    /// The connection was unused for too long, unless somebody has just taken it.
    pub(super) fn expire(&self, key: u64, id: UniqueIDType) {
        self.idle.pop_closed(&ConnectionMeta::new(key, id));
    }

    /// The connection has ended.
    pub(super) fn forget(&self, key: u64, id: UniqueIDType) {
        drop(self.in_use.remove_if(key, |conn| conn.id() == id));
        self.idle.pop_closed(&ConnectionMeta::new(key, id));
    }
}
