//! [`IdlePool`]: the pool of the connectors. No task and no allocation per connection.
//!
//! A connection is registered with the reactor of the thread that made it, so each thread looks
//! into a shard of its own first and into those of others only if it finds nothing there. The bound
//! is one counter: a unit of it is reserved before an entry is stored and returned after the entry
//! is removed, so entries never outnumber it. A shard keeps a few units of taken entries for those
//! to come, since a connection taken is mostly put back: then no line is shared between threads. A
//! put that finds no unit takes such a spare one before it evicts. Every shard publishes when its
//! oldest entry was put; eviction takes from the shard with the oldest, which is the oldest of all
//! but for races.
//!
//! Rejected: one lock (25 ns alone, but all threads share its line) and a lock-free queue per key
//! (210 ns, and empty queues stay behind).
//!
//! Read next: `shelf.rs` (one shard's order), `clock.rs` (what time costs).

use std::cell::Cell;
use std::num::NonZero;
use std::sync::atomic;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::{COARSE_LAG, Clock, nanos};
use crate::shelf::{MAX_ENTRIES, Shelf, Step};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};

/// Fewer and threads would share shards; more and a miss would look into many.
const SHARDS: std::ops::RangeInclusive<usize> = 8..=64;

/// Expired connections a `get` drops before it gives up, so that one request does not pay for
/// closing all of them. The sweep gets the rest.
const MAX_EXPIRED_PER_GET: usize = 16;

/// Attempts to evict while others take what was to be evicted, before a `put` refuses.
const MAX_EVICTIONS_PER_PUT: usize = 16;

/// Entries one `sweep` looks at: about a millisecond of peeks.
const MAX_VISITS_PER_SWEEP: usize = 1024;

/// Entries a `sweep` looks at before it lets go of a shard's lock: tens of microseconds.
const MAX_VISITS_PER_LOCK: usize = 32;

/// Units of the bound a shard keeps for puts to come: as many connections as a thread has in use at
/// once, often; with more, others would collect them one by one when the pool is full.
const MAX_SPARE: usize = 16;

/// The published age of an empty shard, and the deadline of an entry without one.
const NEVER: u64 = u64::MAX;

/// A pool of idle connections of any type, found by key, bounded over all keys, sharded by thread.
///
/// It never looks into a connection: check what [`get`](Self::get) returns, and call
/// [`sweep`](Self::sweep) from time to time to close connections nobody asks for.
///
/// ```
/// use std::time::{Duration, Instant};
/// use pingora_pool::IdlePool;
///
/// let pool = IdlePool::new(2);
/// assert_eq!(pool.put(7, "a", None), None);
/// assert_eq!(pool.put(7, "b", Some(Duration::from_secs(60))), None);
/// assert_eq!(pool.put(8, "c", None), Some("a"));
///
/// let (connection, _idled) = pool.get(7).expect("there was room for it");
/// assert_eq!(connection, "b");
/// assert_eq!(pool.sweep(Instant::now(), |_connection| false), ["c"]);
/// assert!(pool.is_empty());
/// ```
pub struct IdlePool<S> {
    capacity: usize,
    /// Entries stored and about to be stored, and spare units.
    reserved: AtomicUsize,
    shards: Box<[Shard<S>]>,
    /// The shard the next sweep starts with.
    next_swept: AtomicUsize,
    clock: Clock,
}

/// Alone on its cache lines (two: the prefetcher fetches pairs).
#[repr(align(128))]
struct Shard<S> {
    /// When the oldest entry was put, [`NEVER`] if there is none. Written under the lock; a hint
    /// to those who read it without.
    oldest: AtomicU64,
    /// Reserved units without an entry, [`MAX_SPARE`] at most. As `oldest`.
    spare: AtomicUsize,
    shelf: Mutex<Shelf<Idle<S>>>,
}

struct Idle<S> {
    connection: S,
    put_at: u64,
    deadline: u64,
}

impl<S> IdlePool<S> {
    /// Returns an empty pool that holds up to `capacity` connections, none if it is 0.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let shards = cores
            .saturating_mul(2)
            .clamp(*SHARDS.start(), *SHARDS.end());
        Self::with_shards(capacity, shards.next_power_of_two())
    }

    /// `shards` is a power of two.
    fn with_shards(capacity: usize, shards: usize) -> Self {
        debug_assert!(shards.is_power_of_two());
        IdlePool {
            capacity: capacity.min(MAX_ENTRIES),
            reserved: AtomicUsize::new(0),
            shards: (0..shards).map(|_| Shard::new()).collect(),
            next_swept: AtomicUsize::new(0),
            clock: Clock::new(),
        }
    }

    /// Adds a connection to the shard of this thread, to be used for at most `idle_timeout` from
    /// now (`None`: no limit). Returns the connection that had to make room for it, for the caller
    /// to drop: one that has idled longest, or `connection` itself if the capacity is 0 or others
    /// filled every place in the meantime.
    pub fn put(&self, key: u64, connection: S, idle_timeout: Option<Duration>) -> Option<S> {
        let put_at = self.clock.coarse();
        let deadline = match idle_timeout {
            Some(timeout) => put_at.saturating_add(nanos(timeout)),
            None => NEVER,
        };
        let idle = Idle {
            connection,
            put_at,
            deadline,
        };
        self.put_idle(home(), key, idle)
    }

    /// Removes and returns the connection of `key` that was put last by this thread, or else by
    /// another, and how long it idled (precise to 20 ms). Returns `None` if there is none.
    ///
    /// A connection past its idle timeout is never returned. A few that are met on the way are
    /// dropped, outside of locks.
    pub fn get(&self, key: u64) -> Option<(S, Duration)> {
        let now = self.clock.coarse();
        let idle = self.get_idle(home(), key, now)?;
        let idled = Duration::from_nanos(now.saturating_sub(idle.put_at));
        Some((idle.connection, idled))
    }

    /// Removes and returns connections that are past their idle timeout at `now` or for which
    /// `alive` returns false, for the caller to drop.
    ///
    /// One call looks at 1024 connections at most and the next one goes on from there, oldest first
    /// within each shard. `alive` runs under the lock of one shard: it must not block nor use this
    /// pool.
    pub fn sweep(&self, now: Instant, mut alive: impl FnMut(&mut S) -> bool) -> Vec<S> {
        let now = self.clock.at(now);
        let mut keep = |idle: &mut Idle<S>| idle.deadline > now && alive(&mut idle.connection);
        let mut visits = MAX_VISITS_PER_SWEEP;
        let mut swept = Vec::new();
        for _ in 0..self.shards.len() {
            let current = self.next_swept.load(Ordering::Relaxed);
            while self.sweep_shard(self.shard(current), &mut visits, &mut keep, &mut swept) {
                if visits == 0 {
                    return swept;
                }
            }
            self.next_swept
                .store(current.wrapping_add(1), Ordering::Relaxed);
        }
        swept
    }

    /// Returns how many connections there are. Exact if nobody uses the pool at this moment.
    pub fn len(&self) -> usize {
        let spare = self.shards.iter().map(Shard::spare).sum();
        self.reserved.load(Ordering::Relaxed).saturating_sub(spare)
    }

    /// Returns whether there is no connection. Exact if nobody uses the pool at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put_idle(&self, home: usize, key: u64, idle: Idle<S>) -> Option<S> {
        let shard = self.shard(home);
        let mut shelf = shard.shelf.lock();
        if shard.take_spare() || self.reserve() {
            shelf.push(key, idle);
            shard.publish(&shelf);
            return None;
        }
        drop(shelf);
        if self.capacity == 0 {
            return Some(idle.connection);
        }
        // The evicted one leaves its unit of the bound to the new one.
        match self.evict() {
            Eviction::Evicted(evicted) => {
                shard.push(key, idle);
                Some(evicted.connection)
            }
            Eviction::RoomAgain => {
                shard.push(key, idle);
                None
            }
            Eviction::Busy => Some(idle.connection),
        }
    }

    fn get_idle(&self, home: usize, key: u64, now: u64) -> Option<Idle<S>> {
        let mut expired = Vec::new();
        let mut found = None;
        for index in home..home.wrapping_add(self.shards.len()) {
            let shard = self.shard(index);
            if !shard.is_empty() {
                found = self.get_from(shard, key, now, &mut expired);
            }
            if found.is_some() || expired.len() >= MAX_EXPIRED_PER_GET {
                break;
            }
        }
        found
    }

    /// Pops from one shard until an entry is in time.
    fn get_from(
        &self,
        shard: &Shard<S>,
        key: u64,
        now: u64,
        expired: &mut Vec<Idle<S>>,
    ) -> Option<Idle<S>> {
        let mut shelf = shard.shelf.lock();
        let expired_before = expired.len();
        let mut found = None;
        while expired.len() < MAX_EXPIRED_PER_GET {
            let Some(idle) = shelf.pop(key) else { break };
            if self.in_time(idle.deadline, now) {
                found = Some(idle);
                break;
            }
            expired.push(idle);
        }
        let units = expired.len() - expired_before + usize::from(found.is_some());
        let kept = shard.keep_spare(units);
        shard.publish(&shelf);
        drop(shelf);
        if kept < units {
            self.reserved.fetch_sub(units - kept, Ordering::Relaxed);
        }
        found
    }

    /// Asks the exact clock only if the coarse time `now` is too close to tell.
    fn in_time(&self, deadline: u64, now: u64) -> bool {
        deadline.saturating_sub(now) > COARSE_LAG || deadline > self.clock.exact()
    }

    /// Reserves one unit of the bound. Returns false if there is none left.
    fn reserve(&self) -> bool {
        // Relaxed: the counter orders nothing but itself, entries are handed over by the locks.
        let mut reserved = self.reserved.load(Ordering::Relaxed);
        while reserved < self.capacity {
            match self.reserved.compare_exchange_weak(
                reserved,
                reserved + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(current) => reserved = current,
            }
        }
        false
    }

    /// Removes an entry that has idled longest and keeps its unit of the bound.
    #[cold]
    fn evict(&self) -> Eviction<S> {
        for _ in 0..MAX_EVICTIONS_PER_PUT {
            if self.shards.iter().any(Shard::give_spare) {
                return Eviction::RoomAgain;
            }
            let oldest = self
                .shards
                .iter()
                .min_by_key(|shard| shard.oldest.load(Ordering::Relaxed));
            if let Some(evicted) = oldest.and_then(Shard::pop_oldest) {
                return Eviction::Evicted(evicted);
            }
            if self.reserve() {
                return Eviction::RoomAgain;
            }
        }
        Eviction::Busy
    }

    /// Goes on with the walk over one shard for one hold of its lock. Returns false at its end.
    fn sweep_shard(
        &self,
        shard: &Shard<S>,
        visits: &mut usize,
        keep: &mut impl FnMut(&mut Idle<S>) -> bool,
        swept: &mut Vec<S>,
    ) -> bool {
        if shard.is_empty() {
            return false;
        }
        let mut shelf = shard.shelf.lock();
        let mut goes_on = true;
        for _ in 0..MAX_VISITS_PER_LOCK.min(*visits) {
            match shelf.walk(&mut *keep) {
                Step::Kept => {}
                Step::Removed(idle) => {
                    self.reserved.fetch_sub(1, Ordering::Relaxed);
                    swept.push(idle.connection);
                }
                Step::End => {
                    goes_on = false;
                    break;
                }
            }
            *visits -= 1;
        }
        shard.publish(&shelf);
        goes_on
    }

    fn shard(&self, index: usize) -> &Shard<S> {
        &self.shards[index & (self.shards.len() - 1)]
    }
}

/// What came of making room.
enum Eviction<S> {
    Evicted(Idle<S>),
    /// There was a unit without an entry, which is reserved for the caller now.
    RoomAgain,
    /// Others reserved all units but have not stored what they are for.
    Busy,
}

// === impl Shard ===

impl<S> Shard<S> {
    fn new() -> Self {
        Shard {
            oldest: AtomicU64::new(NEVER),
            spare: AtomicUsize::new(0),
            shelf: Mutex::new(Shelf::new()),
        }
    }

    fn push(&self, key: u64, idle: Idle<S>) {
        let mut shelf = self.shelf.lock();
        shelf.push(key, idle);
        self.publish(&shelf);
    }

    fn pop_oldest(&self) -> Option<Idle<S>> {
        let mut shelf = self.shelf.lock();
        let oldest = shelf.pop_oldest();
        self.publish(&shelf);
        oldest
    }

    /// Spare units; may be out of date.
    fn spare(&self) -> usize {
        self.spare.load(Ordering::Relaxed)
    }

    /// Called with the lock held. Keeps some of `units` and returns how many.
    fn keep_spare(&self, units: usize) -> usize {
        let spare = self.spare();
        let kept = units.min(MAX_SPARE - spare);
        self.spare.store(spare + kept, Ordering::Relaxed);
        kept
    }

    /// Called with the lock held. Returns whether there was a spare unit, which the caller has now.
    fn take_spare(&self) -> bool {
        let spare = self.spare();
        if spare > 0 {
            self.spare.store(spare - 1, Ordering::Relaxed);
        }
        spare > 0
    }

    /// As [`take_spare`](Self::take_spare), for other threads.
    fn give_spare(&self) -> bool {
        self.spare() > 0 && {
            let _shelf = self.shelf.lock();
            self.take_spare()
        }
    }

    /// May be out of date, but never for what happened before in this thread or was handed to it.
    fn is_empty(&self) -> bool {
        self.oldest.load(Ordering::Relaxed) == NEVER
    }

    /// Called with the lock held, after each change.
    fn publish(&self, shelf: &Shelf<Idle<S>>) {
        let oldest = shelf.oldest().map_or(NEVER, |idle| idle.put_at);
        self.oldest.store(oldest, Ordering::Relaxed);
    }
}

/// The number of this thread; its shard is the remainder.
#[inline]
fn home() -> usize {
    static THREADS: atomic::AtomicUsize = atomic::AtomicUsize::new(0);
    thread_local! {
        static HOME: Cell<Option<usize>> = const { Cell::new(None) };
    }
    HOME.with(|home| match home.get() {
        Some(number) => number,
        None => {
            let number = THREADS.fetch_add(1, atomic::Ordering::Relaxed);
            home.set(Some(number));
            number
        }
    })
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
