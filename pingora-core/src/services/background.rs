//! Services that listen on nothing: health checks, refreshes, reports.
//!
//! Next: `server/run.rs` for when they start and how they are told to end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_runtime::RuntimeOpts;

use super::{ServiceReadyNotifier, ServiceWithDependents};
#[cfg(unix)]
use crate::server::ListenFds;
use crate::server::ShutdownWatch;

/// Work a server does in the background for as long as it runs.
///
/// Implement one of the two methods. Both should return when `shutdown` becomes true: the server
/// waits for it, at most the grace period.
///
/// ```
/// use std::time::Duration;
///
/// use async_trait::async_trait;
/// use pingora_core::server::ShutdownWatch;
/// use pingora_core::services::background::{BackgroundService, background_service};
///
/// struct Ticker;
///
/// #[async_trait]
/// impl BackgroundService for Ticker {
///     async fn start(&self, mut shutdown: ShutdownWatch) {
///         let mut interval = tokio::time::interval(Duration::from_secs(1));
///         loop {
///             tokio::select! {
///                 // cancel-safe
///                 _ = shutdown.changed() => return,
///                 // cancel-safe
///                 _ = interval.tick() => {}
///             }
///             // ... do something ...
///         }
///     }
/// }
///
/// let service = background_service("ticker", Ticker);
/// assert_eq!(service.threads, Some(1));
/// ```
#[async_trait]
pub trait BackgroundService {
    /// Does the work; the services that depend on this one start when `ready_notifier` says so, or
    /// is dropped.
    ///
    /// By default it says so at once and runs [`start`](BackgroundService::start).
    async fn start_with_ready_notifier(
        &self,
        shutdown: ShutdownWatch,
        ready_notifier: ServiceReadyNotifier,
    ) {
        ready_notifier.notify_ready();
        self.start(shutdown).await;
    }

    /// Does the work. Does nothing by default.
    async fn start(&self, _shutdown: ShutdownWatch) {}
}

/// A [`BackgroundService`] as a service of a server. [`background_service`] makes one.
///
/// ```
/// use std::sync::Arc;
///
/// use pingora_core::services::background::{BackgroundService, background_service};
/// # struct Prices;
/// # impl BackgroundService for Prices {}
///
/// let refresh = background_service("prices", Prices);
/// // What it refreshes, for those who use it.
/// let prices: Arc<Prices> = refresh.task();
/// // server.add_service(refresh);
/// ```
pub struct GenBackgroundService<A> {
    // The name of the service and its threads.
    name: String,
    // Shared with the program, which may want to use what the service refreshes.
    task: Arc<A>,
    /// The number of threads; `None`: that of the configuration. Default: 1.
    pub threads: Option<usize>,
}

impl<A> GenBackgroundService<A> {
    /// Returns a service that runs `task` on one thread.
    pub fn new(name: String, task: Arc<A>) -> Self {
        GenBackgroundService {
            name,
            task,
            threads: Some(1),
        }
    }

    /// Returns the task, to use what it provides.
    pub fn task(&self) -> Arc<A> {
        self.task.clone()
    }
}

#[async_trait]
impl<A> ServiceWithDependents for GenBackgroundService<A>
where
    A: BackgroundService + Send + Sync + 'static,
{
    async fn start_service(
        &mut self,
        #[cfg(unix)] _fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        self.task.start_with_ready_notifier(shutdown, ready).await;
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }

    fn runtime_opts_override(&self, _global: &RuntimeOpts) -> Option<RuntimeOpts> {
        None
    }

    fn on_startup_delay(&self, time_waited: Duration) {
        super::log_startup_delay(&self.name, time_waited);
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// Returns a service called `BG NAME` that runs `task` on one thread.
pub fn background_service<SV>(name: &str, task: SV) -> GenBackgroundService<SV> {
    GenBackgroundService::new(format!("BG {name}"), Arc::new(task))
}
