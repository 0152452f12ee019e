//! Keeps a set of backends fresh and healthy and picks one per request.
//!
//! ```text
//!  discovery ──> Backends ──> selector (Weighted, Ketama) ──> select(key) ──> Backend
//!                   ^ │ health and enablement, read lock-free
//!  health checks ───┘ └─ HealthRegistry: one verdict shared by several sets
//! ```
//!
//! [`LoadBalancer`] ties a set to one selector, [`LoadBalancerGroup`] to several. Both are background
//! services: they discover and check on their own schedule, `select` only reads.
//!
//! Not here: connecting to the backend (pingora-core) and retrying (pingora-proxy).
//! Read next: `backend.rs`, `backends.rs`, `balancer.rs`.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

// What is balanced.
mod backend;
// The live set: membership, health, enablement.
mod backends;
// One verdict for several sets.
mod registry;
// Where sets come from.
pub mod discovery;
// How verdicts are made.
pub mod health_check;
// How one backend is picked.
pub mod selection;
// A set with one selector.
mod balancer;
// A set with several selectors, rebuilt in the background.
mod group;
// Who may rebuild when.
mod rebuild;
// The schedule of discovery and checks.
mod background;

#[cfg(test)]
mod testing;

pub use http::Extensions;

pub use crate::backend::Backend;
pub use crate::backends::{BackendView, Backends};
pub use crate::balancer::{LoadBalancer, UpdateTimings};
pub use crate::group::LoadBalancerGroup;
pub use crate::rebuild::{SelectorRebuildGate, SelectorUpdateTimings};
pub use crate::registry::{HealthCheckService, HealthRegistry};

/// Re-exports what most programs need.
pub mod prelude {
    pub use crate::health_check::TcpHealthCheck;
    pub use crate::selection::RoundRobin;
    pub use crate::{BackendView, HealthCheckService, HealthRegistry, LoadBalancer};
}
