//! One shard: entries in a slab, an index over them, and who has to leave when room is needed.
//! Nothing here locks; `cache.rs` does.
//!
//! ```text
//!  new ──▶ small queue ──worth it──▶ main queue ──▶ out
//!                └──────not────────────────────────▲
//! ```
//!
//! Newcomers wait in a small queue, first in first out. What "worth it" means, and who of the main
//! queue makes room, is the [`Setting`]:
//!
//! * [`Frequent`](Setting::Frequent): who has more uses, those before it last left included, than the
//!   least used of others takes its place. Uses are halved rarely. After TinyLFU ("TinyLFU: A
//!   Highly Efficient Cache Admission Policy", Einziger, Friedman, Manes, 2017).
//! * [`Recent`](Setting::Recent): who was used while it waited, or left not long ago, goes on; a hand
//!   that takes a recent use from each it passes finds who has none left. S3-FIFO ("FIFO queues are all
//!   you need for cache eviction", Yang et al., 2023).
//!
//! The first is better where popularity lasts, the second where it passes. `duel.rs` finds out; what else
//! was tried is in docs/design/0005-what-the-cache-keeps.md.
//! The main queue is the slab itself, its order that of the slots.

use std::collections::VecDeque;

use crate::bucket::{Bucket, KV};
use crate::history::{HALF_LIFE, History, MAX_USES, RECENT};
use crate::index::Index;
use crate::marks::{Marks, Queue, Search};

/// The most entries of a shard: slots are 32 bits and one value means none.
const MAX_SLOTS: usize = u32::MAX as usize - 1;

/// The most entries memory is set aside for; more make it grow.
const MAX_RESERVED: usize = 1 << 20;

/// The fewest entries worth a history, below that it is a set or two.
const MIN_HISTORY: usize = 16;

/// Stale newcomers are cleared away when they are more than the entries and this.
const STALE: usize = 16;

/// Turns, the unit of time of the history, in which as many newcomers come as there are entries.
const TURNS: usize = RECENT as usize;

/// How a shard chooses who stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Setting {
    /// By uses over a long time.
    Frequent = 0,
    /// By uses not long ago.
    Recent = 1,
}

impl Setting {
    /// Returns the part of a budget that is for newcomers.
    fn small_part(self, budget: usize) -> usize {
        match self {
            Self::Frequent => budget / 100,
            Self::Recent => budget / 10,
        }
    }
}

pub(crate) struct Shard<T> {
    index: Index,
    slots: Vec<Bucket<T>>,
    marks: Marks,
    free: Vec<u32>,
    /// Slots and hashes in the order they came. Those whose entry left are passed over.
    small: VecDeque<(u32, u64)>,
    /// Where [`Setting::Recent`] and [`Setting::Frequent`] look next.
    hand: usize,
    search: Search,
    history: History,
    setting: Setting,
    /// Turns so far, and newcomers in this one.
    turn: u32,
    newcomers: usize,
    /// The weight it may hold, and holds. `used <= budget` always.
    budget: usize,
    used: usize,
    small_used: usize,
}

impl<T> Shard<T> {
    /// Returns an empty shard for `entries` entries, made room for now or as they come.
    pub(crate) fn new(budget: usize, entries: usize, reserved: bool, setting: Setting) -> Self {
        let reserve = if reserved {
            entries.min(MAX_RESERVED)
        } else {
            0
        };
        let mut marks = Marks::default();
        marks.reserve(reserve);
        Self {
            index: Index::with_capacity(reserve),
            slots: Vec::with_capacity(reserve),
            marks,
            free: Vec::new(),
            small: VecDeque::new(),
            hand: 0,
            search: Search::default(),
            history: History::new(reserve.max(MIN_HISTORY)),
            setting,
            turn: 0,
            newcomers: 0,
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

    /// Chooses from now on as `setting` says.
    pub(crate) fn set(&mut self, setting: Setting) {
        self.setting = setting;
    }

    /// Returns the value of `hash` and counts the use; and whether the use was news, its count not
    /// being at its end.
    #[inline]
    pub(crate) fn get(&self, hash: u64) -> Option<(&T, bool)> {
        let slot = self.find(hash)? as usize;
        let data = self.slots[slot].data.as_ref()?;
        Some((data, self.marks.touch(slot)))
    }

    /// Takes the entry of `hash` out.
    pub(crate) fn remove(&mut self, hash: u64) -> Option<T> {
        let slot = self.find(hash)?;
        self.take(slot).map(|entry| entry.data)
    }

    /// Puts an entry in that is no heavier than the budget. Returns the value it replaces; what has to
    /// leave is added to `out`.
    pub(crate) fn put(
        &mut self,
        hash: u64,
        data: T,
        weight: u16,
        out: &mut Vec<KV<T>>,
    ) -> Option<T> {
        debug_assert!(usize::from(weight) <= self.budget);
        let mut replaced = None;
        if let Some(slot) = self.find(hash) {
            self.marks.touch(slot as usize);
            let bucket = &self.slots[slot as usize];
            if self.used - usize::from(bucket.weight) + usize::from(weight) <= self.budget {
                return self.replace(slot, data, weight);
            }
            // It leaves and comes again, known.
            self.history
                .record(hash, self.marks.uses(slot as usize), self.turn);
            replaced = self.take(slot).map(|entry| entry.data);
        }
        self.pass_time();
        let known = self.history.recall(hash, self.turn);
        let uses = known
            .map_or(0, |known| known.uses)
            .saturating_add(1)
            .min(MAX_USES);
        let is_recent = known.is_some_and(|known| known.age <= RECENT);
        let queue = match self.setting {
            Setting::Recent if is_recent => Queue::Main,
            _ => Queue::Small,
        };
        self.make_room(usize::from(weight), queue, out);
        self.add(
            Bucket {
                hash,
                data: Some(data),
                weight,
            },
            queue,
            uses,
        );
        replaced
    }

    /// Gives up at most `weight` of the budget and returns how much. What has to leave is added to `out`.
    pub(crate) fn shrink(&mut self, weight: usize, out: &mut Vec<KV<T>>) -> usize {
        let given = weight.min(self.budget);
        self.budget -= given;
        while self.used > self.budget {
            self.evict(0, out);
        }
        given
    }

    /// Takes `weight` more of budget.
    pub(crate) fn grow(&mut self, weight: usize) {
        self.budget += weight;
    }

    #[inline]
    fn find(&self, hash: u64) -> Option<u32> {
        self.index
            .find(tag(hash), |slot| self.slots[slot as usize].hash == hash)
    }

    fn replace(&mut self, slot: u32, data: T, weight: u16) -> Option<T> {
        let bucket = &mut self.slots[slot as usize];
        let old = usize::from(std::mem::replace(&mut bucket.weight, weight));
        let replaced = bucket.data.replace(data);
        self.used = self.used - old + usize::from(weight);
        if self.marks.is_in(slot as usize, Queue::Small) {
            self.small_used = self.small_used - old + usize::from(weight);
        }
        replaced
    }

    /// Counts a newcomer; time goes by with them.
    fn pass_time(&mut self) {
        self.newcomers += 1;
        if self.newcomers * TURNS < self.slots.len() {
            return;
        }
        self.newcomers = 0;
        self.turn = self.turn.wrapping_add(1);
        if self.turn.is_multiple_of(HALF_LIFE) {
            self.marks.halve();
        }
        if self.slots.len() > self.history.entries() {
            // The cache grows: starting anew costs less than carrying over what is of little use yet.
            self.history = History::new(self.slots.len().saturating_mul(2).min(MAX_SLOTS));
        }
    }

    /// Makes room for an entry that comes into `queue`.
    fn make_room(&mut self, weight: usize, queue: Queue, out: &mut Vec<KV<T>>) {
        let newcomer = if queue == Queue::Small { weight } else { 0 };
        let is_crowded = |shard: &Self| shard.free.is_empty() && shard.slots.len() >= MAX_SLOTS;
        while self.used + weight > self.budget || is_crowded(self) {
            if out.capacity() == 0 {
                *out = Vec::with_capacity(1);
            }
            self.evict(newcomer, out);
        }
    }

    fn add(&mut self, bucket: Bucket<T>, queue: Queue, uses: u8) {
        let (hash, weight) = (bucket.hash, usize::from(bucket.weight));
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = bucket;
            self.marks.reset(slot as usize, queue, uses);
            slot
        } else {
            self.slots.push(bucket);
            self.marks.push(queue, uses);
            // Below MAX_SLOTS, `make_room` saw to it.
            (self.slots.len() - 1) as u32
        };
        self.index.insert(tag(hash), slot);
        self.used += weight;
        if queue == Queue::Main {
            self.delay(slot as usize);
        } else {
            self.small_used += weight;
            self.small.push_back((slot, hash));
            if self.small.len() > self.slots.len() + STALE {
                self.clear_stale();
            }
        }
    }

    #[cold]
    fn clear_stale(&mut self) {
        let (slots, marks) = (&self.slots, &self.marks);
        self.small.retain(|(slot, hash)| {
            let slot = *slot as usize;
            marks.is_in(slot, Queue::Small) && slots[slot].hash == *hash
        });
    }

    /// Empties `slot`.
    #[inline]
    fn take(&mut self, slot: u32) -> Option<KV<T>> {
        let bucket = &mut self.slots[slot as usize];
        let data = bucket.data.take()?;
        let (key, weight) = (bucket.hash, bucket.weight);
        self.used -= usize::from(weight);
        if self.marks.is_in(slot as usize, Queue::Small) {
            self.small_used -= usize::from(weight);
        }
        self.marks.reset(slot as usize, Queue::Free, 0);
        let found = self.index.remove(tag(key), slot);
        debug_assert!(found);
        self.free.push(slot);
        Some(KV { key, data, weight })
    }

    /// Moves whoever is worth least to `out`, for a newcomer of this weight. There must be an entry.
    fn evict(&mut self, newcomer: usize, out: &mut Vec<KV<T>>) {
        debug_assert!(self.used > 0);
        let small_part = self.setting.small_part(self.budget);
        let is_over = |small_used: usize| small_used + newcomer > small_part;
        while self.small_used > 0 && (is_over(self.small_used) || self.small_used == self.used) {
            let Some(slot) = self.oldest_small() else {
                break;
            };
            let loser = match self.setting {
                Setting::Recent if self.marks.recent(slot) > 0 => None,
                Setting::Recent => Some(slot),
                Setting::Frequent => self.contest(slot, self.budget - small_part),
            };
            if loser != Some(slot) {
                self.promote(slot);
            }
            if let Some(loser) = loser {
                return self.expel(loser, out);
            }
        }
        let loser = match self.setting {
            Setting::Recent => self.first_tired(),
            Setting::Frequent => self.least_used(),
        };
        self.expel(loser, out);
    }

    /// Returns the newcomer that waits longest, no longer in the ring.
    fn oldest_small(&mut self) -> Option<usize> {
        loop {
            let (slot, hash) = self.small.pop_front()?;
            let slot = slot as usize;
            if self.marks.is_in(slot, Queue::Small) && self.slots[slot].hash == hash {
                return Some(slot);
            }
        }
    }

    /// Returns who has to leave, the newcomer or one of the main queue; nobody if that has room.
    fn contest(&mut self, newcomer: usize, main_part: usize) -> Option<usize> {
        let main_used = self.used - self.small_used;
        if main_used + usize::from(self.slots[newcomer].weight) <= main_part {
            return None;
        }
        if main_used == 0 {
            return Some(newcomer);
        }
        let other = self.least_used();
        let is_better = self.marks.uses(newcomer) > self.marks.uses(other);
        Some(if is_better { other } else { newcomer })
    }

    /// Moves `slot` to the main queue.
    fn promote(&mut self, slot: usize) {
        self.marks.promote(slot);
        self.delay(slot);
        self.small_used -= usize::from(self.slots[slot].weight);
    }

    /// Sees to it that the hand takes about one round to come for `slot`, which is new in the main
    /// queue: if it would come in less than half, it passes once more.
    fn delay(&mut self, slot: usize) {
        let behind = if slot >= self.hand {
            0
        } else {
            self.slots.len()
        };
        if (slot + behind - self.hand) * 2 < self.slots.len() {
            self.marks.touch_recent(slot);
        }
    }

    fn expel(&mut self, slot: usize, out: &mut Vec<KV<T>>) {
        let uses = self.marks.uses(slot).max(1);
        self.history.record(self.slots[slot].hash, uses, self.turn);
        // Below MAX_SLOTS.
        if let Some(entry) = self.take(slot as u32) {
            out.push(entry);
        }
    }

    fn least_used(&mut self) -> usize {
        self.marks.least_used(&mut self.search)
    }

    /// Moves the hand to the next of the main queue without recent uses, taking one from those it passes.
    fn first_tired(&mut self) -> usize {
        loop {
            let slot = self.hand;
            self.hand = if slot + 1 < self.slots.len() {
                slot + 1
            } else {
                0
            };
            if !self.marks.is_in(slot, Queue::Main) {
                continue;
            }
            if self.marks.recent(slot) == 0 {
                return slot;
            }
            self.marks.tire(slot);
        }
    }
}

/// Returns the bits of a hash the index sorts by.
#[inline]
fn tag(hash: u64) -> u32 {
    hash as u32
}

#[cfg(test)]
mod tests;
