//! The clock of `IdlePool`: nanoseconds since the pool was made, cheap or exact.
//!
//! On Linux the cheap reading is the kernel's coarse monotonic clock, which lags the exact one by
//! less than a tick of the scheduler and costs a fraction of it. Elsewhere both are exact.

use std::time::{Duration, Instant};

/// More than the cheap clock can lag: a tick is 10 ms at the slowest configuration (100 Hz).
pub(crate) const COARSE_LAG: u64 = 20_000_000;

pub(crate) struct Clock {
    origin: Instant,
    /// The monotonic clock at `origin`.
    #[cfg(target_os = "linux")]
    monotonic_origin: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Clock {
            #[cfg(target_os = "linux")]
            monotonic_origin: monotonic(rustix::time::ClockId::Monotonic),
            origin: Instant::now(),
        }
    }

    /// Now, up to [`COARSE_LAG`] behind.
    #[cfg(target_os = "linux")]
    #[inline]
    pub(crate) fn coarse(&self) -> u64 {
        monotonic(rustix::time::ClockId::MonotonicCoarse).saturating_sub(self.monotonic_origin)
    }

    /// Now, up to [`COARSE_LAG`] behind.
    #[cfg(not(target_os = "linux"))]
    #[inline]
    pub(crate) fn coarse(&self) -> u64 {
        self.exact()
    }

    pub(crate) fn exact(&self) -> u64 {
        self.at(Instant::now())
    }

    /// The reading at `instant`; 0 before the pool was made.
    pub(crate) fn at(&self, instant: Instant) -> u64 {
        nanos(instant.saturating_duration_since(self.origin))
    }
}

#[cfg(all(test, not(loom)))]
impl Clock {
    /// The instant of reading 0.
    pub(crate) fn origin(&self) -> Instant {
        self.origin
    }
}

/// A duration in nanoseconds, at most `u64::MAX` (584 years).
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(target_os = "linux")]
#[inline]
fn monotonic(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_cheap_clock_lags_a_little_and_never_leads() {
        let clock = Clock::new();
        for _ in 0..1_000 {
            let before = clock.exact();
            let coarse = clock.coarse();
            assert!(coarse <= clock.exact());
            assert!(coarse + COARSE_LAG >= before);
        }
    }

    #[test]
    fn nanoseconds_saturate() {
        assert_eq!(nanos(Duration::from_micros(3)), 3_000);
        assert_eq!(nanos(Duration::MAX), u64::MAX);
    }
}
