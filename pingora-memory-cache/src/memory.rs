//! [`MemoryCache`]: values with a time to live in a cache of fixed size.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::time::Duration;

use foldhash::quality::RandomState;
use tinyufo::TinyUfo;

use crate::{CacheStatus, clock};

/// Weight of a value: the size of the cache is a number of values.
const WEIGHT: u16 = 1;

/// A moment beyond the clock's range.
const NEVER: u64 = u64::MAX;

/// Values by key, each for a time, as many as fit.
///
/// Keys are hashed, not kept, so what is put may be asked for by any borrowed form of it.
///
/// ```
/// use pingora_memory_cache::{CacheStatus, MemoryCache};
/// use std::time::Duration;
///
/// let sessions: MemoryCache<String, &str> = MemoryCache::new(100);
/// sessions.put("a", "Ada", Some(Duration::from_millis(1)));
/// sessions.put("b", "Bob", None);
/// std::thread::sleep(Duration::from_millis(5));
/// assert_eq!(sessions.get("a"), (None, CacheStatus::Expired));
/// assert_eq!(sessions.get("b"), (Some("Bob"), CacheStatus::Hit));
///
/// let (value, status) = sessions.get_stale("a");
/// assert_eq!(value, Some("Ada"));
/// assert!(status.stale() >= Some(Duration::from_millis(4)));
/// ```
pub struct MemoryCache<K: Hash, T: Clone> {
    hasher: RandomState,
    values: TinyUfo<u64, Entry<T>>,
    keys: PhantomData<fn(&K)>,
}

#[derive(Clone)]
struct Entry<T> {
    value: T,
    /// The end of its life; [`NEVER`] if it has none.
    expires: u64,
}

impl<K: Hash, T: Clone + Send + Sync + 'static> MemoryCache<K, T> {
    /// Returns an empty cache for up to `size` values.
    pub fn new(size: usize) -> Self {
        MemoryCache {
            hasher: RandomState::default(),
            values: TinyUfo::new(size, size),
            keys: PhantomData,
        }
    }

    /// Returns the value of `key` and how it was found: [`Hit`](CacheStatus::Hit),
    /// [`Miss`](CacheStatus::Miss), or [`Expired`](CacheStatus::Expired) without the value.
    pub fn get<Q>(&self, key: &Q) -> (Option<T>, CacheStatus)
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.fresh(self.hash(key))
    }

    /// Returns the value of `key` and how it was found, also past its time to live: the status is
    /// then [`Stale`](CacheStatus::Stale).
    pub fn get_stale<Q>(&self, key: &Q) -> (Option<T>, CacheStatus)
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.fresh_or_stale(self.hash(key))
    }

    /// Puts a value in, or replaces the one of `key`; without `ttl` for ever.
    ///
    /// A `ttl` of zero takes out what is there: a value that may not be kept.
    pub fn put<Q>(&self, key: &Q, value: T, ttl: Option<Duration>)
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.put_hashed(self.hash(key), value, ttl);
    }

    /// Takes the value of `key` out.
    pub fn remove<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.values.remove(&self.hash(key));
    }

    /// Returns what [`get`](Self::get) returns for each of `keys`, in their order.
    ///
    /// ```
    /// use pingora_memory_cache::{CacheStatus::*, MemoryCache};
    ///
    /// let primes: MemoryCache<u32, bool> = MemoryCache::new(10);
    /// primes.put(&7, true, None);
    /// assert_eq!(primes.multi_get([7, 8].iter()), [(Some(true), Hit), (None, Miss)]);
    /// ```
    pub fn multi_get<'a, I, Q>(&self, keys: I) -> Vec<(Option<T>, CacheStatus)>
    where
        I: Iterator<Item = &'a Q>,
        Q: Hash + ?Sized + 'a,
        K: Borrow<Q> + 'a,
    {
        keys.map(|key| self.get(key)).collect()
    }

    /// Returns what [`multi_get`](Self::multi_get) returns, and the keys that have no value, in their
    /// order.
    ///
    /// ```
    /// use pingora_memory_cache::{CacheStatus::*, MemoryCache};
    ///
    /// let primes: MemoryCache<u32, bool> = MemoryCache::new(10);
    /// primes.put(&7, true, None);
    /// let (found, missing) = primes.multi_get_with_miss([7, 8].iter());
    /// assert_eq!(found, [(Some(true), Hit), (None, Miss)]);
    /// assert_eq!(missing, [&8]);
    /// ```
    pub fn multi_get_with_miss<'a, I, Q>(
        &self,
        keys: I,
    ) -> (Vec<(Option<T>, CacheStatus)>, Vec<&'a Q>)
    where
        I: Iterator<Item = &'a Q>,
        Q: Hash + ?Sized + 'a,
        K: Borrow<Q> + 'a,
    {
        let mut found = Vec::with_capacity(keys.size_hint().0);
        let mut missing = Vec::new();
        for key in keys {
            let (value, status) = self.get(key);
            if value.is_none() {
                missing.push(key);
            }
            found.push((value, status));
        }
        (found, missing)
    }

    #[inline]
    pub(crate) fn hash<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.hasher.hash_one(key)
    }

    #[inline]
    pub(crate) fn fresh(&self, hash: u64) -> (Option<T>, CacheStatus) {
        match self.fresh_or_stale(hash) {
            (Some(_), CacheStatus::Stale(_)) => (None, CacheStatus::Expired),
            found => found,
        }
    }

    #[inline]
    pub(crate) fn fresh_or_stale(&self, hash: u64) -> (Option<T>, CacheStatus) {
        let Some(entry) = self.values.get(&hash) else {
            return (None, CacheStatus::Miss);
        };
        // Most have time left, and those without an end cost no look at the clock.
        let past = match entry.expires {
            NEVER => None,
            expires => clock::past(expires),
        };
        let status = past.map_or(CacheStatus::Hit, CacheStatus::Stale);
        (Some(entry.value), status)
    }

    pub(crate) fn put_hashed(&self, hash: u64, value: T, ttl: Option<Duration>) {
        if ttl == Some(Duration::ZERO) {
            self.values.remove(&hash);
            return;
        }
        let expires = ttl.map_or(NEVER, clock::after);
        let entry = Entry { value, expires };
        self.values.force_put(hash, entry, WEIGHT);
    }
}

impl<K: Hash, T: Clone> fmt::Debug for MemoryCache<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
