//! [`Lru`]: the LRU of which the caller drives the eviction.
//!
//! Read next: `sharded.rs` (locks, totals, what is evicted), `shard.rs` (how an entry is stored).

use crate::linked_list::End;
use crate::shard::Slot;
use crate::sharded::{Open, Sharded};

/// An LRU of values with weights, in `N` shards that are locked one at a time.
///
/// Entries are found by a 64 bit key, best a hash: key `k` lives in shard `k % N`. The LRU does not
/// evict by itself: [`admit`](Self::admit), then call [`evict_to_limit`](Self::evict_to_limit) and
/// dispose of what it returns.
///
/// The order of use is kept in each shard; across shards, eviction keeps the weights even. Choose `N` a few times the number of threads; a power of two is cheapest.
///
/// All methods may be called from many threads. Each takes constant time unless it says otherwise. An
/// entry takes about 30 bytes besides the value: 16 for its key and place in the order, 8 for its
/// weight, 6 to 12 in the table that finds it; a value without an unused bit pattern, such as an
/// integer, takes 8 more. Nothing is allocated per entry.
///
/// Closures run under the lock of a shard unless it is said otherwise: they must not call back into the
/// same LRU.
///
/// ```
/// use pingora_lru::Lru;
///
/// let lru = Lru::<&str, 8>::with_capacity(10, 100);
/// lru.admit(1, "small", 4);
/// lru.admit(9, "large", 8);
/// assert_eq!(lru.weight(), 12);
/// lru.promote(1);
/// assert_eq!(lru.evict_to_limit(), [("large", 8)]);
/// assert_eq!(lru.peek_weight(1), Some(4));
/// assert_eq!(lru.evicted_weight(), 8);
/// ```
pub struct Lru<T, const N: usize> {
    store: Sharded<T, N>,
}

impl<T, const N: usize> Lru<T, N> {
    /// Returns an empty LRU that is to weigh at most `weight_limit`, with room for `capacity` entries,
    /// in equal parts in the shards, before it allocates.
    ///
    /// ```
    /// let lru = pingora_lru::Lru::<String, 16>::with_capacity(1 << 30, 0);
    /// assert_eq!((lru.len(), lru.shards(), lru.weight_limit()), (0, 16, 1 << 30));
    /// ```
    pub fn with_capacity(weight_limit: usize, capacity: usize) -> Self {
        Self::with_capacity_and_watermark(weight_limit, capacity, None)
    }

    /// Returns an empty LRU as [`with_capacity`](Self::with_capacity) does that is also to have at most
    /// `len_watermark` entries.
    ///
    /// ```
    /// let lru = pingora_lru::Lru::<&str, 1>::with_capacity_and_watermark(100, 2, Some(1));
    /// lru.admit(1, "a", 1);
    /// lru.admit(2, "b", 1);
    /// assert_eq!(lru.evict_to_limit(), [("a", 1)]);
    /// ```
    pub fn with_capacity_and_watermark(
        weight_limit: usize,
        capacity: usize,
        len_watermark: Option<usize>,
    ) -> Self {
        Lru {
            store: Sharded::new(weight_limit, capacity, len_watermark),
        }
    }

    /// Adds an entry as the last used one of its shard and returns the number of that shard. An entry
    /// that has the key already gets the new value and weight.
    ///
    /// Nothing is evicted. All weights together stop at `usize::MAX`: a weight is cut to what fits.
    pub fn admit(&self, key: u64, data: T, weight: usize) -> usize {
        let mut shard = self.store.open_to_add(key);
        let replaced = match shard.find(key) {
            Some(index) => {
                shard.set_weight(index, weight);
                shard.promote(index);
                Some(std::mem::replace(&mut shard.slot_mut(index).data, data))
            }
            None => {
                shard.insert(key, data, weight, End::Head);
                None
            }
        };
        drop(shard);
        // Dropping a value is the user's code: not under the lock.
        drop(replaced);
        self.shard_of(key)
    }

    /// Changes an entry with `update`, makes it the last used one and returns the weight it had; or
    /// admits what `admit_data` returns, a value and its weight, and returns `None`.
    ///
    /// `update` gets the value and the weight and returns the new weight.
    ///
    /// ```
    /// let lru = pingora_lru::Lru::<Vec<u8>, 4>::with_capacity(100, 0);
    /// let append = |byte| {
    ///     let update = |value: &mut Vec<u8>, weight| {
    ///         value.push(byte);
    ///         weight + 1
    ///     };
    ///     lru.update_or_admit(7, update, || (vec![byte], 1))
    /// };
    /// assert_eq!(append(b'a'), None);
    /// assert_eq!(append(b'b'), Some(1));
    /// assert_eq!(lru.remove(7), Some((b"ab".to_vec(), 2)));
    /// ```
    pub fn update_or_admit<U, A>(&self, key: u64, update: U, admit_data: A) -> Option<usize>
    where
        U: FnOnce(&mut T, usize) -> usize,
        A: FnOnce() -> (T, usize),
    {
        let mut shard = self.store.open_to_add(key);
        let Some(index) = shard.find(key) else {
            let (data, weight) = admit_data();
            shard.insert(key, data, weight, End::Head);
            return None;
        };
        let slot = shard.slot_mut(index);
        let weight = update(&mut slot.data, slot.weight);
        let before = shard.set_weight(index, weight);
        shard.promote(index);
        Some(before)
    }

    /// Adds `delta` to the weight of an entry, up to `max_weight`, and returns its new weight. An entry
    /// heavier than that is set to `max_weight`. A key that is not there is admitted with that weight
    /// and the value `admit_data` returns.
    ///
    /// The entry keeps its place in the order: growing is not a use.
    ///
    /// ```
    /// let lru = pingora_lru::Lru::<&str, 4>::with_capacity(100, 0);
    /// assert_eq!(lru.increment_weight(7, || "body", 5, Some(8)), 5);
    /// assert_eq!(lru.increment_weight(7, || "body", 5, Some(8)), 8);
    /// assert_eq!(lru.weight(), 8);
    /// ```
    pub fn increment_weight<F>(
        &self,
        key: u64,
        admit_data: F,
        delta: usize,
        max_weight: Option<usize>,
    ) -> usize
    where
        F: FnOnce() -> T,
    {
        let mut shard = self.store.open_to_add(key);
        let found = shard.find(key);
        increment_in(&mut shard, key, found, admit_data, delta, max_weight).0
    }

    /// Sets the weight of an entry and returns the weight it had, `None` if it is not there. The entry
    /// keeps its place in the order.
    pub fn set_weight(&self, key: u64, weight: usize) -> Option<usize> {
        let mut shard = self.store.open(key);
        let index = shard.find(key)?;
        Some(shard.set_weight(index, weight))
    }

    /// Adds an entry as the least recently used one of its shard and returns `true`; leaves an entry
    /// that is there as it is and returns `false`.
    ///
    /// What [`iter_for_each`](Self::iter_for_each) shows, inserted one after the other, gives the same
    /// order again.
    pub fn insert_tail(&self, key: u64, data: T, weight: usize) -> bool {
        let mut shard = self.store.open(key);
        let is_new = shard.find(key).is_none();
        if is_new {
            shard.insert(key, data, weight, End::Tail);
        }
        is_new
    }

    /// Makes an entry the last used one of its shard and returns whether it is there.
    pub fn promote(&self, key: u64) -> bool {
        let mut shard = self.store.open(key);
        let found = shard.find(key);
        if let Some(index) = found {
            shard.promote(index);
        }
        found.is_some()
    }

    /// Makes an entry the last used one of its shard, unless it is one of the `top` last used ones
    /// already, and returns whether it is there.
    ///
    /// An entry near the top is found there under a lock for reading, in `top` steps at most: entries
    /// that everybody asks for do not make their readers wait for each other.
    pub fn promote_top_n(&self, key: u64, top: usize) -> bool {
        // The list has the keys: whoever is near the top is found without the table.
        self.store.read(key).is_near_head(key, top) || self.promote(key)
    }

    /// Removes an entry and returns its value and weight.
    pub fn remove(&self, key: u64) -> Option<(T, usize)> {
        let mut shard = self.store.open(key);
        let index = shard.find(key)?;
        Some(into_pair(shard.remove(index)))
    }

    /// Evicts until the LRU is within its limits and returns the values and weights of what was
    /// evicted, in that order.
    ///
    /// Takes constant time for each of them. Threads that evict at once never evict more than needed.
    pub fn evict_to_limit(&self) -> Vec<(T, usize)> {
        let mut evicted = Vec::new();
        self.evict_to_limit_for_each(|data, weight| {
            if evicted.is_empty() {
                // Mostly it is one.
                evicted = Vec::with_capacity(1);
            }
            evicted.push((data, weight));
        });
        evicted
    }

    /// Evicts as [`evict_to_limit`](Self::evict_to_limit) does and calls `f` with each value and weight,
    /// outside of all locks. It allocates nothing.
    ///
    /// ```
    /// let lru = pingora_lru::Lru::<&str, 1>::with_capacity(5, 0);
    /// lru.admit(1, "a", 3);
    /// lru.admit(2, "b", 3);
    /// let mut evicted = None;
    /// lru.evict_to_limit_for_each(|value, _weight| evicted = Some(value));
    /// assert_eq!(evicted, Some("a"));
    /// ```
    pub fn evict_to_limit_for_each<F>(&self, mut f: F)
    where
        F: FnMut(T, usize),
    {
        let mut preferred = self.store.last_shard();
        // Ends: each turn removes an entry.
        while let Some((_, slot)) = self.store.evict_excess(preferred.take()) {
            f(slot.data, slot.weight);
        }
    }

    /// Evicts the least recently used entry of shard `shard % N`, within the limits or not, and returns
    /// its value and weight.
    pub fn evict_shard(&self, shard: u64) -> Option<(T, usize)> {
        self.store.open(shard).evict().map(into_pair)
    }

    /// Returns the value and weight of the least recently used entry of a shard.
    pub fn peek_lru(&self, shard: usize) -> Option<(T, usize)>
    where
        T: Clone,
    {
        let shard = self.store.read_shard(shard)?;
        let Slot { data, weight } = shard.slot(shard.tail()?);
        Some((data.clone(), *weight))
    }

    /// Returns whether an entry is there, which does not count as a use.
    pub fn peek(&self, key: u64) -> bool {
        self.store.read(key).find(key).is_some()
    }

    /// Returns the weight of an entry if it is there, which does not count as a use.
    pub fn peek_weight(&self, key: u64) -> Option<usize> {
        let shard = self.store.read(key);
        let index = shard.find(key)?;
        Some(shard.slot(index).weight)
    }

    /// Calls `f` with the value and weight of every entry of a shard, last used first.
    ///
    /// The shard is locked for reading meanwhile. A number past the last shard names an empty one.
    ///
    /// ```
    /// let lru = pingora_lru::Lru::<&str, 1>::with_capacity(100, 0);
    /// lru.admit(1, "a", 10);
    /// lru.admit(2, "b", 20);
    /// let mut seen = Vec::new();
    /// lru.iter_for_each(0, |(value, weight)| seen.push((*value, weight)));
    /// assert_eq!(seen, [("b", 20), ("a", 10)]);
    /// ```
    pub fn iter_for_each<F>(&self, shard: usize, mut f: F)
    where
        F: FnMut((&T, usize)),
    {
        if let Some(shard) = self.store.read_shard(shard) {
            shard.iter().for_each(|slot| f((&slot.data, slot.weight)));
        }
    }

    /// Makes room for `additional` more entries in a shard, for example before loading them.
    pub fn reserve_shard(&self, shard: usize, additional: usize) {
        if shard < N {
            self.store.open_shard(shard).reserve(additional);
        }
    }

    /// Sets what the LRU is to weigh at most. Nothing is evicted before the next
    /// [`evict_to_limit`](Self::evict_to_limit).
    pub fn set_weight_limit(&self, weight_limit: usize) {
        self.store.totals().set_limit(weight_limit);
    }

    /// Returns what the LRU is to weigh at most.
    pub fn weight_limit(&self) -> usize {
        self.store.totals().limit()
    }

    /// Returns the weight of all entries.
    pub fn weight(&self) -> usize {
        self.store.totals().weight()
    }

    /// Returns the number of entries. Takes `N` steps and no lock.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Returns whether there is no entry. Takes `N` steps and no lock.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of entries evicted so far. Takes `N` steps and no lock.
    pub fn evicted_len(&self) -> usize {
        self.store.evicted_len()
    }

    /// Returns the weight of all entries evicted so far. Takes `N` steps and no lock.
    pub fn evicted_weight(&self) -> usize {
        self.store.evicted_weight()
    }

    /// Returns the number of entries in a shard. A number past the last shard names an empty one.
    pub fn shard_len(&self, shard: usize) -> usize {
        self.store.shard_len(shard).unwrap_or(0)
    }

    /// Returns the weight of the entries in a shard. A number past the last shard names an empty one.
    pub fn shard_weight(&self, shard: usize) -> usize {
        self.store.shard_weight(shard).unwrap_or(0)
    }

    /// Returns the number of shards, `N`.
    pub const fn shards(&self) -> usize {
        N
    }

    fn shard_of(&self, key: u64) -> usize {
        Sharded::<T, N>::shard_of(key)
    }
}

/// Adds `delta` to the weight of the entry `found` or admits it. Returns the weight it has now, and the
/// index and stamp of an admitted entry.
pub(crate) fn increment_in<T>(
    shard: &mut Open<'_, T>,
    key: u64,
    found: Option<u32>,
    admit_data: impl FnOnce() -> T,
    delta: usize,
    max_weight: Option<usize>,
) -> (usize, Option<(u32, i64)>) {
    let max_weight = max_weight.unwrap_or(usize::MAX);
    let (index, admitted) = match found {
        Some(index) => {
            let weight = shard.slot(index).weight.saturating_add(delta);
            shard.set_weight(index, weight.min(max_weight));
            (index, None)
        }
        None => {
            let placed = shard.insert(key, admit_data(), delta.min(max_weight), End::Head);
            (placed.0, Some(placed))
        }
    };
    (shard.slot(index).weight, admitted)
}

fn into_pair<T>(slot: Slot<T>) -> (T, usize) {
    (slot.data, slot.weight)
}

#[cfg(test)]
mod tests;
