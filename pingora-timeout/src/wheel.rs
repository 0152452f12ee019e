//! The timer wheel: a pure data structure in ticks, without clock, lock or thread. `driver` gives
//! it all three.
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

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const SLOT_MASK: u64 = SLOTS as u64 - 1;
/// Enough for every `u64`, so no due tick wraps around.
const LEVELS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;
/// An empty wheel gives back a slab larger than this many entries (40 KiB).
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

pub(crate) struct Wheel<T> {
    /// All entries are due at or after this tick.
    elapsed: u64,
    serial: u64,
    len: usize,
    /// One bit per slot.
    occupied: [u64; LEVELS],
    heads: [[Link; SLOTS]; LEVELS],
    entries: Vec<Entry<T>>,
    free: Link,
}

struct Entry<T> {
    due: u64,
    /// Zero while the place is free.
    serial: u64,
    /// The next entry of the slot, or the next free place.
    next: Link,
    previous: Link,
    value: Option<T>,
}

impl<T> Wheel<T> {
    pub(crate) const fn new() -> Self {
        Self {
            elapsed: 0,
            serial: 0,
            len: 0,
            occupied: [0; LEVELS],
            heads: [[NONE; SLOTS]; LEVELS],
            entries: Vec::new(),
            free: NONE,
        }
    }

    /// Adds an entry. Returns its key and the tick at which [`Wheel::expire`] must be called on
    /// behalf of it, which is not after `due`; or the value if it is due already.
    pub(crate) fn insert(&mut self, due: u64, value: T) -> Result<(Key, u64), T> {
        if due <= self.elapsed {
            return Err(value);
        }
        self.serial += 1;
        let entry = Entry {
            due,
            serial: self.serial,
            next: NONE,
            previous: NONE,
            value: Some(value),
        };
        let link = self.allocate(entry);
        self.len += 1;
        let serial = self.serial;
        Ok((Key { serial, link }, self.link_in(link)))
    }

    /// Removes an entry. Returns its value, or `None` if it fired.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.find(key)?;
        self.link_out(key.link);
        self.release(key.link)
    }

    /// Replaces the value of an entry. Returns the old one, or the new one if the entry fired.
    pub(crate) fn replace(&mut self, key: Key, value: T) -> Result<T, T> {
        match self.find(key).and_then(|entry| entry.value.as_mut()) {
            Some(old) => Ok(std::mem::replace(old, value)),
            None => Err(value),
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
                    let link = self.heads[0][slot];
                    self.link_out(link);
                    fired.extend(self.release(link));
                }
                _ => self.cascade(level, slot),
            }
        }
        self.elapsed = self.elapsed.max(to);
        false
    }

    /// Moves an empty wheel to tick `now`, so that new entries start on low levels.
    pub(crate) fn skip_to(&mut self, now: u64) {
        if self.len == 0 {
            self.elapsed = self.elapsed.max(now);
        }
    }

    /// Returns the tick at which [`Wheel::expire`] has something to do; `u64::MAX` if empty.
    pub(crate) fn next(&self) -> u64 {
        self.first().map_or(u64::MAX, |(_, _, start)| start)
    }

    fn allocate(&mut self, entry: Entry<T>) -> Link {
        if self.free == NONE {
            self.entries.push(entry);
            return Link::try_from(self.entries.len()).expect("2^32 timers exceed any memory");
        }
        let link = self.free;
        let place = self.entry(link);
        let next_free = place.next;
        *place = entry;
        self.free = next_free;
        link
    }

    fn release(&mut self, link: Link) -> Option<T> {
        let free = self.free;
        let entry = self.entry(link);
        let value = entry.value.take();
        entry.serial = 0;
        entry.next = free;
        self.free = link;
        self.len -= 1;
        if self.len == 0 && self.entries.capacity() > KEPT_ENTRIES {
            self.entries = Vec::new();
            self.free = NONE;
        }
        value
    }

    // Returns the first tick of the slot.
    fn link_in(&mut self, link: Link) -> u64 {
        let due = self.entry(link).due;
        let (level, slot) = self.position(due);
        let head = std::mem::replace(&mut self.heads[level][slot], link);
        self.occupied[level] |= 1 << slot;
        let entry = self.entry(link);
        entry.next = head;
        entry.previous = NONE;
        if head != NONE {
            self.entry(head).previous = link;
        }
        due & !low_digits(level)
    }

    fn link_out(&mut self, link: Link) {
        let &mut Entry {
            due,
            next,
            previous,
            ..
        } = self.entry(link);
        if next != NONE {
            self.entry(next).previous = previous;
        }
        if previous != NONE {
            self.entry(previous).next = next;
            return;
        }
        let (level, slot) = self.position(due);
        self.heads[level][slot] = next;
        if next == NONE {
            self.occupied[level] &= !(1 << slot);
        }
    }

    fn cascade(&mut self, level: usize, slot: usize) {
        let mut link = std::mem::replace(&mut self.heads[level][slot], NONE);
        self.occupied[level] &= !(1 << slot);
        while link != NONE {
            let next = self.entry(link).next;
            self.link_in(link);
            link = next;
        }
    }

    fn find(&mut self, key: Key) -> Option<&mut Entry<T>> {
        let entry = self.entries.get_mut(key.link as usize - 1)?;
        (entry.serial == key.serial).then_some(entry)
    }

    #[inline]
    fn entry(&mut self, link: Link) -> &mut Entry<T> {
        &mut self.entries[link as usize - 1]
    }

    // An entry keeps its position until its slot is reached: `elapsed` then still has the same
    // higher digits and a lower one at this level.
    #[inline]
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
