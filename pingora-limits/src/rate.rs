//! [`Rate`]: events of a key per interval, this one and the last.
//!
//! Two counters take turns. The thread that first notices that the interval is over clears the one
//! whose turn it is and then publishes it; until then, the others go on with the old one. So nobody
//! waits, and no event is lost: at worst, one that arrives during the change still counts for the
//! interval that just ended.
//!
//! Intervals follow each other without gaps while there are events. After an idle interval the next
//! one starts with the first event.
//!
//! Time comes in as a number, from `clock.rs`; nothing below the public methods reads a clock.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::clock::{self, Clock};
use crate::counter::Counter;
use crate::sync::{AtomicU64, Ordering};

/// Shape of the sketches of [`Rate::new`].
const HASHES: usize = 4;
const SLOTS: usize = 1024;

/// Returns events per second, smoothed: the current interval's, plus the part of the last one that a
/// window of one interval still covers, as if its events had come evenly.
///
/// For [`Rate::rate_with`]. Unlike [`Rate::rate`] it knows of what has just happened.
///
/// ```
/// use pingora_limits::rate::{PROPORTIONAL_RATE_ESTIMATE_CALC_FN, Rate};
/// use std::time::Duration;
///
/// let requests = Rate::new(Duration::from_secs(10));
/// requests.observe(&"client", 30);
/// let per_second = requests.rate_with(&"client", PROPORTIONAL_RATE_ESTIMATE_CALC_FN);
/// assert_eq!(per_second, 3.0);
/// ```
pub static PROPORTIONAL_RATE_ESTIMATE_CALC_FN: fn(RateComponents) -> f64 = proportional;

fn proportional(components: RateComponents) -> f64 {
    let still_covered = 1.0 - components.current_interval_fraction;
    let events = components.curr_samples as f64 + components.prev_samples as f64 * still_covered;
    events / components.interval.as_secs_f64()
}

/// What is known of the rate of a key: the material for a function given to [`Rate::rate_with`].
///
/// ```
/// use pingora_limits::rate::{Rate, RateComponents};
/// use std::time::Duration;
///
/// let requests = Rate::new(Duration::from_secs(60));
/// requests.observe(&"client", 2);
/// let busiest = |known: RateComponents| known.prev_samples.max(known.curr_samples);
/// assert_eq!(requests.rate_with(&"client", busiest), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct RateComponents {
    /// Events in the interval before the current one.
    pub prev_samples: isize,
    /// Events in the current interval, up to now.
    pub curr_samples: isize,
    /// How long an interval is.
    pub interval: Duration,
    /// How much of the current interval has passed, from 0 to 1.
    pub current_interval_fraction: f64,
}

/// Counts events per key and interval, in fixed memory.
///
/// All methods may be called from many threads at once. See the [crate docs](crate) for the error
/// bound.
///
/// ```
/// use pingora_limits::rate::Rate;
/// use std::time::Duration;
///
/// let requests = Rate::new(Duration::from_secs(1));
/// let this_second = requests.observe(&"client", 1);
/// if this_second > 100 {
///     // refuse
/// }
/// ```
pub struct Rate {
    hasher: RandomState,
    clock: Clock,
    /// In nanoseconds, at least 1.
    interval: u64,
    turn: AtomicU64,
    counters: [Counter; 2],
}

/// Intervals for which the coarse time says well enough how much of them has passed: its lag is at
/// most a fiftieth.
const COARSE_ENOUGH: u64 = 50 * clock::COARSE_LAG;

/// One word: when the current interval ends, whose turn it is, and whether somebody is changing that.
#[derive(Clone, Copy, PartialEq)]
struct Turn {
    ends: u64,
    is_changing: bool,
    current: usize,
}

/// The last end of an interval that the word can express: 146 years.
const LAST_END: u64 = u64::MAX >> 2;

impl Rate {
    /// Returns a counter over intervals of this length, with an error bound of four rows of 1024
    /// counters.
    pub fn new(interval: Duration) -> Self {
        Self::new_with_estimator_config(interval, HASHES, SLOTS)
    }

    /// Returns a counter over intervals of this length, whose error is bounded by `hashes` rows of
    /// `slots` counters; 0 counts as 1.
    ///
    /// # Panics
    ///
    /// If there is no memory for so many counters.
    pub fn new_with_estimator_config(interval: Duration, hashes: usize, slots: usize) -> Self {
        let interval = clock::nanos(interval).clamp(1, LAST_END);
        let first = Turn {
            ends: interval,
            is_changing: false,
            current: 0,
        };
        Rate {
            hasher: RandomState::default(),
            clock: Clock::new(),
            interval,
            turn: AtomicU64::new(first.to_word()),
            counters: std::array::from_fn(|_| Counter::new(hashes, slots)),
        }
    }

    /// Counts `events` of `key`, which may be negative, and returns how many there are in the current
    /// interval with them.
    pub fn observe<T: Hash>(&self, key: &T, events: isize) -> isize {
        let hash = self.hasher.hash_one(key);
        self.counters[self.turn().current].add(hash, events)
    }

    /// Returns the events per second of `key` in the last whole interval.
    ///
    /// It says nothing of the current interval; [`rate_with`](Self::rate_with) can.
    pub fn rate<T: Hash>(&self, key: &T) -> f64 {
        let last = &self.counters[1 - self.turn().current];
        let events = last.get(self.hasher.hash_one(key));
        events as f64 / Duration::from_nanos(self.interval).as_secs_f64()
    }

    /// Returns what `rate_calc_fn` makes of what is known of `key`.
    pub fn rate_with<F, T, K>(&self, key: &K, mut rate_calc_fn: F) -> T
    where
        F: FnMut(RateComponents) -> T,
        K: Hash,
    {
        let hash = self.hasher.hash_one(key);
        rate_calc_fn(self.components_at(self.now(), hash))
    }

    /// Now, as exactly as the current interval asks for.
    fn now(&self) -> u64 {
        let coarse = self.clock.coarse();
        let is_far_from_end = coarse + clock::COARSE_LAG < self.load().ends;
        match is_far_from_end && self.interval >= COARSE_ENOUGH {
            true => coarse,
            false => self.clock.exact(),
        }
    }

    fn components_at(&self, now: u64, hash: u64) -> RateComponents {
        let turn = self.turn_at(now);
        let left = turn.ends.saturating_sub(now) as f64 / self.interval as f64;
        RateComponents {
            prev_samples: self.counters[1 - turn.current].get(hash),
            curr_samples: self.counters[turn.current].get(hash),
            interval: Duration::from_nanos(self.interval),
            current_interval_fraction: (1.0 - left).clamp(0.0, 1.0),
        }
    }

    /// Whose turn it is now. Only near the end of an interval the exact time matters.
    #[inline]
    fn turn(&self) -> Turn {
        let turn = self.load();
        if self.clock.coarse() + clock::COARSE_LAG < turn.ends {
            return turn;
        }
        self.turn_at(self.clock.exact())
    }

    fn turn_at(&self, now: u64) -> Turn {
        let turn = self.load();
        if now < turn.ends || turn.is_changing {
            return turn;
        }
        self.change(turn, now)
    }

    /// Acquire: who sees a counter's turn sees it cleared.
    #[inline]
    fn load(&self) -> Turn {
        Turn::from_word(self.turn.load(Ordering::Acquire))
    }

    /// Ends the interval of `old`, unless another thread does.
    #[cold]
    fn change(&self, old: Turn, now: u64) -> Turn {
        let mut claim = old;
        claim.is_changing = true;
        if let Err(word) = self.turn.compare_exchange(
            old.to_word(),
            claim.to_word(),
            Ordering::Acquire,
            Ordering::Acquire,
        ) {
            return Turn::from_word(word);
        }
        let was_idle = now - old.ends >= self.interval;
        let started = if was_idle { now } else { old.ends };
        let mut new = Turn {
            ends: started.saturating_add(self.interval).min(LAST_END),
            is_changing: was_idle,
            current: 1 - old.current,
        };
        self.counters[new.current].clear();
        self.turn.store(new.to_word(), Ordering::Release);
        if was_idle {
            // What the old counter holds is older than the last interval. Its turn is over first, so
            // that what arrives meanwhile is not lost.
            self.counters[old.current].clear();
            new.is_changing = false;
            self.turn.store(new.to_word(), Ordering::Release);
        }
        new
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rate")
            .field("interval", &Duration::from_nanos(self.interval))
            .finish_non_exhaustive()
    }
}

impl Turn {
    #[inline]
    fn from_word(word: u64) -> Self {
        Turn {
            ends: word >> 2,
            is_changing: word & 2 != 0,
            current: (word & 1) as usize,
        }
    }

    fn to_word(self) -> u64 {
        self.ends << 2 | u64::from(self.is_changing) << 1 | self.current as u64
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
