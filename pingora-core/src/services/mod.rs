//! Services: what a [`Server`](crate::server::Server) runs.
//!
//! A service is a name and a future that runs until the server shuts down. Read in this order:
//! the traits here, `readiness.rs` (how a service says that it is ready), `dependencies.rs`
//! (which service starts after which), then the kinds of services: [`listening`] accepts
//! connections, [`datagram`] receives UDP, [`background`] does anything else.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::info;
use pingora_runtime::RuntimeOpts;
use tokio::sync::watch;

#[cfg(unix)]
use crate::server::ListenFds;
use crate::server::ShutdownWatch;

pub mod background;
pub mod datagram;
pub(crate) mod dependencies;
pub mod listening;
mod readiness;

pub use dependencies::ServiceHandle;
pub use readiness::ServiceReadyWatch;

/// A service that other services may wait for.
///
/// Most services implement [`Service`] instead, which counts as ready at once, or
/// [`BackgroundService`](background::BackgroundService).
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::server::{ListenFds, ShutdownWatch};
/// use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};
///
/// struct Warmer;
///
/// #[async_trait]
/// impl ServiceWithDependents for Warmer {
///     async fn start_service(
///         &mut self,
///         _fds: Option<ListenFds>,
///         mut shutdown: ShutdownWatch,
///         _listeners_per_fd: usize,
///         ready: ServiceReadyNotifier,
///     ) {
///         // ... load something ...
///         ready.notify_ready();
///         let _ = shutdown.changed().await;
///     }
///
///     fn name(&self) -> &str {
///         "warmer"
///     }
/// }
/// ```
#[async_trait]
pub trait ServiceWithDependents: Send + Sync {
    /// Runs the service.
    ///
    /// When `shutdown` becomes true, finish the work in progress and return: the server waits for
    /// that, at most the grace period, and ends once all services have returned. It drops the
    /// future of a service that takes longer, at any await point.
    ///
    /// `fds` are the listening sockets of the process, to hand over to the next one.
    /// `listeners_per_fd` is the number of tasks to accept connections with on each. `ready_notifier`
    /// lets the services that depend on this one start; dropping it does too.
    async fn start_service(
        &mut self,
        #[cfg(unix)] fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready_notifier: ServiceReadyNotifier,
    );

    /// Returns the name of the service, for logs and the names of its threads.
    fn name(&self) -> &str;

    /// Returns the number of threads of the service; `None`, the default: that of the configuration.
    fn threads(&self) -> Option<usize> {
        None
    }

    /// Returns the options of the service's runtime given those of the server, or `None` to take
    /// the latter.
    fn runtime_opts_override(&self, _global: &RuntimeOpts) -> Option<RuntimeOpts> {
        None
    }

    /// Is told how long the service waited for those it depends on, right before it starts.
    /// Is not called when it depends on none. Logs it by default.
    fn on_startup_delay(&self, time_waited: Duration) {
        log_startup_delay(self.name(), time_waited);
    }

    /// Returns the addresses the service listens on, or `None` if that is not known. After an
    /// upgrade, inherited sockets that no service listens on are closed if all services know.
    fn listen_addresses(&self) -> Option<Vec<String>> {
        None
    }
}

/// Tells the dependents of a service that it is ready: by [`notify_ready`], or by being dropped,
/// so that a service that ends early does not hold up others.
///
/// [`notify_ready`]: ServiceReadyNotifier::notify_ready
///
/// ```
/// use pingora_core::services::ServiceReadyNotifier;
///
/// let (sender, watch) = tokio::sync::watch::channel(false);
/// let ready = ServiceReadyNotifier::new(sender);
/// assert!(!*watch.borrow());
/// ready.notify_ready();
/// assert!(*watch.borrow());
/// ```
pub struct ServiceReadyNotifier {
    dependents: watch::Sender<bool>,
}

/// A service whose dependents need not wait until it is ready.
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::server::{ListenFds, ShutdownWatch};
/// use pingora_core::services::Service;
///
/// struct Idle;
///
/// #[async_trait]
/// impl Service for Idle {
///     async fn start_service(
///         &mut self,
///         _fds: Option<ListenFds>,
///         mut shutdown: ShutdownWatch,
///         _listeners_per_fd: usize,
///     ) {
///         let _ = shutdown.changed().await;
///     }
///
///     fn name(&self) -> &str {
///         "idle"
///     }
/// }
/// ```
#[async_trait]
pub trait Service: Sync + Send {
    /// Runs the service, as [`ServiceWithDependents::start_service`] does. Returns at once by
    /// default.
    async fn start_service(
        &mut self,
        #[cfg(unix)] _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
    }

    /// Returns the name of the service, for logs and the names of its threads.
    fn name(&self) -> &str;

    /// Returns the number of threads of the service; `None`, the default: that of the configuration.
    fn threads(&self) -> Option<usize> {
        None
    }

    /// Returns the options of the service's runtime given those of the server, or `None` to take
    /// the latter.
    fn runtime_opts_override(&self, _global: &RuntimeOpts) -> Option<RuntimeOpts> {
        None
    }

    /// Is told how long the service waited for those it depends on, right before it starts.
    /// Is not called when it depends on none. Logs it by default.
    fn on_startup_delay(&self, time_waited: Duration) {
        log_startup_delay(self.name(), time_waited);
    }

    /// Returns the addresses the service listens on, or `None` if that is not known.
    fn listen_addresses(&self) -> Option<Vec<String>> {
        None
    }
}

#[async_trait]
impl<S> ServiceWithDependents for S
where
    S: Service,
{
    async fn start_service(
        &mut self,
        #[cfg(unix)] fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready_notifier: ServiceReadyNotifier,
    ) {
        ready_notifier.notify_ready();
        S::start_service(
            self,
            #[cfg(unix)]
            fds,
            shutdown,
            listeners_per_fd,
        )
        .await;
    }

    fn name(&self) -> &str {
        S::name(self)
    }

    fn threads(&self) -> Option<usize> {
        S::threads(self)
    }

    fn runtime_opts_override(&self, global: &RuntimeOpts) -> Option<RuntimeOpts> {
        S::runtime_opts_override(self, global)
    }

    fn on_startup_delay(&self, time_waited: Duration) {
        S::on_startup_delay(self, time_waited);
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        S::listen_addresses(self)
    }
}

/// A service inside a server: itself and its place among the others.
pub(crate) struct ServiceEntry {
    pub(crate) handle: ServiceHandle,
    pub(crate) service: Box<dyn ServiceWithDependents>,
    pub(crate) ready: ServiceReadyNotifier,
}

impl ServiceEntry {
    /// Enters `service` among those of `graph`.
    pub(crate) fn new(
        service: Box<dyn ServiceWithDependents>,
        graph: &Arc<dependencies::Graph>,
    ) -> Self {
        let (sender, watch) = tokio::sync::watch::channel(false);
        ServiceEntry {
            handle: dependencies::Graph::add(graph, service.name(), watch),
            service,
            ready: ServiceReadyNotifier::new(sender),
        }
    }
}

fn log_startup_delay(name: &str, time_waited: Duration) {
    info!(
        "service starts service={name} waited_ms={}",
        time_waited.as_millis()
    );
}
