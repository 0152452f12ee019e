//! Timers of the wheel by hand. Rarely needed: see [`crate::fast_timeout`].

use std::{
    fmt,
    future::poll_fn,
    time::{Duration, Instant},
};

use crate::{driver, fast_timeout::Deadline};

/// A handle to the timers of the process. All managers share the same wheels and thread, which is
/// started with the first timer, so a manager costs nothing and dropping it ends nothing.
///
/// ```
/// use pingora_timeout::timer::TimerManager;
/// use std::time::Duration;
///
/// let timer = TimerManager::new().register_timer(Duration::from_millis(10));
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(
/// timer.poll()
/// # );
/// ```
pub struct TimerManager {
    _private: (),
}

impl TimerManager {
    /// Returns a manager.
    pub fn new() -> Self {
        Self { _private: () }
    }

    /// Returns a timer that counts from now on. It costs nothing until it is polled.
    pub fn register_timer(&self, duration: Duration) -> TimerStub {
        TimerStub(Instant::now(), duration)
    }

    /// Does what [`pause_for_fork`](crate::fast_timeout::pause_for_fork) does, for the process.
    pub fn pause_for_fork(&self) {
        driver::pause();
    }

    /// Does what [`unpause`](crate::fast_timeout::unpause) does, for the process.
    pub fn unpause(&self) {
        driver::unpause();
    }
}

impl Default for TimerManager {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TimerManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerManager").finish_non_exhaustive()
    }
}

/// A timer that runs since it was registered. Dropping it cancels it.
#[must_use = "a timer does nothing unless polled"]
pub struct TimerStub(Instant, Duration);

impl TimerStub {
    /// Returns when the timer is due; at once if it is already. Cancel-safe, as far as a timer
    /// consumed by this can be.
    pub async fn poll(self) {
        let remaining = self.1.saturating_sub(self.0.elapsed());
        let mut deadline = Deadline::new(remaining);
        poll_fn(|cx| deadline.poll_elapsed(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counts_from_registration() {
        let duration = Duration::from_millis(30);
        let (start, stub) = (
            Instant::now(),
            TimerManager::default().register_timer(duration),
        );
        crate::sleep(duration * 2).await;
        let waker = std::task::Waker::noop();
        let mut late = std::pin::pin!(stub.poll());
        let ready = late
            .as_mut()
            .poll(&mut std::task::Context::from_waker(waker));
        assert!(ready.is_ready() && start.elapsed() >= duration);

        let start = Instant::now();
        TimerManager::new().register_timer(duration).poll().await;
        assert!(start.elapsed() >= duration);
    }
}
