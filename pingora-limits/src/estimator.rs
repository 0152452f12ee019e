//! [`Estimator`]: counts per key, up and down.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::RandomState;

use crate::counter::Counter;

/// Counts per key in fixed memory, never too low while counts stay above zero.
///
/// All methods may be called from many threads at once. See the [crate docs](crate) for the error
/// bound.
///
/// ```
/// use pingora_limits::estimator::Estimator;
///
/// let words = Estimator::new(4, 1024);
/// assert_eq!(words.incr("tea", 2), 2);
/// assert_eq!(words.incr("tea", 1), 3);
/// words.decr("tea", 2);
/// assert_eq!(words.get("tea"), 1);
/// assert_eq!(words.get("coffee"), 0);
/// ```
pub struct Estimator {
    hasher: RandomState,
    counter: Counter,
}

impl Estimator {
    /// Returns an estimator whose error is bounded by `hashes` rows of `slots` counters; 0 counts as
    /// 1.
    ///
    /// # Panics
    ///
    /// If there is no memory for so many counters.
    pub fn new(hashes: usize, slots: usize) -> Self {
        Estimator {
            hasher: RandomState::default(),
            counter: Counter::new(hashes, slots),
        }
    }

    /// Adds `value` to the count of `key` and returns its estimate after that.
    pub fn incr<T: Hash>(&self, key: T, value: isize) -> isize {
        self.counter.add(self.hasher.hash_one(key), value)
    }

    /// Takes `value` from the count of `key`.
    pub fn decr<T: Hash>(&self, key: T, value: isize) {
        self.counter.take(self.hasher.hash_one(key), value);
    }

    /// Returns the estimated count of `key`.
    pub fn get<T: Hash>(&self, key: T) -> isize {
        self.counter.get(self.hasher.hash_one(key))
    }

    /// Sets all counts to zero. What other threads add meanwhile may stay or go.
    pub fn reset(&self) {
        self.counter.clear();
    }
}
