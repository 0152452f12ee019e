//! Eight numbers of sixteen bits in two words, compared with a number all at once.
//!
//! Which of eight fits is as good as random: a loop that ends at the first costs a branch that the
//! processor cannot predict, more than the comparisons.

#[cfg(target_arch = "x86_64")]
use vector as imp;
#[cfg(not(target_arch = "x86_64"))]
use words as imp;

/// Numbers in two words.
pub(crate) const LANES: usize = 8;

/// Of these in each word.
const LANES_OF_WORD: usize = LANES / 2;

/// Lanes that fit: a bit of a mask for each.
#[derive(Clone, Copy)]
pub(crate) struct Lanes(u64);

impl Lanes {
    /// Returns the lanes of `words` that hold `wanted`.
    #[inline]
    pub(crate) fn with(words: [u64; 2], wanted: u16) -> Self {
        Self(imp::equal(words, wanted))
    }

    /// Returns one that fits, if any.
    #[inline]
    pub(crate) fn first(self) -> Option<usize> {
        (self.0 != 0).then(|| imp::lane(self.0.trailing_zeros()) % LANES)
    }
}

impl Iterator for Lanes {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let lane = self.first()?;
        self.0 &= self.0 - 1;
        Some(lane)
    }
}

/// Returns which of the two words a lane is in.
#[inline]
pub(crate) fn word_of(lane: usize) -> usize {
    lane / LANES_OF_WORD % 2
}

/// Returns `word` with `number` in place of what was in `lane`.
#[inline]
pub(crate) fn replaced(word: u64, lane: usize, number: u16) -> u64 {
    word & !(0xFFFF << shift(lane)) | u64::from(number) << shift(lane)
}

#[inline]
fn shift(lane: usize) -> usize {
    lane % LANES_OF_WORD * 16
}

/// With vector instructions that every processor of this kind has.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod vector {
    use std::arch::x86_64 as arch;

    /// Returns a mask of the lanes that are equal, a bit for each.
    #[inline]
    pub(super) fn equal(words: [u64; 2], wanted: u16) -> u64 {
        // SAFETY: SSE2 is part of x86_64.
        unsafe { equal_sse2(words, wanted) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn equal_sse2(words: [u64; 2], wanted: u16) -> u64 {
        let words = arch::_mm_set_epi64x(words[1].cast_signed(), words[0].cast_signed());
        let equal = arch::_mm_cmpeq_epi16(words, arch::_mm_set1_epi16(wanted.cast_signed()));
        let bytes = arch::_mm_packs_epi16(equal, arch::_mm_setzero_si128());
        // Eight bits, not negative.
        arch::_mm_movemask_epi8(bytes) as u64
    }

    /// Returns the lane of a bit of the mask.
    #[inline]
    pub(super) fn lane(bit: u32) -> usize {
        bit as usize
    }
}

/// With two words as vectors of four.
#[cfg(any(all(test, not(loom)), not(target_arch = "x86_64")))]
mod words {
    use super::LANES_OF_WORD;

    const ONES: u64 = 0x0001_0001_0001_0001;
    const TOPS: u64 = 0x8000_8000_8000_8000;

    #[inline]
    pub(super) fn equal(words: [u64; 2], wanted: u16) -> u64 {
        // Lanes that are equal become zero, and only to zero can one add so much without a carry into
        // the top bit.
        let zeros = |word: u64| {
            let other = word ^ (u64::from(wanted) * ONES);
            !(((other & !TOPS) + !TOPS) | other) & TOPS
        };
        zeros(words[0]) >> 15 | zeros(words[1]) >> 14
    }

    #[inline]
    pub(super) fn lane(bit: u32) -> usize {
        bit as usize % 2 * LANES_OF_WORD + bit as usize / 16
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::{LANES, Lanes, replaced, word_of, words};

    proptest! {
        #[test]
        fn finds_what_was_set(numbers in proptest::array::uniform8(0..4_u16), wanted in 0..5_u16) {
            let mut pair = [u64::MAX; 2];
            for (lane, number) in numbers.iter().enumerate() {
                pair[word_of(lane)] = replaced(pair[word_of(lane)], lane, *number);
            }
            let fit: Vec<usize> = (0..LANES).filter(|lane| numbers[*lane] == wanted).collect();
            let lanes = Lanes::with(pair, wanted);
            prop_assert_eq!(lanes.first(), fit.first().copied());
            prop_assert_eq!(lanes.collect::<Vec<_>>(), fit.clone());
            let mask = words::equal(pair, wanted);
            let mut found: Vec<usize> = (0..64).filter(|bit| mask >> bit & 1 == 1).map(words::lane).collect();
            found.sort_unstable();
            prop_assert_eq!(found, fit);
        }
    }
}
