//! What indexes the weighted table: hashers, a counter, a random number.
//!
//! The table itself is in `weighted.rs`.

use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::selection::SelectionAlgorithm;

impl<H> SelectionAlgorithm for H
where
    H: Default + Hasher,
{
    /// Creates a hasher that is never fed: each index starts from a default one.
    fn new() -> Self {
        H::default()
    }

    /// Returns the hash of `key`, its bytes fed in one [`Hasher::write`].
    fn next(&self, key: &[u8]) -> u64 {
        let mut hasher = H::default();
        hasher.write(key);
        hasher.finish()
    }
}

/// Counts: 0, 1, 2, … whatever the key, and across all threads.
///
/// A selector built anew starts from 0 again.
///
/// ```
/// use pingora_load_balancing::selection::{SelectionAlgorithm, algorithms::RoundRobin};
///
/// let turns = RoundRobin::new();
/// assert_eq!([turns.next(b""), turns.next(b"")], [0, 1]);
/// ```
pub struct RoundRobin(AtomicU64);

impl SelectionAlgorithm for RoundRobin {
    /// Creates a counter that starts at 0.
    fn new() -> Self {
        RoundRobin(AtomicU64::new(0))
    }

    /// Returns the next number; wraps around after 2^64 of them.
    fn next(&self, _key: &[u8]) -> u64 {
        // Relaxed: each caller needs a number of its own, nothing is published with it.
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Draws random numbers, whatever the key.
///
/// The generator is fast, per thread and not fit for secrets.
///
/// ```
/// use pingora_load_balancing::selection::{SelectionAlgorithm, algorithms::Random};
///
/// let draws = Random::new();
/// assert!((0..64).any(|_| draws.next(b"") != draws.next(b"")));
/// ```
pub struct Random;

impl SelectionAlgorithm for Random {
    /// Creates the algorithm; it has no state of its own.
    fn new() -> Self {
        Random
    }

    /// Returns a number drawn uniformly from all `u64`.
    fn next(&self, _key: &[u8]) -> u64 {
        fastrand::u64(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes() {
        // Published FNV-1a 64 test vectors.
        let fnv = fnv::FnvHasher::new();
        assert_eq!(fnv.next(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv.next(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv.next(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(fnv.next(b"a"), fnv.next(b"a"));

        let turns = RoundRobin(AtomicU64::new(u64::MAX));
        assert_eq!([turns.next(b"x"), turns.next(b"y")], [u64::MAX, 0]);

        fastrand::seed(7);
        let drawn = [Random::new().next(b"x"), Random::new().next(b"x")];
        let mut twin = fastrand::Rng::with_seed(7);
        assert_eq!(drawn, [twin.u64(..), twin.u64(..)]);
    }
}
