//! What is known of one backend's health: a state machine in one atomic word.
//!
//! It does no I/O. `mod.rs` feeds it verdicts, `backends.rs` reads it on every selection.
//!
//! ```text
//!            `failures` failed checks in a row
//!  Healthy ────────────────────────────────────> Unhealthy
//!          <────────────────────────────────────
//!            `successes` passed checks in a row
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The verdict of the checks, which several sets may share.
///
/// Bit 0 is set while the backend is unhealthy; the other bits count the checks in a row that contradict the state.
#[derive(Debug, Default)]
pub(crate) struct Observed(AtomicU64);

const UNHEALTHY: u64 = 1;
const ONE_CHECK: u64 = 2;

impl Observed {
    /// Takes in the result of one check and returns whether the state has flipped.
    ///
    /// A `threshold` of 0 counts as 1: one contradicting check flips.
    pub(crate) fn observe(&self, success: bool, threshold: usize) -> bool {
        // Relaxed: the word carries the whole state, no other memory is published through it.
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                Some(step(word, success, threshold))
            })
            .unwrap_or_else(|word| word);
        (before ^ step(before, success, threshold)) & UNHEALTHY != 0
    }

    pub(crate) fn healthy(&self) -> bool {
        self.0.load(Ordering::Relaxed) & UNHEALTHY == 0
    }
}

fn step(word: u64, success: bool, threshold: usize) -> u64 {
    let healthy = word & UNHEALTHY == 0;
    if healthy == success {
        return word & UNHEALTHY;
    }
    let contradicting = word / ONE_CHECK + 1;
    match contradicting >= threshold as u64 {
        true => (word & UNHEALTHY) ^ UNHEALTHY,
        false => word + ONE_CHECK,
    }
}

/// A backend's health in one set: the verdict, and whether this set may use it.
///
/// New ones are healthy and enabled, so that a set can serve before its first check has ended. Clones share the state.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    observed: Arc<Observed>,
    enabled: Arc<AtomicBool>,
}

impl Health {
    pub(crate) fn new(observed: Arc<Observed>) -> Self {
        Health {
            observed,
            enabled: Arc::new(AtomicBool::new(true)),
        }
    }

    pub(crate) fn observed(&self) -> &Observed {
        &self.observed
    }

    pub(crate) fn enable(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Returns whether the backend may be used: healthy and enabled.
    pub(crate) fn ready(&self) -> bool {
        self.observed.healthy() && self.enabled.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds checks (`+` passed, `-` failed) and compares the states after each (`H`, `u`; `!` marks a flip).
    fn check(thresholds: (usize, usize), checks: &str, states: &str) {
        let observed = Observed::default();
        let mut seen = String::new();
        for check in checks.chars() {
            let success = check == '+';
            let threshold = if success { thresholds.0 } else { thresholds.1 };
            let flipped = observed.observe(success, threshold);
            seen.push(if observed.healthy() { 'H' } else { 'u' });
            seen.push_str(if flipped { "!" } else { "" });
        }
        assert_eq!(seen, states, "{thresholds:?} {checks}");
    }

    #[test]
    fn thresholds() {
        check((1, 1), "+-+--++", "Hu!H!u!uH!H");
        check((2, 3), "---", "HHu!");
        check((2, 3), "--+---", "HHHHHu!");
        check((2, 3), "---+-++-", "HHu!uuuH!H");
        check((0, 0), "-+", "u!H!");
        check((1, usize::MAX), "-----", "HHHHH");
        check((usize::MAX, 1), "-++++", "u!uuuu");
    }

    #[test]
    fn same_as_naive_twin() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let thresholds = [random.usize(1..5), random.usize(1..5)];
            let observed = Observed::default();
            let (mut healthy, mut history) = (true, Vec::new());
            for _ in 0..100 {
                let success = random.bool();
                let threshold = thresholds[usize::from(success)];
                history.push(success);
                let in_a_row = history.iter().rev().take_while(|s| **s == success).count();
                let flips = success != healthy && in_a_row >= threshold;
                healthy ^= flips;
                assert_eq!(observed.observe(success, threshold), flips);
                assert_eq!(observed.healthy(), healthy);
            }
        }
    }

    #[test]
    fn ready_is_healthy_and_enabled() {
        let health = Health::new(Arc::default());
        let clone = health.clone();
        assert!(health.ready());
        clone.enable(false);
        assert!(!health.ready() && health.observed().healthy());
        clone.enable(true);
        clone.observed().observe(false, 1);
        assert!(!health.ready());
    }
}
