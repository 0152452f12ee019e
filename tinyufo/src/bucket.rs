//! What the cache keeps of one key, and what it gives back when the key has to leave.

use std::sync::atomic::{AtomicU8, Ordering};

/// An entry that left the cache, as [`TinyUfo::put`](crate::TinyUfo::put) returns it.
#[derive(Clone)]
pub struct KV<T> {
    /// The hash of the key: the cache does not keep the key itself.
    pub key: u64,
    /// The value.
    pub data: T,
    /// The weight it was put with.
    pub weight: u16,
}

/// The place of one entry in the cache. Opaque: nothing public gives one out.
pub struct Bucket<T> {
    pub(crate) hash: u64,
    pub(crate) data: Option<T>,
    pub(crate) weight: u16,
    pub(crate) queue: Queue,
    /// Hits, up to a few. Readers raise it under the shared lock, losing some to races.
    uses: AtomicU8,
}

/// Which queue an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// None: the bucket is free.
    None,
    /// The newcomers.
    Small,
    /// Those that were asked for again.
    Main,
}

impl<T> Bucket<T> {
    pub(crate) fn new(hash: u64, data: T, weight: u16, queue: Queue) -> Self {
        Self {
            hash,
            data: Some(data),
            weight,
            queue,
            uses: AtomicU8::new(0),
        }
    }

    pub(crate) fn uses(&self) -> u8 {
        self.uses.load(Ordering::Relaxed)
    }

    /// Counts a use, up to `most`. Relaxed: it is a hint, ordered by nothing.
    #[inline]
    pub(crate) fn touch(&self, most: u8) {
        let uses = self.uses();
        if uses < most {
            self.uses.store(uses + 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_uses(&mut self, uses: u8) {
        *self.uses.get_mut() = uses;
    }
}
