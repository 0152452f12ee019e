//! What is remembered of entries that left: how often they were used, and when they left. It decides
//! who is worth room, nothing else: it may forget, and now and then it takes one hash for another.
//!
//! A table of sets, each half a cache line: eight fingerprints, and as many counts with times. In a full
//! set goes what is worth least among four, where each use is worth [`TURNS_PER_USE`] of time. A sketch
//! of counters, as TinyLFU has, needs as much memory for as few errors and does not know the times.

use crate::lanes::{LANES, Lanes, replaced, word_of};

/// Entries in a set: few enough to look at all of them.
const WAYS: usize = LANES;

/// Of those so many are looked at for the one to replace; which ones, a bit of the hash says.
const CANDIDATES: usize = WAYS / 2;

/// Words per entry of the cache: keys that are used now and then must be remembered until then.
const WORDS_PER_ENTRY: usize = 4;

/// Uses that can be counted.
pub(crate) const MAX_USES: u8 = 15;

/// The time is counted modulo this. What left so long ago has been overwritten, or only seems recent.
const TURN_MASK: u32 = 0xFFF;

/// Whenever this many turns are over all uses are halved, those of entries of the shard as well: else
/// those in or those out would be worth more.
pub(crate) const HALF_LIFE: u32 = 256;

/// What left so many turns ago at most goes only for what left earlier: before, few uses say little.
pub(crate) const RECENT: u32 = 8;

/// How much older an entry may be that has one use more, as a power of two.
const TURNS_PER_USE: u32 = 6;

/// A bounded memory of hashes.
pub(crate) struct History {
    sets: Vec<Set>,
}

/// Sixteen bits of each hash, and with them, from the top, four bits of uses and twelve of time. What
/// is not in use has no uses.
#[derive(Clone)]
#[repr(align(32))]
struct Set {
    fingerprints: [u64; 2],
    notes: [u16; WAYS],
}

const EMPTY_SET: Set = Set {
    fingerprints: [0; 2],
    notes: [0; WAYS],
};

/// What is known of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Uses, halved with time.
    pub(crate) uses: u8,
    /// Turns since it left.
    pub(crate) age: u32,
}

/// Where a hash is noted, or would be.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    set: usize,
    way: usize,
}

impl History {
    /// Returns a memory for a cache of `entries`.
    pub(crate) fn new(entries: usize) -> Self {
        let sets = (entries * WORDS_PER_ENTRY).div_ceil(WAYS).max(1);
        Self {
            sets: vec![EMPTY_SET; sets],
        }
    }

    /// Returns the size of cache this is made for.
    pub(crate) fn entries(&self) -> usize {
        self.sets.len() * WAYS / WORDS_PER_ENTRY
    }

    /// Returns what is known of `hash` in turn `now`.
    #[inline]
    pub(crate) fn recall(&self, hash: u64, now: u32) -> Option<Memory> {
        let set = &self.sets[self.set(hash)];
        set.memory(set.way(fingerprint(hash))?, now)
    }

    /// Returns what is known of `hash` in turn `now`, and where to note it.
    #[inline]
    pub(crate) fn look(&self, hash: u64, now: u32) -> (Option<Memory>, Place) {
        let index = self.set(hash);
        let set = &self.sets[index];
        let (memory, way) = match set.way(fingerprint(hash)) {
            Some(way) => (set.memory(way, now), way),
            None => (None, set.least(hash, now)),
        };
        (memory, Place { set: index, way })
    }

    /// Remembers that `hash` left in turn `now` with `uses` of at least 1. The place is what
    /// [`look`](Self::look) said last.
    #[inline]
    pub(crate) fn note(&mut self, place: Place, hash: u64, uses: u8, now: u32) {
        debug_assert!((1..=MAX_USES).contains(&uses));
        let set = &mut self.sets[place.set];
        let word = &mut set.fingerprints[word_of(place.way)];
        *word = replaced(*word, place.way, fingerprint(hash));
        // The time is cut to twelve bits.
        set.notes[place.way % WAYS] = u16::from(uses) << 12 | (now & TURN_MASK) as u16;
    }

    /// Returns the set of a hash, by other bits than the fingerprint.
    #[inline]
    fn set(&self, hash: u64) -> usize {
        // Less than the number of sets.
        ((u64::from((hash >> 16) as u32) * self.sets.len() as u64) >> 32) as usize
    }
}

impl Set {
    /// Returns a way with this fingerprint, if any.
    #[inline]
    fn way(&self, fingerprint: u16) -> Option<usize> {
        Lanes::with(self.fingerprints, fingerprint).first()
    }

    /// Returns what is known of the hash of this way.
    #[inline]
    fn memory(&self, way: usize, now: u32) -> Option<Memory> {
        let note = u32::from(self.notes[way % WAYS]);
        if count(note) == 0 {
            return None;
        }
        let age = age(note, now);
        // How often a multiple of the half life was passed since.
        let halvings = (age + HALF_LIFE - 1 - now % HALF_LIFE) / HALF_LIFE;
        // The count is below 16.
        let uses = (count(note) >> halvings.min(MAX_USES.into())) as u8;
        Some(Memory { uses, age })
    }

    /// Returns the way that is worth least of those `hash` may take.
    #[inline]
    fn least(&self, hash: u64, now: u32) -> usize {
        let first = (hash >> 15 & 1) as usize * CANDIDATES;
        let mut least = u32::MAX;
        for way in first..first + CANDIDATES {
            let note = u32::from(self.notes[way]);
            least = least.min(worth(note, now) << 3 | way as u32);
        }
        least as usize % WAYS
    }
}

/// Returns what a note is worth; one not in use is worth nothing.
#[inline]
fn worth(note: u32, now: u32) -> u32 {
    let age = age(note, now);
    let grace = u32::from(age <= RECENT) * (TURN_MASK + 1);
    let worth = (count(note) << TURNS_PER_USE) + TURN_MASK - age + grace;
    worth * u32::from(count(note) != 0)
}

#[inline]
fn fingerprint(hash: u64) -> u16 {
    hash as u16
}

#[inline]
fn count(note: u32) -> u32 {
    note >> 12
}

#[inline]
fn age(note: u32, now: u32) -> u32 {
    now.wrapping_sub(note) & TURN_MASK
}

#[cfg(test)]
mod tests {
    use super::{CANDIDATES, HALF_LIFE, History, Memory};

    impl History {
        fn record(&mut self, hash: u64, uses: u8, now: u32) {
            let (_, place) = self.look(hash, now);
            self.note(place, hash, uses, now);
        }
    }

    fn hash(number: u64) -> u64 {
        number.wrapping_mul(0xD6E8_FEB8_6659_FD93)
    }

    #[test]
    fn remembers_uses_and_age() {
        let mut history = History::new(100);
        let check = |history: &History, now: u32, uses: u8, age: u32| {
            assert_eq!(history.recall(hash(1), now), Some(Memory { uses, age }));
        };
        assert_eq!(history.recall(hash(1), 0), None);
        history.record(hash(1), 5, 10);
        check(&history, 10, 5, 0);
        check(&history, 17, 5, 7);
        check(&history, 10 + HALF_LIFE, 2, HALF_LIFE);
        check(&history, 10 + 3 * HALF_LIFE, 0, 3 * HALF_LIFE);
        // It is halved when the time comes, however short it was away, and after the count of turns began anew.
        history.record(hash(1), 15, u32::MAX);
        check(&history, u32::MAX, 15, 0);
        check(&history, u32::MAX.wrapping_add(3), 7, 3);
    }

    #[test]
    fn what_is_worth_least_goes_first() {
        let mut history = History::new(1);
        assert_eq!(history.sets.len(), 1, "one entry of the cache, one set");
        history.record(hash(0), 2, 0);
        // All in the same half of the set.
        let number = |nth: u64| {
            (1..)
                .filter(|number| (hash(*number) ^ hash(0)) >> 15 & 1 == 0)
                .nth(nth as usize)
        };
        let hash = |nth: u64| hash(number(nth).expect("half of all numbers"));
        for nth in 1..=CANDIDATES as u64 {
            history.record(hash(nth), 1, nth as u32 * 10);
        }
        let now = CANDIDATES as u32 * 10;
        assert!(history.recall(self::hash(0), now).is_some());
        assert_eq!(history.recall(hash(1), now), None);
        assert!((2..=CANDIDATES as u64).all(|nth| history.recall(hash(nth), now).is_some()));
    }

    #[test]
    fn holds_several_times_the_cache() {
        let mut history = History::new(1000);
        for number in 0..3000 {
            history.record(hash(number), 1, 0);
        }
        let kept = (0..3000).filter(|number| history.recall(hash(*number), 0).is_some());
        assert!(kept.count() > 2500);
        let mistaken = (3000..8000).filter(|number| history.recall(hash(*number), 0).is_some());
        assert!(mistaken.count() < 20);
    }
}
