//! The LRU against vectors, and against threads.

use std::collections::{HashMap, VecDeque};
use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;

use super::Lru;

const SHARDS: usize = 3;

type Small = Lru<u32, SHARDS>;

#[derive(Clone, Debug)]
enum Op {
    Admit(u64, u32, usize),
    UpdateOrAdmit(u64, u32, usize),
    IncrementWeight(u64, u32, usize, Option<usize>),
    SetWeight(u64, usize),
    InsertTail(u64, u32, usize),
    Promote(u64),
    PromoteTopN(u64, usize),
    Remove(u64),
    EvictShard(u64),
    EvictToLimit,
    SetLimit(usize),
    Reserve(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    // Mostly weights of any size; a few that do not fit together.
    let weight = prop_oneof![9 => 0..50_usize, 1 => usize::MAX - 20..=usize::MAX];
    let key = 0..25_u64;
    let entry = (key.clone(), any::<u32>(), weight.clone());
    prop_oneof![
        3 => entry.clone().prop_map(|(key, data, weight)| Op::Admit(key, data, weight)),
        1 => entry.clone().prop_map(|(key, data, weight)| Op::UpdateOrAdmit(key, data, weight)),
        1 => (entry.clone(), prop::option::of(0..60_usize))
            .prop_map(|((key, data, delta), max)| Op::IncrementWeight(key, data, delta, max)),
        1 => (key.clone(), weight).prop_map(|(key, weight)| Op::SetWeight(key, weight)),
        1 => entry.prop_map(|(key, data, weight)| Op::InsertTail(key, data, weight)),
        1 => key.clone().prop_map(Op::Promote),
        1 => (key.clone(), 0..6_usize).prop_map(|(key, top)| Op::PromoteTopN(key, top)),
        1 => key.prop_map(Op::Remove),
        1 => any::<u64>().prop_map(Op::EvictShard),
        1 => Just(Op::EvictToLimit),
        1 => (0..300_usize).prop_map(Op::SetLimit),
        1 => (0..5_usize, 0..40_usize).prop_map(|(shard, additional)| Op::Reserve(shard, additional)),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Item {
    key: u64,
    data: u32,
    weight: usize,
}

/// What the LRU must do, in the plainest way: each shard is a deque, last used first.
struct Twin {
    shards: Vec<VecDeque<Item>>,
    limit: usize,
    watermark: Option<usize>,
    evicted: Vec<usize>,
}

impl Twin {
    fn new(limit: usize, watermark: Option<usize>) -> Self {
        Twin {
            shards: vec![VecDeque::new(); SHARDS],
            limit,
            watermark,
            evicted: Vec::new(),
        }
    }

    fn weight(&self) -> usize {
        self.shards.iter().flatten().map(|item| item.weight).sum()
    }

    fn len(&self) -> usize {
        self.shards.iter().map(VecDeque::len).sum()
    }

    fn is_over(&self) -> bool {
        self.weight() > self.limit || self.watermark.is_some_and(|mark| self.len() > mark)
    }

    fn shard(&mut self, key: u64) -> &mut VecDeque<Item> {
        &mut self.shards[key as usize % SHARDS]
    }

    fn position(&mut self, key: u64) -> Option<usize> {
        self.shard(key).iter().position(|item| item.key == key)
    }

    fn take(&mut self, key: u64) -> Option<Item> {
        let at = self.position(key)?;
        self.shard(key).remove(at)
    }

    /// Cuts a weight to what is left of all numbers.
    fn fitting(&self, weight: usize) -> usize {
        weight.min(usize::MAX - self.weight())
    }

    fn admit(&mut self, key: u64, data: u32, weight: usize) {
        self.take(key);
        let weight = self.fitting(weight);
        self.shard(key).push_front(Item { key, data, weight });
    }

    fn set_weight(&mut self, key: u64, weight: usize) -> Option<(usize, usize)> {
        let at = self.position(key)?;
        let before = std::mem::replace(&mut self.shard(key)[at].weight, 0);
        let weight = self.fitting(weight);
        self.shard(key)[at].weight = weight;
        Some((before, weight))
    }

    fn evict(&mut self, shard: usize) -> Option<(u32, usize)> {
        let item = self.shards[shard].pop_back()?;
        self.evicted.push(item.weight);
        Some((item.data, item.weight))
    }

    /// Evicts what the LRU did: the shards are its choice, not the entries and not how many.
    fn follow(&mut self, evicted: Vec<(u32, usize)>) {
        for gone in evicted {
            assert!(self.is_over(), "{gone:?} had not to go");
            let is_gone = |shard: &&mut VecDeque<Item>| {
                shard.back().map(|item| (item.data, item.weight)) == Some(gone)
            };
            let shard = self.shards.iter_mut().find(is_gone);
            shard.expect("the tail of a shard goes").pop_back();
            self.evicted.push(gone.1);
        }
        assert!(!self.is_over());
    }
}

fn apply(op: Op, lru: &Small, twin: &mut Twin) {
    match op {
        Op::Admit(key, data, weight) => {
            assert_eq!(lru.admit(key, data, weight), key as usize % SHARDS);
            twin.admit(key, data, weight);
        }
        Op::UpdateOrAdmit(key, data, weight) => {
            let update = |old: &mut u32, weight: usize| {
                *old = data;
                weight / 2
            };
            let before = lru.update_or_admit(key, update, || (data, weight));
            let expected = twin.take(key);
            assert_eq!(before, expected.as_ref().map(|item| item.weight));
            twin.admit(key, data, expected.map_or(weight, |item| item.weight / 2));
        }
        Op::IncrementWeight(key, data, delta, max) => {
            let weight = lru.increment_weight(key, || data, delta, max);
            let max = max.unwrap_or(usize::MAX);
            let expected = match twin.position(key) {
                Some(at) => {
                    let grown = twin.shard(key)[at].weight.saturating_add(delta);
                    twin.set_weight(key, grown.min(max)).map(|(_, after)| after)
                }
                None => {
                    twin.admit(key, data, delta.min(max));
                    Some(twin.shard(key)[0].weight)
                }
            };
            assert_eq!(Some(weight), expected);
        }
        Op::SetWeight(key, weight) => {
            let expected = twin.set_weight(key, weight);
            assert_eq!(
                lru.set_weight(key, weight),
                expected.map(|(before, _)| before)
            );
        }
        Op::InsertTail(key, data, weight) => {
            let is_new = twin.position(key).is_none();
            assert_eq!(lru.insert_tail(key, data, weight), is_new);
            if is_new {
                let weight = twin.fitting(weight);
                twin.shard(key).push_back(Item { key, data, weight });
            }
        }
        Op::Promote(key) => {
            let item = twin.take(key);
            assert_eq!(lru.promote(key), item.is_some());
            item.into_iter()
                .for_each(|item| twin.shard(key).push_front(item));
        }
        Op::PromoteTopN(key, top) => {
            let at = twin.position(key);
            assert_eq!(lru.promote_top_n(key, top), at.is_some());
            if at.is_some_and(|at| at >= top) {
                let item = twin.take(key).expect("it is there");
                twin.shard(key).push_front(item);
            }
        }
        Op::Remove(key) => {
            let item = twin.take(key).map(|item| (item.data, item.weight));
            assert_eq!(lru.remove(key), item);
        }
        Op::EvictShard(shard) => {
            assert_eq!(
                lru.evict_shard(shard),
                twin.evict((shard % SHARDS as u64) as usize)
            );
        }
        Op::EvictToLimit => twin.follow(lru.evict_to_limit()),
        Op::SetLimit(limit) => {
            lru.set_weight_limit(limit);
            twin.limit = limit;
        }
        Op::Reserve(shard, additional) => lru.reserve_shard(shard, additional),
    }
}

fn compare(lru: &Small, twin: &Twin) {
    assert_eq!(lru.weight(), twin.weight());
    assert_eq!((lru.len(), lru.is_empty()), (twin.len(), twin.len() == 0));
    assert_eq!(lru.evicted_len(), twin.evicted.len());
    let wrapping = |sum: usize, weight: &usize| sum.wrapping_add(*weight);
    assert_eq!(lru.evicted_weight(), twin.evicted.iter().fold(0, wrapping));
    assert_eq!(lru.weight_limit(), twin.limit);
    for (number, shard) in twin.shards.iter().enumerate() {
        let mut entries = Vec::new();
        lru.iter_for_each(number, |(data, weight)| entries.push((*data, weight)));
        let expected: Vec<_> = shard.iter().map(|item| (item.data, item.weight)).collect();
        assert_eq!(entries, expected, "shard {number}");
        assert_eq!(lru.peek_lru(number), expected.last().copied());
        assert_eq!(lru.shard_len(number), shard.len());
        let weight: usize = shard.iter().map(|item| item.weight).sum();
        assert_eq!(lru.shard_weight(number), weight);
    }
    for key in 0..25 {
        let mut items = twin.shards[key as usize % SHARDS].iter();
        let weight = items.find(|item| item.key == key).map(|item| item.weight);
        assert_eq!(lru.peek_weight(key), weight);
        assert_eq!(lru.peek(key), weight.is_some());
    }
}

proptest! {
    #[test]
    fn does_what_deques_do(
        ops in prop::collection::vec(op(), 0..100),
        watermark in prop::option::of(0..12_usize),
    ) {
        let lru = Small::with_capacity_and_watermark(200, 5, watermark);
        let mut twin = Twin::new(200, watermark);
        for op in ops {
            apply(op, &lru, &mut twin);
            compare(&lru, &twin);
        }
    }
}

#[test]
fn shards_past_the_last_are_empty() {
    let lru = Small::with_capacity(10, 0);
    lru.admit(0, 1, 1);
    assert_eq!(
        (lru.shards(), lru.shard_len(3), lru.shard_weight(3)),
        (3, 0, 0)
    );
    assert_eq!(lru.peek_lru(usize::MAX), None);
    lru.iter_for_each(3, |_| panic!("there is no such shard"));
    lru.reserve_shard(3, usize::MAX);
}

/// A load gives the order that was saved.
#[test]
fn inserting_at_the_tail_what_was_iterated_gives_the_same() {
    let saved = Small::with_capacity(1000, 0);
    (0..50).for_each(|key| {
        saved.admit(key, key as u32, key as usize);
    });
    (0..50).step_by(7).for_each(|key| {
        saved.promote(key);
    });
    let loaded = Small::with_capacity(1000, 0);
    for shard in 0..SHARDS {
        let mut before = Vec::new();
        saved.iter_for_each(shard, |(key, weight)| before.push((*key, weight)));
        for (key, weight) in &before {
            assert!(loaded.insert_tail(u64::from(*key), *key, *weight));
        }
        let mut after = Vec::new();
        loaded.iter_for_each(shard, |(key, weight)| after.push((*key, weight)));
        assert_eq!(before, after);
    }
}

/// Weights stay even: the heavier of two shards loses an entry.
#[test]
fn shards_do_not_drift_apart() {
    let lru = Lru::<(), 8>::with_capacity(8000, 0);
    let mut number = 1_u64;
    for _ in 0..200_000 {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        lru.admit(number >> 20, (), 1);
        lru.evict_to_limit();
    }
    for shard in 0..8 {
        let weight = lru.shard_weight(shard);
        assert!((900..=1100).contains(&weight), "shard {shard}: {weight}");
    }
}

/// A panic in a closure leaves everything as it was.
#[test]
fn a_panicking_closure_changes_nothing() {
    let lru = Small::with_capacity(100, 0);
    lru.admit(1, 7, 5);
    let attempts: [&dyn Fn(); 3] = [
        &|| _ = lru.update_or_admit(1, |_, _| panic!("on purpose"), || (0, 0)),
        &|| _ = lru.update_or_admit(2, |_, _| 0, || panic!("on purpose")),
        &|| _ = lru.increment_weight(2, || panic!("on purpose"), 1, None),
    ];
    for attempt in attempts {
        let attempt = std::panic::AssertUnwindSafe(attempt);
        assert!(std::panic::catch_unwind(attempt).is_err());
        assert_eq!(
            (lru.len(), lru.weight(), lru.peek_weight(1)),
            (1, 5, Some(5))
        );
        assert!(lru.promote(1));
    }
}

/// Many threads on few keys: nothing is lost, nothing is counted twice, no more goes than has to.
#[test]
fn threads_agree_on_every_entry() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 4_000;
    const LIMIT: usize = 60;
    let lru = Lru::<u64, 4>::with_capacity(LIMIT, 0);
    let start = Barrier::new(THREADS as usize);
    let work = |thread: u64| {
        start.wait();
        let (mut evicted, mut removed) = (0, 0);
        for round in 0..ROUNDS {
            let key = (round * (2 * thread + 1)) % 40;
            match round % 8 {
                0 => removed += lru.remove(key).map_or(0, |(_, weight)| weight),
                1 => _ = lru.promote(key),
                2 => _ = lru.promote_top_n(key, 3),
                3 => _ = lru.increment_weight(key, || key, 1, Some(9)),
                4 => _ = lru.set_weight(key, 3),
                _ => _ = lru.admit(key, key, (key % 7) as usize + 1),
            }
            for (key, weight) in lru.evict_to_limit() {
                assert!(key < 40);
                evicted += weight;
            }
        }
        (evicted, removed)
    };
    let sums: Vec<(usize, usize)> = thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("no panic");
        threads.into_iter().map(join).collect()
    });
    let evicted: usize = sums.iter().map(|(evicted, _)| evicted).sum();
    assert_eq!(lru.evicted_weight(), evicted);
    assert!(lru.weight() <= LIMIT);

    let mut weights = HashMap::new();
    for shard in 0..lru.shards() {
        lru.iter_for_each(shard, |(key, weight)| {
            assert_eq!(*key as usize % 4, shard);
            assert_eq!(weights.insert(*key, weight), None, "one entry per key");
        });
    }
    assert_eq!(weights.len(), lru.len());
    assert_eq!(weights.values().sum::<usize>(), lru.weight());
}

/// Evicting at once: as much goes as when one thread does it.
#[test]
fn threads_never_evict_more_than_needed() {
    for _ in 0..200 {
        let lru = Lru::<u64, 4>::with_capacity(50, 0);
        (0..100).for_each(|key| {
            lru.admit(key, key, 1);
        });
        let start = Barrier::new(4);
        let evicted: usize = thread::scope(|scope| {
            let evict = || {
                start.wait();
                lru.evict_to_limit().len()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(evict)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .sum()
        });
        assert_eq!((evicted, lru.weight()), (50, 50));
    }
}
