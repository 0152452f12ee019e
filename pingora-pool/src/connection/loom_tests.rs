//! All interleavings of a few operations on `ConnectionPool`. Run with `RUSTFLAGS="--cfg loom"`.

use loom::sync::Arc as LoomArc;
use loom::thread;

use super::*;

#[test]
fn two_takers_get_it_once() {
    loom::model(|| {
        let pool = LoomArc::new(ConnectionPool::new(1));
        pool.put(&ConnectionMeta::new(1, 1), "a");
        let other = LoomArc::clone(&pool);
        let taker = thread::spawn(move || other.get(&1));
        let here = pool.get(&1);
        let there = taker.join().expect("no panic");
        assert!(here.is_some() != there.is_some());
    });
}

#[test]
fn a_spoilt_connection_is_not_taken_and_a_taken_one_not_read() {
    loom::model(|| {
        let pool = LoomArc::new(ConnectionPool::new(1));
        let meta = ConnectionMeta::new(1, 1);
        let (evicted, _watch_use) = pool.put(&meta, "a");
        let other = LoomArc::clone(&pool);
        let watcher = thread::spawn(move || {
            let Some(gate) = other.watch(&meta, &evicted) else {
                return false;
            };
            let mut gate = gate.lock();
            if *gate == Gate::Taken {
                return false;
            }
            *gate = Gate::Spoilt;
            drop(gate);
            other.discard(&meta, &evicted);
            true
        });
        let taken = pool.get(&1).is_some();
        let read = watcher.join().expect("no panic");
        assert!(taken != read);
    });
}

#[test]
fn a_full_pool_evicts_or_hands_out() {
    loom::model(|| {
        let pool = LoomArc::new(ConnectionPool::new(1));
        let (_evicted, mut first_use) = pool.put(&ConnectionMeta::new(1, 1), 1);
        let other = LoomArc::clone(&pool);
        let putter = thread::spawn(move || {
            other.put(&ConnectionMeta::new(2, 2), 2);
        });
        let first = pool.get(&1);
        putter.join().expect("no panic");
        assert_eq!(first.is_some(), first_use.try_recv().is_ok());
        assert_eq!(pool.get(&1), None);
        assert_eq!(pool.get(&2), Some(2));
    });
}
