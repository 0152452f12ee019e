//! [`Deadline`]: a timer that is polled, not awaited, and arms itself when it has to wait. All
//! other timers of this crate are made of it; it is made of registrations in `driver`.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{runtime::Handle, time::Sleep};

use crate::driver::{self, Registration};

/// A timer to embed in a connection or a future.
///
/// It counts from the first poll after [`Deadline::new`] or [`Deadline::reset`] on; until then it
/// costs nothing. It never elapses early, and at most 10 ms late while the machine keeps up. It
/// works on any async runtime, and without one; see
/// [`pause_for_fork`](super::fast_timeout::pause_for_fork) for the exception. Dropping it cancels
/// it and frees what it occupied at once.
///
/// ```
/// use std::{future::poll_fn, task::Poll, time::Duration};
/// use pingora_timeout::fast_timeout::Deadline;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut deadline = Deadline::new(Duration::from_millis(20));
/// poll_fn(|cx| {
///     // ... poll what should finish in time first, then:
///     deadline.poll_elapsed(cx)
/// })
/// .await;
/// deadline.reset(Duration::from_secs(60)); // counts again when it is polled again
/// # });
/// ```
#[must_use = "a deadline elapses only when polled"]
pub struct Deadline {
    /// What it takes.
    nanos: u64,
    timer: Timer,
    source: Source,
}

enum Timer {
    Unarmed,
    /// In the wheel. After a reset it is out of date until the next poll.
    Wheel {
        registration: Registration,
        is_current: bool,
    },
    /// Boxed, so that a deadline can move.
    Tokio(Pin<Box<Sleep>>),
    Elapsed,
}

/// Where the timer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The wheel, while it runs.
    Wheel,
    /// The wheel, or tokio for what is longer than its threshold.
    ByThreshold,
    /// Always tokio. Panics outside a tokio runtime with timers.
    Tokio,
}

impl Deadline {
    /// Returns a deadline that elapses `duration` after it is first polled; at once if that is
    /// zero, and never if it is longer than the machine will run.
    #[inline]
    pub const fn new(duration: Duration) -> Self {
        Self::with_source(duration, Source::Wheel)
    }

    #[inline]
    pub(crate) const fn with_source(duration: Duration, source: Source) -> Self {
        Self {
            nanos: nanos(duration),
            timer: Timer::Unarmed,
            source,
        }
    }

    /// Starts anew: elapses `duration` after the next poll. Cheap, and nothing else happens until
    /// then, but that the task may be woken once for the old time.
    #[inline]
    pub fn reset(&mut self, duration: Duration) {
        self.nanos = nanos(duration);
        match &mut self.timer {
            Timer::Wheel { is_current, .. } => *is_current = false,
            timer => *timer = Timer::Unarmed,
        }
    }

    /// Returns ready when the deadline has elapsed, and from then on until it is reset. Otherwise
    /// the task of `cx`, and only the last one that polled, will be woken then. Polling again from
    /// the same task takes no lock.
    #[inline]
    pub fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Timer::Wheel {
            registration,
            is_current: true,
        } = &mut self.timer
            && !registration.poll_fired(cx.waker())
        {
            return Poll::Pending;
        }
        self.poll_slow(cx)
    }

    // Arms it, arms it again after a reset, or finds out that it has elapsed.
    #[inline(never)]
    fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Timer::Unarmed => return self.arm(cx),
            Timer::Wheel {
                registration,
                is_current,
            } if !*is_current => {
                if self.nanos == 0 || !registration.restart(self.nanos, cx.waker()) {
                    return self.arm(cx);
                }
                *is_current = true;
                return Poll::Pending;
            }
            Timer::Tokio(sleep) => ready!(sleep.as_mut().poll(cx)),
            // It has fired.
            Timer::Wheel { .. } | Timer::Elapsed => {}
        }
        self.timer = Timer::Elapsed;
        Poll::Ready(())
    }

    fn arm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.nanos == 0 {
            self.timer = Timer::Elapsed;
            return Poll::Ready(());
        }
        if self.source.is_tokio_for(self.nanos) {
            return self.arm_tokio(cx);
        }
        self.timer = Timer::Wheel {
            registration: Registration::new(self.nanos, cx.waker()),
            is_current: true,
        };
        Poll::Pending
    }

    #[cold]
    fn arm_tokio(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = tokio::time::sleep(Duration::from_nanos(self.nanos));
        self.timer = Timer::Tokio(Box::pin(sleep));
        self.poll_slow(cx)
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.timer {
            Timer::Unarmed => "unarmed",
            Timer::Wheel { .. } | Timer::Tokio(_) => "armed",
            Timer::Elapsed => "elapsed",
        };
        f.debug_struct("Deadline")
            .field("duration", &Duration::from_nanos(self.nanos))
            .field("state", &state)
            .finish()
    }
}

impl Source {
    // Without a tokio runtime the wheel is used in any case: paused, it fires when it is unpaused.
    #[inline]
    fn is_tokio_for(self, nanos: u64) -> bool {
        let is_wheel = match self {
            Self::Tokio => return true,
            Self::Wheel => true,
            Self::ByThreshold => nanos <= crate::fast_timeout::threshold_nanos(),
        };
        !(is_wheel && driver::is_running()) && Handle::try_current().is_ok()
    }
}

/// Returns the nanoseconds of a duration, 584 years at most.
#[inline]
pub(crate) const fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(duration.subsec_nanos() as u64)
}

#[cfg(test)]
mod tests;
