#![doc = include_str!("../README.md")]
//!
//! # Which one
//!
//! Two pools share one store (`shelf.rs`):
//!
//! * [`IdlePool`] is what the connectors of this workspace use. It is sharded by thread, checks
//!   connections when they are taken, and is cleaned by [`IdlePool::sweep`]: no task per connection.
//! * [`ConnectionPool`] is watched: whoever puts a connection back runs [`ConnectionPool::idle_poll`]
//!   or [`ConnectionPool::idle_timeout`] for it, which remove it once it closes or idles too long.
//!
//! Neither does I/O while it holds a lock of its own, except the closure given to
//! [`IdlePool::sweep`]. Connections that leave a pool unused are dropped outside of locks.
//!
//! ```
//! use pingora_pool::{ConnectionMeta, ConnectionPool};
//!
//! let pool = ConnectionPool::new(128);
//! let meta = ConnectionMeta::new(1, 7);
//! let (_evicted, mut taken) = pool.put(&meta, "connection");
//! assert_eq!(pool.get(&1), Some("connection"));
//! assert_eq!(taken.try_recv(), Ok(true));
//! assert_eq!(pool.get(&1), None);
//! ```
//!
//! # Costs
//!
//! Putting and taking a connection take constant time, whatever the number of keys and connections;
//! a miss in an [`IdlePool`] looks at every shard that is not empty (two per core, 8 to 64 in all). An
//! idle connection takes its own size and at most 48 bytes, about 20 more for each key in use; nothing
//! is given back to the allocator before the pool is dropped. In a [`ConnectionPool`] it takes two
//! allocations more, for the ends its watcher listens on.
//!
//! Read next: `shelf.rs`, then `idle_pool.rs`, or `connection.rs` and `idle.rs`.

#![forbid(unsafe_code)]

mod clock;
mod connection;
mod idle;
mod idle_pool;
mod node;
mod shelf;
mod sync;

pub use connection::{ConnectionMeta, ConnectionPool};
pub use idle_pool::IdlePool;
pub use node::PoolNode;
