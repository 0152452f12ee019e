//! How long reads and writes made their caller wait, in 16 bytes each.

use std::sync::LazyLock;
use std::task::Poll;
use std::time::{Duration, Instant};

/// The sum of the times between a poll that was not ready and the next one that was.
///
/// The clock is read only around a wait, never when a poll is ready at once.
#[derive(Debug, Default)]
pub(super) struct WaitTime {
    /// When the wait began, in nanoseconds of the process clock; 0 while not waiting.
    since: u64,
    /// Nanoseconds of all ended waits.
    total: u64,
}

impl WaitTime {
    /// Takes note of the outcome of a poll.
    pub(super) fn observe<T>(&mut self, poll: &Poll<T>) {
        match (poll.is_pending(), self.since) {
            (true, 0) => self.since = now(),
            (false, since) if since != 0 => {
                self.total += now().saturating_sub(since);
                self.since = 0;
            }
            _ => {}
        }
    }

    /// Returns the sum of all ended waits.
    pub(super) fn total(&self) -> Duration {
        Duration::from_nanos(self.total)
    }
}

/// Nanoseconds since the first call in this process, never 0. They last for 584 years.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let nanos = Instant::now().saturating_duration_since(*START).as_nanos();
    u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_only_ended_waits() {
        let mut wait = WaitTime::default();
        wait.observe(&Poll::Ready(()));
        assert_eq!((wait.since, wait.total), (0, 0));
        wait.observe(&Poll::<()>::Pending);
        let began = wait.since;
        assert_ne!(began, 0);
        wait.observe(&Poll::<()>::Pending);
        assert_eq!((wait.since, wait.total), (began, 0));
        while now() <= began {}
        wait.observe(&Poll::Ready(()));
        assert_eq!(wait.since, 0);
        assert!(!wait.total().is_zero());
    }
}
