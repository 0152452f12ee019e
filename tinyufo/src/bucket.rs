//! What the cache keeps of one key, and what it gives back when the key has to leave.

/// An entry that left the cache, as [`TinyUfo::put`](crate::TinyUfo::put) returns it.
#[derive(Clone)]
pub struct KV<T> {
    /// The hash of the key: the cache does not keep the key itself.
    pub key: u64,
    /// The value.
    pub data: T,
    /// The weight it was put with, at least 1.
    pub weight: u16,
}

/// The place of one entry in the cache. Opaque: nothing public gives one out.
pub struct Bucket<T> {
    pub(crate) hash: u64,
    /// `None` if the place is free.
    pub(crate) data: Option<T>,
    pub(crate) weight: u16,
    /// Where it is in the index.
    pub(crate) place: u32,
}
