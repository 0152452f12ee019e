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

/// How far apart the two origins may be read, in nanoseconds: the lag grows by it.
#[cfg(target_os = "linux")]
const ORIGINS_APART: u64 = 1_000_000;

/// Times the origins are read at most. A thread is not interrupted between them that often.
#[cfg(target_os = "linux")]
const MAX_READINGS: usize = 16;

impl Clock {
    /// Returns a clock that reads 0.
    ///
    /// The two origins are read one after the other. A thread interrupted in between would have a
    /// cheap clock that leads or lags by as long as that, so it reads them again; the second comes
    /// later, so that the cheap clock lags.
    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> Self {
        let exact = || monotonic(rustix::time::ClockId::Monotonic);
        let mut readings = 0;
        loop {
            let (before, origin, monotonic_origin) = (exact(), Instant::now(), exact());
            readings += 1;
            if monotonic_origin - before <= ORIGINS_APART || readings == MAX_READINGS {
                return Clock {
                    origin,
                    monotonic_origin,
                };
            }
        }
    }

    /// Returns a clock that reads 0.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> Self {
        Clock {
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

    /// Threads that interrupt each other, many of them between the readings of the origins.
    #[test]
    fn the_cheap_clock_of_an_interrupted_thread_does_not_lead() {
        let make_clocks = || {
            for _ in 0..20_000 {
                let clock = Clock::new();
                let (coarse, exact) = (clock.coarse(), clock.exact());
                assert!(coarse <= exact, "{coarse} > {exact}");
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(make_clocks);
            }
        });
    }

    #[test]
    fn nanoseconds_saturate() {
        assert_eq!(nanos(Duration::from_micros(3)), 3_000);
        assert_eq!(nanos(Duration::MAX), u64::MAX);
    }
}
