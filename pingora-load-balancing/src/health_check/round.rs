//! One round of checks: every target once, one after the other or side by side.
//!
//! `backends.rs` and `registry.rs` run rounds, `background.rs` says when.

use std::panic::AssertUnwindSafe;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use log::{info, warn};
use pingora_error::{Error, ErrorType};

use crate::Backend;
use crate::health_check::HealthCheck;
use crate::health_check::status::Observed;

/// Up to this many checks of one round run at the same time: a large set must not exhaust file descriptors.
const MAX_PARALLEL_CHECKS: usize = 256;

/// Checks every target once and calls back for those whose state flips.
///
/// Cancel-safe: targets that were not reached keep their state.
pub(crate) async fn check_round<'a>(
    check: &(dyn HealthCheck + Send + Sync),
    targets: impl Iterator<Item = (&'a Backend, &'a Observed)>,
    parallel: bool,
) {
    check_all(check, targets.collect(), parallel).await;
}

/// Boxed: it is compiled once, not in each program.
fn check_all<'a>(
    check: &'a (dyn HealthCheck + Send + Sync),
    targets: Vec<(&'a Backend, &'a Observed)>,
    parallel: bool,
) -> BoxFuture<'a, ()> {
    let checks: Vec<_> = targets
        .into_iter()
        .map(|(backend, observed)| check_one(check, backend, observed))
        .collect();
    let at_once = if parallel { MAX_PARALLEL_CHECKS } else { 1 };
    let mut checks = stream::iter(checks).buffer_unordered(at_once);
    Box::pin(async move { while checks.next().await.is_some() {} })
}

async fn check_one(
    check: &(dyn HealthCheck + Send + Sync),
    backend: &Backend,
    observed: &Observed,
) {
    // A panic in a user's check must not end all checks for good.
    let checked = AssertUnwindSafe(async { check.check(backend).await }).catch_unwind();
    let result = checked
        .await
        .unwrap_or_else(|_| Error::e_explain(ErrorType::InternalError, "health check panicked"));
    let healthy = result.is_ok();
    if !observed.observe(healthy, check.health_threshold(healthy)) {
        return;
    }
    match result {
        Ok(()) => info!(
            "backend became healthy backend={}",
            check.backend_summary(backend)
        ),
        Err(error) => {
            let backend = check.backend_summary(backend);
            warn!("backend became unhealthy backend={backend} error={error}");
        }
    }
    check.health_status_change(backend, healthy).await;
}
