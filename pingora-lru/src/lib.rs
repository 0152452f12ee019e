#![doc = include_str!("../README.md")]
//!
//! # Where things are
//!
//! | | |
//! |---|---|
//! | [`Lru`] | the caller drives the eviction; all methods are synchronous |
//! | [`async_lru`] | tasks evict, and hand what they evict to an async callback |
//! | [`persistence`] | shards saved to files and loaded again |
//! | [`linked_list`] | the list an LRU keeps its order in |
//!
//! Read next: `shard.rs` (how an entry is stored), `sharded.rs` (locks, totals, what is evicted).

#![deny(unsafe_code)]

pub mod linked_list;
// What a shard is locked with: the only unsafe code.
mod lock;
// One shard: entries, their order and the table that finds them.
mod shard;
// The weight of all shards and the permission to evict.
mod totals;
// Locks, numbers and the choice of a victim.
#[cfg(not(loom))]
pub mod async_lru;
mod lru;
pub mod persistence;
mod sharded;

pub use lru::Lru;
