//! The shards behind their locks, what they count together, and the choice of what to evict.
//!
//! A key belongs to shard `key % N`. Every change goes through [`Open`], a shard locked for writing,
//! which keeps the numbers of the shard and the totals right. The numbers of a shard are written
//! under its lock and read without: a sum over shards is exact while nobody writes.
//!
//! Eviction takes the tail of the shard this thread admitted to last, whose memory is in its cache,
//! unless that shard has less than its share; then, and for all further entries, of the heavier of two
//! random shards. One random shard would do for the order of eviction, but the weights of the shards
//! would drift apart without bound.
//!
//! Read next: `lru.rs` and `async_lru/mod.rs`, the two faces of it.

use std::hash::{BuildHasher, RandomState};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::linked_list::End;
use crate::lock::{ReadGuard, RwLock, WriteGuard};
use crate::shard::{Shard, Slot, Tail};
use crate::totals::Totals;

pub(crate) struct Sharded<T, const N: usize> {
    cells: Box<[Cell<T>; N]>,
    totals: Box<Alone<Totals>>,
}

/// A shard that lacks more than this part of its share is left alone by eviction, so that it grows.
const TOLERANCE: usize = 32;

thread_local! {
    /// The shard to which this thread added last, in any LRU: a hint.
    static LAST_SHARD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Alone on its cache lines (two: the prefetcher fetches pairs).
#[repr(align(128))]
struct Alone<T>(T);

#[repr(align(128))]
struct Cell<T> {
    numbers: Numbers,
    shard: RwLock<Shard<T>>,
}

/// The numbers of one shard. Written only by who holds its lock for writing.
#[derive(Default)]
struct Numbers {
    weight: AtomicUsize,
    len: AtomicUsize,
    evicted_weight: AtomicUsize,
    evicted_len: AtomicUsize,
}

impl<T, const N: usize> Sharded<T, N> {
    pub(crate) fn new(limit: usize, capacity: usize, watermark: Option<usize>) -> Self {
        const { assert!(N > 0, "an LRU needs a shard") };
        let secret = RandomState::new().hash_one(N);
        let cell = |_| Cell {
            numbers: Numbers::default(),
            shard: RwLock::new(Shard::new(capacity.div_ceil(N), secret)),
        };
        // Collected and not built in place: an array of many shards does not fit on a stack.
        let Ok(cells) = (0..N).map(cell).collect::<Box<[_]>>().try_into() else {
            unreachable!("there are N cells");
        };
        Sharded {
            cells,
            totals: Box::new(Alone(Totals::new(limit, watermark))),
        }
    }

    /// Locks the shard of `key` for writing.
    pub(crate) fn open(&self, key: u64) -> Open<'_, T> {
        self.open_shard(Self::shard_of(key))
    }

    /// Locks the shard of `key` for adding an entry.
    pub(crate) fn open_to_add(&self, key: u64) -> Open<'_, T> {
        let shard = Self::shard_of(key);
        LAST_SHARD.set(shard);
        self.open_shard(shard)
    }

    /// Locks the shard of `key` for reading.
    pub(crate) fn read(&self, key: u64) -> ReadGuard<'_, Shard<T>> {
        self.cells[Self::shard_of(key)].shard.read()
    }

    /// Locks a shard for reading, if there is one of that number.
    pub(crate) fn read_shard(&self, shard: usize) -> Option<ReadGuard<'_, Shard<T>>> {
        Some(self.cells.get(shard)?.shard.read())
    }

    /// Locks a shard for writing. It must be one of the `N`.
    pub(crate) fn open_shard(&self, shard: usize) -> Open<'_, T> {
        let Cell { numbers, shard } = &self.cells[shard];
        Open {
            shard: shard.write(),
            numbers,
            totals: &self.totals.0,
        }
    }

    /// Returns the shard this thread added to last, if eviction may take from it.
    #[inline]
    pub(crate) fn last_shard(&self) -> Option<usize> {
        Some(LAST_SHARD.get() % N).filter(|shard| self.has_its_share(*shard))
    }

    /// Removes the entry to go next, with its key, if there is more than there may be: from the shard
    /// `preferred` if it can.
    #[inline(always)] // An entry returned through memory is read before it is there: 30 ns.
    pub(crate) fn evict_excess(&self, preferred: Option<usize>) -> Option<(u64, Slot<T>)> {
        if !self.totals.0.is_over() {
            return None;
        }
        let start = preferred.unwrap_or_else(|| self.heavier_of_two());
        // Each shard once: then all were empty, and what is too much is being removed by others.
        for step in 0..N {
            let shard = (start + step) % N;
            if self.cells[shard].numbers.len.load(Relaxed) == 0 {
                continue;
            }
            match self.open_shard(shard).evict_claimed() {
                Tail::Removed(key, slot) => return Some((key, slot)),
                Tail::Kept => return None,
                Tail::Missing => {}
            }
        }
        None
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.totals.0
    }

    pub(crate) fn len(&self) -> usize {
        self.sum(|numbers| &numbers.len)
    }

    pub(crate) fn evicted_len(&self) -> usize {
        self.sum(|numbers| &numbers.evicted_len)
    }

    pub(crate) fn evicted_weight(&self) -> usize {
        self.sum(|numbers| &numbers.evicted_weight)
    }

    pub(crate) fn shard_len(&self, shard: usize) -> Option<usize> {
        Some(self.cells.get(shard)?.numbers.len.load(Relaxed))
    }

    pub(crate) fn shard_weight(&self, shard: usize) -> Option<usize> {
        Some(self.cells.get(shard)?.numbers.weight.load(Relaxed))
    }

    pub(crate) fn shard_of(key: u64) -> usize {
        (key % N as u64) as usize
    }

    /// Returns whether a shard has its part of the total weight, or nearly.
    fn has_its_share(&self, shard: usize) -> bool {
        let share = self.totals.0.weight() / N;
        self.cells[shard].numbers.weight.load(Relaxed) >= share - share / TOLERANCE
    }

    fn heavier_of_two(&self) -> usize {
        let random = fastrand::u64(..);
        // The high half of the product with N is a number below N; two numbers for one.
        let below = |random: u64| ((u128::from(random) * N as u128) >> 64) as usize;
        let (one, other) = (below(random), below(random << 32));
        let weight = |shard: usize| self.cells[shard].numbers.weight.load(Relaxed);
        if weight(other) > weight(one) {
            other
        } else {
            one
        }
    }

    fn sum(&self, number: impl Fn(&Numbers) -> &AtomicUsize) -> usize {
        self.cells
            .iter()
            .map(|cell| number(&cell.numbers).load(Relaxed))
            .fold(0, usize::wrapping_add)
    }
}

/// A shard locked for writing. Its methods that change weights shadow those of [`Shard`].
pub(crate) struct Open<'a, T> {
    shard: WriteGuard<'a, Shard<T>>,
    numbers: &'a Numbers,
    totals: &'a Totals,
}

impl<T> Open<'_, T> {
    /// Adds an entry that is not there and returns its index and its stamp.
    #[inline]
    pub(crate) fn insert(&mut self, key: u64, data: T, weight: usize, end: End) -> (u32, i64) {
        let weight = self.totals.add(weight);
        self.totals.count();
        let placed = self.shard.insert(key, Slot { data, weight }, end);
        add(&self.numbers.weight, weight);
        add(&self.numbers.len, 1);
        placed
    }

    pub(crate) fn remove(&mut self, index: u32) -> Slot<T> {
        let slot = self.take(index);
        self.totals.sub(slot.weight);
        self.totals.discount();
        slot
    }

    /// Sets the weight of an entry and returns the one it had.
    pub(crate) fn set_weight(&mut self, index: u32, weight: usize) -> usize {
        let slot = self.shard.slot_mut(index);
        let before = slot.weight;
        if weight > before {
            slot.weight += self.totals.add(weight - before);
            add(&self.numbers.weight, slot.weight - before);
        } else {
            slot.weight = weight;
            self.totals.sub(before - weight);
            sub(&self.numbers.weight, before - weight);
        }
        before
    }

    /// Removes the tail, within the limit or not.
    pub(crate) fn evict(&mut self) -> Option<Slot<T>> {
        let tail = self.shard.tail()?;
        let slot = self.remove(tail);
        self.count_evicted(slot.weight);
        Some(slot)
    }

    /// Puts an evicted entry back to the tail: it was not evicted after all.
    #[cfg(not(loom))]
    pub(crate) fn restore(&mut self, key: u64, slot: Slot<T>) -> (u32, i64) {
        sub(&self.numbers.evicted_weight, slot.weight);
        sub(&self.numbers.evicted_len, 1);
        self.insert(key, slot.data, slot.weight, End::Tail)
    }

    /// Removes the tail if there is more than there may be.
    #[inline(always)]
    fn evict_claimed(&mut self) -> Tail<T> {
        let tail = self
            .shard
            .remove_tail_if(|weight| self.totals.claim(weight));
        if let Tail::Removed(_, slot) = &tail {
            self.count_removed(slot.weight);
            self.count_evicted(slot.weight);
        }
        tail
    }

    fn take(&mut self, index: u32) -> Slot<T> {
        let slot = self.shard.remove(index);
        self.count_removed(slot.weight);
        slot
    }

    fn count_removed(&self, weight: usize) {
        sub(&self.numbers.weight, weight);
        sub(&self.numbers.len, 1);
    }

    fn count_evicted(&self, weight: usize) {
        add(&self.numbers.evicted_weight, weight);
        add(&self.numbers.evicted_len, 1);
    }
}

impl<T> Deref for Open<'_, T> {
    type Target = Shard<T>;

    fn deref(&self) -> &Shard<T> {
        &self.shard
    }
}

impl<T> DerefMut for Open<'_, T> {
    fn deref_mut(&mut self) -> &mut Shard<T> {
        &mut self.shard
    }
}

/// Adds to a number that only this thread writes now. Counts of evictions may wrap.
#[inline]
fn add(number: &AtomicUsize, amount: usize) {
    number.store(number.load(Relaxed).wrapping_add(amount), Relaxed);
}

#[inline]
fn sub(number: &AtomicUsize, amount: usize) {
    number.store(number.load(Relaxed).wrapping_sub(amount), Relaxed);
}
