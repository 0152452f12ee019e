//! How a backend's health is found out: the check trait, its callbacks and one round of checks over many backends.
//!
//! `status.rs` turns results into verdicts, `tcp.rs` and `http.rs` are the checks of this crate.

mod http;
mod round;
pub(crate) mod status;
mod tcp;

use async_trait::async_trait;
use pingora_error::Result;

pub use self::http::HttpHealthCheck;
pub(crate) use self::round::check_round;
pub use self::tcp::TcpHealthCheck;
use crate::Backend;

/// Called when a backend has become healthy or unhealthy.
pub type HealthObserveCallback = Box<dyn HealthObserve + Send + Sync>;

/// Returns the words a backend is called by in logs.
pub type BackendSummary = Box<dyn Fn(&Backend) -> String + Send + Sync>;

/// Watches backends become healthy and unhealthy.
///
/// ```
/// use pingora_load_balancing::Backend;
/// use pingora_load_balancing::health_check::{HealthObserve, TcpHealthCheck};
///
/// struct Pager;
///
/// #[async_trait::async_trait]
/// impl HealthObserve for Pager {
///     async fn observe(&self, target: &Backend, healthy: bool) {
///         println!("{} is {}", target.addr, if healthy { "back" } else { "gone" });
///     }
/// }
///
/// let mut check = TcpHealthCheck::new();
/// check.health_changed_callback = Some(Box::new(Pager));
/// ```
#[async_trait]
pub trait HealthObserve {
    /// Is told that `target` has just become healthy, or unhealthy.
    ///
    /// The round of checks waits for it. It may be dropped at any await point when the server shuts down.
    async fn observe(&self, target: &Backend, healthy: bool);
}

/// Finds out whether a backend works.
///
/// ```
/// use pingora_error::{Error, ErrorType, Result};
/// use pingora_load_balancing::{Backend, health_check::HealthCheck};
///
/// /// Trusts what somebody else keeps in a file.
/// struct Marker;
///
/// #[async_trait::async_trait]
/// impl HealthCheck for Marker {
///     async fn check(&self, target: &Backend) -> Result<()> {
///         match std::path::Path::new("/run/healthy").join(target.addr.to_string()).exists() {
///             true => Ok(()),
///             false => Error::e_explain(ErrorType::InternalError, "no marker file"),
///         }
///     }
///
///     fn health_threshold(&self, _success: bool) -> usize {
///         1
///     }
/// }
/// ```
#[async_trait]
pub trait HealthCheck {
    /// Checks `target` once; an error (or a panic) means it has failed.
    ///
    /// Must bound its own time: a sequential round waits for it. It may be dropped at any await point.
    async fn check(&self, target: &Backend) -> Result<()>;

    /// Is told that `target` has just become healthy, or unhealthy. Does nothing by default.
    async fn health_status_change(&self, _target: &Backend, _healthy: bool) {}

    /// Returns the words `target` is called by in logs; its debug form by default.
    fn backend_summary(&self, target: &Backend) -> String {
        format!("{target:?}")
    }

    /// Returns how many checks in a row must pass (`success`) or fail before the backend becomes healthy or
    /// unhealthy. 0 counts as 1.
    fn health_threshold(&self, success: bool) -> usize;
}
