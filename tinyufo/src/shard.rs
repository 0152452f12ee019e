//! One shard: entries in a slab, an index over them, and who has to leave when room is needed.
//! Nothing here locks; `cache.rs` does.
//!
//! ```text
//!            known ───────────────────────┐
//!  new ──┤                                ▼
//!            unknown ──▶ small ──used──▶ main ──used──▶ once more
//!                          └──────▶ out ◀──┘
//! ```
//!
//! The scheme is S3-FIFO ("FIFO queues are all you need for cache eviction", Yang et al., 2023). The
//! small queue is a ring of slots, the main one is the slab itself, swept by a hand.

use std::collections::VecDeque;

use crate::bucket::{Bucket, KV, Queue};
use crate::history::History;
use crate::index::Index;

/// One part in this many of the weight is for newcomers.
const SMALL_PART: usize = 10;

/// Hits that are counted.
const MAX_USES: u8 = 3;

/// The most entries of a shard: slots are 32 bits and one value means none.
const MAX_SLOTS: usize = u32::MAX as usize - 1;

/// The most entries memory is set aside for; more make it grow.
const MAX_RESERVED: usize = 1 << 20;

/// Stale newcomers are cleared away when they are more than the entries and this.
const STALE: usize = 16;

pub(crate) struct Shard<T> {
    index: Index,
    slots: Vec<Bucket<T>>,
    free: Vec<u32>,
    /// Slots in the order they came. Those whose entry left are passed over.
    small: VecDeque<(u32, u64)>,
    hand: usize,
    history: History,
    /// The weight it may hold, and holds. `used <= budget` always.
    budget: usize,
    used: usize,
    small_used: usize,
}

impl<T> Shard<T> {
    /// Returns an empty shard for `entries` entries, made room for now or as they come.
    pub(crate) fn new(budget: usize, entries: usize, reserved: bool) -> Self {
        let entries = entries.min(MAX_RESERVED);
        let reserve = if reserved { entries } else { 0 };
        Self {
            index: Index::with_capacity(reserve),
            slots: Vec::with_capacity(reserve),
            free: Vec::new(),
            small: VecDeque::new(),
            hand: 0,
            history: History::new(entries),
            budget,
            used: 0,
            small_used: 0,
        }
    }

    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn is_full(&self, weight: u16) -> bool {
        self.used + usize::from(weight) > self.budget
    }

    /// Returns the value of `hash` and counts the hit.
    #[inline]
    pub(crate) fn get(&self, hash: u64) -> Option<&T> {
        let bucket = &self.slots[self.find(hash)? as usize];
        bucket.touch(MAX_USES);
        bucket.data.as_ref()
    }

    /// Takes the entry of `hash` out.
    pub(crate) fn remove(&mut self, hash: u64) -> Option<T> {
        let slot = self.find(hash)?;
        self.take(slot).map(|entry| entry.data)
    }

    /// Puts an entry that is no heavier than the budget in. Returns the value it replaces; what has
    /// to leave is added to `out`.
    pub(crate) fn put(
        &mut self,
        hash: u64,
        data: T,
        weight: u16,
        out: &mut Vec<KV<T>>,
    ) -> Option<T> {
        debug_assert!(usize::from(weight) <= self.budget);
        let mut replaced = None;
        let mut uses = 0;
        if let Some(slot) = self.find(hash) {
            let bucket = &mut self.slots[slot as usize];
            bucket.touch(MAX_USES);
            let used = self.used - usize::from(bucket.weight) + usize::from(weight);
            if used <= self.budget {
                return self.replace(slot, data, weight);
            }
            uses = bucket.uses();
            replaced = self.take(slot).map(|entry| entry.data);
        }
        self.make_room(weight, out);
        let known = uses > 0 || self.history.count(hash) > 0;
        self.add(
            hash,
            data,
            weight,
            if known { Queue::Main } else { Queue::Small },
        );
        replaced
    }

    /// Gives up at most `weight` of the budget and returns how much. What has to leave is added to `out`.
    pub(crate) fn shrink(&mut self, weight: usize, out: &mut Vec<KV<T>>) -> usize {
        let given = weight.min(self.budget);
        self.budget -= given;
        while self.used > self.budget {
            out.extend(self.evict());
        }
        given
    }

    /// Takes `weight` more of budget.
    pub(crate) fn grow(&mut self, weight: usize) {
        self.budget += weight;
    }

    fn find(&self, hash: u64) -> Option<u32> {
        self.index
            .find(tag(hash), |slot| self.slots[slot as usize].hash == hash)
    }

    fn replace(&mut self, slot: u32, data: T, weight: u16) -> Option<T> {
        let bucket = &mut self.slots[slot as usize];
        let old = usize::from(std::mem::replace(&mut bucket.weight, weight));
        let replaced = bucket.data.replace(data);
        self.used = self.used - old + usize::from(weight);
        if bucket.queue == Queue::Small {
            self.small_used = self.small_used - old + usize::from(weight);
        }
        replaced
    }

    fn make_room(&mut self, weight: u16, out: &mut Vec<KV<T>>) {
        let is_crowded = |shard: &Self| shard.free.is_empty() && shard.slots.len() >= MAX_SLOTS;
        if out.capacity() == 0 && self.is_full(weight) {
            out.reserve_exact(1);
        }
        while self.is_full(weight) || is_crowded(self) {
            out.extend(self.evict());
        }
    }

    fn add(&mut self, hash: u64, data: T, weight: u16, queue: Queue) {
        let bucket = Bucket::new(hash, data, weight, queue);
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = bucket;
            slot
        } else {
            self.slots.push(bucket);
            // Below MAX_SLOTS, `make_room` saw to it.
            (self.slots.len() - 1) as u32
        };
        self.index.insert(tag(hash), slot);
        self.used += usize::from(weight);
        if queue == Queue::Small {
            self.small_used += usize::from(weight);
            if self.small.len() > self.slots.len() + STALE {
                self.small.retain(|(slot, hash)| {
                    let bucket = &self.slots[*slot as usize];
                    bucket.queue == Queue::Small && bucket.hash == *hash
                });
            }
            self.small.push_back((slot, hash));
        }
    }

    /// Empties `slot`.
    fn take(&mut self, slot: u32) -> Option<KV<T>> {
        let bucket = &mut self.slots[slot as usize];
        let data = bucket.data.take()?;
        let (key, weight) = (bucket.hash, bucket.weight);
        let queue = std::mem::replace(&mut bucket.queue, Queue::None);
        self.used -= usize::from(weight);
        if queue == Queue::Small {
            self.small_used -= usize::from(weight);
        }
        let found = self.index.remove(tag(key), slot);
        debug_assert!(found);
        self.free.push(slot);
        Some(KV { key, data, weight })
    }

    /// Takes out whoever is worth least. There must be an entry.
    fn evict(&mut self) -> Option<KV<T>> {
        debug_assert!(self.used > 0);
        while self.small_used > self.budget / SMALL_PART || self.small_used == self.used {
            let (slot, hash) = self.small.pop_front()?;
            let bucket = &mut self.slots[slot as usize];
            if bucket.queue != Queue::Small || bucket.hash != hash {
                continue;
            }
            if bucket.uses() == 0 {
                self.history.add(hash);
                return self.take(slot);
            }
            bucket.queue = Queue::Main;
            bucket.set_uses(0);
            self.small_used -= usize::from(bucket.weight);
        }
        self.sweep()
    }

    /// Moves the hand to the next entry of the main queue that was not used since it last passed.
    fn sweep(&mut self) -> Option<KV<T>> {
        loop {
            self.hand = if self.hand + 1 < self.slots.len() {
                self.hand + 1
            } else {
                0
            };
            let bucket = &mut self.slots[self.hand];
            if bucket.queue != Queue::Main {
                continue;
            }
            match bucket.uses() {
                0 => return self.take(self.hand as u32),
                uses => bucket.set_uses(uses - 1),
            }
        }
    }
}

/// Returns the bits of a hash the index sorts by; the upper ones choose the shard.
#[inline]
fn tag(hash: u64) -> u32 {
    hash as u32
}

#[cfg(test)]
mod tests;
