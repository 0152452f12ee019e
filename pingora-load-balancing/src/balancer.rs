//! A set of backends with one selector: what most proxies need.
//!
//! `backends.rs` keeps the set, `selection/` proposes candidates; `group.rs` is the variant with several selectors.

use std::collections::BTreeSet;
use std::io;
use std::net::ToSocketAddrs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use futures_util::FutureExt;
use log::warn;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_core::services::background::BackgroundService;
use pingora_error::{Error, ErrorType, Result};
use tokio::time::Instant;

use crate::background::{Rounds, Schedule, run_rounds};
use crate::discovery::Static;
use crate::health_check::HealthCheck;
use crate::selection::{BackendIter, BackendSelection, UniqueIterator, Verdict};
use crate::{Backend, Backends};

/// Of a set of `n` backends, one selection looks at no more than `n + 1` times this many candidates, repeats
/// included, whatever the caller allows: with nothing to select, an endless walk must end.
const MAX_CANDIDATES_PER_BACKEND: usize = 1024;

/// How long the last update that changed the set took.
///
/// ```
/// use pingora_load_balancing::{LoadBalancer, selection::RoundRobin};
///
/// let balancer = LoadBalancer::<RoundRobin>::try_from_iter(["10.0.0.1:80"])?;
/// let timing = balancer.last_update_timing().expect("the set was updated when made");
/// println!("discovery {:?}, selector {:?}", timing.discovery_duration, timing.build_duration);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct UpdateTimings {
    /// The time until the discovery had answered and its answer differed from the current set.
    pub discovery_duration: Duration,
    /// The time to build the selector; for a group, to build or hand out the builds of all selectors.
    pub build_duration: Duration,
}

/// Picks backends of a set by the algorithm `S`, and keeps the set fresh and healthy in the background.
///
/// ```
/// use std::time::Duration;
/// use pingora_core::services::background::background_service;
/// use pingora_load_balancing::{LoadBalancer, health_check::TcpHealthCheck, selection::RoundRobin};
///
/// let mut balancer = LoadBalancer::<RoundRobin>::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"])?;
/// balancer.set_health_check(TcpHealthCheck::new());
/// balancer.health_check_frequency = Some(Duration::from_secs(1));
///
/// // Add this to the server; `task` is for the proxy, which selects with it.
/// let service = background_service("balancer", balancer);
/// let task = service.task();
/// let backend = task.select(b"ignored by round robin", 256);
/// assert_eq!(backend.map(|b| b.addr.to_string()).as_deref(), Some("10.0.0.1:80"));
/// # std::io::Result::Ok(())
/// ```
pub struct LoadBalancer<S>
where
    S: BackendSelection,
{
    backends: Backends,
    selector: ArcSwap<S>,
    /// Whether building the selector of the current set has failed. Held while building.
    behind: Mutex<bool>,
    config: Option<S::Config>,
    update_timing: ArcSwapOption<UpdateTimings>,
    /// How often the service starts a round of health checks; once if `None`, the default. 1 ms is the shortest.
    pub health_check_frequency: Option<Duration>,
    /// How often the service asks the discovery; once if `None`, the default. 1 ms is the shortest.
    pub update_frequency: Option<Duration>,
    /// Whether the health checks of a round run side by side (up to 256). False by default.
    pub parallel_health_check: bool,
}

impl<S> LoadBalancer<S>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    /// Creates a balancer over a fixed set of backends of weight 1, ready to select from.
    ///
    /// Host names are resolved once, here and blocking. Errors if an item does not resolve.
    pub fn try_from_iter<A, T: IntoIterator<Item = A>>(iter: T) -> io::Result<Self>
    where
        A: ToSocketAddrs,
    {
        let balancer = Self::from_backends(Backends::new(Static::try_from_iter(iter)?));
        balancer
            .update()
            .now_or_never()
            .expect("a static discovery never waits")
            .expect("a static discovery never fails");
        Ok(balancer)
    }

    /// Creates a balancer over `backends`. It has nothing to select before its first [`update`](Self::update), which
    /// the service makes when started.
    pub fn from_backends(backends: Backends) -> Self {
        Self::from_backends_with_config(backends, None)
    }

    /// Creates a balancer as [`from_backends`](Self::from_backends) does whose selectors are built with `config_opt`,
    /// if given.
    pub fn from_backends_with_config(backends: Backends, config_opt: Option<S::Config>) -> Self {
        let selector = build_selector::<S>(&backends.get_backend(), config_opt.as_ref());
        LoadBalancer {
            backends,
            selector: ArcSwap::from_pointee(selector),
            behind: Mutex::new(false),
            config: config_opt,
            update_timing: ArcSwapOption::empty(),
            health_check_frequency: None,
            update_frequency: None,
            parallel_health_check: false,
        }
    }

    /// Sets the health check of the backends.
    pub fn set_health_check(&mut self, hc: Box<dyn HealthCheck + Send + Sync + 'static>) {
        self.backends.set_health_check(hc);
    }

    /// Asks the discovery and, if the set has changed, builds the selector anew.
    ///
    /// Errors if the discovery does; everything then stays as it is. Errors also if building panics; the selector
    /// then stays as it is and the next update builds it again. See [`Backends::update`].
    pub async fn update(&self) -> Result<()> {
        let started = Instant::now();
        let mut rebuilt = None;
        let rebuild = |_| rebuilt = Some(self.rebuild(started));
        self.backends.update(rebuild).await?;
        match rebuilt {
            Some(outcome) => outcome,
            None if *self.behind() => self.rebuild(started),
            None => Ok(()),
        }
    }

    /// Returns the first healthy and enabled backend for `key`, or `None`.
    ///
    /// Looks at `max_iterations` candidates at most, the algorithm's first choice for `key`, then its fallbacks,
    /// repeats included. Takes no lock.
    pub fn select(&self, key: &[u8], max_iterations: usize) -> Option<Backend> {
        self.select_with(key, max_iterations, |_, ready| ready)
    }

    /// Returns the first backend for `key` that `accept` takes, or `None`.
    ///
    /// `accept` gets each different candidate once, with whether it is healthy and enabled; otherwise this is
    /// [`select`](Self::select).
    pub fn select_with<F>(&self, key: &[u8], max_iterations: usize, accept: F) -> Option<Backend>
    where
        F: Fn(&Backend, bool) -> bool,
    {
        select_from(
            &self.selector.load(),
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

    /// Returns how long the last update that changed the set took; `None` before the first.
    pub fn last_update_timing(&self) -> Option<UpdateTimings> {
        self.update_timing.load().as_deref().copied()
    }
}

impl<S: BackendSelection> LoadBalancer<S> {
    /// Builds the selector of the current set.
    fn rebuild(&self, started: Instant) -> Result<()> {
        // One at a time, each from the newest set: none can replace a newer selector.
        let mut behind = self.behind();
        let backends = self.backends.get_backend();
        let discovered = Instant::now();
        // A panic in a user's selector must not end the service for good.
        let build = || build_selector::<S>(&backends, self.config.as_ref());
        let selector = catch_unwind(AssertUnwindSafe(build));
        *behind = selector.is_err();
        let Ok(selector) = selector else {
            return Error::e_explain(ErrorType::InternalError, "building the selector panicked");
        };
        self.selector.store(Arc::new(selector));
        self.update_timing.store(Some(Arc::new(UpdateTimings {
            discovery_duration: discovered - started,
            build_duration: discovered.elapsed(),
        })));
        Ok(())
    }

    fn behind(&self) -> MutexGuard<'_, bool> {
        // Nothing that can panic runs while it is held, but for what is caught.
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Send + Sync + BackendSelection + 'static> LoadBalancer<S>
where
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
impl<S: Send + Sync + BackendSelection + 'static> Rounds for LoadBalancer<S>
where
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
impl<S: Send + Sync + BackendSelection + 'static> BackgroundService for LoadBalancer<S>
where
    S::Iter: BackendIter,
{
    /// Does what [`run`](LoadBalancer::run) does, with nobody to tell.
    async fn start(&self, shutdown: ShutdownWatch) {
        self.run(shutdown, None).await;
    }

    /// Does what [`run`](LoadBalancer::run) does.
    async fn start_with_ready_notifier(
        &self,
        shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        self.run(shutdown, Some(ready)).await;
    }
}

pub(crate) fn build_selector<S: BackendSelection>(
    backends: &BTreeSet<Backend>,
    config: Option<&S::Config>,
) -> S {
    match config {
        Some(config) => S::build_with_config(backends, config),
        None => S::build(backends),
    }
}

/// Walks the candidates of `selector` for `key`, each with its health in `backends`.
pub(crate) fn select_from<S>(
    selector: &Arc<S>,
    backends: &Backends,
    key: &[u8],
    max_iterations: usize,
    accept: impl Fn(&Backend, bool) -> bool,
) -> Option<Backend>
where
    S: BackendSelection,
    S::Iter: BackendIter,
{
    let snapshot = backends.snapshot();
    let bound = MAX_CANDIDATES_PER_BACKEND.saturating_mul(snapshot.len() + 1);
    let mut refused = 0;
    let judge = |key, backend: &Backend| {
        let ready = snapshot.ready(key);
        if accept(
            backend,
            ready.unwrap_or_else(|| snapshot.stranger_ready(key)),
        ) {
            return Verdict::Take;
        }
        refused += usize::from(ready.is_some());
        match refused == snapshot.len() {
            true => Verdict::GiveUp,
            false => Verdict::Skip,
        }
    };
    UniqueIterator::new(selector.iter(key), max_iterations.min(bound)).find(judge)
}

#[cfg(test)]
mod tests;
