//! Shares one health verdict between several sets, so that a server in many of them is checked once.
//!
//! `backends.rs` registers the members of its set here; `background.rs` schedules the checks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_core::services::background::BackgroundService;

use crate::Backend;
use crate::background::{Rounds, Schedule, run_rounds};
use crate::health_check::status::Observed;
use crate::health_check::{HealthCheck, check_round};
use crate::selection::KeyMap;

/// Health verdicts shared by several [`Backends`](crate::Backends).
///
/// Backends with the same equivalence key are one target: it is checked once, and the verdict counts in every set.
/// Enablement stays with each set. A target is known from the update that brings it into a set until no set has it
/// any more, because of an update or because the set was dropped; then its verdict is forgotten.
///
/// ```
/// use std::sync::Arc;
/// use pingora_load_balancing::health_check::TcpHealthCheck;
/// use pingora_load_balancing::{Backends, HealthCheckService, HealthRegistry, discovery::Static};
///
/// let registry = Arc::new(HealthRegistry::new());
/// registry.set_health_check(TcpHealthCheck::new());
///
/// let web = Static::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"])?;
/// let api = Static::try_from_iter(["10.0.0.2:80", "10.0.0.3:80"])?;
/// let web = Backends::new_with_health_registry(web, registry.clone());
/// let api = Backends::new_with_health_registry(api, registry.clone());
/// // After both were updated, the registry has three targets.
/// let checks = HealthCheckService::new(registry);
/// # std::io::Result::Ok(())
/// ```
pub struct HealthRegistry {
    equivalence_key: Box<dyn Fn(&Backend) -> u64 + Send + Sync>,
    health_check: ArcSwapOption<Box<dyn HealthCheck + Send + Sync>>,
    targets: Mutex<KeyMap<Target>>,
}

struct Target {
    backend: Backend,
    observed: Arc<Observed>,
    /// How many sets have it. Never 0.
    registrations: usize,
}

impl HealthRegistry {
    /// Creates a registry where equal backends (address and weight) are one target.
    pub fn new() -> Self {
        Self::with_equivalence(Backend::hash_key)
    }

    /// Creates a registry where backends with the same `equivalence_key` are one target.
    ///
    /// The key must not change for an equal backend. Of a target's backends, the last registered one is checked.
    ///
    /// ```
    /// use std::hash::{DefaultHasher, Hash, Hasher};
    /// use pingora_load_balancing::HealthRegistry;
    ///
    /// // One target per address, whatever its weight in each set.
    /// let registry = HealthRegistry::with_equivalence(|backend| {
    ///     let mut hasher = DefaultHasher::new();
    ///     backend.addr.hash(&mut hasher);
    ///     hasher.finish()
    /// });
    /// assert_eq!(registry.target_count(), 0);
    /// ```
    pub fn with_equivalence(
        equivalence_key: impl Fn(&Backend) -> u64 + Send + Sync + 'static,
    ) -> Self {
        HealthRegistry {
            equivalence_key: Box::new(equivalence_key),
            health_check: ArcSwapOption::empty(),
            targets: Mutex::default(),
        }
    }

    /// Sets what checks the targets, from the next round on. Without one, all of them are healthy.
    pub fn set_health_check(&self, hc: Box<dyn HealthCheck + Send + Sync + 'static>) {
        self.health_check.store(Some(Arc::new(hc)));
    }

    /// Returns the number of different targets of all sets.
    pub fn target_count(&self) -> usize {
        self.targets().len()
    }

    /// Checks every target once: side by side (up to 256) if `parallel`, else one after the other.
    ///
    /// Returns at once if no check is set. Cancel-safe: targets not reached keep their state.
    pub async fn run_health_check(&self, parallel: bool) {
        let Some(check) = self.health_check.load_full() else {
            return;
        };
        let targets: Vec<_> = self
            .targets()
            .values()
            .map(|t| (t.backend.clone(), t.observed.clone()))
            .collect();
        let targets = targets
            .iter()
            .map(|(backend, observed)| (backend, &**observed));
        check_round(&**check, targets, parallel).await;
    }

    /// Notes that one more set has `backend`. Returns its key, for [`unregister`](Self::unregister), and its verdict.
    pub(crate) fn register(&self, backend: &Backend) -> (u64, Arc<Observed>) {
        let key = (self.equivalence_key)(backend);
        let mut targets = self.targets();
        let target = targets.entry(key).or_insert_with(|| Target {
            backend: backend.clone(),
            observed: Arc::default(),
            registrations: 0,
        });
        target.registrations += 1;
        target.backend = backend.clone();
        (key, target.observed.clone())
    }

    /// Takes back one registration of `key`.
    pub(crate) fn unregister(&self, key: u64) {
        let mut targets = self.targets();
        let Some(target) = targets.get_mut(&key) else {
            return;
        };
        target.registrations -= 1;
        if target.registrations == 0 {
            targets.remove(&key);
        }
    }

    fn targets(&self) -> MutexGuard<'_, KeyMap<Target>> {
        // A panic while it is held leaves whole entries behind.
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for HealthRegistry {
    /// Returns what [`new`](Self::new) does.
    fn default() -> Self {
        Self::new()
    }
}

/// The background service that checks the targets of a [`HealthRegistry`].
///
/// Let it depend on the services that update the sets, so that its first round finds targets.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use pingora_core::services::background::background_service;
/// use pingora_load_balancing::{HealthCheckService, HealthRegistry};
///
/// let mut checks = HealthCheckService::new(Arc::new(HealthRegistry::new()));
/// checks.health_check_frequency = Some(Duration::from_secs(1));
/// checks.parallel_health_check = true;
/// let service = background_service("health checks", checks);
/// ```
pub struct HealthCheckService {
    registry: Arc<HealthRegistry>,
    /// How often to start a round of checks; once if `None`, the default. 1 ms is the shortest.
    pub health_check_frequency: Option<Duration>,
    /// Whether the checks of a round run side by side. False by default.
    pub parallel_health_check: bool,
}

impl HealthCheckService {
    /// Creates a service that checks `registry` once when started.
    pub fn new(registry: Arc<HealthRegistry>) -> Self {
        HealthCheckService {
            registry,
            health_check_frequency: None,
            parallel_health_check: false,
        }
    }

    /// Checks now and then as often as [`health_check_frequency`](Self::health_check_frequency) says.
    ///
    /// Tells `ready_opt` after the first round. Returns as soon as `shutdown` turns true, even within a round, or
    /// after the first round if there is no frequency.
    pub async fn run(&self, shutdown: ShutdownWatch, ready_opt: Option<ServiceReadyNotifier>) {
        let schedule = Schedule {
            update: None,
            health_check: self.health_check_frequency,
        };
        run_rounds(self, schedule, shutdown, ready_opt).await;
    }
}

#[async_trait]
impl Rounds for HealthCheckService {
    async fn update_round(&self) {}

    async fn check_round(&self) {
        self.registry
            .run_health_check(self.parallel_health_check)
            .await;
    }
}

#[async_trait]
impl BackgroundService for HealthCheckService {
    /// Does what [`run`](HealthCheckService::run) does, with nobody to tell.
    async fn start(&self, shutdown: ShutdownWatch) {
        self.run(shutdown, None).await;
    }

    /// Does what [`run`](HealthCheckService::run) does.
    async fn start_with_ready_notifier(
        &self,
        shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        self.run(shutdown, Some(ready)).await;
    }
}

#[cfg(test)]
mod tests;
