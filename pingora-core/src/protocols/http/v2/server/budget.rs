//! What a connection of a client is allowed to waste.
//!
//! A stream that is reset is gone from HTTP/2's count of open streams at once, but the work it has
//! caused is not. So sessions are counted until they are dropped, and resets against a budget that
//! fills up again with time ("rapid reset", CVE-2023-44487).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use h2::{Reason, SendStream};
use parking_lot::Mutex;

/// Streams a client may reset before their response ended, at once.
const RESET_BURST: u32 = 200;

/// How long it takes until one more is allowed.
const RESET_REFILL: Duration = Duration::from_millis(50);

/// Malformed requests a client may send, at once.
const MALFORMED_BURST: u32 = 32;

/// How long it takes until one more is allowed.
const MALFORMED_REFILL: Duration = Duration::from_secs(1);

/// What the sessions of a connection report to its accept loop.
pub(crate) struct Counters {
    /// Sessions that were not dropped yet.
    live: AtomicUsize,
    /// Sessions that may be alive at once.
    at_most: usize,
    /// Resets not charged yet.
    resets: AtomicU32,
    /// Streams whose response broke off, with what to say.
    broken: Mutex<Vec<(SendStream<Bytes>, Reason)>>,
    /// The accept loop.
    waker: AtomicWaker,
}

impl Counters {
    /// Returns counters of a connection that accepts while fewer than `at_most` sessions are alive.
    pub(crate) fn new(at_most: usize) -> Self {
        Counters {
            live: AtomicUsize::new(0),
            at_most,
            resets: AtomicU32::new(0),
            broken: Mutex::default(),
            waker: AtomicWaker::new(),
        }
    }

    /// Returns whether no more sessions are to be accepted for now.
    pub(crate) fn is_full(&self) -> bool {
        self.live() >= self.at_most
    }

    /// Returns a guard to put into a new session.
    pub(crate) fn guard(self: &Arc<Self>) -> StreamGuard {
        // Relaxed: only the accept loop adds, and it is the one that reads.
        self.live.fetch_add(1, Ordering::Relaxed);
        StreamGuard(Arc::clone(self))
    }

    /// Returns the number of sessions alive.
    pub(crate) fn live(&self) -> usize {
        // Acquire: pairs with the Release of the guard's drop.
        self.live.load(Ordering::Acquire)
    }

    /// Takes the number of resets since it was asked last.
    pub(crate) fn take_resets(&self) -> u32 {
        self.resets.swap(0, Ordering::Relaxed)
    }

    /// Takes the streams whose response broke off since it was asked last.
    ///
    /// A reset drops what of the stream is not on the wire yet. So poll the connection, which sends
    /// that, between this and the reset.
    pub(crate) fn take_broken(&self) -> Vec<(SendStream<Bytes>, Reason)> {
        std::mem::take(&mut *self.broken.lock())
    }

    /// Has the task woken when there is room for a session again, and when the last one has ended.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }
}

/// Counts a session as long as it lives.
pub(crate) struct StreamGuard(Arc<Counters>);

impl StreamGuard {
    /// The client has reset the stream.
    pub(crate) fn was_reset(&self) {
        self.0.resets.fetch_add(1, Ordering::Relaxed);
    }

    /// Leaves it to the accept loop to reset the stream, behind what was sent on it.
    pub(crate) fn reset_behind(&self, stream: SendStream<Bytes>, reason: Reason) {
        self.0.broken.lock().push((stream, reason));
        self.0.waker.wake();
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        // Release: what the session did is done for whoever sees the lower number.
        let before = self.0.live.fetch_sub(1, Ordering::Release);
        if before == 1 || before >= self.0.at_most || self.0.resets.load(Ordering::Relaxed) > 0 {
            self.0.waker.wake();
        }
    }
}

/// A budget that fills up with time: pure, times come in.
#[derive(Debug)]
pub(crate) struct Budget {
    burst: u32,
    /// How long one more takes.
    refill: Duration,
    left: u32,
    filled_at: Instant,
}

impl Budget {
    /// Returns a full budget of resets.
    pub(crate) fn of_resets(now: Instant) -> Self {
        Self::new(RESET_BURST, RESET_REFILL, now)
    }

    /// Returns a full budget of malformed requests.
    pub(crate) fn of_malformed(now: Instant) -> Self {
        Self::new(MALFORMED_BURST, MALFORMED_REFILL, now)
    }

    fn new(burst: u32, refill: Duration, now: Instant) -> Self {
        Budget {
            burst,
            refill,
            left: burst,
            filled_at: now,
        }
    }

    /// Charges `count`; returns whether they were allowed.
    pub(crate) fn charge(&mut self, count: u32, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled_at);
        let refill = since.as_millis() / self.refill.as_millis();
        if refill > 0 {
            let refill = u32::try_from(refill).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(refill).min(self.burst);
            self.filled_at = now;
        }
        match self.left.checked_sub(count) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_allowed_up_to_a_burst_and_again_with_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut budget = Budget::of_resets(start);
        assert!(budget.charge(RESET_BURST, start));
        assert!(!budget.charge(1, at(49)));
        assert!(budget.charge(1, at(50)));
        assert!(!budget.charge(1, at(60)));
        assert!(budget.charge(2, at(150)));
        assert!(!budget.charge(RESET_BURST + 1, at(1_000_000)));
        assert!(budget.charge(RESET_BURST, at(1_000_000)));
    }

    #[test]
    fn malformed_requests_are_allowed_again_with_time() {
        let start = Instant::now();
        let mut budget = Budget::of_malformed(start);
        for _ in 0..MALFORMED_BURST {
            assert!(budget.charge(1, start));
        }
        assert!(!budget.charge(1, start));
        assert!(budget.charge(1, start + MALFORMED_REFILL));
    }

    #[test]
    fn sessions_are_counted_until_they_are_dropped() {
        let counters = Arc::new(Counters::new(2));
        let (a, b) = (counters.guard(), counters.guard());
        a.was_reset();
        assert_eq!((counters.live(), counters.take_resets()), (2, 1));
        drop((a, b));
        assert_eq!((counters.live(), counters.take_resets()), (0, 0));
    }
}
