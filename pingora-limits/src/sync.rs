//! The atomics of this crate: std's, or loom's when it checks interleavings
//! (`RUSTFLAGS="--cfg loom"`). Nothing else here knows which.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicIsize, AtomicU64, Ordering};

#[cfg(not(loom))]
pub(crate) fn clear_word(word: &AtomicU64) {
    word.store(0, Ordering::Relaxed);
}

#[cfg(not(loom))]
pub(crate) fn clear_count(count: &AtomicIsize) {
    count.store(0, Ordering::Relaxed);
}

/// A swap: the model orders plain stores among exchanges less than the language does.
#[cfg(loom)]
pub(crate) fn clear_word(word: &AtomicU64) {
    word.swap(0, Ordering::Relaxed);
}

#[cfg(loom)]
pub(crate) fn clear_count(count: &AtomicIsize) {
    count.swap(0, Ordering::Relaxed);
}
