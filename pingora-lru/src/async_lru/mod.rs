//! [`AsyncLru`]: the LRU that evicts by itself and hands what it evicts to an async callback.
//!
//! ```text
//! admit ──► shard ──► over the limit? ──► eviction workers ──► queue ──► callback workers ──► callback
//!           (lock)    (one load, a wake-up)  (take the tail)   (bounded)   (await each)
//! ```
//!
//! Every method acts on the shard at once, under its lock, so whoever called it sees its effect: no
//! operation is queued, delayed or dropped. Only eviction is left to tasks. The queue between them and
//! the callback is bounded; while the callback cannot keep up, entries stay in the LRU, which is then
//! [`over_limit`](AsyncLru::over_limit): that is the sign for callers to admit less.
//!
//! Once shutdown is announced nothing more is evicted: what is queued reaches the callback, what could
//! not be queued is an entry again, and every method goes on working. Dropping the LRU does the same.
//!
//! Rejected: one task per shard that receives every operation. A promotion then costs a message, reads
//! lag behind writes, and a bounded queue must lose operations or block when the task is late.
//!
//! Read next: `workers.rs` (the tasks), `snapshot.rs` (how a shard is copied).

use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, LazyLock};

use hashbrown::DefaultHashBuilder;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

mod builder;
mod snapshot;
mod workers;

pub use builder::AsyncLruBuilder;
pub use snapshot::ShardData;

use crate::linked_list::End;
use crate::lru::increment_in;
use crate::shard::Slot;
use crate::sharded::{Open, Sharded};

/// What is done with each evicted entry, such as deleting a file.
///
/// Closures from a key and a weight to a future implement it.
pub trait AsyncEvictionCallback<K>: Send + Sync + 'static {
    /// Handles one evicted entry. As many run at once as there are callback workers.
    ///
    /// The entry has left the LRU before; its key may have been admitted again since, which
    /// [`AsyncLru::peek`] tells.
    fn call(&self, key: K, weight: usize) -> impl Future<Output = ()> + Send;
}

impl<K, F, Fut> AsyncEvictionCallback<K> for F
where
    F: Fn(K, usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn call(&self, key: K, weight: usize) -> impl Future<Output = ()> + Send {
        self(key, weight)
    }
}

/// Returns the hash by which an [`AsyncLru`] finds `key`; the shard of the key is that modulo the number
/// of shards.
///
/// It is the same for equal keys within a process and differs between processes, so that nobody can
/// prepare keys with equal hashes: do not store it.
pub fn hash_key<K: Hash>(key: &K) -> u64 {
    static SECRET: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);
    SECRET.hash_one(key)
}

/// An LRU of keys with weights that evicts in tasks of its own, in `N` shards.
///
/// Made with [`builder`](Self::builder). It compares keys with `Eq`, so keys with equal hashes are
/// entries of their own. An entry takes about 38 bytes besides the key; see [`Lru`](crate::Lru).
///
/// ```
/// use std::sync::Arc;
/// use pingora_lru::async_lru::AsyncLru;
/// use tokio::{runtime::Handle, sync::{mpsc, watch}};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let (_shutdown, announced) = watch::channel(false);
/// let (evicted, mut queue) = mpsc::unbounded_channel();
/// let callback = Arc::new(move |key: String, weight: usize| {
///     let evicted = evicted.clone();
///     async move { evicted.send((key, weight)).expect("the test is listening") }
/// });
/// let lru = AsyncLru::<String, 1>::builder(10, callback, announced, Handle::current()).build();
/// lru.admit("a".to_owned(), 6);
/// lru.admit("b".to_owned(), 6);
/// assert_eq!(queue.recv().await, Some(("a".to_owned(), 6)));
/// assert!(lru.peek(&"b".to_owned()) && !lru.over_limit());
/// # }
/// ```
pub struct AsyncLru<K: Send + Hash + Eq + 'static, const N: usize> {
    state: Arc<State<K, N>>,
    runtime: Handle,
    /// Closed when this is dropped, which ends the workers.
    _owner: watch::Sender<()>,
}

/// What the LRU and its workers share.
struct State<K, const N: usize> {
    store: Sharded<Entry<K>, N>,
    /// There is something to evict.
    excess: Notify,
}

struct Entry<K> {
    key: K,
    /// Grows towards the head of the shard: a copy of the shard can be sorted by it.
    stamp: i64,
}

impl<K, const N: usize> AsyncLru<K, N>
where
    K: Send + Sync + Hash + Eq + Default + Clone + 'static,
{
    /// Returns a builder of an LRU that is to weigh at most `weight_limit` and calls `eviction_cb` with
    /// what it evicts, in tasks on `runtime`, until `shutdown` becomes true.
    ///
    /// If the sender of `shutdown` is dropped before, no shutdown will come.
    pub fn builder<C>(
        weight_limit: usize,
        eviction_cb: Arc<C>,
        shutdown: watch::Receiver<bool>,
        runtime: Handle,
    ) -> AsyncLruBuilder<K, C, N>
    where
        C: AsyncEvictionCallback<K>,
    {
        AsyncLruBuilder::new(weight_limit, eviction_cb, shutdown, runtime)
    }

    /// Adds a key as the last used one of its shard, or sets its weight and promotes it, and returns the
    /// number of the shard. Eviction follows if it is needed.
    pub fn admit(&self, key: K, weight: usize) -> usize {
        let hash = hash_key(&key);
        let mut shard = self.state.store.open(hash);
        match find(&shard, hash, &key) {
            Some(index) => {
                shard.set_weight(index, weight);
                promote(&mut shard, index);
            }
            None => insert(&mut shard, hash, key, weight, End::Head),
        }
        drop(shard);
        self.evict_if_over();
        Sharded::<Entry<K>, N>::shard_of(hash)
    }

    /// Adds a key as the least recently used one of its shard, or leaves it as it is if it is there, and
    /// returns the number of the shard.
    ///
    /// The items of a [snapshot](Self::snapshot_shard), inserted one after the other, give the same order
    /// again.
    pub fn insert_tail(&self, key: K, weight: usize) -> usize {
        let hash = hash_key(&key);
        let mut shard = self.state.store.open(hash);
        if find(&shard, hash, &key).is_none() {
            insert(&mut shard, hash, key, weight, End::Tail);
        }
        drop(shard);
        self.evict_if_over();
        Sharded::<Entry<K>, N>::shard_of(hash)
    }

    /// Adds `delta` to the weight of a key, up to `max_weight`; a weight above that is set to it. A key
    /// that is not there is admitted. The place in the order stays: growing is not a use.
    pub fn increment_weight(&self, key: &K, delta: usize, max_weight: Option<usize>) {
        let hash = hash_key(key);
        let mut shard = self.state.store.open(hash);
        let found = find(&shard, hash, key);
        let entry = || Entry::new(key.clone());
        let (_, admitted) = increment_in(&mut shard, hash, found, entry, delta, max_weight);
        if let Some((index, stamp)) = admitted {
            shard.slot_mut(index).data.stamp = stamp;
        }
        drop(shard);
        self.evict_if_over();
    }

    /// Makes a key the last used one of its shard and returns whether it is there.
    pub fn promote(&self, key: &K) -> bool {
        let hash = hash_key(key);
        let mut shard = self.state.store.open(hash);
        let found = find(&shard, hash, key);
        if let Some(index) = found {
            promote(&mut shard, index);
        }
        found.is_some()
    }

    /// Removes a key. The callback is not called with it.
    pub fn remove(&self, key: &K) {
        let hash = hash_key(key);
        let mut shard = self.state.store.open(hash);
        let removed = find(&shard, hash, key).map(|index| shard.remove(index));
        drop(shard);
        drop(removed);
    }

    /// Removes what [`hash_key`] gives `key_hash` for, so that no key has to be built for it.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use pingora_lru::async_lru::{AsyncLru, hash_key};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// # let (_shutdown, announced) = tokio::sync::watch::channel(false);
    /// # let callback = Arc::new(|_: String, _| async {});
    /// # let runtime = tokio::runtime::Handle::current();
    /// let lru = AsyncLru::<String, 4>::builder(10, callback, announced, runtime).build();
    /// lru.admit("a".to_owned(), 1);
    /// lru.remove_by_hash(hash_key(&"a")); // str and String hash alike
    /// assert!(lru.is_empty());
    /// # }
    /// ```
    pub fn remove_by_hash(&self, key_hash: u64) {
        let mut shard = self.state.store.open(key_hash);
        // Ends: each turn removes an entry. More than one has a hash only by accident.
        while let Some(index) = shard.find(key_hash) {
            shard.remove(index);
        }
    }

    /// Wakes an eviction worker. There is no need to after the methods of this type.
    pub fn trigger_eviction(&self) {
        self.state.excess.notify_one();
    }

    /// Returns whether a key is there, which does not count as a use.
    pub fn peek(&self, key: &K) -> bool {
        let hash = hash_key(key);
        find(&self.state.store.read(hash), hash, key).is_some()
    }

    /// Returns the weight of a key if it is there, which does not count as a use.
    pub fn peek_weight(&self, key: &K) -> Option<usize> {
        let hash = hash_key(key);
        let shard = self.state.store.read(hash);
        let index = find(&shard, hash, key)?;
        Some(shard.slot(index).weight)
    }

    /// Returns the least recently used key of a shard and its weight, `None` if there is none.
    pub async fn peek_lru(&self, shard: usize) -> Option<(K, usize)> {
        let shard = self.state.store.read_shard(shard)?;
        let slot = shard.slot(shard.tail()?);
        Some((slot.data.key.clone(), slot.weight))
    }

    /// Returns the weight of a shard, `None` if there is no shard of that number.
    pub async fn shard_weight(&self, shard: usize) -> Option<usize> {
        self.state.store.shard_weight(shard)
    }

    /// Returns the number of keys in a shard. A number past the last shard names an empty one.
    pub fn shard_len(&self, shard: usize) -> usize {
        self.state.store.shard_len(shard).unwrap_or(0)
    }

    /// Returns the number of shards, `N`.
    pub const fn shards(&self) -> usize {
        N
    }

    /// Returns whether there is more than the limits allow: eviction is at work, or waits for a callback
    /// that cannot keep up, or has ended with the shutdown.
    pub fn over_limit(&self) -> bool {
        self.state.store.totals().is_over()
    }

    /// Returns the weight of all keys.
    pub fn weight(&self) -> usize {
        self.state.store.totals().weight()
    }

    /// Returns what the LRU is to weigh at most.
    pub fn weight_limit(&self) -> usize {
        self.state.store.totals().limit()
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.state.store.len()
    }

    /// Returns whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of keys evicted so far.
    pub fn evicted_len(&self) -> usize {
        self.state.store.evicted_len()
    }

    /// Returns the weight of all keys evicted so far.
    pub fn evicted_weight(&self) -> usize {
        self.state.store.evicted_weight()
    }

    fn evict_if_over(&self) {
        if self.over_limit() {
            self.trigger_eviction();
        }
    }
}

impl<K> Entry<K> {
    fn new(key: K) -> Self {
        Entry { key, stamp: 0 }
    }
}

fn find<K: Eq>(shard: &crate::shard::Shard<Entry<K>>, hash: u64, key: &K) -> Option<u32> {
    shard.find_matching(hash, |entry| entry.key == *key)
}

fn insert<K>(shard: &mut Open<'_, Entry<K>>, hash: u64, key: K, weight: usize, end: End) {
    let (index, stamp) = shard.insert(hash, Entry::new(key), weight, end);
    shard.slot_mut(index).data.stamp = stamp;
}

fn promote<K>(shard: &mut Open<'_, Entry<K>>, index: u32) {
    let stamp = shard.promote(index);
    shard.slot_mut(index).data.stamp = stamp;
}

impl<K: Hash + Eq, const N: usize> State<K, N> {
    /// Puts an evicted key back where it was, unless it has been admitted again.
    fn restore(&self, hash: u64, slot: Slot<Entry<K>>) {
        let mut shard = self.store.open(hash);
        if find(&shard, hash, &slot.data.key).is_none() {
            let (index, stamp) = shard.restore(hash, slot);
            shard.slot_mut(index).data.stamp = stamp;
        }
    }
}

#[cfg(test)]
mod tests;
