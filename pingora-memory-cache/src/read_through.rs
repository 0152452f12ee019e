//! [`RTCache`]: a cache that looks up what it lacks, and lets one caller per key do it.
//!
//! Who finds no value joins the lookup under way (`flights.rs`) or leads one. A lookup belongs to the
//! caller who leads it: if that caller goes away or panics, the next of those who wait leads.

use std::error::Error as StdError;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use pingora_error::{BError, Error, ErrorType::InternalError};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::flights::{Flights, Joined, Leader, Waited};
use crate::{CacheStatus, MemoryCache};

mod multi;

/// Finds values for an [`RTCache`].
///
/// A value that says "there is none" is as good as any other: make `T` an `Option` to remember that
/// too, with a time to live of its own.
#[async_trait]
pub trait Lookup<K, T, S> {
    /// Returns the value of `key` and how long it lives; without that, as long as the caller says.
    ///
    /// `extra` is what the caller passed along. The value is kept for callers with any other `extra`
    /// as well.
    async fn lookup(
        key: &K,
        extra: Option<&S>,
    ) -> Result<(T, Option<Duration>), Box<dyn StdError + Send + Sync>>
    where
        K: 'async_trait,
        S: 'async_trait;
}

/// Finds several values at once for [`RTCache::multi_get`].
#[async_trait]
pub trait MultiLookup<K, T, S> {
    /// Returns the value of each of `keys`, in their order, and how long it lives.
    async fn multi_lookup(
        keys: &[&K],
        extra: Option<&S>,
    ) -> Result<Vec<(T, Option<Duration>)>, Box<dyn StdError + Send + Sync>>
    where
        K: 'async_trait,
        S: 'async_trait;
}

/// A cache that looks up what it lacks: at any time, one lookup per key.
///
/// `K` are the keys, `T` the values, `CB` looks them up with [`Lookup`] or [`MultiLookup`], `S` is
/// what a caller may pass along to it.
///
/// * Who asks for a key that is being looked up waits and gets the same value, kept or not; if the
///   lookup fails, those who waited get an error that quotes it.
/// * A caller that goes away, or a lookup that panics, leaves the lookup to one of those who wait.
/// * No lock is held while a lookup runs.
///
/// ```
/// use async_trait::async_trait;
/// use pingora_memory_cache::{CacheStatus, Lookup, RTCache};
/// use std::{error::Error, time::Duration};
///
/// struct Length;
///
/// #[async_trait]
/// impl Lookup<String, usize, ()> for Length {
///     async fn lookup(
///         key: &String,
///         _extra: Option<&()>,
///     ) -> Result<(usize, Option<Duration>), Box<dyn Error + Send + Sync>> {
///         Ok((key.len(), None)) // a query, say
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let lengths: RTCache<String, usize, Length, ()> = RTCache::new(1000, None, None);
/// let minute = Some(Duration::from_secs(60));
/// let (length, status) = lengths.get(&"tea".into(), minute, None).await;
/// assert_eq!((length.unwrap(), status), (3, CacheStatus::Miss));
/// let (length, status) = lengths.get(&"tea".into(), minute, None).await;
/// assert_eq!((length.unwrap(), status), (3, CacheStatus::Hit));
/// # });
/// ```
pub struct RTCache<K, T, CB, S>
where
    K: Hash + Send,
    T: Clone + Send,
{
    values: MemoryCache<K, T>,
    flights: Flights<T>,
    /// How long a caller waits for the lookup of another before it does its own.
    patience: Option<Duration>,
    kinds: PhantomData<fn() -> (CB, S)>,
}

/// What a caller wants.
struct Asked<'a, K, S> {
    key: &'a K,
    hash: u64,
    ttl: Option<Duration>,
    extra: Option<&'a S>,
}

impl<K, T, CB, S> RTCache<K, T, CB, S>
where
    K: Hash + Send,
    T: Clone + Send + Sync + 'static,
{
    /// Returns an empty cache for up to `size` values.
    ///
    /// A lookup older than `lock_age` is given up by all others: the next caller starts another. Who
    /// has waited for `lock_timeout` looks the key up alone. Without them, everybody waits until the
    /// lookup ends.
    pub fn new(size: usize, lock_age: Option<Duration>, lock_timeout: Option<Duration>) -> Self {
        RTCache {
            values: MemoryCache::new(size),
            flights: Flights::new(lock_age),
            patience: lock_timeout,
            kinds: PhantomData,
        }
    }

    /// When the patience of a caller that begins to wait now ends.
    fn deadline(&self) -> Option<Instant> {
        let patience = self.patience?;
        Instant::now().checked_add(patience)
    }
}

impl<K, T, CB, S> RTCache<K, T, CB, S>
where
    K: Hash + Send,
    T: Clone + Send + Sync + 'static,
    CB: Lookup<K, T, S>,
{
    /// Returns the value of `key`, looked up if need be and then kept, and how it was found.
    ///
    /// It is kept for what the lookup says, else for `ttl`, else for ever; a time of zero means that
    /// it is not kept. The error of a lookup is the cause of the one returned; nothing is kept then.
    pub async fn get(
        &self,
        key: &K,
        ttl: Option<Duration>,
        extra: Option<&S>,
    ) -> (Result<T, Box<Error>>, CacheStatus) {
        let asked = self.asked(key, ttl, extra);
        match self.values.fresh(asked.hash) {
            (Some(value), status) => (Ok(value), status),
            (None, status) => self.read_through(asked, status).await,
        }
    }

    /// Returns the value of `key` as [`get`](Self::get) does, or without a lookup a value that is past
    /// its time to live by no more than `stale_ttl`.
    pub async fn get_stale(
        &self,
        key: &K,
        ttl: Option<Duration>,
        extra: Option<&S>,
        stale_ttl: Duration,
    ) -> (Result<T, Box<Error>>, CacheStatus) {
        let asked = self.asked(key, ttl, extra);
        match self.values.fresh_or_stale(asked.hash) {
            (Some(_), CacheStatus::Stale(age)) if age > stale_ttl => {
                self.read_through(asked, CacheStatus::Expired).await
            }
            (Some(value), status) => (Ok(value), status),
            (None, status) => self.read_through(asked, status).await,
        }
    }

    /// Gets a value that is not in the cache, by a lookup of one's own or of another.
    ///
    /// Each turn of the loop waits for another lookup, and all together as long as the patience lasts.
    async fn read_through(
        &self,
        asked: Asked<'_, K, S>,
        missed: CacheStatus,
    ) -> (Result<T, BError>, CacheStatus) {
        let mut deadline = None;
        loop {
            let follower = match self.flights.join(asked.hash) {
                Joined::Lead(leader) => return self.lead(leader, asked, missed).await,
                Joined::Follow(follower) => follower,
            };
            deadline = deadline.or_else(|| self.deadline());
            match follower.wait(deadline).await {
                Waited::Landed(Ok(value)) => return (Ok(value), CacheStatus::LockHit),
                Waited::Landed(Err(why)) => return (Err(failed_elsewhere(why)), missed),
                Waited::Lost => continue,
                Waited::TimedOut => return (self.look_up(asked).await, missed),
            }
        }
    }

    /// Looks a key up for all who wait. If this future is dropped, so is `leader`, and another leads.
    async fn lead(
        &self,
        leader: Leader<'_, T>,
        asked: Asked<'_, K, S>,
        missed: CacheStatus,
    ) -> (Result<T, BError>, CacheStatus) {
        // The last lookup may have ended between the miss and the lead.
        if let (Some(value), status) = self.values.fresh(asked.hash) {
            leader.land(|| Ok(value.clone()));
            return (Ok(value), status);
        }
        let result = self.look_up(asked).await;
        leader.land(|| result.as_ref().map(T::clone).map_err(|e| e.to_string()));
        (result, missed)
    }

    async fn look_up(&self, asked: Asked<'_, K, S>) -> Result<T, BError> {
        let found = CB::lookup(asked.key, asked.extra).await;
        let (value, own_ttl) = found.map_err(failed)?;
        let ttl = own_ttl.or(asked.ttl);
        self.values.put_hashed(asked.hash, value.clone(), ttl);
        Ok(value)
    }

    fn asked<'a>(
        &self,
        key: &'a K,
        ttl: Option<Duration>,
        extra: Option<&'a S>,
    ) -> Asked<'a, K, S> {
        Asked {
            key,
            hash: self.values.hash(key),
            ttl,
            extra,
        }
    }
}

impl<K, T, CB, S> RTCache<K, T, CB, S>
where
    K: Hash + Clone + Send + Sync,
    T: Clone + Send + Sync + 'static,
    S: Clone + Send + Sync,
    CB: Lookup<K, T, S> + Sync + Send,
{
    /// Returns the value of `key` as [`get_stale`](Self::get_stale) does; a stale value is also looked
    /// up in the background, if nobody does it already, so that a later call finds a fresh one.
    ///
    /// The cache must be a `static`, or leaked, for the task that outlives the call. A lookup that
    /// fails there is logged, and the stale value stays. Outside of a tokio runtime there is no
    /// background: the value is then looked up at once.
    pub async fn get_stale_while_update(
        &'static self,
        key: &K,
        ttl: Option<Duration>,
        extra: Option<&S>,
        stale_ttl: Duration,
    ) -> (Result<T, Box<Error>>, CacheStatus) {
        let asked = self.asked(key, ttl, extra);
        match self.values.fresh_or_stale(asked.hash) {
            (Some(value), CacheStatus::Stale(age)) if age <= stale_ttl => {
                let Ok(runtime) = Handle::try_current() else {
                    return self.read_through(asked, CacheStatus::Expired).await;
                };
                if let Joined::Lead(leader) = self.flights.join(asked.hash) {
                    runtime.spawn(self.update(leader, key.clone(), ttl, extra.cloned()));
                }
                (Ok(value), CacheStatus::Stale(age))
            }
            (Some(value), CacheStatus::Hit) => (Ok(value), CacheStatus::Hit),
            (Some(_), _) => self.read_through(asked, CacheStatus::Expired).await,
            (None, status) => self.read_through(asked, status).await,
        }
    }

    /// The task in the background.
    async fn update(
        &'static self,
        leader: Leader<'static, T>,
        key: K,
        ttl: Option<Duration>,
        extra: Option<S>,
    ) {
        let asked = self.asked(&key, ttl, extra.as_ref());
        let (result, _) = self.lead(leader, asked, CacheStatus::Expired).await;
        if let Err(e) = result {
            log::warn!("a stale value could not be updated: {e}");
        }
    }
}

impl<K, T, CB, S> fmt::Debug for RTCache<K, T, CB, S>
where
    K: Hash + Send,
    T: Clone + Send,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RTCache")
            .field("lock_timeout", &self.patience)
            .finish_non_exhaustive()
    }
}

/// The error of a lookup, for the caller who did it.
fn failed(cause: Box<dyn StdError + Send + Sync>) -> BError {
    Error::because(InternalError, "cache lookup", cause)
}

/// The error of a lookup, for a caller who waited for it.
fn failed_elsewhere(why: String) -> BError {
    Error::explain(InternalError, format!("cache lookup of another: {why}"))
}

#[cfg(test)]
mod tests;
