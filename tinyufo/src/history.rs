//! How often keys that are not in the cache were seen: a count-min sketch of small counters that
//! forgets. It decides who is worth room, nothing else: it may err, it only errs upwards.
//!
//! "TinyLFU: A Highly Efficient Cache Admission Policy", Einziger, Friedman, Manes, 2017.

/// Counters a key has, all in one block of eight: one cache line per look.
const ROWS: usize = 4;

/// Greatest count: counters are four bits, sixteen to a word.
const MAX: u64 = 15;

/// The low three bits of every counter after a shift: halves all sixteen at once.
const HALF: u64 = 0x7777_7777_7777_7777;

/// Words in a block: a cache line.
const BLOCK: usize = 8;

/// Counts remembered per entry of the cache before all are halved.
const SAMPLE: usize = 10;

/// A sketch of how often each hash was seen.
pub(crate) struct History {
    words: Vec<u64>,
    /// Counts since the last halving.
    added: usize,
    sample: usize,
}

impl History {
    /// Returns a sketch for a cache of about `entries` entries.
    pub(crate) fn new(entries: usize) -> Self {
        let blocks = (entries / BLOCK).max(1).next_power_of_two();
        Self {
            words: vec![0; blocks * BLOCK],
            added: 0,
            sample: entries.max(BLOCK) * SAMPLE,
        }
    }

    /// Returns how often `hash` was seen, at most 15.
    #[inline]
    pub(crate) fn count(&self, hash: u64) -> u8 {
        let counts =
            places(self.words.len(), hash).map(|(word, shift)| (self.words[word] >> shift) & MAX);
        // Below 16.
        counts.into_iter().min().unwrap_or(0) as u8
    }

    /// Counts `hash` once more.
    #[inline]
    pub(crate) fn add(&mut self, hash: u64) {
        let least = u64::from(self.count(hash));
        if least == MAX {
            return;
        }
        for (word, shift) in places(self.words.len(), hash) {
            // Only the least counters grow, the others already err.
            if (self.words[word] >> shift) & MAX == least {
                self.words[word] += 1 << shift;
            }
        }
        self.added += 1;
        if self.added >= self.sample {
            self.halve();
        }
    }

    #[cold]
    fn halve(&mut self) {
        for word in &mut self.words {
            *word = (*word >> 1) & HALF;
        }
        self.added /= 2;
    }
}

/// Returns the word and the shift of each counter of `hash`: four in one block, two words apart.
#[inline]
fn places(words: usize, hash: u64) -> [(usize, u32); ROWS] {
    // Not the bits that choose the shard and the row of the index.
    let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let block = (mixed >> 32) as usize & (words / BLOCK - 1);
    std::array::from_fn(|row| {
        let bits = mixed >> (row * 5);
        let word = block * BLOCK + row * 2 + (bits & 1) as usize;
        (word, (bits >> 1 & 15) as u32 * 4)
    })
}

#[cfg(test)]
mod tests {
    use super::History;

    #[test]
    fn counts_never_fall_short_before_halving() {
        let mut history = History::new(1000);
        let hash = |key: u64| key.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        for key in 0..200 {
            for _ in 0..=key % 20 {
                history.add(hash(key));
            }
        }
        let exact = (0..200).filter(|key| {
            let seen = (key % 20 + 1).min(15) as u8;
            assert!(history.count(hash(*key)) >= seen);
            history.count(hash(*key)) == seen
        });
        assert!(exact.count() > 180);
    }

    #[test]
    fn halving_keeps_the_order() {
        let mut history = History::new(1);
        for _ in 0..8 {
            history.add(7);
        }
        history.halve();
        assert_eq!(history.count(7), 4);
    }
}
