//! A keyed store that knows the age order of its entries: the newest of a key and the oldest of
//! all are found in constant time. Both pools are made of it.
//!
//! An idle connection is put once and taken once, never "used" in between, so least recently used
//! is simply oldest. Each entry lies in one slot of a slab and is a member of two doubly linked
//! lists: the age list over all keys, and the stack of its key, whose top is in `tops`. A key
//! without entries has no trace left. Slots are reused; the slab never outgrows the largest number
//! of entries held at once.
//!
//! Read next: `idle_pool.rs` and `connection.rs`, its two users.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The end of a list.
const NONE: u32 = u32::MAX;

/// The most entries a shelf can address.
pub(crate) const MAX_ENTRIES: usize = (NONE - 1) as usize;

pub(crate) struct Shelf<T> {
    slots: Vec<Slot<T>>,
    /// Head of the free slots, linked by `newer`.
    free: u32,
    oldest: u32,
    newest: u32,
    /// Where the next step of a walk starts; `None` before the first.
    cursor: Option<u32>,
    tops: HashMap<u64, u32, KeyHashing>,
}

struct Slot<T> {
    /// `None` if the slot is free.
    value: Option<T>,
    key: u64,
    older: u32,
    newer: u32,
    below: u32,
    above: u32,
}

/// One step of [`Shelf::walk`].
#[derive(Debug, PartialEq)]
pub(crate) enum Step<T> {
    Kept,
    Removed(T),
    End,
}

impl<T> Shelf<T> {
    pub(crate) fn new() -> Self {
        Shelf {
            slots: Vec::new(),
            free: NONE,
            oldest: NONE,
            newest: NONE,
            cursor: None,
            tops: HashMap::with_hasher(KeyHashing::new()),
        }
    }

    /// Adds an entry as the newest and returns its slot, valid until the entry is removed.
    pub(crate) fn push(&mut self, key: u64, value: T) -> u32 {
        let slot = self.occupy(key, value);
        if let Some(below) = self.tops.insert(key, slot) {
            self.slots[below as usize].above = slot;
            self.slots[slot as usize].below = below;
        }
        match self.newest {
            NONE => self.oldest = slot,
            previous => self.slots[previous as usize].newer = slot,
        }
        self.newest = slot;
        slot
    }

    /// Removes and returns the newest entry of `key`.
    pub(crate) fn pop(&mut self, key: u64) -> Option<T> {
        let Entry::Occupied(mut top) = self.tops.entry(key) else {
            return None;
        };
        let slot = *top.get();
        match self.slots[slot as usize].below {
            NONE => {
                top.remove();
            }
            below => {
                top.insert(below);
                self.slots[below as usize].above = NONE;
            }
        }
        Some(self.vacate(slot))
    }

    /// Removes and returns the oldest entry of all.
    pub(crate) fn pop_oldest(&mut self) -> Option<T> {
        match self.oldest {
            NONE => None,
            slot => Some(self.remove(slot)),
        }
    }

    /// Removes and returns the entry in an occupied slot.
    pub(crate) fn remove(&mut self, slot: u32) -> T {
        let Slot {
            key, above, below, ..
        } = self.slots[slot as usize];
        if below != NONE {
            self.slots[below as usize].above = above;
        }
        match (above, below) {
            (NONE, NONE) => {
                self.tops.remove(&key);
            }
            (NONE, below) => {
                self.tops.insert(key, below);
            }
            (above, below) => self.slots[above as usize].below = below,
        }
        self.vacate(slot)
    }

    /// Visits the next entry of a walk from oldest to newest and removes it unless `keep` says
    /// otherwise. After the end the next call starts a new walk. A walk survives any change made
    /// between its steps.
    pub(crate) fn walk(&mut self, keep: impl FnOnce(&mut T) -> bool) -> Step<T> {
        let slot = self.cursor.unwrap_or(self.oldest);
        if slot == NONE {
            self.cursor = None;
            return Step::End;
        }
        self.cursor = Some(self.slots[slot as usize].newer);
        match keep(self.value_mut(slot)) {
            true => Step::Kept,
            false => Step::Removed(self.remove(slot)),
        }
    }

    pub(crate) fn oldest(&self) -> Option<&T> {
        match self.oldest {
            NONE => None,
            slot => self.slots[slot as usize].value.as_ref(),
        }
    }

    pub(crate) fn value_mut(&mut self, slot: u32) -> &mut T {
        self.slots[slot as usize]
            .value
            .as_mut()
            .expect("slots in a list or an index are occupied")
    }

    /// What a slot takes.
    #[cfg(all(test, not(loom)))]
    pub(crate) const ENTRY_SIZE: usize = size_of::<Slot<T>>();

    /// The number of keys that have entries.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn keys(&self) -> usize {
        self.tops.len()
    }

    /// Fills a free slot whose `older` is the present newest, in no other list yet.
    fn occupy(&mut self, key: u64, value: T) -> u32 {
        let filled = Slot {
            value: Some(value),
            key,
            older: self.newest,
            newer: NONE,
            below: NONE,
            above: NONE,
        };
        match self.free {
            NONE => {
                assert!(self.slots.len() <= MAX_ENTRIES, "slots are 32 bit numbers");
                self.slots.push(filled);
                (self.slots.len() - 1) as u32
            }
            slot => {
                let free = &mut self.slots[slot as usize];
                self.free = free.newer;
                *free = filled;
                slot
            }
        }
    }

    /// Takes a slot, already out of its key's stack, out of the age list and frees it.
    fn vacate(&mut self, slot: u32) -> T {
        let vacated = &mut self.slots[slot as usize];
        let value = vacated
            .value
            .take()
            .expect("slots in a list or an index are occupied");
        let (older, newer) = (vacated.older, vacated.newer);
        vacated.newer = self.free;
        self.free = slot;
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        if self.cursor == Some(slot) {
            self.cursor = Some(newer);
        }
        value
    }
}

/// Hashing for keys that are hashes already: one multiplication, seeded so that a peer who can
/// choose keys cannot choose collisions.
#[derive(Clone)]
pub(crate) struct KeyHashing {
    seed: u64,
}

impl KeyHashing {
    pub(crate) fn new() -> Self {
        KeyHashing {
            seed: RandomState::new().hash_one(0u8),
        }
    }
}

impl BuildHasher for KeyHashing {
    type Hasher = KeyHasher;

    #[inline]
    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.seed)
    }
}

pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        // Folding the high half of the product onto the low half lets every bit reach every bit.
        let product = u128::from(self.0 ^ number) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }

    #[inline]
    fn write_i32(&mut self, number: i32) {
        self.write_u64(u64::from(number as u32));
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
