//! The lock and the counters of this crate: parking_lot and std, or loom's when it checks
//! interleavings (`RUSTFLAGS="--cfg loom"`). Nothing else here knows which.

#[cfg(not(loom))]
pub(crate) use {
    parking_lot::Mutex,
    std::sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

#[cfg(loom)]
pub(crate) use {
    self::modelled::Mutex,
    loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

#[cfg(loom)]
mod modelled {
    //! loom's mutex with the interface of parking_lot's.

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0
                .lock()
                .expect("loom stops at the first panic, so no lock is ever poisoned")
        }
    }
}
