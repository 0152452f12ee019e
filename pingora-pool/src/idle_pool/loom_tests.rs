//! All interleavings of a few operations on `IdlePool`. Run with `RUSTFLAGS="--cfg loom"`.

use loom::sync::Arc;
use loom::thread;

use super::*;

fn idle(connection: u32) -> Idle<u32> {
    Idle {
        connection,
        put_at: u64::from(connection),
        deadline: NEVER,
    }
}

fn drain(pool: &IdlePool<u32>) -> Vec<u32> {
    let mut rest = Vec::new();
    for key in [1, 2] {
        while let Some(idle) = pool.get_idle(0, key, 1_000) {
            rest.push(idle.connection);
        }
    }
    rest
}

#[test]
fn two_takers_get_it_once() {
    loom::model(|| {
        let pool = Arc::new(IdlePool::with_shards(2, 2));
        assert_eq!(pool.put_idle(0, 1, idle(7)), None);
        let other = Arc::clone(&pool);
        let taker = thread::spawn(move || other.get_idle(1, 1, 1_000).is_some());
        let here = pool.get_idle(0, 1, 1_000).is_some();
        let there = taker.join().expect("no panic");
        assert!(here != there);
        assert_eq!(pool.len(), 0);
    });
}

#[test]
fn puts_into_a_full_pool_keep_the_bound_and_all_connections() {
    loom::model(|| {
        let pool = Arc::new(IdlePool::with_shards(1, 2));
        assert_eq!(pool.put_idle(0, 1, idle(1)), None);
        let other = Arc::clone(&pool);
        let putter = thread::spawn(move || {
            let out = other.put_idle(1, 2, idle(2));
            assert!(other.len() <= 1);
            out
        });
        let taken = pool.get_idle(0, 1, 1_000).map(|idle| idle.connection);
        let out = putter.join().expect("no panic");
        let mut all: Vec<u32> = taken.into_iter().chain(out).collect();
        assert_eq!(pool.len(), 2 - all.len());
        all.extend(drain(&pool));
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        assert_eq!(pool.len(), 0);
    });
}

#[test]
fn a_put_races_a_sweep() {
    loom::model(|| {
        let pool = Arc::new(IdlePool::with_shards(1, 1));
        assert_eq!(pool.put_idle(0, 1, idle(1)), None);
        let other = Arc::clone(&pool);
        let sweeper = thread::spawn(move || other.sweep(Instant::now(), |_| false));
        let out = pool.put_idle(0, 2, idle(2));
        assert!(pool.len() <= 1);
        let mut all = sweeper.join().expect("no panic");
        all.extend(out);
        all.extend(drain(&pool));
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        assert_eq!(pool.len(), 0);
    });
}
