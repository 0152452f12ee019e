//! The lock of a shard: taken with one exchange, released with a plain store.
//!
//! What it guards is done with in some tens of nanoseconds, of which a lock that knows who waits would
//! be half: it has to exchange on release as well, twenty cycles on which all else waits. Here who waits
//! looks again by himself: soon for as long as a shard takes, then after others had the processor, then
//! after sleeps that grow, so that a holder the system has put aside is not kept from going on.

use std::hint;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A value and its lock.
pub(crate) type Mutex<T> = lock_api::Mutex<Lock, T>;

/// Looks in a row: some microseconds, many times as long as a shard is held.
const SPINS: u32 = 64;

/// Looks after giving up the processor, before those after sleeps.
const YIELDS: u32 = 16;

/// The first sleep and the longest.
const SLEEP: Duration = Duration::from_micros(20);
const MAX_SLEEP: Duration = Duration::from_millis(1);

pub(crate) struct Lock {
    held: AtomicBool,
}

// SAFETY: who finds `held` false and made it true in one step holds the lock, until he, and nobody else,
// makes it false: acquire and release order what is done in between.
#[allow(unsafe_code)]
unsafe impl lock_api::RawMutex for Lock {
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "as lock_api wants it"
    )]
    const INIT: Self = Self {
        held: AtomicBool::new(false),
    };

    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            self.wait();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        !self.held.swap(true, Ordering::Acquire)
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.held.store(false, Ordering::Release);
    }
}

impl Lock {
    #[cold]
    fn wait(&self) {
        let mut looks = 0;
        let mut sleep = SLEEP;
        loop {
            // A look leaves the cache line with the holder, an exchange would not.
            if !self.held.load(Ordering::Relaxed) && !self.held.swap(true, Ordering::Acquire) {
                return;
            }
            if looks < SPINS {
                hint::spin_loop();
            } else if looks < SPINS + YIELDS {
                thread::yield_now();
            } else {
                thread::sleep(sleep);
                sleep = (sleep * 2).min(MAX_SLEEP);
            }
            looks = looks.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::Mutex;

    /// More threads than processors, so that holders are put aside.
    #[test]
    fn nothing_is_lost_between_threads() {
        let (threads, rounds) = (16, if cfg!(miri) { 20 } else { 20_000 });
        let sum = Mutex::new(0_u64);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..rounds).for_each(|_| *sum.lock() += 1));
            }
        });
        assert_eq!(sum.into_inner(), threads * rounds);
    }

    #[test]
    fn is_free_again_after_a_panic() {
        let lock = Mutex::new(1);
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _held = lock.lock();
                panic!("on purpose");
            });
            assert!(thread.join().is_err());
        });
        assert_eq!(lock.try_lock().map(|value| *value), Some(1));
    }
}
