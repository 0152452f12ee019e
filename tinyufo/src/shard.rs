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
use std::sync::Arc;

use crate::bucket::{Bucket, KV};
use crate::history::{HALF_LIFE, History, MAX_USES, RECENT};
use crate::index::{Index, Table};
use crate::marks::{Marks, Queue, Search};
use crate::setting::Setting;

/// The most entries of a shard: slots are 32 bits, and so are places in the index, of which there are
/// up to four for each.
const MAX_SLOTS: usize = 1 << 30;

/// A slot that no entry has.
pub(crate) const NO_HINT: u32 = u32::MAX;

/// The most entries memory is set aside for; more make it grow.
const MAX_RESERVED: usize = 1 << 20;

/// The fewest entries worth a history, below that it is a set or two.
const MIN_HISTORY: usize = 16;

/// Newcomers without an entry are cleared away when they are more than half of all and this.
const STALE: usize = 16;

/// Entries that leave together at most, beyond what has to.
const BATCH: usize = 8;

/// The part of the budget that is made free at most by leaving together.
const SLACK_PART: usize = 128;

/// Turns, the unit of time of the history, in which as many newcomers come as there are entries.
const TURNS: usize = RECENT as usize;

pub(crate) struct Shard<T> {
    table: Table,
    slots: Vec<Bucket<T>>,
    marks: Marks,
    free: Vec<u32>,
    /// Slots in the order they came. Those whose entry left are passed over, and free from then on.
    small: VecDeque<u32>,
    /// How many of `small` have no entry.
    stale: usize,
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
            table: Table::with_capacity(reserve),
            slots: Vec::with_capacity(reserve),
            marks,
            free: Vec::new(),
            small: VecDeque::new(),
            stale: 0,
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

    /// Returns the index, to look into without the lock.
    pub(crate) fn index(&self) -> Arc<Index> {
        self.table.index()
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
    /// being at its end. It is looked for at the slot `hint` first.
    #[inline]
    pub(crate) fn get(&self, hash: u64, hint: u32) -> Option<(&T, bool)> {
        let mut slot = hint as usize;
        let is_it = |bucket: &&Bucket<T>| bucket.hash == hash && bucket.data.is_some();
        let bucket = match self.slots.get(slot).filter(is_it) {
            Some(bucket) => bucket,
            None => {
                slot = self.find(hash)? as usize;
                &self.slots[slot]
            }
        };
        let data = bucket.data.as_ref()?;
        Some((data, self.marks.touch(slot)))
    }

    /// Takes the entry of `hash` out.
    pub(crate) fn remove(&mut self, hash: u64) -> Option<T> {
        let slot = self.find(hash)?;
        self.take_out(slot as usize).map(|entry| entry.data)
    }

    /// Puts an entry in that is no heavier than the budget. Returns the value it replaces; what has to
    /// leave is added to `out`.
    #[inline(always)] // Into the one place that is not cold.
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
            self.remember(slot as usize);
            replaced = self.take_out(slot as usize).map(|entry| entry.data);
        }
        self.pass_time();
        let (queue, uses) = self.welcome(hash);
        if self.used + usize::from(weight) > self.budget || self.is_crowded() {
            let weight = usize::from(weight);
            let newcomer = if queue == Queue::Small { weight } else { 0 };
            self.make_room(weight, newcomer, self.budget / SLACK_PART, out);
        }
        self.add(
            Bucket {
                hash,
                data: Some(data),
                weight,
                place: 0,
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
        if self.used > self.budget {
            self.make_room(0, 0, 0, out);
        }
        given
    }

    /// Takes `weight` more of budget.
    pub(crate) fn grow(&mut self, weight: usize) {
        self.budget += weight;
    }

    #[inline]
    fn find(&self, hash: u64) -> Option<u32> {
        let is_it = |slot| self.slots[slot as usize].hash == hash;
        self.table.find(hash, is_it)
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
    #[inline]
    fn pass_time(&mut self) {
        self.newcomers += 1;
        if self.newcomers * TURNS >= self.slots.len() {
            self.turn();
        }
    }

    fn turn(&mut self) {
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

    /// Returns where a newcomer goes, and its uses so far. Those before it last left are looked up when
    /// it leaves the small queue, when it may have to be noted as well.
    #[inline]
    fn welcome(&self, hash: u64) -> (Queue, u8) {
        if self.setting == Setting::Recent
            && let Some(known) = self.history.recall(hash, self.turn)
            && known.age <= RECENT
        {
            return (Queue::Main, (known.uses + 1).min(MAX_USES));
        }
        (Queue::Small, 1)
    }

    #[inline]
    fn is_crowded(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= MAX_SLOTS
    }

    /// Makes room for so much weight, of which `newcomer` comes into the small queue, and some more up to
    /// `slack`: those who leave are looked for and handed over at less cost together.
    #[inline(never)]
    fn make_room(&mut self, weight: usize, newcomer: usize, slack: usize, out: &mut Vec<KV<T>>) {
        let small_part = self.setting.small_part(self.budget);
        // It never fills the slack: newcomers alone do.
        let main_part = self.budget - small_part - self.budget / SLACK_PART;
        if out.capacity() == 0 {
            *out = Vec::with_capacity(slack.saturating_add(1).min(BATCH));
        }
        for left in (0..).map(|done| BATCH.saturating_sub(done)) {
            let must = self.used + weight > self.budget || self.is_crowded();
            if !must && (left == 0 || self.used + weight + slack <= self.budget) {
                break;
            }
            let mut loser = None;
            while loser.is_none()
                && self.small_used > 0
                && (self.small_used + newcomer > small_part || self.small_used == self.used)
                && let Some(slot) = self.oldest_small()
            {
                loser = self.judge(slot, main_part);
            }
            if loser.is_none() && must {
                loser = Some(self.loser_of_main());
            }
            let Some(loser) = loser else {
                break;
            };
            if let Some(entry) = self.take(loser) {
                // Below MAX_SLOTS.
                self.free.push(loser as u32);
                out.push(entry);
            }
        }
    }

    /// Returns who has to leave if the newcomers are no more than their part. There must be an entry.
    #[cold]
    fn loser_of_main(&mut self) -> usize {
        debug_assert!(self.used > 0);
        let loser = match self.setting {
            Setting::Recent => self.first_tired(),
            Setting::Frequent => self.least_used(),
        };
        self.remember(loser);
        loser
    }

    /// Takes an entry in.
    #[inline(always)] // As `put`.
    fn add(&mut self, mut bucket: Bucket<T>, queue: Queue, uses: u8) {
        if self.table.is_full() {
            self.widen_table();
        }
        let weight = usize::from(bucket.weight);
        // Below MAX_SLOTS, `make_room` saw to it.
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        bucket.place = self.table.insert(bucket.hash, slot);
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = bucket;
            self.marks.reset(slot as usize, queue, uses);
        } else {
            self.slots.push(bucket);
            self.marks.push(queue, uses);
        }
        self.used += weight;
        if queue == Queue::Main {
            self.delay(slot as usize);
        } else {
            self.small_used += weight;
            self.small.push_back(slot);
        }
    }

    #[cold]
    fn widen_table(&mut self) {
        self.table.widen();
        for (slot, bucket) in self.slots.iter_mut().enumerate() {
            if bucket.data.is_some() {
                bucket.place = self.table.insert(bucket.hash, slot as u32);
            }
        }
        self.table.publish();
    }

    /// Empties `slot`, which may be in the small queue.
    fn take_out(&mut self, slot: usize) -> Option<KV<T>> {
        let is_small = self.marks.is_in(slot, Queue::Small);
        let entry = self.take(slot)?;
        if is_small {
            self.small_used -= usize::from(entry.weight);
            self.stale += 1;
            if self.stale > self.small.len() / 2 + STALE {
                self.clear_stale();
            }
        } else {
            // Below MAX_SLOTS.
            self.free.push(slot as u32);
        }
        Some(entry)
    }

    #[cold]
    fn clear_stale(&mut self) {
        let (marks, free) = (&self.marks, &mut self.free);
        self.small.retain(|slot| {
            let stays = marks.is_in(*slot as usize, Queue::Small);
            if !stays {
                free.push(*slot);
            }
            stays
        });
        self.stale = 0;
    }

    /// Empties `slot` and nothing else.
    #[inline(always)] // Else the entry goes through memory twice.
    fn take(&mut self, slot: usize) -> Option<KV<T>> {
        let bucket = &mut self.slots[slot];
        let data = bucket.data.take()?;
        let (key, weight) = (bucket.hash, bucket.weight);
        self.table.remove(key, bucket.place);
        self.used -= usize::from(weight);
        self.marks.reset(slot, Queue::Free, 0);
        Some(KV { key, data, weight })
    }

    /// Returns the newcomer that waits longest, no longer in the small queue.
    #[inline]
    fn oldest_small(&mut self) -> Option<usize> {
        loop {
            let slot = self.small.pop_front()?;
            if self.marks.is_in(slot as usize, Queue::Small) {
                return Some(slot as usize);
            }
            self.stale -= 1;
            self.free.push(slot);
        }
    }

    /// Promotes a newcomer or remembers it as gone. Returns who has to leave: it, one of the main queue
    /// in its place, or nobody.
    #[inline]
    fn judge(&mut self, slot: usize, main_part: usize) -> Option<usize> {
        let hash = self.slots[slot].hash;
        let weight = usize::from(self.slots[slot].weight);
        let main_used = self.used - self.small_used;
        self.small_used -= weight;
        let (known, place) = self.history.look(hash, self.turn);
        let before = known.map_or(0, |known| known.uses);
        let uses = (self.marks.uses(slot) + before).min(MAX_USES);
        let loser = match self.setting {
            Setting::Recent if self.marks.recent(slot) > 0 => None,
            Setting::Frequent if main_used + weight <= main_part => None,
            Setting::Frequent if main_used > 0 => {
                Some(self.marks.rival(&mut self.search, uses).unwrap_or(slot))
            }
            _ => Some(slot),
        };
        if loser == Some(slot) {
            self.history.note(place, hash, uses.max(1), self.turn);
            return loser;
        }
        if let Some(other) = loser {
            self.remember(other);
        }
        self.marks.reset(slot, Queue::Main, uses);
        self.delay(slot);
        loser
    }

    /// Notes the uses of an entry that leaves.
    #[inline]
    fn remember(&mut self, slot: usize) {
        let hash = self.slots[slot].hash;
        let (known, place) = self.history.look(hash, self.turn);
        let mut uses = self.marks.uses(slot);
        if let Some(known) = known.filter(|_| self.marks.is_in(slot, Queue::Small)) {
            uses = (uses + known.uses).min(MAX_USES);
        }
        self.history.note(place, hash, uses.max(1), self.turn);
    }

    /// Sees to it that the hand takes about one round to come for `slot`, which is new in the main
    /// queue: if it would come in less than half, it passes once more.
    #[inline]
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

    #[inline]
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

#[cfg(test)]
mod tests;
