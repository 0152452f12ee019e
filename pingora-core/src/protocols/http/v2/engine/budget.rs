//! What a peer is allowed to waste: pure, times come in.
//!
//! A stream that is reset is gone from HTTP/2's count of open streams at once, but the work it has
//! caused is not. So resets are charged against a budget that fills up again with time ("rapid reset",
//! CVE-2023-44487), and so are streams we have to reset ("MadeYouReset", CVE-2025-8671) and frames
//! that change nothing (CVE-2019-9512 and its like).

use std::time::{Duration, Instant};

use super::machine::Wasted;

/// Streams a client may reset before their response ended, at once.
const RESET_BURST: u32 = 200;

/// How long it takes until one more is allowed.
const RESET_REFILL: Duration = Duration::from_millis(50);

/// Malformed requests a client may send, at once.
const MALFORMED_BURST: u32 = 32;

/// How long it takes until one more is allowed.
const MALFORMED_REFILL: Duration = Duration::from_secs(1);

/// Frames that change nothing a peer may send, at once: PINGs, SETTINGS, DATA without content, what
/// comes on streams that are no more.
const FRAME_BURST: u32 = 4000;

/// How long it takes until one more is allowed.
const FRAME_REFILL: Duration = Duration::from_millis(5);

/// The budgets of a connection.
#[derive(Debug)]
pub(super) struct Budgets {
    resets: Budget,
    malformed: Budget,
    frames: Budget,
}

impl Budgets {
    /// Returns full budgets.
    pub(super) fn new(now: Instant) -> Self {
        Budgets {
            resets: Budget::of_resets(now),
            malformed: Budget::of_malformed(now),
            frames: Budget::of_frames(now),
        }
    }

    /// Charges what was wasted.
    ///
    /// # Errors
    /// What there was too much of.
    pub(super) fn charge(&mut self, wasted: Wasted, now: Instant) -> Result<(), &'static str> {
        if !self.resets.charge(wasted.resets, now) {
            return Err("too many resets");
        }
        if !self.malformed.charge(wasted.malformed, now) {
            return Err("too many malformed requests");
        }
        if !self.frames.charge(wasted.frames, now) {
            return Err("too many frames that change nothing");
        }
        Ok(())
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
    fn of_malformed(now: Instant) -> Self {
        Self::new(MALFORMED_BURST, MALFORMED_REFILL, now)
    }

    /// Returns a full budget of frames that change nothing.
    fn of_frames(now: Instant) -> Self {
        Self::new(FRAME_BURST, FRAME_REFILL, now)
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
}
