#![doc = include_str!("../README.md")]
//!
//! # How it works
//!
//! Keys are hashed once; the hash is what the cache knows an entry by. A few of its bits choose a
//! shard, which has a lock, an index, a slab of entries and a share of the weight. A miss finds
//! nothing in the index, for which it needs no lock and writes nothing. A hit takes the lock, sets a
//! counter and clones the value. Values that leave the cache are given back or dropped after the lock
//! is released.
//!
//! Read next: `cache.rs` (shards and shares of weight), `shard.rs` (who stays), `duel.rs` (by
//! which setting), `history.rs` (what is remembered of those who left), `index.rs` (how entries are
//! found), `lock.rs` (what a shard is locked with). Only `lanes.rs` and `lock.rs` have unsafe code.

#![deny(unsafe_code)]

mod bucket;
mod cache;
mod duel;
mod history;
mod index;
mod lanes;
mod lock;
mod marks;
mod setting;
mod shard;
mod sync;

pub use bucket::{Bucket, KV};
pub use cache::TinyUfo;
