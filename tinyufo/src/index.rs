//! The index of a shard: from hashes to the slots of its slab. It knows sixteen bits of a hash and a
//! slot, not entries: whether a slot is the right one is the caller's to say.
//!
//! A row of the table is a cache line with eight places, all compared at once. What finds its row full
//! goes into the next one, and each row counts those that went past it: a search ends at the first row
//! that nobody went past, most of the time the first it looks at, and there are no tombstones. After
//! F14, the hash table of folly (Bronson, Shi: "Open-sourcing F14 for faster, more memory-efficient
//! hash tables", 2019).
//!
//! The shard, behind its lock, has the [`Table`] and changes it. [`Index::look`] needs no lock, so that
//! a miss writes nothing that threads share: what is in a table is never moved, so a search misses
//! nothing that was there before it began. A table that became too small is kept until the index goes,
//! for somebody may be reading it; all of these together are no larger than the one in use.

use std::array::from_fn;
use std::sync::{Arc, OnceLock};

use crate::lanes::{LANES, Lanes, replaced, word_of};
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Entries per row for which a table is made, and with which it grows. One row of fifty runs over with
/// four, one of seven with six.
const FEW: usize = 4;
const MANY: usize = 6;

/// Tables at most; each has twice the rows of the one before.
const TABLES: usize = 32;

/// The table in use, for looks without a lock.
pub(crate) struct Index {
    /// Which of the tables is in use.
    number: AtomicUsize,
    tables: [OnceLock<Arc<[Row]>>; TABLES],
}

/// The table in use, for who has the lock. Hashes may stand in it several times.
pub(crate) struct Table {
    index: Arc<Index>,
    rows: Arc<[Row]>,
    len: usize,
}

#[repr(align(64))]
struct Row {
    /// [`fingerprint`]s, and 0 where there is no entry.
    fingerprints: [AtomicU64; 2],
    slots: [AtomicU32; LANES],
    /// Entries that are in a later row because this was full.
    passed: AtomicU32,
}

impl Index {
    /// Returns nothing if there is no entry of `hash`, and most likely its slot if there is one. Needs no
    /// lock: of what others change meanwhile it sees some or nothing.
    #[inline]
    pub(crate) fn look(&self, hash: u64) -> Option<u32> {
        // Acquire, with the release in `publish`: the table is there.
        let number = self.number.load(Ordering::Acquire);
        find(self.tables[number % TABLES].get()?, hash, |_| true)
    }
}

impl Table {
    /// Returns a table that takes `entries` entries before it is full.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        let table = Self {
            index: Arc::new(Index {
                number: AtomicUsize::new(0),
                tables: [const { OnceLock::new() }; TABLES],
            }),
            rows: empty_rows(entries / FEW + 1),
            len: 0,
        };
        table.index.tables[0].get_or_init(|| table.rows.clone());
        table
    }

    /// Returns what looks without a lock go to.
    pub(crate) fn index(&self) -> Arc<Index> {
        self.index.clone()
    }

    /// Returns the slot of `hash` that `is_it` accepts.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        find(&self.rows, hash, is_it)
    }

    /// Returns whether [`widen`](Self::widen) has to come before the next entry.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.len >= self.rows.len() * MANY
    }

    /// Adds `slot` for `hash`; the table must not be full. Returns the place of the entry.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) -> u32 {
        self.len += 1;
        let at = home(&self.rows, hash);
        let (at, lane) = match self.rows[at].lanes(0).first() {
            Some(lane) => (at, lane),
            None => self.pass(at),
        };
        let row = &self.rows[at];
        row.slots[lane].store(slot, Ordering::Relaxed);
        row.set(lane, fingerprint(hash));
        // Places are as many as slots, or four times as many.
        (at * LANES + lane) as u32
    }

    /// Removes the entry of `hash` at this place.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u64, place: u32) {
        let (row, lane) = (place as usize / LANES, place as usize % LANES);
        self.rows[row].set(lane, 0);
        self.len -= 1;
        let home = home(&self.rows, hash);
        if home != row {
            self.unpass(home, row);
        }
    }

    /// Goes past full rows, the one `at` first; returns where there is a place.
    #[cold]
    fn pass(&mut self, mut at: usize) -> (usize, usize) {
        loop {
            let row = &self.rows[at];
            if let Some(lane) = row.lanes(0).first() {
                return (at, lane);
            }
            let passed = row.passed.load(Ordering::Relaxed);
            row.passed.store(passed + 1, Ordering::Relaxed);
            at = next(&self.rows, at);
        }
    }

    /// Takes back that an entry of the row `end` went past those from `at` on.
    #[cold]
    fn unpass(&mut self, mut at: usize, end: usize) {
        while at != end {
            let passed = &self.rows[at].passed;
            passed.store(passed.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
            at = next(&self.rows, at);
        }
    }

    /// Moves on to a table with twice the rows, which is empty: all entries have to be added again, and
    /// after that it is to be published.
    pub(crate) fn widen(&mut self) {
        self.rows = empty_rows(self.rows.len() * 2);
        self.len = 0;
    }

    /// Lets looks without a lock go to this table.
    pub(crate) fn publish(&self) {
        let number = self.index.number.load(Ordering::Relaxed) + 1;
        self.index.tables[number].get_or_init(|| self.rows.clone());
        // Release, with the acquire in `look`.
        self.index.number.store(number, Ordering::Release);
    }
}

impl Row {
    #[inline]
    fn find(&self, hash: u64, is_it: &impl Fn(u32) -> bool) -> Option<u32> {
        let slot = |lane: usize| self.slots[lane].load(Ordering::Relaxed);
        let mut slots = self.lanes(fingerprint(hash)).map(slot);
        slots.find(|slot| is_it(*slot))
    }

    /// Returns the lanes with this fingerprint.
    #[inline]
    fn lanes(&self, fingerprint: u16) -> Lanes {
        let [even, odd] = &self.fingerprints;
        let words = [even.load(Ordering::Relaxed), odd.load(Ordering::Relaxed)];
        Lanes::with(words, fingerprint)
    }

    #[inline]
    fn set(&self, lane: usize, fingerprint: u16) {
        let word = &self.fingerprints[word_of(lane)];
        let new = replaced(word.load(Ordering::Relaxed), lane, fingerprint);
        word.store(new, Ordering::Relaxed);
    }
}

#[inline]
fn find(rows: &[Row], hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
    let at = home(rows, hash);
    let row = &rows[at];
    if let Some(slot) = row.find(hash, &is_it) {
        return Some(slot);
    }
    if row.passed.load(Ordering::Relaxed) == 0 {
        return None;
    }
    find_past(rows, at, hash, is_it)
}

/// Goes on with a search after the row `at`.
#[cold]
#[inline(never)]
fn find_past(rows: &[Row], at: usize, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
    let (before, after) = rows.split_at(at + 1);
    // Ends: all rows once at most. There are fewer entries than places, so that some row was never full.
    for row in after.iter().chain(before) {
        if let Some(slot) = row.find(hash, &is_it) {
            return Some(slot);
        }
        if row.passed.load(Ordering::Relaxed) == 0 {
            break;
        }
    }
    None
}

fn empty_rows(count: usize) -> Arc<[Row]> {
    let row = |_| Row {
        fingerprints: from_fn(|_| AtomicU64::new(0)),
        slots: from_fn(|_| AtomicU32::new(0)),
        passed: AtomicU32::new(0),
    };
    (0..count).map(row).collect()
}

/// Returns the row a search for `hash` begins at, by other bits than the fingerprint.
#[inline]
fn home(rows: &[Row], hash: u64) -> usize {
    // Less than the number of rows.
    ((u64::from((hash >> 16) as u32) * rows.len() as u64) >> 32) as usize
}

#[inline]
fn next(rows: &[Row], at: usize) -> usize {
    if at + 1 < rows.len() { at + 1 } else { 0 }
}

/// Returns sixteen bits of a hash, not 0.
#[inline]
fn fingerprint(hash: u64) -> u16 {
    (hash as u16).max(1)
}

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
