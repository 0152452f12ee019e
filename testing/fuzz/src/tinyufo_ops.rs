//! The in-memory cache against a map that forgets what the cache gave back. One thread: what threads
//! do to each other is for the tests of the crate.

use std::collections::HashMap;

use arbitrary::Arbitrary;
use tinyufo::TinyUfo;

/// The most operations, so that one input stays cheap.
const MAX_OPS: usize = 512;

/// The size of the cache and what is done to it.
#[derive(Arbitrary, Debug)]
pub struct TinyUfoOps {
    /// Above a thousand or so there are several shards.
    limit: u16,
    compact: bool,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Get {
        key: u16,
    },
    Put {
        key: u16,
        weight: u16,
        force: bool,
    },
    /// Many light entries at once: few bytes of input fill the cache.
    Fill {
        from: u16,
        count: u8,
    },
    Remove {
        key: u16,
    },
}

/// Checks that values are those put last, that what left was given back, and that the rest fits.
pub fn tinyufo_ops(input: &TinyUfoOps) {
    let limit = usize::from(input.limit);
    let cache = match input.compact {
        true => TinyUfo::new_compact(limit, limit),
        false => TinyUfo::new(limit, limit),
    };
    let mut twin = Twin::default();
    for op in input.ops.iter().take(MAX_OPS) {
        match op {
            Op::Get { key } => assert_eq!(cache.get(key), twin.get(*key)),
            Op::Remove { key } => {
                let expected = twin.get(*key);
                twin.entries.remove(key);
                assert_eq!(cache.remove(key), expected);
            }
            Op::Put { key, weight, force } => twin.put(&cache, *key, *weight, *force),
            Op::Fill { from, count } => {
                for offset in 0..u16::from(*count) {
                    twin.put(&cache, from.wrapping_add(offset), 1, false);
                }
            }
        }
        assert!(twin.weight() <= limit);
    }
    for key in twin.entries.keys() {
        assert_eq!(cache.get(key), twin.get(*key));
    }
}

/// What the cache should hold: by key, the number of the put and the weight.
#[derive(Default)]
struct Twin {
    puts: u64,
    entries: HashMap<u16, (u64, u16)>,
    /// The key of each put.
    keys: Vec<u16>,
}

impl Twin {
    fn get(&self, key: u16) -> Option<u64> {
        self.entries.get(&key).map(|(put, _)| *put)
    }

    fn weight(&self) -> usize {
        self.entries
            .values()
            .map(|(_, weight)| usize::from(*weight))
            .sum()
    }

    fn put(&mut self, cache: &TinyUfo<u16, u64>, key: u16, weight: u16, force: bool) {
        let put = self.puts;
        self.puts += 1;
        self.keys.push(key);
        // No weight counts as the least.
        self.entries.insert(key, (put, weight.max(1)));
        let out = match force {
            true => cache.force_put(key, put, weight),
            false => cache.put(key, put, weight),
        };
        for entry in out {
            let left = self.entries.remove(&self.keys[entry.data as usize]);
            assert_eq!(left, Some((entry.data, entry.weight.max(1))));
        }
    }
}
