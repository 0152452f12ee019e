#![doc = include_str!("../README.md")]
//!
//! # What it counts with
//!
//! Every counter here is the same structure, in memory fixed when it is made: exact *cells* in front
//! of a count-min *sketch*. A key whose bucket has a free cell is counted there, alone, with one
//! atomic operation. Keys that find their bucket full share the counters of the sketch, where
//! collisions can only add: as long as no key is taken out more often than it was put in, **an
//! estimate is never below the true count**. With `hashes` rows of `slots` counters it is above it by
//! more than `2.72 / slots` of all that is counted in the sketch with a probability of at most
//! `e^-hashes`; what sits in cells does not disturb it.
//!
//! | | cells | sketch | memory | exact up to about |
//! |---|---|---|---|---|
//! | [`Estimator::new`](estimator::Estimator::new)`(h, s)` | `4 s` | `h * s` | `(4 + h) * s * 8` bytes | `2 s` keys |
//! | [`Rate::new`](rate::Rate::new) | 2 × 4096 | 2 × 4 × 1024 | 128 KiB | 2,000 keys per interval |
//! | [`Inflight::new`](inflight::Inflight::new) | 32,768 | 4 × 8192 | 512 KiB | 16,000 keys at once |
//!
//! There is no memory per key. An operation hashes its key once and costs one compare-and-swap for a
//! key in a cell, `hashes` atomic additions more for one in the sketch; no operation takes a lock or
//! allocates. Sums beyond `isize` wrap around, they never panic.
//!
//! Operations on one key that overlap in time may miss each other in what they return, not in what they
//! count.
//!
//! Keys are hashed with a seed of the process, so a peer cannot prepare keys that collide.
//!
//! Read next: `counter.rs` (the structure), `rate.rs` (how intervals follow each other).

#![forbid(unsafe_code)]

// what users see
pub mod estimator;
pub mod inflight;
pub mod rate;

// how it counts
mod cells;
mod counter;
mod sketch;

// what it stands on
mod clock;
mod sync;
