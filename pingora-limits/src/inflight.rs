//! [`Inflight`]: how many events of a key are going on now.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use foldhash::quality::RandomState;

use crate::counter::Counter;

/// Counts what is in flight, per key, in fixed memory.
///
/// An event counts as long as its [`Guard`] lives. See the [crate docs](crate) for the error bound.
///
/// ```
/// use pingora_limits::inflight::Inflight;
///
/// let downloads = Inflight::new();
/// let (first, now) = downloads.incr("client", 1);
/// assert_eq!(now, 1);
/// let (second, now) = downloads.incr("client", 1);
/// assert_eq!(now, 2); // too many? drop `second` and refuse
/// drop(second);
/// assert_eq!(first.get(), 1);
/// ```
pub struct Inflight {
    hasher: RandomState,
    /// By hash. Guards of different keys then share no reference count, which all threads would
    /// write to.
    shards: [Arc<Counter>; SHARDS],
}

/// A power of two, well above the number of threads that meet at once.
const SHARDS: usize = 16;
/// Shape of the sketch, all shards together.
const HASHES: usize = 4;
const SLOTS: usize = 8192;

/// An event in flight: dropping it takes back all it has counted, also while a panic unwinds.
///
/// ```
/// use pingora_limits::inflight::{Guard, Inflight};
///
/// let uploads = Inflight::new();
/// let (upload, _): (Guard, isize) = uploads.incr(17, 3);
/// assert_eq!(upload.incr(), 6);
/// drop(upload);
/// assert_eq!(uploads.incr(17, 1).1, 1);
/// ```
pub struct Guard {
    counter: Arc<Counter>,
    hash: u64,
    value: isize,
    /// What this guard added; no thread but those that share the guard writes it.
    held: AtomicIsize,
}

impl Inflight {
    /// Returns a counter with nothing in flight.
    pub fn new() -> Self {
        Inflight {
            hasher: RandomState::default(),
            shards: std::array::from_fn(|_| Arc::new(Counter::new(HASHES, SLOTS / SHARDS))),
        }
    }

    /// Counts `value` more of `key` until the returned guard is dropped; the number is the estimate
    /// with it.
    pub fn incr<T: Hash>(&self, key: T, value: isize) -> (Guard, isize) {
        let hash = self.hasher.hash_one(key);
        // Middle bits: cells use the low and the high ones.
        let shard = (hash >> 32) as usize % SHARDS;
        let guard = Guard {
            counter: Arc::clone(&self.shards[shard]),
            hash,
            value,
            held: AtomicIsize::new(value),
        };
        let estimate = guard.counter.add(hash, value);
        (guard, estimate)
    }
}

impl Default for Inflight {
    fn default() -> Self {
        Self::new()
    }
}

impl Guard {
    /// Returns the estimate of what is in flight for the guard's key now.
    pub fn get(&self) -> isize {
        self.counter.get(self.hash)
    }

    /// Counts the guard's value once more, until it is dropped, and returns the estimate after that.
    pub fn incr(&self) -> isize {
        self.held.fetch_add(self.value, Ordering::Relaxed);
        self.counter.add(self.hash, self.value)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let held = *self.held.get_mut();
        self.counter.take(self.hash, held);
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("value", &self.value)
            .field("in_flight", &self.get())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
