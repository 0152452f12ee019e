//! Copies of shards, for saving them, made without stopping those who use them.
//!
//! Walking the order of a large shard takes long, with a cache miss for every entry, and must not be
//! interrupted. So the entries are copied in the order they lie in memory, a part at a time with the
//! lock released in between, and sorted by their stamps. Each entry that is there all the time is in the
//! copy once, at the place it had when it was copied.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use super::{AsyncLru, State};

/// Slots copied before the lock is released: tens of microseconds.
const SLOTS_PER_LOCK: usize = 512;

/// A copy of one shard.
pub struct ShardData<K> {
    /// Keys and weights, last used first.
    pub items: Vec<(K, usize)>,
    /// The number of the shard.
    pub shard_index: usize,
}

impl<K, const N: usize> AsyncLru<K, N>
where
    K: Send + Sync + Hash + Eq + Default + Clone + 'static,
{
    /// Returns the keys and weights of a shard, last used first; `None` if there is no shard of that
    /// number, or the runtime has shut down.
    ///
    /// The copy is made on a thread for blocking work; users of the shard wait microseconds for it. It
    /// takes O(n log n) for n entries.
    pub async fn snapshot_shard(&self, shard: usize) -> Option<Vec<(K, usize)>> {
        if shard >= N {
            return None;
        }
        let state = Arc::clone(&self.state);
        let copy = self.runtime.spawn_blocking(move || state.snapshot(shard));
        copy.await.ok()
    }

    /// Calls `write_shard` with a copy of every shard, one after the other, on a thread for blocking work,
    /// and returns how many times it succeeded. Failures are logged.
    ///
    /// If the returned future is dropped, the shard at work is written and no other.
    pub async fn save<F>(&self, write_shard: F) -> usize
    where
        F: Fn(ShardData<K>) -> Result<(), String> + Send + Sync + 'static,
    {
        let write_shard = Arc::new(write_shard);
        let mut saved = 0;
        for shard_index in 0..N {
            let (state, write_shard) = (Arc::clone(&self.state), Arc::clone(&write_shard));
            let written = self.runtime.spawn_blocking(move || {
                let items = state.snapshot(shard_index);
                write_shard(ShardData { items, shard_index })
            });
            match written.await {
                Ok(Ok(())) => saved += 1,
                Ok(Err(error)) => log::error!("cannot save shard={shard_index} error={error}"),
                Err(error) => log::error!("cannot save shard={shard_index} error={error}"),
            }
        }
        saved
    }
}

impl<K: Hash + Eq + Clone, const N: usize> State<K, N> {
    /// Copies a shard, last used first.
    pub(super) fn snapshot(&self, shard: usize) -> Vec<(K, usize)> {
        let mut copies = Vec::with_capacity(self.store.shard_len(shard).unwrap_or(0));
        // Ends: the memory of a shard has an end, and grows slower than it is copied.
        for from in (0..).step_by(SLOTS_PER_LOCK) {
            let Some(shard) = self.store.read_shard(shard) else {
                break;
            };
            let (part, is_last) = shard.scan(from, SLOTS_PER_LOCK);
            let copy = |slot: &crate::shard::Slot<super::Entry<K>>| {
                (slot.data.stamp, slot.data.key.clone(), slot.weight)
            };
            copies.extend(part.map(copy));
            if is_last {
                break;
            }
        }
        copies.sort_unstable_by_key(|(stamp, ..)| Reverse(*stamp));
        newest_of_each(copies)
    }
}

/// Drops all but the first copy of a key. One that was removed and admitted again meanwhile may lie in
/// two places.
fn newest_of_each<K: Hash + Eq>(copies: Vec<(i64, K, usize)>) -> Vec<(K, usize)> {
    let mut seen = HashSet::with_capacity(copies.len());
    let is_first: Vec<bool> = copies.iter().map(|(_, key, _)| seen.insert(key)).collect();
    drop(seen);
    copies
        .into_iter()
        .zip(is_first)
        .filter_map(|((_, key, weight), is_first)| is_first.then_some((key, weight)))
        .collect()
}
