//! The cache: shards, and the weight they share.
//!
//! Every shard has a budget of weight and never holds more. Budgets only move: at all times the
//! budgets, the `spare` weight, and what a `put` is moving add up to the limit of the cache, so the
//! limit holds whatever the threads do, without a counter that all of them write.
//!
//! An entry heavier than the budget of its shard borrows: from the spare weight, then from the
//! other shards. What a shard has over its fair part and does not use becomes spare at once, and
//! shards that have less than theirs take it when they need it.

use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;

use foldhash::quality::RandomState;

use crate::bucket::KV;
use crate::duel::{self, Duel};
use crate::index::Index;
use crate::lock::Mutex;
use crate::setting::Setting;
use crate::shard::Shard;

/// Entries a shard has at least: fewer, and its idea of who is popular is noise.
const MIN_SHARD_ENTRIES: usize = 256;

/// Shards per thread the machine can run, so that two rarely meet.
const SHARDS_PER_THREAD: usize = 4;

/// Shards at most.
const MAX_SHARDS: usize = 1024;

/// A concurrent cache of values with weights.
///
/// All methods take `&self`; a cache is shared by reference or in an [`Arc`](std::sync::Arc). Each
/// takes constant time, amortised, and the lock of one shard for as long as it takes to clone a value,
/// but for a [`get`](Self::get) that finds nothing, which takes none.
///
/// ```
/// use tinyufo::TinyUfo;
///
/// let cache = TinyUfo::new(10, 10);
/// assert!(cache.put("a", 1, 4).is_empty());
/// assert_eq!(cache.get(&"a"), Some(1));
/// // Ten do not fit beside four.
/// let evicted = cache.force_put("b", 2, 10);
/// assert_eq!((evicted.len(), evicted[0].data, evicted[0].weight), (1, 1, 4));
/// ```
pub struct TinyUfo<K, T> {
    hasher: RandomState,
    shards: Box<[Line<T>]>,
    /// The weight of a shard if all have the same.
    fair: usize,
    limit: usize,
    spare: AtomicUsize,
    /// A hash is in the sample of the duel if these bits are all zero; all bits if there is none.
    sample: u64,
    duel: Mutex<Duel>,
    /// The [`Setting`] the duel chose.
    setting: AtomicU8,
    /// Held by who takes budget from other shards: between two of them it could be taken back and forth.
    borrowing: Mutex<()>,
    keys: PhantomData<fn() -> K>,
}

/// A shard and its lock, and its index for looks without it. Nothing else is on its cache lines,
/// which are fetched in pairs.
#[repr(align(128))]
struct Line<T> {
    index: Arc<Index>,
    shard: Mutex<Shard<T>>,
}

impl<K: Hash, T: Clone + Send + Sync + 'static> TinyUfo<K, T> {
    /// Returns an empty cache for values of a total weight up to `total_weight_limit`, with the memory
    /// for `estimated_size` entries set aside.
    ///
    /// The estimate may be wrong: the cache then grows, or was generous.
    pub fn new(total_weight_limit: usize, estimated_size: usize) -> Self {
        Self::with_shards(total_weight_limit, estimated_size, true)
    }

    /// Returns an empty cache as [`new`](Self::new) does, which takes memory only as entries come.
    ///
    /// Filling it is a little slower, after that there is no difference but for outgrown indices, which it
    /// keeps: at most 16 bytes per entry.
    pub fn new_compact(total_weight_limit: usize, estimated_size: usize) -> Self {
        Self::with_shards(total_weight_limit, estimated_size, false)
    }

    /// Returns a clone of the value of `key`, and counts the use.
    #[inline]
    pub fn get(&self, key: &K) -> Option<T> {
        let hash = self.hasher.hash_one(key);
        let Line { index, shard } = self.line(hash);
        let hint = index.look(hash)?;
        let (data, is_news) = {
            let shard = shard.lock();
            let (data, is_news) = shard.get(hash, hint)?;
            (data.clone(), is_news)
        };
        // Keys whose count is at its end are found with any setting: they tell nothing, and they
        // are those that would be observed all the time.
        if is_news && hash & self.sample == 0 {
            self.observe(hash, 1);
        }
        Some(data)
    }

    /// Puts a value in, or replaces the one of `key`. Returns the entries that had to leave for it; a
    /// value that is replaced is not among them. In a cache of many entries up to eight leave together,
    /// and make room for those that come next.
    ///
    /// Weights count as at least 1. An entry heavier than the whole cache is returned at once, and the
    /// key has no value then; any other is taken in, and may have to leave soon if it is not used.
    pub fn put(&self, key: K, data: T, weight: u16) -> Vec<KV<T>> {
        self.insert(&key, data, weight)
    }

    /// Puts a value in as [`put`](Self::put) does. Returns the entries that had to leave for it.
    ///
    /// It says that the new entry must be taken in however rarely `key` is used, which `put` does too.
    pub fn force_put(&self, key: K, data: T, weight: u16) -> Vec<KV<T>> {
        self.insert(&key, data, weight)
    }

    /// Returns the value of `key` after it was taken out of the cache.
    pub fn remove(&self, key: &K) -> Option<T> {
        self.take(self.hasher.hash_one(key))
    }

    fn with_shards(total_weight_limit: usize, estimated_size: usize, reserved: bool) -> Self {
        let entries = estimated_size.clamp(1, total_weight_limit.max(1));
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let wanted = (threads * SHARDS_PER_THREAD).next_power_of_two();
        let sensible = (entries / MIN_SHARD_ENTRIES).max(1);
        let count = wanted.min(1 << sensible.ilog2()).min(MAX_SHARDS);
        let fair = total_weight_limit / count;
        let bits = duel::sample_bits(entries);
        let setting = if bits.is_some() {
            Setting::Frequent
        } else {
            Setting::Recent
        };
        let per_shard = entries.div_ceil(count);
        let line = |_| {
            let shard = Shard::new(fair, per_shard, reserved, setting);
            Line {
                index: shard.index(),
                shard: Mutex::new(shard),
            }
        };
        Self {
            hasher: RandomState::default(),
            shards: (0..count).map(line).collect(),
            fair,
            limit: total_weight_limit,
            spare: AtomicUsize::new(total_weight_limit - fair * count),
            sample: bits.map_or(u64::MAX, |bits| !(u64::MAX >> bits)),
            duel: Mutex::new(Duel::new(
                total_weight_limit,
                entries,
                bits.unwrap_or(usize::BITS - 1),
            )),
            setting: AtomicU8::new(setting as u8),
            borrowing: Mutex::new(()),
            keys: PhantomData,
        }
    }

    #[inline]
    fn line(&self, hash: u64) -> &Line<T> {
        &self.shards[self.number(hash)]
    }

    /// Returns the shard of a hash: by bits that neither the shard nor the sample goes by.
    #[inline]
    fn number(&self, hash: u64) -> usize {
        (hash >> 48) as usize & (self.shards.len() - 1)
    }

    /// Tells the duel of a use, unless it is busy: it needs a sample, not all of it.
    #[cold]
    fn observe(&self, hash: u64, weight: u16) {
        let change = self
            .duel
            .try_lock()
            .and_then(|mut duel| duel.observe(hash, weight));
        if let Some(setting) = change {
            // Relaxed: a hint, shards take it when they next change.
            self.setting.store(setting as u8, Ordering::Relaxed);
        }
    }

    fn setting(&self) -> Setting {
        match self.setting.load(Ordering::Relaxed) {
            0 => Setting::Frequent,
            _ => Setting::Recent,
        }
    }

    fn take(&self, hash: u64) -> Option<T> {
        let mut shard = self.line(hash).shard.lock();
        let taken = shard.remove(hash);
        self.settle(&mut shard);
        taken
    }

    fn insert(&self, key: &K, data: T, weight: u16) -> Vec<KV<T>> {
        let hash = self.hasher.hash_one(key);
        let charged = weight.max(1);
        let mut out = Vec::new();
        if usize::from(charged) > self.limit {
            self.take(hash);
            out.push(KV {
                key: hash,
                data,
                weight,
            });
            return out;
        }
        if hash & self.sample == 0 {
            self.observe(hash, charged);
        }
        let mut shard = self.line(hash).shard.lock();
        shard.set(self.setting());
        if shard.budget() < self.fair {
            self.refill(&mut shard);
        }
        if usize::from(charged) > shard.budget() {
            drop(shard);
            return self.insert_heavy(hash, data, charged);
        }
        let replaced = shard.put(hash, data, charged, &mut out);
        self.settle(&mut shard);
        drop(shard);
        drop(replaced);
        out
    }

    /// Puts an entry in that is heavier than the budget of its shard.
    #[cold]
    fn insert_heavy(&self, hash: u64, data: T, weight: u16) -> Vec<KV<T>> {
        let _alone = self.borrowing.lock();
        let own = self.number(hash);
        let mut out = Vec::new();
        // From here on nobody else lowers the budget of the own shard below its fair part.
        let sure = self.shards[own].shard.lock().budget().min(self.fair);
        let mut missing = usize::from(weight).saturating_sub(sure);
        let mut loan = self.take_spare(missing);
        missing -= loan;
        let others = self.shards.len() - 1;
        // Each gives the same; who cannot leaves it to those after it, the second round takes what is left.
        for turn in 1..=2 * others {
            let givers = others.saturating_sub(turn - 1).max(1);
            let other = &self.shards[(own + 1 + (turn - 1) % others) % self.shards.len()].shard;
            let given = other.lock().shrink(missing.div_ceil(givers), &mut out);
            loan += given;
            missing -= given;
        }
        if missing > 0 {
            // Somebody has made spare meanwhile what the others had.
            loan += self.take_spare(missing);
        }
        let mut shard = self.shards[own].shard.lock();
        shard.grow(loan);
        if usize::from(weight) > shard.budget() {
            // Still not: rather than make room for ever, take it for one that does not fit.
            let replaced = shard.remove(hash);
            self.settle(&mut shard);
            drop(shard);
            drop(replaced);
            out.push(KV {
                key: hash,
                data,
                weight,
            });
            return out;
        }
        let replaced = shard.put(hash, data, weight, &mut out);
        self.settle(&mut shard);
        drop(shard);
        drop(replaced);
        out
    }

    /// Makes spare what `shard` does not use above its fair part.
    #[inline]
    fn settle(&self, shard: &mut Shard<T>) {
        if shard.budget() > self.fair {
            let surplus = shard.budget() - shard.used().max(self.fair);
            let given = shard.shrink(surplus, &mut Vec::new());
            // Relaxed, as in `take_spare`: the number itself is all that is passed on.
            self.spare.fetch_add(given, Ordering::Relaxed);
        }
    }

    /// Gives `shard` of the spare weight what it has less than its fair part.
    #[cold]
    fn refill(&self, shard: &mut Shard<T>) {
        let loan = self.take_spare(self.fair - shard.budget());
        shard.grow(loan);
    }

    /// Takes up to `most` of the spare weight.
    fn take_spare(&self, most: usize) -> usize {
        let mut taken = 0;
        let take = |spare: usize| {
            taken = spare.min(most);
            Some(spare - taken)
        };
        let taken_from = self
            .spare
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        debug_assert!(taken_from.is_ok());
        taken
    }
}

#[cfg(test)]
mod tests;
