//! The cache against a map, its weights, and threads that race.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;

use super::TinyUfo;

impl<K, T> TinyUfo<K, T> {
    /// Returns the weight of all entries, after checking that the budgets add up. Nobody may be putting.
    fn weight(&self) -> usize {
        let shards: Vec<_> = self.shards.iter().map(|shard| shard.shard.lock()).collect();
        assert!(shards.iter().all(|shard| shard.used() <= shard.budget()));
        let spare = self.spare.load(Ordering::Relaxed);
        let budgets = shards.iter().map(|shard| shard.budget()).sum::<usize>();
        assert_eq!(budgets + spare, self.limit);
        shards.iter().map(|shard| shard.used()).sum()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Get(u16),
    Put(u16, u16),
    ForcePut(u16, u16),
    Remove(u16),
}

/// Mostly light, some heavier than a shard, a few heavier than the cache, some without weight.
fn weight() -> impl Strategy<Value = u16> {
    prop_oneof![20 => 0..20u16, 2 => 100..3000u16, 1 => any::<u16>()]
}

fn op() -> impl Strategy<Value = Op> {
    let key = || prop_oneof![0..16u16, 0..2000u16];
    prop_oneof![
        4 => key().prop_map(Op::Get),
        6 => (key(), weight()).prop_map(|(key, weight)| Op::Put(key, weight)),
        2 => (key(), weight()).prop_map(|(key, weight)| Op::ForcePut(key, weight)),
        1 => key().prop_map(Op::Remove),
    ]
}

proptest! {
    /// A limit below 20 makes one shard, the greater ones make several.
    #[test]
    fn holds_what_it_did_not_give_back(
        ops in proptest::collection::vec(op(), 0..600),
        limit in prop_oneof![0..20usize, 1000..5000usize],
        compact: bool,
    ) {
        let new = if compact { TinyUfo::new_compact } else { TinyUfo::new };
        let cache = new(limit, limit);
        let mut twin: HashMap<u16, (u64, u16)> = HashMap::new();
        for (value, op) in (0..).zip(ops) {
            let out = match op {
                Op::Get(key) => {
                    let expected = twin.get(&key).map(|(value, _)| *value);
                    prop_assert_eq!(cache.get(&key), expected);
                    continue;
                }
                Op::Remove(key) => {
                    let expected = twin.remove(&key).map(|(value, _)| value);
                    prop_assert_eq!(cache.remove(&key), expected);
                    continue;
                }
                Op::Put(key, weight) => {
                    twin.insert(key, (value, weight));
                    cache.put(key, value, weight)
                }
                Op::ForcePut(key, weight) => {
                    twin.insert(key, (value, weight));
                    let out = cache.force_put(key, value, weight);
                    let kept = out.iter().all(|entry| entry.data != value);
                    prop_assert_eq!(kept, usize::from(weight.max(1)) <= limit);
                    out
                }
            };
            for entry in out {
                let key = twin.iter().find(|(_, (value, _))| *value == entry.data).map(|(key, _)| *key);
                let weight = twin.remove(&key.expect("only what was put leaves")).map(|(_, weight)| weight.max(1));
                prop_assert_eq!(weight, Some(entry.weight.max(1)));
            }
            let held: usize = twin.values().map(|(_, weight)| usize::from((*weight).max(1))).sum();
            prop_assert_eq!(cache.weight(), held);
            prop_assert!(held <= limit);
        }
    }
}

/// A value that knows how many of its kind exist.
#[derive(Debug)]
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn new(alive: &Arc<AtomicU64>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self(alive.clone())
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `threads` that work on `keys` keys, and checks weights and values afterwards.
fn race(limit: usize, threads: u64, rounds: u64, keys: u64, weight: impl Fn(u64) -> u16 + Sync) {
    let cache = TinyUfo::new(limit, limit);
    let alive = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..threads {
            let (cache, alive, weight) = (&cache, &alive, &weight);
            scope.spawn(move || {
                for round in 0..rounds {
                    let dice = (thread * rounds + round).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
                    let key = dice % keys;
                    match dice >> 20 & 7 {
                        0 => drop(cache.remove(&key)),
                        1 => drop(cache.force_put(key, Counted::new(alive), weight(dice))),
                        2..=4 => drop(cache.put(key, Counted::new(alive), weight(dice))),
                        _ => drop(cache.get(&key)),
                    }
                }
            });
        }
    });
    assert!(cache.weight() <= limit);
    let held = (0..keys).filter(|key| cache.get(key).is_some()).count();
    assert_eq!(alive.load(Ordering::Relaxed), held as u64);
    for key in 0..keys {
        cache.remove(&key);
    }
    assert_eq!(cache.weight(), 0);
    drop(cache);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn a_hundred_threads_over_five_keys() {
    race(5, 100, 500, 5, |_| 1);
    race(5, 100, 200, 5, |dice| (dice % 7) as u16);
}

#[test]
fn threads_that_borrow_from_all_shards() {
    race(3000, 8, 2000, 5000, |dice| {
        if dice % 16 == 0 {
            1000 + (dice % 2000) as u16
        } else {
            1
        }
    });
}

/// After a heavy entry left, every shard gets its part back as it is used.
#[test]
fn loans_are_returned() {
    let cache = TinyUfo::new(4096, 4096);
    for key in 0..20_000 {
        cache.put(key, 0, 1);
    }
    assert!(cache.weight() > 4000, "all but what leaves together");
    cache.force_put(u64::MAX, 1, 4000);
    assert_eq!(cache.get(&u64::MAX), Some(1));
    assert!(cache.weight() >= 4000);
    assert_eq!(cache.remove(&u64::MAX), Some(1));
    for key in 0..20_000 {
        cache.put(key, 0, 1);
    }
    assert!(cache.weight() > 4000, "all but what leaves together");
    assert!(
        cache
            .shards
            .iter()
            .all(|shard| shard.shard.lock().budget() == cache.fair)
    );
}

/// What a cache must do with entries by weight: `(limit, entries, expected survivors)`.
#[test]
fn weights_at_the_edges() {
    let check = |limit: usize, weights: &[u16], kept: &[bool]| {
        let cache = TinyUfo::new(limit, 10);
        for (key, weight) in weights.iter().enumerate() {
            cache.force_put(key, key, *weight);
        }
        let found: Vec<bool> = (0..weights.len())
            .map(|key| cache.get(&key).is_some())
            .collect();
        assert_eq!(found, kept, "limit {limit}, weights {weights:?}");
    };
    check(0, &[0, 1], &[false, false]);
    check(1, &[0, 0], &[false, true]);
    check(5, &[1, 2, 2], &[true, true, true]);
    check(5, &[5, 5], &[false, true]);
    check(5, &[1, 6], &[true, false]);
    check(usize::MAX, &[u16::MAX, u16::MAX], &[true, true]);
}

#[test]
fn is_send_and_sync_for_any_key() {
    fn check<C: Send + Sync>() {}
    check::<TinyUfo<*const u8, String>>();
}
