//! A set of backends with several selectors, which are rebuilt in the background.
//!
//! `rebuild.rs` does the building, `balancer.rs` is the variant with one selector built on the spot.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use log::warn;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_core::services::background::BackgroundService;
use pingora_error::Result;
use tokio::time::{Instant, timeout};

use crate::background::{Rounds, Schedule, run_rounds};
use crate::balancer::select_from;
use crate::health_check::HealthCheck;
use crate::rebuild::{Published, Slot};
use crate::selection::{BackendIter, BackendSelection};
use crate::{Backend, Backends, SelectorRebuildGate, SelectorUpdateTimings, UpdateTimings};

/// An update waits no longer than this for selectors that were never built, so that what follows can select.
const FIRST_BUILD_WAIT: Duration = Duration::from_secs(1);

/// Picks backends of one set by one of several selectors of the kind `S`, each with its own configuration.
///
/// The set is discovered and health checked once for all selectors. Every changed set is a new generation; 0 is the
/// empty set of the beginning. An update publishes the set and returns; each selector follows in the background, on
/// the runtime's blocking threads, and serves its older generation meanwhile. If the set changes again before a
/// build has begun, only the newest is built (the others are *coalesced*). A build that panics leaves the selector as
/// it is and is tried again by the next update. Only the first update waits, up to a second, for its builds.
///
/// Within a group one selector is built at a time; [`with_rebuild_gate`](Self::with_rebuild_gate) extends that to
/// several groups. Dropping the group gives up what has not been built.
///
/// ```
/// use pingora_load_balancing::selection::consistent::KetamaConfig;
/// use pingora_load_balancing::{Backends, LoadBalancerGroup, discovery::Static, selection::Consistent};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let backends = Backends::new(Static::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"])?);
/// let configs = [None, Some(KetamaConfig { point_multiple: Some(10) })];
/// let group = LoadBalancerGroup::<Consistent>::from_backends_with_configs(backends, configs);
/// group.update().await.expect("a static discovery never fails");
/// assert!(group.selectors_ready_for(group.backend_generation()));
/// assert!(group.select(1, b"key", 64).is_some());
/// assert!(group.select(2, b"key", 64).is_none(), "there are two selectors");
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub struct LoadBalancerGroup<S>
where
    S: BackendSelection,
{
    backends: Backends,
    selectors: Box<[Arc<Slot<S>>]>,
    published: ArcSwap<Published>,
    rebuild_gate: Arc<SelectorRebuildGate>,
    update_timing: ArcSwapOption<UpdateTimings>,
    /// How often the service starts a round of health checks; once if `None`, the default. 1 ms is the shortest.
    pub health_check_frequency: Option<Duration>,
    /// How often the service asks the discovery; once if `None`, the default. 1 ms is the shortest.
    pub update_frequency: Option<Duration>,
    /// Whether the health checks of a round run side by side (up to 256). False by default.
    pub parallel_health_check: bool,
}

impl<S> LoadBalancerGroup<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Config: 'static,
    S::Iter: BackendIter,
{
    /// Creates a group over `backends` with one selector per item of `configs`, built with it if it is not `None`.
    ///
    /// There is nothing to select before the first [`update`](Self::update), which the service makes when started.
    pub fn from_backends_with_configs(
        backends: Backends,
        configs: impl IntoIterator<Item = Option<S::Config>>,
    ) -> Self {
        let initial = Published {
            generation: 0,
            backends: backends.get_backend(),
        };
        let slot = |config| Arc::new(Slot::new(&initial, config));
        let selectors = configs.into_iter().map(slot).collect();
        LoadBalancerGroup {
            backends,
            selectors,
            published: ArcSwap::from_pointee(initial),
            rebuild_gate: Arc::default(),
            update_timing: ArcSwapOption::empty(),
            health_check_frequency: None,
            update_frequency: None,
            parallel_health_check: false,
        }
    }

    /// Returns the group with its rebuilds going through `rebuild_gate`, one at a time with those of all others.
    pub fn with_rebuild_gate(mut self, rebuild_gate: Arc<SelectorRebuildGate>) -> Self {
        self.rebuild_gate = rebuild_gate;
        self
    }

    /// Sets the health check of the backends.
    pub fn set_health_check(&mut self, hc: Box<dyn HealthCheck + Send + Sync + 'static>) {
        self.backends.set_health_check(hc);
    }

    /// Asks the discovery and, if the set has changed, publishes it as the next generation and has the selectors
    /// rebuilt in the background; else retries builds that failed.
    ///
    /// Waits up to a second for selectors that were never built before. Without a tokio runtime the selectors are
    /// built before it returns. Errors if the discovery does; everything then stays as it is. Cancel-safe: the
    /// builds go on.
    pub async fn update(&self) -> Result<()> {
        let started = Instant::now();
        let mut changed = false;
        let publish = |backends| {
            changed = true;
            let discovered = Instant::now();
            // Sets are published one after the other: `Backends::update` serialises the calls.
            let set = Arc::new(Published {
                generation: self.backend_generation() + 1,
                backends,
            });
            self.published.store(set.clone());
            for slot in &self.selectors {
                slot.request(&set, &self.rebuild_gate);
            }
            self.update_timing.store(Some(Arc::new(UpdateTimings {
                discovery_duration: discovered - started,
                build_duration: discovered.elapsed(),
            })));
        };
        self.backends.update(publish).await?;
        if !changed {
            let set = self.published.load_full();
            for slot in &self.selectors {
                slot.catch_up(&set, &self.rebuild_gate);
            }
        }
        self.first_builds().await;
        Ok(())
    }

    /// Returns the first healthy and enabled backend for `key` by the selector of this index, or `None`.
    ///
    /// Looks at `max_iterations` candidates at most, repeats included. `None` also if there is no such selector.
    /// Takes no lock.
    pub fn select(
        &self,
        selector_index: usize,
        key: &[u8],
        max_iterations: usize,
    ) -> Option<Backend> {
        self.select_with(selector_index, key, max_iterations, |_, ready| ready)
    }

    /// Returns the first backend for `key` by the selector of this index that `accept` takes, or `None`.
    ///
    /// `accept` gets each different candidate once, with whether it is healthy and enabled; otherwise this is
    /// [`select`](Self::select).
    pub fn select_with<F>(
        &self,
        selector_index: usize,
        key: &[u8],
        max_iterations: usize,
        accept: F,
    ) -> Option<Backend>
    where
        F: Fn(&Backend, bool) -> bool,
    {
        let slot = self.selectors.get(selector_index)?;
        select_from(
            &slot.selector(),
            &self.backends,
            key,
            max_iterations,
            accept,
        )
    }

    /// Returns the set and its health.
    pub fn backends(&self) -> &Backends {
        &self.backends
    }

    /// Returns how many different sets were published; 0 before the first update.
    pub fn backend_generation(&self) -> u64 {
        self.published.load().generation
    }

    /// Returns how long the last update that changed the set took; `None` before the first.
    pub fn last_update_timing(&self) -> Option<UpdateTimings> {
        self.update_timing.load().as_deref().copied()
    }

    /// Returns the number of selectors.
    pub fn selector_count(&self) -> usize {
        self.selectors.len()
    }

    /// Returns the generation of the set this selector was built from; `None` if there is no such selector.
    pub fn selector_generation(&self, selector_index: usize) -> Option<u64> {
        Some(self.selectors.get(selector_index)?.generation())
    }

    /// Returns whether every selector was built from the set of `generation` or a newer one.
    pub fn selectors_ready_for(&self, generation: u64) -> bool {
        let published = self.backend_generation() >= generation;
        published
            && self
                .selectors
                .iter()
                .all(|slot| slot.generation() >= generation)
    }

    /// Returns how long the last build of this selector took; `None` if there was none, or no such selector.
    pub fn selector_last_update_timing(
        &self,
        selector_index: usize,
    ) -> Option<SelectorUpdateTimings> {
        self.selectors.get(selector_index)?.timing()
    }

    /// Returns how many sets this selector skipped, a newer one having come before the build began; `None` if there
    /// is no such selector.
    pub fn selector_coalesced_rebuilds(&self, selector_index: usize) -> Option<u64> {
        Some(self.selectors.get(selector_index)?.coalesced())
    }

    /// Returns how many builds of this selector panicked; `None` if there is no such selector.
    pub fn selector_failed_rebuilds(&self, selector_index: usize) -> Option<u64> {
        Some(self.selectors.get(selector_index)?.failed())
    }

    /// Waits for the selectors that have nothing to serve yet.
    async fn first_builds(&self) {
        let generation = self.backend_generation();
        let never_built = |slot: &&Arc<Slot<S>>| slot.generation() == 0;
        if generation == 0 || !self.selectors.iter().any(|slot| never_built(&slot)) {
            return;
        }
        let builds = async {
            for slot in self.selectors.iter().filter(never_built) {
                slot.settled(generation).await;
            }
        };
        if tokio::runtime::Handle::try_current().is_ok()
            && timeout(FIRST_BUILD_WAIT, builds).await.is_err()
        {
            warn!("selectors are still being built generation={generation}");
        }
    }
}

impl<S: Send + Sync + BackendSelection + 'static> LoadBalancerGroup<S>
where
    S::Config: 'static,
    S::Iter: BackendIter,
{
    /// Updates the set and checks its health now, and then as often as the frequencies say.
    ///
    /// Tells `ready_opt` after the first update and the first checks, even if they failed: a failed update is logged
    /// and the set stays as it is. Returns as soon as `shutdown` turns true, even within an update or a check, or
    /// after the first round if neither frequency is set.
    pub async fn run(&self, shutdown: ShutdownWatch, ready_opt: Option<ServiceReadyNotifier>) {
        let schedule = Schedule {
            update: self.update_frequency,
            health_check: self.health_check_frequency,
        };
        run_rounds(self, schedule, shutdown, ready_opt).await;
    }
}

#[async_trait]
impl<S: Send + Sync + BackendSelection + 'static> Rounds for LoadBalancerGroup<S>
where
    S::Config: 'static,
    S::Iter: BackendIter,
{
    async fn update_round(&self) {
        if let Err(error) = self.update().await {
            warn!("update of backends failed error={error}");
        }
    }

    async fn check_round(&self) {
        self.backends
            .run_health_check(self.parallel_health_check)
            .await;
    }
}

#[async_trait]
impl<S: Send + Sync + BackendSelection + 'static> BackgroundService for LoadBalancerGroup<S>
where
    S::Config: 'static,
    S::Iter: BackendIter,
{
    /// Does what [`run`](LoadBalancerGroup::run) does, with nobody to tell.
    async fn start(&self, shutdown: ShutdownWatch) {
        self.run(shutdown, None).await;
    }

    /// Does what [`run`](LoadBalancerGroup::run) does.
    async fn start_with_ready_notifier(
        &self,
        shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        self.run(shutdown, Some(ready)).await;
    }
}

impl<S> Drop for LoadBalancerGroup<S>
where
    S: BackendSelection,
{
    /// Gives up the builds that have not begun; the result of one that has is not used.
    fn drop(&mut self) {
        self.selectors.iter().for_each(|slot| slot.close());
    }
}

#[cfg(test)]
mod tests;
