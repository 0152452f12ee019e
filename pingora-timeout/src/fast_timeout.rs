//! Timeouts and sleeps of the timer wheel. [`fast_timeout`] is what to use everywhere;
//! [`Deadline`] is for state machines that poll. How they wait is in `deadline` and `driver`.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{Delay, Timeout, ToTimeout, boxed, deadline::Source, driver};

pub use crate::deadline::Deadline;

/// What [`fast_timeout`] leaves to tokio by default: what is longer than 15 minutes.
pub const DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD: Duration = Duration::from_secs(900);

/// In nanoseconds; `NO_THRESHOLD` if there is none.
static THRESHOLD: AtomicU64 =
    AtomicU64::new(DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD.as_nanos() as u64);
const NO_THRESHOLD: u64 = u64::MAX;

/// Makes timers of the wheel.
///
/// ```
/// use pingora_timeout::{ToTimeout, fast_timeout::FastTimeout};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// FastTimeout::create(std::time::Duration::from_millis(10)).timeout().await;
/// # });
/// ```
pub struct FastTimeout(Duration);

impl ToTimeout for FastTimeout {
    fn timeout(&self) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        boxed(self.0, Source::Wheel)
    }

    fn create(d: Duration) -> Self {
        Self(d)
    }

    fn delay(&self) -> Delay {
        Delay::ours(self.0, Source::Wheel)
    }
}

/// Makes timers of the wheel, or of tokio if they are longer than
/// [`fast_timeout_to_tokio_threshold`] and there is a tokio runtime.
///
/// ```
/// use pingora_timeout::{ToTimeout, fast_timeout::FastOrTokioTimeout};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// FastOrTokioTimeout::create(std::time::Duration::from_millis(10)).timeout().await;
/// # });
/// ```
pub struct FastOrTokioTimeout {
    duration: Duration,
}

impl ToTimeout for FastOrTokioTimeout {
    fn timeout(&self) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        boxed(self.duration, Source::ByThreshold)
    }

    fn create(duration: Duration) -> Self {
        Self { duration }
    }

    fn delay(&self) -> Delay {
        Delay::ours(self.duration, Source::ByThreshold)
    }
}

/// Returns `future` limited to `duration`, by a timer of the wheel or, if that is longer than
/// [`fast_timeout_to_tokio_threshold`], of tokio. Also exported as [`crate::timeout`].
pub fn fast_timeout<T>(duration: Duration, future: T) -> Timeout<T, FastOrTokioTimeout>
where
    T: Future,
{
    Timeout::new(duration, future)
}

/// Returns after `duration`, which counts from the first poll. Also exported as
/// [`crate::sleep`]. Cancel-safe.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// pingora_timeout::sleep(std::time::Duration::from_millis(10)).await;
/// # });
/// ```
pub async fn fast_sleep(duration: Duration) {
    let mut deadline = Deadline::with_source(duration, Source::ByThreshold);
    poll_fn(|cx| deadline.poll_elapsed(cx)).await;
}

/// Returns the duration beyond which [`fast_timeout`] and [`fast_sleep`] use timers of tokio;
/// `None` if they never do. By default [`DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD`].
pub fn fast_timeout_to_tokio_threshold() -> Option<Duration> {
    match threshold_nanos() {
        NO_THRESHOLD => None,
        nanos => Some(Duration::from_nanos(nanos)),
    }
}

/// Returns the threshold in nanoseconds, which nothing exceeds if there is none.
#[inline]
pub(crate) fn threshold_nanos() -> u64 {
    THRESHOLD.load(Ordering::Relaxed)
}

/// Sets the duration beyond which [`fast_timeout`] and [`fast_sleep`] use timers of tokio, for
/// timers not waiting yet; `None`, or more than 584 years, means never.
pub fn set_fast_timeout_to_tokio_threshold(threshold: Option<Duration>) {
    let nanos = threshold.map(|t| u64::try_from(t.as_nanos()).unwrap_or(NO_THRESHOLD));
    THRESHOLD.store(nanos.unwrap_or(NO_THRESHOLD), Ordering::Relaxed);
}

/// Stops the thread that drives the timers and waits for its end, because a thread does not
/// survive a fork and must not hold a lock during one. Call it before forking, and [`unpause`]
/// after it in each process that goes on.
///
/// In between, new timers are tokio's, or if there is no runtime wait for [`unpause`], as those
/// do that were started before.
///
/// ```
/// use pingora_timeout::fast_timeout::{pause_for_fork, unpause};
///
/// pause_for_fork();
/// // fork, leave the parent
/// unpause();
/// ```
pub fn pause_for_fork() {
    driver::pause();
}

/// Starts the thread that drives the timers again after [`pause_for_fork`]; nothing if they are
/// not paused. Timers that were due meanwhile fire at once.
pub fn unpause() {
    driver::unpause();
}
