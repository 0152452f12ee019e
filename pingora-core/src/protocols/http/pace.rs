//! [`Pace`]: how long a client may make us wait for its request body. Pure: times come in.
//!
//! The time between two pieces is limited elsewhere; a client that sends a byte now and then keeps
//! to that for ever, and holds a connection and an upstream with it. So the waits are added up, and
//! each byte that comes pays some of them back. Time in which nobody waits for the client, because
//! the upstream takes no more, does not count.

use std::time::{Duration, Instant};

use crate::protocols::http::HttpLimits;

/// Bytes a peer must take within a write timeout, unless fewer are waiting.
///
/// Without it a byte now and then keeps a connection or a stream, and all it holds, forever.
pub(crate) const MIN_PROGRESS: usize = 4 * 1024;

/// The waits for one body.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    since: Option<Instant>,
    /// Waits that were not paid back.
    waited: Duration,
}

impl Pace {
    /// There was nothing to read: the wait goes on, or begins.
    pub(crate) fn waits(&mut self, now: impl FnOnce() -> Instant) {
        if self.since.is_none() {
            self.since = Some(now());
        }
    }

    /// Nobody expects anything for now.
    pub(crate) fn rests(&mut self) {
        self.since = None;
    }

    /// So many bytes came.
    pub(crate) fn received(
        &mut self,
        bytes: usize,
        limits: &HttpLimits,
        now: impl FnOnce() -> Instant,
    ) {
        if let Some(since) = self.since.take() {
            self.waited += now().saturating_duration_since(since);
        }
        if !self.waited.is_zero() && limits.min_body_rate > 0 {
            let paid = bytes as f64 / limits.min_body_rate as f64;
            let paid = Duration::try_from_secs_f64(paid).unwrap_or(Duration::MAX);
            self.waited = self.waited.saturating_sub(paid);
        }
    }

    /// Returns how long the next wait may be; `None`: without limit.
    pub(crate) fn left(&self, limits: &HttpLimits) -> Option<Duration> {
        (limits.min_body_rate > 0).then(|| limits.body_grace.saturating_sub(self.waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until a client that sends `bytes` every `period` seconds is given up; 0 for never.
    fn lasts(bytes: usize, period: u64, limits: &HttpLimits) -> u64 {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut at = 0;
        while at < 1_000_000 {
            let now = start + Duration::from_secs(at);
            pace.waits(|| now);
            let limit = pace.left(limits).unwrap_or(Duration::MAX);
            if limit < Duration::from_secs(period) {
                return at + limit.as_secs();
            }
            at += period;
            pace.received(bytes, limits, || start + Duration::from_secs(at));
        }
        0
    }

    #[test]
    fn slow_clients_are_given_up_and_others_are_not() {
        let limits = HttpLimits::default();
        let (rate, grace) = (limits.min_body_rate, limits.body_grace.as_secs());
        assert!((grace..=grace + 2).contains(&lasts(1, 1, &limits)));
        assert!(lasts(rate / 2, 1, &limits) <= 2 * grace + 2);
        assert_eq!(lasts(rate, 1, &limits), 0);
        assert_eq!(lasts(rate * 50, 50, &limits), 0);
        let unlimited = HttpLimits {
            min_body_rate: 0,
            ..limits
        };
        assert_eq!(lasts(1, 50, &unlimited), 0);
    }

    #[test]
    fn only_waits_count_and_none_is_paid_in_advance() {
        let limits = HttpLimits::default();
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.received(1 << 30, &limits, || start);
        assert_eq!(pace.left(&limits), Some(limits.body_grace));
        pace.waits(|| start);
        pace.waits(|| start + Duration::from_secs(9));
        pace.received(0, &limits, || start + Duration::from_secs(10));
        let left = limits.body_grace - Duration::from_secs(10);
        assert_eq!(pace.left(&limits), Some(left));
        pace.received(0, &limits, || start + Duration::from_secs(1000));
        assert_eq!(pace.left(&limits), Some(left));
        pace.waits(|| start + Duration::from_secs(1000));
        pace.rests();
        pace.received(0, &limits, || start + Duration::from_secs(2000));
        assert_eq!(pace.left(&limits), Some(left));
    }
}
