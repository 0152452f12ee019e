//! `RTCache::multi_get`: several keys, looked up at once.

use std::hash::Hash;
use std::time::Duration;

use pingora_error::{BError, Error, ErrorType::InternalError};

use super::{MultiLookup, RTCache, failed, failed_elsewhere};
use crate::CacheStatus;
use crate::flights::{Follower, Joined, Leader, Waited};

/// A key without a value yet.
struct Missing<'a, K> {
    place: usize,
    key: &'a K,
    hash: u64,
}

/// The missing keys by who looks them up.
struct Shared<'c, 'a, K, T> {
    /// We do, for all.
    led: Vec<(Missing<'a, K>, Leader<'c, T>)>,
    /// Others do.
    followed: Vec<(Missing<'a, K>, Follower<T>)>,
}

impl<K, T, CB, S> RTCache<K, T, CB, S>
where
    K: Hash + Send,
    T: Clone + Send + Sync + 'static,
    CB: MultiLookup<K, T, S>,
{
    /// Returns the value of each of `keys`, in their order, and how it was found. What is neither in
    /// the cache nor being looked up by others is looked up at once.
    ///
    /// Values are kept as [`get`](Self::get) keeps them. If a lookup fails, so does the whole call,
    /// but values that were found stay in the cache.
    pub async fn multi_get<'a, I>(
        &self,
        keys: I,
        ttl: Option<Duration>,
        extra: Option<&S>,
    ) -> Result<Vec<(T, CacheStatus)>, Box<Error>>
    where
        I: Iterator<Item = &'a K>,
        K: 'a,
    {
        let mut found = Vec::with_capacity(keys.size_hint().0);
        let mut missing = Vec::new();
        for (place, key) in keys.enumerate() {
            let hash = self.values.hash(key);
            let (value, status) = self.values.fresh(hash);
            if value.is_none() {
                missing.push(Missing { place, key, hash });
            }
            found.push((value, status));
        }
        if !missing.is_empty() {
            self.fill(&mut found, missing, ttl, extra).await?;
        }
        let values = found.into_iter().map(|(value, status)| {
            let value = value.expect("what was missing has been filled in");
            (value, status)
        });
        Ok(values.collect())
    }

    /// Fills in what is missing. Each turn of the loop waits for other lookups, and all together as
    /// long as the patience lasts.
    ///
    /// Our own lookup ends before we wait for others: two callers never wait for each other.
    async fn fill(
        &self,
        found: &mut [(Option<T>, CacheStatus)],
        mut missing: Vec<Missing<'_, K>>,
        ttl: Option<Duration>,
        extra: Option<&S>,
    ) -> Result<(), BError> {
        let mut deadline = None;
        while !missing.is_empty() {
            let shared = self.share(found, missing);
            self.look_up_led(found, shared.led, ttl, extra).await?;
            missing = Vec::new();
            let mut impatient = Vec::new();
            for (wanted, follower) in shared.followed {
                deadline = deadline.or_else(|| self.deadline());
                match follower.wait(deadline).await {
                    Waited::Landed(Ok(value)) => {
                        found[wanted.place] = (Some(value), CacheStatus::LockHit);
                    }
                    Waited::Landed(Err(why)) => return Err(failed_elsewhere(why)),
                    Waited::Lost => missing.push(wanted),
                    Waited::TimedOut => impatient.push(wanted),
                }
            }
            if !impatient.is_empty() {
                let values = self.look_up_all(&impatient, ttl, extra).await?;
                for (wanted, value) in impatient.iter().zip(values) {
                    found[wanted.place].0 = Some(value);
                }
            }
        }
        Ok(())
    }

    fn share<'c, 'a>(
        &'c self,
        found: &mut [(Option<T>, CacheStatus)],
        missing: Vec<Missing<'a, K>>,
    ) -> Shared<'c, 'a, K, T> {
        let mut shared = Shared {
            led: Vec::new(),
            followed: Vec::new(),
        };
        for wanted in missing {
            match self.flights.join(wanted.hash) {
                Joined::Follow(follower) => shared.followed.push((wanted, follower)),
                Joined::Lead(leader) => match self.values.fresh(wanted.hash) {
                    // The last lookup ended between the miss and the lead.
                    (Some(value), status) => {
                        leader.land(|| Ok(value.clone()));
                        found[wanted.place] = (Some(value), status);
                    }
                    (None, _) => shared.led.push((wanted, leader)),
                },
            }
        }
        shared
    }

    /// Looks up for all who wait. If this future is dropped, so are the leaders, and others lead.
    async fn look_up_led(
        &self,
        found: &mut [(Option<T>, CacheStatus)],
        led: Vec<(Missing<'_, K>, Leader<'_, T>)>,
        ttl: Option<Duration>,
        extra: Option<&S>,
    ) -> Result<(), BError> {
        if led.is_empty() {
            return Ok(());
        }
        let (wanted, leaders): (Vec<_>, Vec<_>) = led.into_iter().unzip();
        match self.look_up_all(&wanted, ttl, extra).await {
            Ok(values) => {
                for ((wanted, leader), value) in wanted.iter().zip(leaders).zip(values) {
                    leader.land(|| Ok(value.clone()));
                    found[wanted.place].0 = Some(value);
                }
                Ok(())
            }
            Err(e) => {
                for leader in leaders {
                    leader.land(|| Err(e.to_string()));
                }
                Err(e)
            }
        }
    }

    async fn look_up_all(
        &self,
        wanted: &[Missing<'_, K>],
        ttl: Option<Duration>,
        extra: Option<&S>,
    ) -> Result<Vec<T>, BError> {
        let keys: Vec<&K> = wanted.iter().map(|wanted| wanted.key).collect();
        let values = CB::multi_lookup(&keys, extra).await.map_err(failed)?;
        if values.len() != keys.len() {
            let what = format!(
                "cache lookup: {} values for {} keys",
                values.len(),
                keys.len()
            );
            return Error::e_explain(InternalError, what);
        }
        let keep = |(wanted, (value, own_ttl)): (&Missing<'_, K>, (T, Option<Duration>))| {
            self.values
                .put_hashed(wanted.hash, value.clone(), own_ttl.or(ttl));
            value
        };
        Ok(wanted.iter().zip(values).map(keep).collect())
    }
}
