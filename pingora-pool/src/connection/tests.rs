//! Tests of `ConnectionPool` without its watchers: a naive twin, and threads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;

#[derive(Clone, Debug)]
enum Operation {
    Put(u64, i32),
    Get(u64),
    Closed(u64, i32),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (0..4u64, 0..6i32).prop_map(|(key, id)| Operation::Put(key, id)),
        (0..4u64).prop_map(Operation::Get),
        (0..4u64, 0..6i32).prop_map(|(key, id)| Operation::Closed(key, id)),
    ]
}

/// What became of a connection, as its watcher sees it.
#[derive(Debug, PartialEq)]
enum Fate {
    Idle,
    Taken,
    Evicted,
    Closed,
}

fn fate(evicted: &Arc<Notify>, watch_use: &mut oneshot::Receiver<bool>) -> Fate {
    let notified = is_notified(evicted);
    match watch_use.try_recv() {
        Ok(used) => {
            assert!(used && !notified);
            Fate::Taken
        }
        Err(TryRecvError::Empty) => {
            assert!(!notified);
            Fate::Idle
        }
        Err(TryRecvError::Closed) if notified => Fate::Evicted,
        Err(TryRecvError::Closed) => Fate::Closed,
    }
}

/// Whether the notification is there already.
fn is_notified(evicted: &Arc<Notify>) -> bool {
    let notified = std::pin::pin!(evicted.notified());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    std::future::Future::poll(notified, &mut cx).is_ready()
}

fn check(size: usize, operations: &[Operation]) {
    let pool = ConnectionPool::new(size);
    // Key, id, serial number; in age order.
    let mut twin: Vec<(u64, i32, usize)> = Vec::new();
    let mut watchers = HashMap::new();
    let mut fates: HashMap<usize, Fate> = HashMap::new();
    for (serial, operation) in operations.iter().enumerate() {
        match *operation {
            Operation::Put(key, id) => {
                watchers.insert(serial, pool.put(&ConnectionMeta::new(key, id), serial));
                fates.insert(serial, Fate::Idle);
                if let Some(place) = twin.iter().position(|e| (e.0, e.1) == (key, id)) {
                    fates.insert(twin.remove(place).2, Fate::Evicted);
                }
                twin.push((key, id, serial));
                if twin.len() > size {
                    fates.insert(twin.remove(0).2, Fate::Evicted);
                }
            }
            Operation::Get(key) => {
                let place = twin.iter().rposition(|entry| entry.0 == key);
                let expected = place.map(|place| twin.remove(place).2);
                assert_eq!(pool.get(&key), expected);
                fates.extend(expected.map(|serial| (serial, Fate::Taken)));
            }
            Operation::Closed(key, id) => {
                pool.pop_closed(&ConnectionMeta::new(key, id));
                if let Some(place) = twin.iter().position(|e| (e.0, e.1) == (key, id)) {
                    fates.insert(twin.remove(place).2, Fate::Closed);
                }
            }
        }
        let keys: std::collections::HashSet<_> = twin.iter().map(|entry| entry.0).collect();
        assert_eq!(pool.held(), (twin.len(), keys.len()));
    }
    for (serial, (evicted, mut watch_use)) in watchers {
        assert_eq!(fate(&evicted, &mut watch_use), fates[&serial]);
    }
}

proptest! {
    #[test]
    fn does_what_the_naive_twin_does(
        size in 0..8usize,
        operations in prop::collection::vec(operation(), 0..100),
    ) {
        check(size, &operations);
    }
}

#[test]
fn a_taken_connection_can_be_put_back() {
    let pool = ConnectionPool::new(10);
    let meta = ConnectionMeta::new(1, 1);
    let (first_evicted, mut first_use) = pool.put(&meta, "a");
    assert_eq!(pool.get(&1), Some("a"));
    let (second_evicted, mut second_use) = pool.put(&meta, "a");
    assert_eq!(fate(&first_evicted, &mut first_use), Fate::Taken);
    // The watcher of the first stay must not end the second.
    assert!(!pool.discard(&meta, &first_evicted));
    assert!(pool.watch(&meta, &first_evicted).is_none());
    assert_eq!(fate(&second_evicted, &mut second_use), Fate::Idle);
    assert!(pool.discard(&meta, &second_evicted));
    assert_eq!(fate(&second_evicted, &mut second_use), Fate::Closed);
}

#[test]
fn threads_neither_lose_nor_duplicate_nor_exceed() {
    const THREADS: i32 = 8;
    const ROUNDS: i32 = 2_000;
    const SIZE: usize = 20;
    let alive = Arc::new(AtomicUsize::new(0));
    let pool = ConnectionPool::new(SIZE);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (pool, alive) = (&pool, &alive);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let meta = ConnectionMeta::new((round % 7) as u64, thread * ROUNDS + round);
                    alive.fetch_add(1, Ordering::SeqCst);
                    pool.put(&meta, CountedDrop(Arc::clone(alive)));
                    match round % 3 {
                        0 => drop(pool.get(&((thread + round) as u64 % 7))),
                        1 => pool.pop_closed(&meta),
                        _ => {}
                    }
                    assert!(pool.held().0 <= SIZE);
                }
            });
        }
    });
    assert_eq!(alive.load(Ordering::SeqCst), pool.held().0);
    (0..7).for_each(|key| while pool.get(&key).is_some() {});
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    assert_eq!(pool.held(), (0, 0));
}

/// Counts down once.
struct CountedDrop(Arc<AtomicUsize>);

impl Drop for CountedDrop {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
