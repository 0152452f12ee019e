use std::collections::HashMap;

use proptest::prelude::*;
use tokio::time::{advance, pause};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_value_lives_its_time() {
    let cache: MemoryCache<String, u32> = MemoryCache::new(10);
    assert_eq!(cache.get("a"), (None, CacheStatus::Miss));
    cache.put("a", 1, Some(2 * SECOND));
    cache.put("b", 2, None);
    let steps = [
        (Duration::ZERO, CacheStatus::Hit),
        (2 * SECOND - Duration::from_nanos(1), CacheStatus::Hit),
        // The end itself is past.
        (Duration::from_nanos(1), CacheStatus::Stale(Duration::ZERO)),
        (3 * SECOND, CacheStatus::Stale(3 * SECOND)),
    ];
    for (pause, status) in steps {
        advance(pause).await;
        let fresh = match status {
            CacheStatus::Hit => (Some(1), CacheStatus::Hit),
            _ => (None, CacheStatus::Expired),
        };
        assert_eq!(cache.get("a"), fresh);
        assert_eq!(cache.get_stale("a"), (Some(1), status));
        assert_eq!(cache.get("b"), (Some(2), CacheStatus::Hit));
    }
    cache.put("a", 3, Some(SECOND));
    assert_eq!(cache.get("a"), (Some(3), CacheStatus::Hit), "a new life");
    cache.remove("a");
    assert_eq!(cache.get_stale("a"), (None, CacheStatus::Miss));
}

#[tokio::test(start_paused = true)]
async fn odd_times() {
    let cache: MemoryCache<u8, u32> = MemoryCache::new(10);
    cache.put(&1, 1, Some(Duration::MAX));
    advance(Duration::from_secs(1 << 30)).await;
    assert_eq!(cache.get(&1), (Some(1), CacheStatus::Hit));
    cache.put(&1, 2, Some(Duration::ZERO));
    assert_eq!(cache.get_stale(&1), (None, CacheStatus::Miss), "not kept");
}

#[test]
fn no_more_values_than_fit() {
    for size in [1, 7, 1_000] {
        let cache: MemoryCache<usize, usize> = MemoryCache::new(size);
        for key in 0..3 * size {
            cache.put(&key, key, None);
        }
        let keys: Vec<usize> = (0..3 * size).collect();
        let (found, missing) = cache.multi_get_with_miss(keys.iter());
        let there = found.iter().filter(|(value, _)| value.is_some()).count();
        assert!((1..=size).contains(&there), "{there} of {size}");
        assert_eq!(missing.len(), keys.len() - there);
        for (key, (value, status)) in keys.iter().zip(&found) {
            assert_eq!(value.is_some(), status.is_hit());
            assert!(value.is_none_or(|value| value == *key));
        }
    }
}

#[test]
fn borrowed_keys_find_owned_ones() {
    let cache: MemoryCache<Vec<u8>, u8> = MemoryCache::new(10);
    cache.put(&b"a".to_vec(), 1, None);
    assert_eq!(cache.get(b"a".as_slice()).0, Some(1));
}

#[test]
fn statuses() {
    let stale = CacheStatus::Stale(SECOND);
    let rows = [
        (CacheStatus::Hit, "hit", true, None),
        (CacheStatus::Miss, "miss", false, None),
        (CacheStatus::Expired, "expired", false, None),
        (CacheStatus::LockHit, "lock_hit", true, None),
        (stale, "stale", true, Some(SECOND)),
    ];
    for (status, name, is_hit, age) in rows {
        assert_eq!(status.as_str(), name);
        assert_eq!(status.is_hit(), is_hit, "{name}");
        assert_eq!(status.stale(), age, "{name}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u32, Option<u64>),
    Remove(u8),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..9_u8, any::<u32>(), proptest::option::of(0..20_u64))
            .prop_map(|(key, value, ttl)| Step::Put(key, value, ttl)),
        (0..9_u8).prop_map(Step::Remove),
        (0..9_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    /// With room for all, against a map of values and the moments they end.
    #[test]
    fn as_a_map(steps in steps()) {
        paused().block_on(async {
            let cache: MemoryCache<u8, u32> = MemoryCache::new(1_000);
            let mut map = HashMap::<u8, (u32, Option<u64>)>::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Put(key, value, ttl) => {
                        cache.put(&key, value, ttl.map(Duration::from_secs));
                        match ttl {
                            Some(0) => map.remove(&key),
                            _ => map.insert(key, (value, ttl.map(|ttl| now + ttl))),
                        };
                    }
                    Step::Remove(key) => {
                        cache.remove(&key);
                        map.remove(&key);
                    }
                    Step::Wait(seconds) => {
                        advance(Duration::from_secs(seconds)).await;
                        now += seconds;
                    }
                }
                for key in 0..9 {
                    let expected = match map.get(&key) {
                        None => (None, CacheStatus::Miss),
                        Some((value, Some(end))) if *end <= now => {
                            let age = Duration::from_secs(now - end);
                            (Some(*value), CacheStatus::Stale(age))
                        }
                        Some((value, _)) => (Some(*value), CacheStatus::Hit),
                    };
                    assert_eq!(cache.get_stale(&key), expected);
                }
            }
        });
    }
}

#[tokio::test]
async fn threads_read_whole_values() {
    pause();
    let cache: MemoryCache<u32, [u32; 8]> = MemoryCache::new(64);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..5_000 {
                    let key = random.u32(0..128);
                    match random.u8(0..4) {
                        0 => cache.put(&key, [key; 8], None),
                        1 => cache.remove(&key),
                        _ => assert!(cache.get(&key).0.is_none_or(|value| value == [key; 8])),
                    }
                }
            });
        }
    });
}
