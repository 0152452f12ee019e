//! Lookups under way: who looks a key up, and how the others learn what came of it.
//!
//! ```text
//!            join ──> Leader ── land ───────> waiters have the outcome
//!              │        └────── dropped ────> waiters join again (it was cancelled or panicked)
//!              └────> Follower ── wait
//! ```
//!
//! Nothing is held while a lookup runs but an entry in a map, which the leader takes out when it ends
//! in whatever way. The map has one entry per key that is being looked up.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Locks of the map. They are held for an insertion, so a few more than cores are plenty.
const SHARDS: usize = 16;

/// What came of a lookup, for those who waited: the value, or why there is none.
pub(crate) type Outcome<T> = Result<T, String>;

pub(crate) struct Flights<T> {
    shards: [Mutex<Shard<T>>; SHARDS],
    /// The age after which nobody waits for a lookup any more.
    oldest: Option<Duration>,
}

struct Shard<T> {
    flights: HashMap<u64, Flight<T>, RandomState>,
    /// The number of the next flight: tells it from a later one of the same key.
    next: u64,
}

/// A lookup under way.
struct Flight<T> {
    number: u64,
    /// When it is too old to wait for.
    outdated: Option<Instant>,
    /// Made by the first who waits: most lookups end before anybody does.
    waiting: Option<Sender<T>>,
}

type Sender<T> = watch::Sender<Option<Outcome<T>>>;

/// The duty to look a key up.
pub(crate) struct Leader<'a, T> {
    flights: &'a Flights<T>,
    hash: u64,
    number: u64,
}

/// A place among those who wait for another's lookup.
pub(crate) struct Follower<T> {
    outdated: Option<Instant>,
    outcome: watch::Receiver<Option<Outcome<T>>>,
}

pub(crate) enum Joined<'a, T> {
    Lead(Leader<'a, T>),
    Follow(Follower<T>),
}

/// How waiting for a flight ended.
pub(crate) enum Waited<T> {
    Landed(Outcome<T>),
    /// There is nobody to wait for: cancelled, panicked, or too old.
    Lost,
    /// The time of the one who waits is up.
    TimedOut,
}

impl<T> Flights<T> {
    pub(crate) fn new(oldest: Option<Duration>) -> Self {
        let shard = || Shard {
            flights: HashMap::default(),
            next: 0,
        };
        Flights {
            shards: std::array::from_fn(|_| Mutex::new(shard())),
            oldest,
        }
    }

    /// Follows the flight of a key, or leads one if there is none that is young enough.
    pub(crate) fn join(&self, hash: u64) -> Joined<'_, T> {
        let now = self.oldest.map(|_| Instant::now());
        let mut shard = self.shard(hash).lock();
        if let Some(flight) = shard.flights.get_mut(&hash)
            && !flight.is_outdated(now)
        {
            return Joined::Follow(flight.follow());
        }
        let number = shard.next;
        shard.next += 1;
        let end = now.zip(self.oldest);
        let flight = Flight {
            number,
            outdated: end.and_then(|(now, oldest)| now.checked_add(oldest)),
            waiting: None,
        };
        // An outdated one is forgotten, and those who wait for it join again, once the lock is free.
        let outdated = shard.flights.insert(hash, flight);
        drop(shard);
        drop(outdated);
        Joined::Lead(Leader {
            flights: self,
            hash,
            number,
        })
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard<T>> {
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    #[cfg(test)]
    pub(crate) fn under_way(&self) -> usize {
        let count = |shard: &Mutex<Shard<T>>| shard.lock().flights.len();
        self.shards.iter().map(count).sum()
    }
}

impl<T> Leader<'_, T> {
    /// Ends the flight and tells those who wait. A value that is kept must be in the cache by now: who
    /// comes later finds no flight.
    pub(crate) fn land(self, outcome: impl FnOnce() -> Outcome<T>) {
        if let Some(waiting) = self.leave() {
            waiting.send_replace(Some(outcome()));
        }
        // It has left, and owns nothing.
        std::mem::forget(self);
    }

    /// Takes the flight out of the map, unless a younger one has replaced it. Returns the way to those
    /// who wait; dropping it makes them join again.
    fn leave(&self) -> Option<Sender<T>> {
        let mut shard = self.flights.shard(self.hash).lock();
        match shard.flights.entry(self.hash) {
            Entry::Occupied(flight) if flight.get().number == self.number => {
                flight.remove().waiting
            }
            _ => None,
        }
    }
}

impl<T> Drop for Leader<'_, T> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T> Flight<T> {
    fn follow(&mut self) -> Follower<T> {
        let waiting = self.waiting.get_or_insert_with(|| watch::Sender::new(None));
        Follower {
            outdated: self.outdated,
            outcome: waiting.subscribe(),
        }
    }

    fn is_outdated(&self, now: Option<Instant>) -> bool {
        now.zip(self.outdated).is_some_and(|(now, end)| now >= end)
    }
}

impl<T: Clone> Follower<T> {
    /// Waits for the outcome, until `deadline` at most.
    ///
    /// Cancel-safe: nobody counts on one who waits.
    pub(crate) async fn wait(mut self, deadline: Option<Instant>) -> Waited<T> {
        let limit = [deadline, self.outdated].into_iter().flatten().min();
        let landed = self.outcome.wait_for(Option::is_some);
        let landed = match limit {
            None => landed.await,
            Some(limit) => match timeout_at(limit, landed).await {
                Ok(landed) => landed,
                Err(_) if deadline == Some(limit) => return Waited::TimedOut,
                Err(_) => return Waited::Lost,
            },
        };
        match landed.as_deref() {
            Ok(Some(outcome)) => Waited::Landed(outcome.clone()),
            // The leader is gone without a word.
            Ok(None) | Err(_) => Waited::Lost,
        }
    }
}
