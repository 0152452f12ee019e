//! The set of backend hashes one selection has met: inline while small, a hash set beyond.
//!
//! Most selections take their first candidate and must not allocate; `mod.rs` uses it.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// Up to this many hashes are kept inline and compared one by one: two cache lines.
const INLINE: usize = 16;

/// A set of backend hashes.
#[derive(Default)]
pub(crate) struct Seen {
    inline: [u64; INLINE],
    /// How many of them are in use.
    len: usize,
    spilled: Option<HashSet<u64, BuildKeyHasher>>,
}

impl Seen {
    /// Adds `key` and returns whether it is new.
    pub(crate) fn insert(&mut self, key: u64) -> bool {
        if let Some(spilled) = &mut self.spilled {
            return spilled.insert(key);
        }
        if self.inline[..self.len].contains(&key) {
            return false;
        }
        if self.len < INLINE {
            self.inline[self.len] = key;
            self.len += 1;
            return true;
        }
        let spilled = self.spilled.insert(self.inline.into_iter().collect());
        spilled.insert(key)
    }
}

/// A map keyed by backend hashes.
pub(crate) type KeyMap<V> = HashMap<u64, V, BuildKeyHasher>;

/// Builds [`KeyHasher`]s.
pub(crate) type BuildKeyHasher = BuildHasherDefault<KeyHasher>;

/// Passes a backend hash on: it is a SipHash already.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // FNV-1a, for completeness: the keys are all `u64`.
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn same_as_naive_twin() {
        let mut random = fastrand::Rng::with_seed(3);
        for range in [1, 4, 15, 16, 17, 100] {
            let (mut seen, mut twin) = (Seen::default(), BTreeSet::new());
            for _ in 0..300 {
                let key = random.u64(0..range);
                assert_eq!(seen.insert(key), twin.insert(key));
            }
        }
    }
}
