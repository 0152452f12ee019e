//! Consistent hashing with the points of nginx's ketama ring.
//!
//! A [`Continuum`] spreads keys over weighted servers so that adding or removing a server moves
//! only the keys it gains or loses. Each server has points on a ring of 32 bit numbers, in
//! proportion to its weight; a key belongs to the first point at or after its CRC-32. The points
//! are those of nginx's `hash $key consistent`, so both can front the same caches.
//!
//! ```
//! use pingora_ketama::{Bucket, Continuum};
//!
//! let ring = Continuum::new(&[
//!     Bucket::new("10.0.0.1:80".parse()?, 1),
//!     Bucket::new("10.0.0.2:80".parse()?, 3),
//! ]);
//! let server = ring.node(b"/index.html").expect("the ring has points");
//! // Where to go if that server is down: the servers of the points that follow.
//! let fallback = ring.node_iter(b"/index.html").find(|other| **other != server);
//! assert!(fallback.is_some());
//! # Ok::<(), std::net::AddrParseError>(())
//! ```
//!
//! Read next: `points.rs` (where the points lie), `ring.rs` (how they are stored and found).

#![forbid(unsafe_code)]

mod bucket;
mod continuum;
mod points;
mod ring;

pub use bucket::Bucket;
pub use continuum::{Continuum, DEFAULT_POINT_MULTIPLE, NodeIterator, Version};
