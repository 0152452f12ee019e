//! A count-min sketch: `hashes` rows of `slots` counters (Cormode and Muthukrishnan, 2005).
//!
//! A key adds to one counter of each row; the smallest of them is its estimate. The rows' places come
//! from one hash by double hashing (Kirsch and Mitzenmacher, 2006).

use crate::sync::{self, AtomicIsize, Ordering};

pub(crate) struct Sketch {
    /// Row after row.
    counters: Box<[AtomicIsize]>,
    slots: usize,
}

impl Sketch {
    pub(crate) fn new(hashes: usize, slots: usize) -> Self {
        let (hashes, slots) = (hashes.max(1), slots.max(1));
        let count = hashes
            .checked_mul(slots)
            .expect("the caller asks for counters that fit into memory");
        Sketch {
            counters: (0..count).map(|_| AtomicIsize::new(0)).collect(),
            slots,
        }
    }

    /// Adds `value` to a key and returns its estimate after that.
    pub(crate) fn add(&self, hash: u64, value: isize) -> isize {
        self.least(hash, |counter| {
            counter
                .fetch_add(value, Ordering::Relaxed)
                .wrapping_add(value)
        })
    }

    pub(crate) fn get(&self, hash: u64) -> isize {
        self.least(hash, |counter| counter.load(Ordering::Relaxed))
    }

    pub(crate) fn clear(&self) {
        for counter in &self.counters {
            sync::clear_count(counter);
        }
    }

    /// The least value of `visit` over the counters of a key.
    fn least(&self, hash: u64, visit: impl Fn(&AtomicIsize) -> isize) -> isize {
        // The cells used the bits of the hash as they are; keys that share a bucket part here.
        let mut place = (hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let step = (place ^ (place >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) | 1;
        let mut least = isize::MAX;
        for row in self.counters.chunks_exact(self.slots) {
            let slot = (u128::from(place) * self.slots as u128) >> 64;
            least = least.min(visit(&row[slot as usize]));
            place = place.wrapping_add(step);
        }
        least
    }
}
