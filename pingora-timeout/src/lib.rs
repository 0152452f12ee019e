#![doc = include_str!("../README.md")]
//!
//! # Costs
//!
//! A proxy sets a timeout on nearly everything it awaits and nearly none of them elapses. So a
//! [`Timeout`] polls its future first and makes a timer only when that has to wait: around a future
//! that is ready it costs a nanosecond or two.
//!
//! Making, restarting and dropping a timer take constant time: an entry of 48 bytes in a wheel of
//! the current thread, which a drop frees at once, and the waker with it. A wheel keeps the places of
//! up to 1024 entries for the next ones. One thread drives the wheels of all; it turns every 5 ms
//! while timers are made, else it sleeps until the earliest is due.
//!
//! Reading order: this file (`Timeout`), [`fast_timeout`] (timers of the wheel), [`timer`] (by
//! hand), `deadline` (what they are made of), `driver` (shards, clock and thread), `alarm` (when
//! that thread sleeps), `wheel` (the data structure).

#![forbid(unsafe_code)]

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use deadline::{Deadline, Source};

pub mod fast_timeout;

pub mod timer;

mod deadline;

mod driver;

mod alarm;

mod wheel;

pub use fast_timeout::{fast_sleep as sleep, fast_timeout as timeout};

/// Makes the timer of a [`Timeout`].
///
/// ```
/// use std::{future::Future, pin::Pin, time::Duration};
/// use pingora_timeout::{Timeout, ToTimeout};
///
/// /// Elapses at once.
/// struct Impatient;
///
/// impl ToTimeout for Impatient {
///     fn timeout(&self) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
///         Box::pin(std::future::ready(()))
///     }
///     fn create(_: Duration) -> Self {
///         Impatient
///     }
/// }
/// # let _: Option<Timeout<std::future::Pending<()>, Impatient>> = None;
/// ```
pub trait ToTimeout {
    /// Returns the future that ends the timeout. Called when the timed future first has to wait.
    fn timeout(&self) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

    /// Returns a maker of timers of duration `d`.
    fn create(d: Duration) -> Self;

    /// Returns what `timeout` does without a box, for the types of this crate.
    #[doc(hidden)]
    fn delay(&self) -> Delay {
        Delay(Timer::Other(self.timeout()))
    }
}

/// The timer of a [`Timeout`].
#[doc(hidden)]
pub struct Delay(Timer);

enum Timer {
    Ours(Deadline),
    Other(Pin<Box<dyn Future<Output = ()> + Send + Sync>>),
}

impl Delay {
    fn ours(duration: Duration, source: Source) -> Self {
        Self(Timer::Ours(Deadline::with_source(duration, source)))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Timer::Ours(deadline) => deadline.poll_elapsed(cx),
            Timer::Other(future) => future.as_mut().poll(cx),
        }
    }
}

// The boxed form of `Delay::ours`.
fn boxed(duration: Duration, source: Source) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
    let mut deadline = Deadline::with_source(duration, source);
    Box::pin(poll_fn(move |cx| deadline.poll_elapsed(cx)))
}

/// The error of a [`Timeout`]: the time is over and the future is not.
#[derive(Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timeout Elapsed")
    }
}

impl Error for Elapsed {}

/// Makes timers of tokio: 1 ms precise, paused with tokio's clock, and dearer. Panics outside a
/// tokio runtime with timers.
///
/// ```
/// use pingora_timeout::{TokioTimeout, ToTimeout};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// TokioTimeout::create(std::time::Duration::from_millis(1)).timeout().await;
/// # });
/// ```
pub struct TokioTimeout(Duration);

impl ToTimeout for TokioTimeout {
    fn timeout(&self) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        boxed(self.0, Source::Tokio)
    }

    fn create(d: Duration) -> Self {
        Self(d)
    }

    fn delay(&self) -> Delay {
        Delay::ours(self.0, Source::Tokio)
    }
}

/// Returns `future` limited to `duration` by a timer of tokio, see [`TokioTimeout`].
pub fn tokio_timeout<T>(duration: Duration, future: T) -> Timeout<T, TokioTimeout>
where
    T: Future,
{
    Timeout::new(duration, future)
}

pin_project! {
    /// A future limited in time: its output, or [`Elapsed`].
    ///
    /// The time counts from the first poll at which the future has to wait. The future is polled
    /// before the timer, so one that is ready is never too late. Dropping a `Timeout` cancels
    /// both.
    ///
    /// ```
    /// use pingora_timeout::{Timeout, fast_timeout::FastTimeout, fast_timeout::fast_timeout};
    ///
    /// let read = fast_timeout(std::time::Duration::from_secs(60), async { "data" });
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// assert_eq!(read.await.unwrap(), "data");
    /// # });
    /// ```
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct Timeout<T, F> {
        #[pin]
        value: T,
        to_timeout: F,
        delay: Option<Delay>,
    }
}

impl<T, F: ToTimeout> Timeout<T, F> {
    #[inline]
    fn new(duration: Duration, value: T) -> Self {
        Self {
            value,
            to_timeout: F::create(duration),
            delay: None,
        }
    }
}

impl<T, F> Future for Timeout<T, F>
where
    T: Future,
    F: ToTimeout,
{
    type Output = Result<T::Output, Elapsed>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.value.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let delay = this.delay.get_or_insert_with(|| this.to_timeout.delay());
        ready!(delay.poll(cx));
        Poll::Ready(Err(Elapsed))
    }
}

#[cfg(test)]
mod tests;
