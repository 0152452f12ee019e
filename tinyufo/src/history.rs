//! What is remembered of entries that left: how often they were used, and when they left. It decides
//! who is worth room, nothing else: it may forget, and now and then it takes one hash for another.
//!
//! A table of sets, each a cache line of sixteen words of a fingerprint, a count and a time. In a full
//! set the word goes that is worth least, where each use is worth [`TURNS_PER_USE`] of time. A sketch
//! of counters, as TinyLFU has, needs as much memory for as few errors and does not know the times.

/// Words in a set: a cache line.
const WAYS: usize = 16;

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

/// From the top: sixteen bits of the hash, four of uses, twelve of time. No word in use is zero.
#[derive(Clone)]
#[repr(align(64))]
struct Set([u32; WAYS]);

/// What is known of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Uses, halved with time.
    pub(crate) uses: u8,
    /// Turns since it left.
    pub(crate) age: u32,
}

impl History {
    /// Returns a memory for a cache of `entries`.
    pub(crate) fn new(entries: usize) -> Self {
        let sets = (entries * WORDS_PER_ENTRY).div_ceil(WAYS).max(1);
        Self {
            sets: vec![Set([0; WAYS]); sets],
        }
    }

    /// Returns the size of cache this is made for.
    pub(crate) fn entries(&self) -> usize {
        self.sets.len() * WAYS / WORDS_PER_ENTRY
    }

    /// Returns what is known of `hash` in turn `now`.
    #[inline]
    pub(crate) fn recall(&self, hash: u64, now: u32) -> Option<Memory> {
        let set = &self.sets[self.set(hash)].0;
        let word = set[way_of(set, fingerprint(hash))?];
        let age = age(word, now);
        // How often a multiple of the half life was passed since.
        let halvings = (age + HALF_LIFE - 1 - now % HALF_LIFE) / HALF_LIFE;
        // The count is below 16.
        let uses = (count(word) >> halvings.min(MAX_USES.into())) as u8;
        Some(Memory { uses, age })
    }

    /// Remembers that `hash` left in turn `now` with `uses` of at least 1.
    #[inline]
    pub(crate) fn record(&mut self, hash: u64, uses: u8, now: u32) {
        debug_assert!((1..=MAX_USES).contains(&uses));
        let index = self.set(hash);
        let set = &mut self.sets[index].0;
        let way = way_of(set, fingerprint(hash)).unwrap_or_else(|| least(set, now));
        set[way] = fingerprint(hash) << 16 | u32::from(uses) << 12 | now & TURN_MASK;
    }

    /// Returns the set of a hash, by other bits than the fingerprint.
    #[inline]
    fn set(&self, hash: u64) -> usize {
        // Less than the number of sets.
        ((u64::from((hash >> 16) as u32) * self.sets.len() as u64) >> 32) as usize
    }
}

#[inline]
fn way_of(set: &[u32; WAYS], fingerprint: u32) -> Option<usize> {
    // All ways are looked at: that is a few vector instructions.
    let mut found = 0_u32;
    for (way, word) in set.iter().enumerate() {
        found |= u32::from(word >> 16 == fingerprint && *word != 0) << way;
    }
    (found != 0).then(|| found.trailing_zeros() as usize)
}

/// Returns the way whose word is worth least; one not in use is worth nothing.
#[inline]
fn least(set: &[u32; WAYS], now: u32) -> usize {
    let mut least = u32::MAX;
    for (way, word) in set.iter().enumerate() {
        let age = age(*word, now);
        let grace = u32::from(age <= RECENT) * (TURN_MASK + 1);
        let worth = (count(*word) << TURNS_PER_USE) + TURN_MASK - age + grace;
        let worth = if *word == 0 { 0 } else { worth };
        least = least.min(worth << 4 | way as u32);
    }
    least as usize % WAYS
}

#[inline]
fn fingerprint(hash: u64) -> u32 {
    hash as u32 & 0xFFFF
}

#[inline]
fn count(word: u32) -> u32 {
    word >> 12 & 0xF
}

#[inline]
fn age(word: u32, now: u32) -> u32 {
    now.wrapping_sub(word) & TURN_MASK
}

#[cfg(test)]
mod tests {
    use super::{HALF_LIFE, History, Memory, WAYS};

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
        assert_eq!(history.sets.len(), 1);
        history.record(hash(0), 2, 0);
        for number in 1..=WAYS as u64 {
            history.record(hash(number), 1, number as u32);
        }
        assert!(history.recall(hash(0), 16).is_some());
        assert_eq!(history.recall(hash(1), 16), None);
        assert!((2..=WAYS as u64).all(|number| history.recall(hash(number), 16).is_some()));
    }

    #[test]
    fn holds_several_times_the_cache() {
        let mut history = History::new(1000);
        for number in 0..3000 {
            history.record(hash(number), 1, 0);
        }
        let kept = (0..3000).filter(|number| history.recall(hash(*number), 0).is_some());
        assert!(kept.count() > 2800);
        let mistaken = (3000..8000).filter(|number| history.recall(hash(*number), 0).is_some());
        assert!(mistaken.count() < 20);
    }
}
