#![doc = include_str!("../README.md")]
//!
//! # Cost
//!
//! [`MemoryCache`] is a [`tinyufo`] cache of hashes: a lookup hashes the key, takes one shard's lock
//! shared and clones the value; time does not grow with the number of entries. Only values with a
//! time to live cost a look at the clock. An entry takes the size of the value, 8 bytes for its end of
//! life, and what `tinyufo` adds; keys are hashed, not kept, with a seed of the process. The size
//! given to `new` is the most entries there are; the least used leave for new ones. Values past their
//! life stay until they are replaced or pushed out: that is what stale reads live from.
//!
//! [`RTCache`] adds nothing to a hit. A miss takes one lock for a moment to see whether somebody is
//! looking the key up already, and holds none while it waits. A lookup under way takes about 100
//! bytes.
//!
//! Read next: `read_through.rs` (who looks up and who waits), `flights.rs` (lookups under way).

#![forbid(unsafe_code)]

// how a value was found
mod status;

// the cache
mod clock;
mod memory;

// the cache that looks up what it lacks
mod flights;
mod read_through;

pub use memory::MemoryCache;
pub use read_through::{Lookup, MultiLookup, RTCache};
pub use status::CacheStatus;
