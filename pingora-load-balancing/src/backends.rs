//! The live set of backends: who is in it, who is healthy, who is enabled.
//!
//! Reads (one per request) are lock-free; updates are serialised and replace the whole snapshot. Selection is built
//! on top in `balancer.rs` and `group.rs`.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use pingora_error::Result;

use crate::Backend;
use crate::discovery::ServiceDiscovery;
use crate::health_check::status::Health;
use crate::health_check::{HealthCheck, check_round};
use crate::registry::HealthRegistry;
use crate::selection::KeyMap;

/// A set of backends kept up to date by a discovery, with the health and enablement of each.
///
/// ```
/// use pingora_load_balancing::{Backends, LoadBalancer, discovery::Static, selection::RoundRobin};
///
/// let backends = Backends::new(Static::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"])?);
/// // A set is empty until its first update; the balancer's background service makes it.
/// assert!(backends.get_backend().is_empty());
/// let balancer = LoadBalancer::<RoundRobin>::from_backends(backends);
/// # std::io::Result::Ok(())
/// ```
pub struct Backends {
    discovery: Box<dyn ServiceDiscovery + Send + Sync + 'static>,
    health_check: Option<Box<dyn HealthCheck + Send + Sync + 'static>>,
    health_registry: Option<Arc<HealthRegistry>>,
    snapshot: ArcSwap<Snapshot>,
    /// The number of discoveries started.
    discoveries: AtomicU64,
    applied: Mutex<Applied>,
}

/// What users call a set that they only look at.
pub type BackendView = Backends;

/// The set at one moment.
#[derive(Default)]
pub(crate) struct Snapshot {
    backends: Arc<BTreeSet<Backend>>,
    /// By [`Backend::hash_key`].
    health: Arc<KeyMap<Health>>,
    /// The health of the set before, as selectors not rebuilt yet still propose its backends.
    departed: Arc<KeyMap<Health>>,
    /// What to think of a backend it does not know.
    unknown_ready: bool,
}

/// What the last applied update left behind for the next one.
#[derive(Default)]
struct Applied {
    /// Which discovery was applied; results of older ones come too late.
    discovery: u64,
    /// The keys held in the health registry.
    registered: Vec<u64>,
}

impl Backends {
    /// Creates an empty set; the first [`update`](Self::update) asks `discovery` for its backends.
    pub fn new(discovery: Box<dyn ServiceDiscovery + Send + Sync + 'static>) -> Self {
        Self::build(discovery, None)
    }

    /// Creates an empty set whose backends' verdicts are those of `health_registry`.
    ///
    /// The registry needs a health check and a [`HealthCheckService`](crate::HealthCheckService); a check set on this
    /// set as well would write to the same verdicts.
    pub fn new_with_health_registry(
        discovery: Box<dyn ServiceDiscovery + Send + Sync + 'static>,
        health_registry: Arc<HealthRegistry>,
    ) -> Self {
        Self::build(discovery, Some(health_registry))
    }

    /// Sets what [`run_health_check`](Self::run_health_check) asks.
    pub fn set_health_check(&mut self, hc: Box<dyn HealthCheck + Send + Sync + 'static>) {
        self.health_check = Some(hc);
        let current = self.snapshot.load();
        self.snapshot.store(Arc::new(Snapshot {
            backends: current.backends.clone(),
            health: current.health.clone(),
            departed: current.departed.clone(),
            unknown_ready: false,
        }));
    }

    /// Returns whether `backend` is healthy and enabled.
    ///
    /// New backends are, until a check says otherwise. A backend that is not in the set is only if neither a health
    /// check nor a registry was given.
    pub fn ready(&self, backend: &Backend) -> bool {
        let snapshot = self.snapshot();
        let ready = snapshot.ready(backend.hash_key());
        ready.unwrap_or(snapshot.unknown_ready)
    }

    /// Switches `backend` on or off, until this or the discovery says otherwise; its health checks go on.
    ///
    /// A backend that is not in the set is ignored.
    pub fn set_enable(&self, backend: &Backend, enabled: bool) {
        if let Some(health) = self.snapshot().health.get(&backend.hash_key()) {
            health.enable(enabled);
        }
    }

    /// Returns the set as of the last update.
    pub fn get_backend(&self) -> Arc<BTreeSet<Backend>> {
        self.snapshot().backends.clone()
    }

    /// Asks the discovery and applies what it says; `callback` gets the new set if it differs from the current one.
    ///
    /// Backends of both sets keep their health and enablement, except for the enablement the discovery overrides.
    /// `callback` runs before `update` returns and must neither block nor call `update`. Updates may run at the same time: the one that started last wins, an older
    /// one that ends later changes nothing.
    ///
    /// Errors if the discovery does; the set then stays as it is. Cancel-safe: it changes everything or nothing.
    pub async fn update<F>(&self, callback: F) -> Result<()>
    where
        F: FnOnce(Arc<BTreeSet<Backend>>),
    {
        // Relaxed: only the order of the numbers matters.
        let discovery = self.discoveries.fetch_add(1, Ordering::Relaxed) + 1;
        let (backends, enablement) = self.discovery.discover().await?;
        let mut applied = self.applied();
        if applied.discovery < discovery {
            applied.discovery = discovery;
            self.apply(&mut applied, backends, &enablement, callback);
        }
        Ok(())
    }

    /// Checks every backend once: side by side (up to 256) if `parallel`, else one after the other.
    ///
    /// Returns at once if no check is set on this set. Cancel-safe: backends not reached keep their state.
    pub async fn run_health_check(&self, parallel: bool) {
        let Some(check) = &self.health_check else {
            return;
        };
        let snapshot = self.snapshot.load_full();
        let targets = snapshot.backends.iter().filter_map(|backend| {
            let health = snapshot.health.get(&backend.hash_key())?;
            Some((backend, health.observed()))
        });
        check_round(&**check, targets, parallel).await;
    }

    /// Returns the set at this moment. Keep it for one selection only.
    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    fn build(
        discovery: Box<dyn ServiceDiscovery + Send + Sync + 'static>,
        health_registry: Option<Arc<HealthRegistry>>,
    ) -> Self {
        let snapshot = Snapshot {
            unknown_ready: health_registry.is_none(),
            ..Snapshot::default()
        };
        Backends {
            discovery,
            health_check: None,
            health_registry,
            snapshot: ArcSwap::from_pointee(snapshot),
            discoveries: AtomicU64::new(0),
            applied: Mutex::default(),
        }
    }

    fn apply(
        &self,
        applied: &mut Applied,
        backends: BTreeSet<Backend>,
        enablement: &HashMap<u64, bool>,
        callback: impl FnOnce(Arc<BTreeSet<Backend>>),
    ) {
        let current = self.snapshot.load_full();
        if *current.backends == backends {
            current.enable(enablement);
            return;
        }
        let mut registered = Vec::new();
        let health = self.next_health(&current, &backends, &mut registered);
        // The new set has registered: what both have stays known.
        self.unregister(std::mem::replace(&mut applied.registered, registered));
        let backends = Arc::new(backends);
        let next = Snapshot {
            backends: backends.clone(),
            health: Arc::new(health),
            departed: current.health.clone(),
            unknown_ready: current.unknown_ready,
        };
        next.enable(enablement);
        // Health first: a selector must not propose what is not known yet.
        self.snapshot.store(Arc::new(next));
        callback(backends);
    }

    /// Returns the health of each of `backends`, taken over from `current` where it can be, and registers them all.
    fn next_health(
        &self,
        current: &Snapshot,
        backends: &BTreeSet<Backend>,
        registered: &mut Vec<u64>,
    ) -> KeyMap<Health> {
        let health_of = |backend: &Backend| {
            let observed = self.health_registry.as_ref().map(|registry| {
                let (key, observed) = registry.register(backend);
                registered.push(key);
                observed
            });
            let key = backend.hash_key();
            let known = current.health.get(&key).cloned();
            (
                key,
                known.unwrap_or_else(|| Health::new(observed.unwrap_or_default())),
            )
        };
        backends.iter().map(health_of).collect()
    }

    fn unregister(&self, keys: Vec<u64>) {
        if let Some(registry) = &self.health_registry {
            keys.into_iter().for_each(|key| registry.unregister(key));
        }
    }

    fn applied(&self) -> MutexGuard<'_, Applied> {
        // Whoever panicked while it was held (a user's callback) left it whole.
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Backends {
    /// Takes the set's backends out of the health registry.
    fn drop(&mut self) {
        let keys = std::mem::take(&mut self.applied().registered);
        self.unregister(keys);
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Returns whether a backend of the set is healthy and enabled; `None` if it is none of the set's.
    pub(crate) fn ready(&self, key: u64) -> Option<bool> {
        self.health.get(&key).map(Health::ready)
    }

    /// Returns whether a backend of the set before, or one never heard of, may still be used.
    pub(crate) fn stranger_ready(&self, key: u64) -> bool {
        self.departed
            .get(&key)
            .map_or(self.unknown_ready, Health::ready)
    }

    /// Returns the number of backends.
    pub(crate) fn len(&self) -> usize {
        self.health.len()
    }

    fn enable(&self, enablement: &HashMap<u64, bool>) {
        for (key, enabled) in enablement {
            if let Some(health) = self.health.get(key) {
                health.enable(*enabled);
            }
        }
    }
}

#[cfg(test)]
mod tests;
