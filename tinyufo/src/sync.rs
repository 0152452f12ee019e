//! The atomics of the index: std's, or loom's when it checks interleavings
//! (`RUSTFLAGS="--cfg loom"`). Nothing else here knows which.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
