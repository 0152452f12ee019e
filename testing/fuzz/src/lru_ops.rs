//! The LRU against deques, one per shard, and the list against a deque. One thread: what threads do to
//! each other is for the tests of the crate.

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use pingora_lru::Lru;
use pingora_lru::linked_list::LinkedListU64;

/// The most operations, so that one input stays cheap.
const MAX_OPS: usize = 256;

const SHARDS: usize = 3;

/// Few keys, so that they meet.
const KEYS: u64 = 32;

/// The limits of the LRU and what is done to it.
#[derive(Arbitrary, Debug)]
pub struct LruOps {
    limit: u16,
    watermark: Option<u8>,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Admit(u8, Weight),
    Update(u8, Weight),
    Increment(u8, Weight, Option<u8>),
    SetWeight(u8, Weight),
    InsertTail(u8, Weight),
    Promote(u8),
    PromoteTopN(u8, u8),
    Remove(u8),
    EvictShard(u8),
    EvictToLimit,
    SetLimit(u16),
}

/// Small ones meet the limit, large ones the end of all numbers.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Weight {
    Small(u8),
    Large(u8),
}

impl From<Weight> for usize {
    fn from(weight: Weight) -> usize {
        match weight {
            Weight::Small(weight) => usize::from(weight),
            Weight::Large(less) => usize::MAX - usize::from(less),
        }
    }
}

/// Checks both.
pub fn lru_ops(input: &LruOps) {
    lru(input);
    list(input);
}

/// Key, value and weight; last used first.
type Shard = VecDeque<(u64, usize, usize)>;

struct Twin {
    shards: [Shard; SHARDS],
    limit: usize,
    watermark: Option<usize>,
}

impl Twin {
    fn weight(&self) -> usize {
        self.shards
            .iter()
            .flatten()
            .map(|(.., weight)| weight)
            .sum()
    }

    fn len(&self) -> usize {
        self.shards.iter().map(VecDeque::len).sum()
    }

    fn is_over(&self) -> bool {
        self.weight() > self.limit || self.watermark.is_some_and(|mark| self.len() > mark)
    }

    fn shard(&mut self, key: u64) -> &mut Shard {
        &mut self.shards[key as usize % SHARDS]
    }

    fn take(&mut self, key: u64) -> Option<(u64, usize, usize)> {
        let at = self
            .shard(key)
            .iter()
            .position(|(other, ..)| *other == key)?;
        self.shard(key).remove(at)
    }

    fn push_front(&mut self, key: u64, value: usize, weight: usize) -> usize {
        let weight = weight.min(usize::MAX - self.weight());
        self.shard(key).push_front((key, value, weight));
        weight
    }

    /// Sets a weight and returns the one before and the one after.
    fn set_weight(&mut self, key: u64, weight: usize) -> Option<(usize, usize)> {
        let at = self
            .shard(key)
            .iter()
            .position(|(other, ..)| *other == key)?;
        let before = std::mem::replace(&mut self.shard(key)[at].2, 0);
        let weight = weight.min(usize::MAX - self.weight());
        self.shard(key)[at].2 = weight;
        Some((before, weight))
    }
}

fn lru(input: &LruOps) {
    let limit = usize::from(input.limit % 2048);
    let watermark = input.watermark.map(|mark| usize::from(mark % 40));
    let lru = Lru::<usize, SHARDS>::with_capacity_and_watermark(limit, 0, watermark);
    let mut twin = Twin {
        shards: Default::default(),
        limit,
        watermark,
    };
    for (value, op) in input.ops.iter().take(MAX_OPS).enumerate() {
        apply(op, value, &lru, &mut twin);
        assert_eq!((lru.len(), lru.weight()), (twin.len(), twin.weight()));
    }
    for (number, shard) in twin.shards.iter().enumerate() {
        let mut entries = Vec::new();
        lru.iter_for_each(number, |(value, weight)| entries.push((*value, weight)));
        let expected = shard.iter().map(|(_, value, weight)| (*value, *weight));
        assert!(entries.into_iter().eq(expected), "shard {number}");
    }
}

fn apply(op: &Op, value: usize, lru: &Lru<usize, SHARDS>, twin: &mut Twin) {
    let key = |key: u8| u64::from(key) % KEYS;
    match *op {
        Op::Admit(name, weight) => {
            let key = key(name);
            lru.admit(key, value, weight.into());
            twin.take(key);
            twin.push_front(key, value, weight.into());
        }
        Op::Update(name, weight) => {
            let key = key(name);
            let before = lru.update_or_admit(
                key,
                |old, _| {
                    *old = value;
                    weight.into()
                },
                || (value, weight.into()),
            );
            assert_eq!(before, twin.take(key).map(|(.., weight)| weight));
            twin.push_front(key, value, weight.into());
        }
        Op::Increment(name, delta, max) => {
            let (key, delta) = (key(name), usize::from(delta));
            let limit = max.map_or(usize::MAX, usize::from);
            let weight = lru.increment_weight(key, || value, delta, max.map(usize::from));
            let grown = |weight: usize| weight.saturating_add(delta).min(limit);
            let found = twin.shard(key).iter().find(|(other, ..)| *other == key);
            let expected = match found.map(|(.., weight)| grown(*weight)) {
                Some(grown) => twin.set_weight(key, grown).map(|(_, after)| after),
                None => Some(twin.push_front(key, value, grown(0))),
            };
            assert_eq!(Some(weight), expected);
        }
        Op::SetWeight(name, weight) => {
            let before = lru.set_weight(key(name), weight.into());
            let expected = twin.set_weight(key(name), weight.into());
            assert_eq!(before, expected.map(|(before, _)| before));
        }
        Op::InsertTail(name, weight) => {
            let key = key(name);
            let is_new = twin.shard(key).iter().all(|(other, ..)| *other != key);
            assert_eq!(lru.insert_tail(key, value, weight.into()), is_new);
            if is_new {
                let weight = usize::from(weight).min(usize::MAX - twin.weight());
                twin.shard(key).push_back((key, value, weight));
            }
        }
        Op::Promote(name) => promote(twin, key(name), 0, lru.promote(key(name))),
        Op::PromoteTopN(name, top) => {
            let top = usize::from(top % 8);
            promote(twin, key(name), top, lru.promote_top_n(key(name), top));
        }
        Op::Remove(name) => {
            let gone = twin
                .take(key(name))
                .map(|(_, value, weight)| (value, weight));
            assert_eq!(lru.remove(key(name)), gone);
        }
        Op::EvictShard(shard) => {
            let gone = twin.shard(shard.into()).pop_back();
            let expected = gone.map(|(_, value, weight)| (value, weight));
            assert_eq!(lru.evict_shard(shard.into()), expected);
        }
        Op::EvictToLimit => {
            for gone in lru.evict_to_limit() {
                assert!(twin.is_over(), "{gone:?} had not to go");
                let is_gone = |shard: &&mut Shard| {
                    shard.back().map(|(_, value, weight)| (*value, *weight)) == Some(gone)
                };
                let shard = twin.shards.iter_mut().find(is_gone);
                shard.expect("the tail of a shard goes").pop_back();
            }
            assert!(!twin.is_over());
        }
        Op::SetLimit(limit) => {
            twin.limit = usize::from(limit % 2048);
            lru.set_weight_limit(twin.limit);
        }
    }
}

/// Moves an entry to the head unless it is among the `top` first.
fn promote(twin: &mut Twin, key: u64, top: usize, was_there: bool) {
    let at = twin.shard(key).iter().position(|(other, ..)| *other == key);
    assert_eq!(was_there, at.is_some());
    if at.is_some_and(|at| at >= top)
        && let Some(entry) = twin.take(key)
    {
        twin.shard(key).push_front(entry);
    }
}

/// The same operations, read as operations on a list.
fn list(input: &LruOps) {
    let mut list = LinkedListU64::with_capacity(0);
    // Index and item.
    let mut twin: VecDeque<(usize, u64)> = VecDeque::new();
    for (item, op) in (0..).zip(input.ops.iter().take(MAX_OPS)) {
        let nth = |at: u8| usize::from(at).checked_rem(twin.len());
        match *op {
            Op::Admit(..) | Op::Update(..) => twin.push_front((list.push_head(item), item)),
            Op::InsertTail(..) | Op::Increment(..) => {
                twin.push_back((list.push_tail(item), item));
            }
            Op::Promote(at) | Op::PromoteTopN(at, _) => {
                if let Some(entry) = nth(at).and_then(|at| twin.remove(at)) {
                    list.promote(entry.0);
                    twin.push_front(entry);
                }
            }
            Op::Remove(at) | Op::SetWeight(at, _) => {
                if let Some((index, item)) = nth(at).and_then(|at| twin.remove(at)) {
                    assert_eq!(list.remove(index), item);
                    assert_eq!(list.peek(index), None);
                }
            }
            Op::EvictShard(_) | Op::EvictToLimit | Op::SetLimit(_) => {
                assert_eq!(list.pop_tail(), twin.pop_back().map(|(_, item)| item));
            }
        }
        assert_eq!(list.len(), twin.len());
    }
    assert!(list.iter().eq(twin.iter().map(|(_, item)| item)));
    let reversed = twin.iter().rev().map(|(_, item)| item);
    assert!(list.iter().rev().eq(reversed));
}
