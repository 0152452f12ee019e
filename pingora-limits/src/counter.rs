//! Counts by hash, in fixed memory: exact cells first, a sketch for what does not fit.
//!
//! A key may be in both: it spilled while its bucket was full, and found a cell later. Its count is
//! the sum. Taking back empties the cells first, so neither part of a key goes below zero unless the
//! whole does, which is what keeps the sketch's estimates from being too low.
//!
//! A bit per bucket says whether any of its keys spilled. As long as none did, its keys are exact, and
//! nothing looks at the sketch. Why so: `docs/design/0003-cells-before-a-sketch.md`.

use crate::cells::Cells;
use crate::sketch::Sketch;
use crate::sync::{AtomicU64, Ordering};

/// Exact cells per slot of a sketch row: with a key per slot, one in five hundred spills, with two, one
/// in fifty.
const CELLS_PER_SLOT: usize = 4;

pub(crate) struct Counter {
    cells: Cells,
    sketch: Sketch,
    /// One bit per bucket. Set after an addition to the sketch (release), so who sees it set
    /// (acquire) sees the addition; cleared before the sketch is.
    spilled: Box<[AtomicU64]>,
}

impl Counter {
    pub(crate) fn new(hashes: usize, slots: usize) -> Self {
        let cells = Cells::new(slots.saturating_mul(CELLS_PER_SLOT));
        let words = cells.buckets().div_ceil(u64::BITS as usize);
        Counter {
            cells,
            sketch: Sketch::new(hashes, slots),
            spilled: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Adds `value`, which may be negative, and returns the estimate after that.
    #[inline]
    pub(crate) fn add(&self, hash: u64, value: isize) -> isize {
        if value < 0 {
            self.take(hash, value.wrapping_neg());
            return self.get(hash);
        }
        match self.cells.put(hash, value as u64) {
            Some(exact) => self.with_spilled(hash, exact),
            None => {
                let estimate = self.spill(hash, value);
                estimate.wrapping_add(self.cells.get(hash) as isize)
            }
        }
    }

    /// Takes `value` back, which may be negative.
    #[inline]
    pub(crate) fn take(&self, hash: u64, value: isize) {
        if value < 0 && value != isize::MIN {
            self.add(hash, value.wrapping_neg());
            return;
        }
        // The least `isize` is its own negation: as a number without sign, it is what to take.
        let rest = self.cells.take(hash, value as usize as u64);
        if rest != 0 {
            self.spill(hash, (rest as isize).wrapping_neg());
        }
    }

    #[inline]
    pub(crate) fn get(&self, hash: u64) -> isize {
        self.with_spilled(hash, self.cells.get(hash))
    }

    /// Sets all counts to zero. What others add meanwhile may stay or go.
    pub(crate) fn clear(&self) {
        self.cells.clear();
        let mut any = false;
        for word in &self.spilled {
            if word.load(Ordering::Relaxed) != 0 {
                word.swap(0, Ordering::AcqRel);
                any = true;
            }
        }
        if any {
            self.sketch.clear();
        }
    }

    #[inline]
    fn with_spilled(&self, hash: u64, exact: u64) -> isize {
        let (word, bit) = self.spill_bit(hash);
        let exact = exact as isize;
        if word.load(Ordering::Acquire) & bit == 0 {
            return exact;
        }
        exact.wrapping_add(self.sketch.get(hash))
    }

    /// Adds to the sketch and returns its estimate after that.
    #[cold]
    fn spill(&self, hash: u64, value: isize) -> isize {
        let estimate = self.sketch.add(hash, value);
        let (word, bit) = self.spill_bit(hash);
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Release);
        }
        estimate
    }

    #[inline]
    fn spill_bit(&self, hash: u64) -> (&AtomicU64, u64) {
        let bucket = self.cells.bucket(hash);
        (&self.spilled[bucket / 64], 1 << (bucket % 64))
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
