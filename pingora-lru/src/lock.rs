//! The lock of a shard: many may read, one may write, and who wrote releases it with a plain store.
//!
//! An uncontended promotion takes hardly longer than two exchanges, and a lock that knows who waits has
//! to make the second on release. Here who waits looks again by himself: soon for as long as a shard
//! takes, then after others had the processor, then after sleeps that grow, so that a holder the system
//! has put aside is not kept from going on. As long as a writer waits, no further reader comes in.

use std::hint;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// A value and its lock, and what gives access to it.
pub(crate) type RwLock<T> = lock_api::RwLock<Lock, T>;
pub(crate) type ReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, Lock, T>;
pub(crate) type WriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, Lock, T>;

/// Looks in a row: some microseconds, many times as long as a shard is held.
const SPINS: u32 = 64;

/// Looks after giving up the processor, before those after sleeps.
const YIELDS: u32 = 16;

/// The first sleep and the longest.
const SLEEP: Duration = Duration::from_micros(20);
const MAX_SLEEP: Duration = Duration::from_millis(1);

/// What `holders` is while somebody writes; else it is the number of readers.
const WRITER: u32 = u32::MAX;

pub(crate) struct Lock {
    holders: AtomicU32,
    /// A hint: somebody waits to write.
    is_wanted: AtomicBool,
}

// SAFETY: `holders` becomes `WRITER` only from 0, and one more only from a number that is not `WRITER`,
// each in one step. While it is `WRITER` nobody but the writer changes it, so that a store suffices to
// make it 0. Acquire and release order what is done in between.
#[allow(unsafe_code)]
unsafe impl lock_api::RawRwLock for Lock {
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "as lock_api wants it"
    )]
    const INIT: Self = Self {
        holders: AtomicU32::new(0),
        is_wanted: AtomicBool::new(false),
    };

    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock_shared(&self) {
        if !self.try_lock_shared() {
            wait(|| self.try_lock_shared());
        }
    }

    #[inline]
    fn try_lock_shared(&self) -> bool {
        let readers = self.holders.load(Ordering::Relaxed);
        readers < WRITER - 1
            && !self.is_wanted.load(Ordering::Relaxed)
            && self.exchange(readers, readers + 1)
    }

    #[inline]
    unsafe fn unlock_shared(&self) {
        self.holders.fetch_sub(1, Ordering::Release);
    }

    #[inline]
    fn lock_exclusive(&self) {
        if !self.try_lock_exclusive() {
            self.wait_for_readers();
        }
    }

    #[inline]
    fn try_lock_exclusive(&self) -> bool {
        self.exchange(0, WRITER)
    }

    #[inline]
    unsafe fn unlock_exclusive(&self) {
        self.holders.store(0, Ordering::Release);
    }
}

impl Lock {
    #[inline]
    fn exchange(&self, from: u32, to: u32) -> bool {
        self.holders
            .compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn wait_for_readers(&self) {
        wait(|| {
            self.is_wanted.store(true, Ordering::Relaxed);
            // A look leaves the cache line with the holder, an exchange would not.
            self.holders.load(Ordering::Relaxed) == 0 && self.exchange(0, WRITER)
        });
        // Others who wait say so again with their next look.
        self.is_wanted.store(false, Ordering::Relaxed);
    }
}

/// Returns after `is_done` said so.
#[cold]
fn wait(is_done: impl Fn() -> bool) {
    let mut looks = 0;
    let mut sleep = SLEEP;
    while !is_done() {
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

#[cfg(test)]
mod tests {
    use std::thread;

    use super::RwLock;

    /// More threads than processors, so that holders are put aside. What two fields say differs only
    /// while somebody writes.
    #[test]
    fn nobody_reads_while_another_writes() {
        let (threads, rounds) = (16, if cfg!(miri) { 20 } else { 5_000 });
        let pair = RwLock::new((0_u64, 0_u64));
        thread::scope(|scope| {
            for thread in 0..threads {
                let pair = &pair;
                scope.spawn(move || {
                    for round in 0..rounds {
                        if (thread + round) % 4 > 0 {
                            let seen = pair.read();
                            assert_eq!(seen.0, seen.1);
                        } else {
                            let mut pair = pair.write();
                            pair.0 += 1;
                            pair.1 += 1;
                        }
                    }
                });
            }
        });
        assert_eq!(pair.into_inner().0, threads * rounds / 4);
    }

    #[test]
    fn readers_share_and_writers_do_not() {
        let lock = RwLock::new(1);
        let (one, other) = (lock.read(), lock.try_read());
        assert!(other.is_some() && lock.try_write().is_none());
        drop((one, other));
        let written = lock.write();
        assert!(lock.try_read().is_none() && lock.try_write().is_none());
        drop(written);
        assert!(lock.try_write().is_some());
    }
}
