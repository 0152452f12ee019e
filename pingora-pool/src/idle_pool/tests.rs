//! `IdlePool` against a naive twin, and among threads.

use std::collections::HashSet;
use std::sync::atomic::AtomicUsize as Counter;

use proptest::prelude::*;

use super::*;

/// An entry put at `put_at` that times out `timeout` later.
fn idle<S>(connection: S, put_at: u64, timeout: Option<u64>) -> Idle<S> {
    Idle {
        connection,
        put_at,
        deadline: timeout.map_or(NEVER, |timeout| put_at + timeout),
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Put {
        home: usize,
        key: u64,
        expired: bool,
    },
    Get {
        home: usize,
        key: u64,
    },
    Sweep {
        dead: usize,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0..8usize, 0..4u64, prop::bool::weighted(0.1))
            .prop_map(|(home, key, expired)| Operation::Put { home, key, expired }),
        3 => (0..8usize, 0..4u64).prop_map(|(home, key)| Operation::Get { home, key }),
        1 => (1..9usize).prop_map(|dead| Operation::Sweep { dead }),
    ]
}

#[derive(Debug)]
struct TwinEntry {
    home: usize,
    key: u64,
    serial: usize,
    expired: bool,
}

/// What a get should find: the newest of the home shard, then of the next shard and so on. What it
/// passes over is expired and gone.
fn twin_get(twin: &mut Vec<TwinEntry>, shards: usize, home: usize, key: u64) -> Option<usize> {
    for offset in 0..shards {
        let shard = (home + offset) % shards;
        while let Some(place) = twin
            .iter()
            .rposition(|entry| entry.home % shards == shard && entry.key == key)
        {
            let entry = twin.remove(place);
            if !entry.expired {
                return Some(entry.serial);
            }
        }
    }
    None
}

/// Fewer operations than [`MAX_EXPIRED_PER_GET`] and [`MAX_VISITS_PER_SWEEP`] could matter for.
fn check(capacity: usize, shards: usize, operations: &[Operation]) {
    let pool = IdlePool::with_shards(capacity, shards);
    let mut twin: Vec<TwinEntry> = Vec::new();
    let far = 1 << 60;
    for (serial, operation) in operations.iter().enumerate() {
        let now = 1_000 + serial as u64;
        match *operation {
            Operation::Put { home, key, expired } => {
                let timeout = if expired { Some(0) } else { Some(far) };
                let evicted = pool.put_idle(home, key, idle(serial, now, timeout));
                twin.push(TwinEntry {
                    home,
                    key,
                    serial,
                    expired,
                });
                let overflow = (twin.len() > capacity).then(|| twin.remove(0).serial);
                assert_eq!(evicted, overflow);
            }
            Operation::Get { home, key } => {
                let found = pool.get_idle(home, key, now).map(|idle| idle.connection);
                assert_eq!(found, twin_get(&mut twin, shards, home, key));
            }
            Operation::Sweep { dead } => {
                let now = pool.clock.origin() + Duration::from_nanos(now);
                let mut swept = pool.sweep(now, |serial| !serial.is_multiple_of(dead));
                swept.sort_unstable();
                let gone = |entry: &TwinEntry| entry.expired || entry.serial.is_multiple_of(dead);
                let expected: Vec<_> = twin
                    .extract_if(.., |entry| gone(entry))
                    .map(|entry| entry.serial)
                    .collect();
                assert_eq!(swept, expected);
            }
        }
        assert_eq!(pool.len(), twin.len());
        assert!(pool.len() <= capacity);
    }
}

proptest! {
    #[test]
    fn does_what_the_naive_twin_does(
        capacity in 0..12usize,
        shards in 0..3u32,
        operations in prop::collection::vec(operation(), 0..100),
    ) {
        check(capacity, 1 << shards, &operations);
    }
}

#[test]
fn capacity_zero_returns_what_is_put() {
    let pool = IdlePool::new(0);
    assert_eq!(pool.put(1, "a", None), Some("a"));
    assert!(pool.get(1).is_none());
    assert!(pool.is_empty());
}

#[test]
fn a_connection_past_its_timeout_is_never_returned() {
    let pool = IdlePool::new(4);
    pool.put(1, "expired", Some(Duration::ZERO));
    pool.put(1, "short", Some(Duration::from_nanos(1)));
    assert_eq!(pool.get(1), None);
    assert!(pool.is_empty(), "expired connections were dropped");
    pool.put(1, "long", Some(Duration::MAX));
    assert_eq!(pool.get(1).map(|(connection, _)| connection), Some("long"));
}

#[test]
fn a_get_drops_few_expired_connections() {
    let pool = IdlePool::with_shards(100, 2);
    for serial in 0..40 {
        pool.put_idle(serial, 1, idle(serial, 1, Some(0)));
    }
    assert!(pool.get_idle(0, 1, 2).is_none());
    assert_eq!(pool.len(), 40 - MAX_EXPIRED_PER_GET);
}

#[test]
fn a_connection_of_another_thread_is_found() {
    let pool = IdlePool::new(4);
    thread::scope(|scope| {
        scope.spawn(|| pool.put(1, "theirs", None));
    });
    pool.put(1, "ours", None);
    let (first, _) = pool.get(1).expect("there are two");
    let (second, _) = pool.get(1).expect("there is one");
    assert_eq!(pool.get(1), None);
    // Unless both threads share a shard, ours comes first either way: it is newer.
    assert_eq!((first, second), ("ours", "theirs"));
}

#[test]
fn sweeps_look_at_few_and_get_around() {
    const ENTRIES: usize = 5 * MAX_VISITS_PER_SWEEP;
    let pool = IdlePool::with_shards(ENTRIES, 4);
    for serial in 0..ENTRIES {
        pool.put_idle(serial, 1, idle(serial, 1, None));
    }
    let mut seen = HashSet::new();
    for _ in 0..5 {
        let mut visits = 0;
        let swept = pool.sweep(Instant::now(), |serial| {
            visits += 1;
            seen.insert(*serial)
        });
        assert!(swept.is_empty(), "none twice before all once: {swept:?}");
        assert!(visits <= MAX_VISITS_PER_SWEEP);
    }
    assert_eq!(seen.len(), ENTRIES);
    assert_eq!(pool.len(), ENTRIES);
}

#[test]
fn a_panic_while_sweeping_leaves_the_pool_whole() {
    let pool = IdlePool::with_shards(3, 1);
    (0..3).for_each(|serial| assert!(pool.put_idle(0, 1, idle(serial, 1, None)).is_none()));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool.sweep(Instant::now(), |serial| match *serial {
            0 => false,
            _ => panic!("on purpose"),
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(pool.len(), 2);
    let mut rest = pool.sweep(Instant::now(), |_| false);
    rest.extend(pool.sweep(Instant::now(), |_| false));
    rest.sort_unstable();
    assert_eq!(rest, [1, 2]);
}

#[test]
fn threads_neither_lose_nor_duplicate_nor_exceed() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 5_000;
    const CAPACITY: usize = 30;
    let pool = IdlePool::with_shards(CAPACITY, 4);
    let owned: Vec<Counter> = (0..THREADS * ROUNDS).map(|_| Counter::new(0)).collect();
    let own = |serial: usize| {
        let before = owned[serial].fetch_add(1, atomic::Ordering::Relaxed);
        assert_eq!(before, 0, "connection {serial} came out twice");
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (pool, own) = (&pool, &own);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let serial = thread * ROUNDS + round;
                    let evicted = pool.put(serial as u64 % 5, serial, None);
                    evicted.into_iter().for_each(own);
                    assert!(pool.len() <= CAPACITY);
                    if round % 3 != 0 {
                        let got = pool.get(round as u64 % 5);
                        got.into_iter().for_each(|(serial, _)| own(serial));
                    }
                    if round % 100 == 0 {
                        let swept = pool.sweep(Instant::now(), |serial| !serial.is_multiple_of(4));
                        swept.into_iter().for_each(own);
                    }
                }
            });
        }
    });
    for key in 0..5 {
        while let Some((serial, _)) = pool.get(key) {
            own(serial);
        }
    }
    assert_eq!(pool.len(), 0);
    assert!(
        owned
            .iter()
            .all(|owned| owned.load(atomic::Ordering::Relaxed) == 1)
    );
}

#[test]
fn an_entry_takes_48_bytes_beside_the_connection() {
    assert_eq!(Shelf::<Idle<[usize; 2]>>::ENTRY_SIZE, 16 + 48);
    assert_eq!(Shelf::<Idle<Box<()>>>::ENTRY_SIZE, 8 + 40);
}

#[test]
fn units_kept_by_one_thread_serve_another_before_anything_is_evicted() {
    let capacity = MAX_SPARE + 4;
    let pool = IdlePool::with_shards(capacity, 2);
    for serial in 0..capacity {
        assert_eq!(pool.put_idle(0, 1, idle(serial, 1, None)), None);
    }
    for taken in 1..=capacity {
        assert!(pool.get_idle(0, 1, 2).is_some());
        assert_eq!(pool.len(), capacity - taken);
    }
    assert_eq!(pool.shard(0).spare(), MAX_SPARE);
    for serial in 0..capacity {
        assert_eq!(pool.put_idle(1, 1, idle(serial, 3, None)), None);
    }
    assert_eq!(pool.put_idle(0, 1, idle(capacity, 4, None)), Some(0));
    assert_eq!(pool.len(), capacity);
}
