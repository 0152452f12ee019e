//! How long the driver may sleep, and who must wake it. Used by `driver`.
//!
//! The driver sleeps until the earliest timer it knows of. Whoever adds an earlier one must ring,
//! but only if the driver sleeps, or is about to, without having seen it:
//!
//! ```text
//! registering thread                driver
//!   store its tick                    store wake_at
//!   ---- fence ----                   ---- fence ----
//!   load wake_at: ring if later       scan ticks: stay awake if earlier
//! ```
//!
//! The fences are totally ordered, so at least one of the two sees what the other stored.

#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// Earlier than any tick: the driver is awake and will scan again before it sleeps.
const AWAKE: u64 = 0;

pub(crate) struct Alarm {
    wake_at: AtomicU64,
}

impl Alarm {
    #[cfg(not(all(test, loom)))]
    pub(crate) const fn new() -> Self {
        Self {
            wake_at: AtomicU64::new(AWAKE),
        }
    }

    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Self {
        Self {
            wake_at: AtomicU64::new(AWAKE),
        }
    }

    /// Returns whether the driver must be unparked for `tick`, which the caller has stored before
    /// where the driver's scan finds it.
    pub(crate) fn must_ring(&self, tick: u64) -> bool {
        // Partner: the fence of `may_sleep`.
        fence(Ordering::SeqCst);
        self.wake_at.load(Ordering::Relaxed) > tick
    }

    /// Announces that the driver will sleep until tick `until`. Returns whether it may: not if
    /// `scan` finds something earlier.
    pub(crate) fn may_sleep(&self, until: u64, scan: impl FnOnce() -> u64) -> bool {
        self.wake_at.store(until, Ordering::Relaxed);
        // Partner: the fence of `must_ring`.
        fence(Ordering::SeqCst);
        scan() >= until
    }

    /// Announces that the driver is awake.
    pub(crate) fn awake(&self) {
        self.wake_at.store(AWAKE, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn rings_only_sleepers_that_would_be_late() {
        let alarm = Alarm::new();
        assert!(!alarm.must_ring(1), "awake");
        assert!(alarm.may_sleep(100, || 100));
        for (tick, ring) in [(99, true), (100, false), (101, false)] {
            assert_eq!(alarm.must_ring(tick), ring);
        }
        assert!(!alarm.may_sleep(u64::MAX, || 50));
        alarm.awake();
        assert!(!alarm.must_ring(50));
    }
}

// RUSTFLAGS="--cfg loom" cargo test -p pingora-timeout --lib loom
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::{
        sync::{Arc, Mutex},
        thread,
    };

    use super::*;

    // A registering thread against a driver that wakes, scans and sleeps, twice: a tick it has not
    // seen when it sleeps for good has rung.
    #[test]
    fn loom_no_tick_is_lost() {
        loom::model(|| {
            let shared = Arc::new((Alarm::new(), AtomicU64::new(u64::MAX)));
            let registering = shared.clone();
            let registering = thread::spawn(move || {
                let (alarm, next) = &*registering;
                next.store(5, Ordering::Relaxed);
                alarm.must_ring(5)
            });
            let (alarm, next) = &*shared;
            let scan = || next.load(Ordering::Relaxed);
            let mut asleep_until = None;
            for _ in 0..2 {
                alarm.awake();
                let until = scan();
                asleep_until = alarm.may_sleep(until, scan).then_some(until);
            }
            let rung = registering.join().expect("registering does not panic");
            assert!(rung || asleep_until.is_none_or(|until| until <= 5));
        });
    }
    // Two threads of one shard, of which only the first since the driver's last turn looks whether
    // to ring, as in `driver`: no fresh timer is left behind a driver that sleeps unrung.
    #[test]
    fn loom_the_first_of_a_shard_rings_for_all() {
        const AT_ONCE: u64 = 0;
        struct Shard {
            alarm: Alarm,
            next: AtomicU64,
            fresh: Mutex<u32>,
        }
        impl Shard {
            fn start(&self) -> bool {
                let mut fresh = self.fresh.lock().expect("nobody panics");
                *fresh += 1;
                let is_first = self.next.load(Ordering::Relaxed) != AT_ONCE;
                self.next.store(AT_ONCE, Ordering::Relaxed);
                drop(fresh);
                is_first && self.alarm.must_ring(AT_ONCE)
            }
        }
        loom::model(|| {
            let shard = Arc::new(Shard {
                alarm: Alarm::new(),
                next: AtomicU64::new(u64::MAX),
                fresh: Mutex::new(0),
            });
            let threads = [(); 2].map(|()| {
                let shard = shard.clone();
                thread::spawn(move || shard.start())
            });
            let mut asleep = false;
            for _ in 0..2 {
                shard.alarm.awake();
                if shard.next.load(Ordering::Relaxed) == AT_ONCE {
                    let mut fresh = shard.fresh.lock().expect("nobody panics");
                    *fresh = 0;
                    shard.next.store(u64::MAX, Ordering::Relaxed);
                    drop(fresh);
                }
                let scan = || shard.next.load(Ordering::Relaxed);
                let until = scan();
                asleep = shard.alarm.may_sleep(until, scan) && until != AT_ONCE;
            }
            let rung = threads
                .map(|thread| thread.join().expect("starting does not panic"))
                .contains(&true);
            let fresh = *shard.fresh.lock().expect("nobody panics");
            assert!(rung || !asleep || fresh == 0);
        });
    }
}
