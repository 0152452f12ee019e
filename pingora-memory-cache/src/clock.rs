//! The monotonic clock, in nanoseconds since a moment in the past: cheap or exact.
//!
//! On Linux the cheap reading is the kernel's coarse clock, which lags the exact one by less than a
//! tick of the scheduler and costs a third of it. Elsewhere both are exact. The tests of this crate
//! have tokio's clock, which they can stop.

use std::time::Duration;

/// More than the cheap clock can lag: a tick is 10 ms at the slowest configuration (100 Hz).
const COARSE_LAG: u64 = 20_000_000;

/// Whether `moment` is past, and for how long.
#[inline]
pub(crate) fn past(moment: u64) -> Option<Duration> {
    if imp::coarse().saturating_add(COARSE_LAG) < moment {
        return None;
    }
    imp::exact().checked_sub(moment).map(Duration::from_nanos)
}

/// The moment after `duration`; one that never comes if that is beyond the clock's range.
pub(crate) fn after(duration: Duration) -> u64 {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    imp::exact().saturating_add(nanos)
}

#[cfg(all(target_os = "linux", not(test)))]
mod imp {
    use rustix::time::{ClockId, clock_gettime};

    #[inline]
    pub(super) fn coarse() -> u64 {
        read(ClockId::MonotonicCoarse)
    }

    pub(super) fn exact() -> u64 {
        read(ClockId::Monotonic)
    }

    #[inline]
    fn read(clock: ClockId) -> u64 {
        let time = clock_gettime(clock);
        (time.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(time.tv_nsec as u64)
    }
}

#[cfg(any(not(target_os = "linux"), test))]
mod imp {
    use std::sync::LazyLock;

    use tokio::time::Instant;

    /// What the origin reads: a clock that was stopped before it may be behind it.
    const ORIGIN: u64 = 1 << 60;

    pub(super) use exact as coarse;

    pub(super) fn exact() -> u64 {
        static ORIGIN_INSTANT: LazyLock<Instant> = LazyLock::new(Instant::now);
        let (origin, now) = (*ORIGIN_INSTANT, Instant::now());
        let since = now.saturating_duration_since(origin).as_nanos() as u64;
        let before = origin.saturating_duration_since(now).as_nanos() as u64;
        ORIGIN + since - before
    }
}
