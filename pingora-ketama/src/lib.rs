#![doc = include_str!("../README.md")]
//!
//! # Costs
//!
//! A [`Continuum`] takes about 7 bytes per point, 160 points per server of weight 1, and never
//! changes. A lookup is one CRC-32 of the key and one look into a table, whatever the size of the
//! ring. Building takes time in proportion to the points (0.2 ms for 100 servers) and 24 bytes per
//! point meanwhile.
//!
//! Read next: `points.rs` (where the points lie), `ring.rs` (how they are stored and found).

#![forbid(unsafe_code)]

mod bucket;
mod continuum;
mod points;
mod ring;

pub use bucket::Bucket;
pub use continuum::{Continuum, DEFAULT_POINT_MULTIPLE, NodeIterator, Version};
