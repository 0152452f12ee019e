//! The timer wheel: a pure data structure in ticks, without clock, lock or thread. `driver` gives
//! it all three.
//!
//! Timers start *fresh*, with the time they take, in a list of their own; the driver looks at
//! them once per tick, reads the clock and gives them a due tick. So starting a timer reads no
//! clock, which is half of what it would cost, and most are removed before they get this far.
//!
//! A due tick is a number of 64-ary digits. An entry lives on the level of the highest digit in
//! which its due tick differs from the wheel's, in the slot that digit names, so
//!
//! * everything on a lower level is due before everything on a higher one, and the earliest slot
//!   is the first occupied one of the lowest occupied level: two bit scans;
//! * reaching a slot of a higher level moves its entries down (a timer moves at most once per
//!   level), reaching one of level 0 fires them.
//!
//! The entries of a slot form a doubly linked list inside one slab, so that removing one is O(1)
//! and its place is free at once. A heap would pay O(log n) for timers that are nearly all
//! removed before they are due; a single ring would visit those of later rounds again and again.

use std::mem;

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const SLOT_MASK: u64 = SLOTS as u64 - 1;
/// Enough for every `u64`, so no due tick wraps around.
const LEVELS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;
/// The list of fresh entries; the others are those of the slots, level by level.
const FRESH: u16 = (LEVELS * SLOTS) as u16;
/// An empty wheel gives back a slab larger than this many entries (48 KiB).
const KEPT_ENTRIES: usize = 1024;

/// The place of an entry plus one; zero is "none", so that an unused wheel is all zeros and
/// occupies no memory page.
type Link = u32;
const NONE: Link = 0;

/// What finds an entry again. It never finds another one: serials are not reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    serial: u64,
    link: Link,
}

/// How an entry stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It waits for [`Wheel::settle`].
    Fresh,
    /// It fires at this tick.
    Due(u64),
    /// It fired, or was removed.
    Gone,
}

pub(crate) struct Wheel<T> {
    /// All settled entries are due at or after this tick.
    elapsed: u64,
    serial: u64,
    len: usize,
    /// One bit per slot.
    occupied: [u64; LEVELS],
    /// The first entry of each list.
    heads: [Link; LEVELS * SLOTS + 1],
    entries: Vec<Entry<T>>,
    free: Link,
}

struct Entry<T> {
    /// Of a fresh entry the nanoseconds it takes, of others the tick it is due at.
    time: u64,
    /// Zero while the place is free.
    serial: u64,
    value: Option<T>,
    /// The next entry of the list, or the next free place.
    next: Link,
    previous: Link,
    list: u16,
}

impl<T> Wheel<T> {
    pub(crate) const fn new() -> Self {
        Self {
            elapsed: 0,
            serial: 0,
            len: 0,
            occupied: [0; LEVELS],
            heads: [NONE; LEVELS * SLOTS + 1],
            entries: Vec::new(),
            free: NONE,
        }
    }

    /// Adds an entry that will take `nanos`. Returns its key.
    #[inline]
    pub(crate) fn start(&mut self, nanos: u64, value: T) -> Key {
        self.serial += 1;
        let serial = self.serial;
        let link = self.place();
        let head = mem::replace(&mut self.heads[FRESH as usize], link);
        let entry = self.entry(link);
        entry.time = nanos;
        entry.serial = serial;
        entry.value = Some(value);
        entry.next = head;
        entry.previous = NONE;
        entry.list = FRESH;
        if head != NONE {
            self.entry(head).previous = link;
        }
        self.len += 1;
        Key { serial, link }
    }

    /// Makes an entry fresh again. Returns `false` if it is gone.
    pub(crate) fn restart(&mut self, key: Key, nanos: u64) -> bool {
        let Some(entry) = self.find(key) else {
            return false;
        };
        entry.time = nanos;
        if entry.list != FRESH {
            self.link_out(key.link);
            self.link_in(key.link, FRESH);
        }
        true
    }

    /// Removes an entry. Returns its value, or `None` if it is gone.
    #[inline]
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.find(key)?;
        self.link_out(key.link);
        self.release(key.link)
    }

    /// Replaces the value of an entry. Returns the old one, or the new one if the entry is gone.
    pub(crate) fn replace(&mut self, key: Key, value: T) -> Result<T, T> {
        match self.find(key).and_then(|entry| entry.value.as_mut()) {
            Some(old) => Ok(mem::replace(old, value)),
            None => Err(value),
        }
    }

    /// Gives fresh entries their due tick: what `due` makes of their nanoseconds, which is not
    /// before tick `now`.
    pub(crate) fn settle(&mut self, now: u64, due: impl Fn(u64) -> u64) {
        if self.occupied == [0; LEVELS] {
            // Nothing is in the way, and nearer entries start on lower levels.
            self.elapsed = self.elapsed.max(now);
        }
        let mut link = mem::replace(&mut self.heads[FRESH as usize], NONE);
        while link != NONE {
            let elapsed = self.elapsed;
            let entry = self.entry(link);
            let next = entry.next;
            entry.time = due(entry.time).max(elapsed);
            self.link_in_slot(link);
            link = next;
        }
    }

    /// Moves the values of entries due at or before tick `to` into `fired` until that holds
    /// `limit`. Returns whether there may be more.
    pub(crate) fn expire(&mut self, to: u64, limit: usize, fired: &mut Vec<T>) -> bool {
        while let Some((level, slot, start)) = self.first() {
            if start > to {
                break;
            }
            if fired.len() >= limit {
                return true;
            }
            self.elapsed = start;
            match level {
                0 => {
                    let link = self.heads[slot];
                    self.link_out(link);
                    fired.extend(self.release(link));
                }
                _ => self.cascade(level, slot),
            }
        }
        self.elapsed = self.elapsed.max(to);
        false
    }

    /// Returns how an entry stands.
    pub(crate) fn status(&mut self, key: Key) -> Status {
        match self.find(key) {
            None => Status::Gone,
            Some(Entry { list: FRESH, .. }) => Status::Fresh,
            Some(entry) => Status::Due(entry.time),
        }
    }

    /// Returns the tick at which [`Wheel::expire`] has something to do for settled entries;
    /// `u64::MAX` if there are none.
    pub(crate) fn next(&self) -> u64 {
        self.first().map_or(u64::MAX, |(_, _, start)| start)
    }

    // Takes a free place, whose fields are out of date but for the value, which is `None`.
    #[inline]
    fn place(&mut self) -> Link {
        if self.free == NONE {
            return self.new_place();
        }
        let link = self.free;
        self.free = self.entry(link).next;
        link
    }

    #[cold]
    fn new_place(&mut self) -> Link {
        self.entries.push(Entry {
            time: 0,
            serial: 0,
            value: None,
            next: NONE,
            previous: NONE,
            list: FRESH,
        });
        Link::try_from(self.entries.len()).expect("2^32 timers exceed any memory")
    }

    #[inline]
    fn release(&mut self, link: Link) -> Option<T> {
        let free = self.free;
        let entry = self.entry(link);
        let value = entry.value.take();
        entry.serial = 0;
        entry.next = free;
        self.free = link;
        self.len -= 1;
        if self.len == 0 && self.entries.capacity() > KEPT_ENTRIES {
            self.free_all();
        }
        value
    }

    #[cold]
    fn free_all(&mut self) {
        self.entries = Vec::new();
        self.free = NONE;
    }

    fn link_in(&mut self, link: Link, list: u16) {
        let head = mem::replace(&mut self.heads[list as usize], link);
        let entry = self.entry(link);
        entry.next = head;
        entry.previous = NONE;
        entry.list = list;
        if head != NONE {
            self.entry(head).previous = link;
        }
    }

    fn link_in_slot(&mut self, link: Link) {
        let due = self.entry(link).time;
        let (level, slot) = self.position(due);
        self.occupied[level] |= 1 << slot;
        self.link_in(link, (level * SLOTS + slot) as u16);
    }

    #[inline]
    fn link_out(&mut self, link: Link) {
        let &mut Entry {
            next,
            previous,
            list,
            ..
        } = self.entry(link);
        if next != NONE {
            self.entry(next).previous = previous;
        }
        if previous != NONE {
            self.entry(previous).next = next;
            return;
        }
        self.heads[list as usize] = next;
        if next == NONE && list != FRESH {
            self.occupied[list as usize / SLOTS] &= !(1 << (list as usize % SLOTS));
        }
    }

    fn cascade(&mut self, level: usize, slot: usize) {
        let mut link = mem::replace(&mut self.heads[level * SLOTS + slot], NONE);
        self.occupied[level] &= !(1 << slot);
        while link != NONE {
            let next = self.entry(link).next;
            self.link_in_slot(link);
            link = next;
        }
    }

    #[inline]
    fn find(&mut self, key: Key) -> Option<&mut Entry<T>> {
        let entry = self.entries.get_mut(key.link as usize - 1)?;
        (entry.serial == key.serial).then_some(entry)
    }

    #[inline]
    fn entry(&mut self, link: Link) -> &mut Entry<T> {
        &mut self.entries[link as usize - 1]
    }

    // Level and slot. It stays right until the slot is reached: `elapsed` then still has the same
    // higher digits and a lower one at this level.
    fn position(&self, due: u64) -> (usize, usize) {
        let differing = (self.elapsed ^ due) | SLOT_MASK;
        let level = (differing.ilog2() / DIGIT_BITS) as usize;
        let slot = (due >> (level as u32 * DIGIT_BITS)) & SLOT_MASK;
        (level, slot as usize)
    }

    // Level, slot and first tick of the earliest occupied slot.
    fn first(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let slot = self.occupied[level].trailing_zeros() as u64;
        let higher = match level + 1 < LEVELS {
            true => self.elapsed & !low_digits(level + 1),
            false => 0,
        };
        let start = higher | (slot << (level as u32 * DIGIT_BITS));
        Some((level, slot as usize, start))
    }
}

// A mask of the digits below `level`.
fn low_digits(level: usize) -> u64 {
    (1 << (level as u32 * DIGIT_BITS)) - 1
}

#[cfg(test)]
mod tests;
