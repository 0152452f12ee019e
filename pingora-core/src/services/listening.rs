//! The service that accepts connections and gives each to an application.
//!
//! Every listener has `listeners_per_fd` tasks that accept; every connection is one task, which
//! must stay small because there are many of them and most are idle: it holds a pointer to what
//! connections share (`Shared`), the boxed stream and the shutdown watch. Filter, pre-TLS
//! callback and TLS handshake run in a future of their own that is freed when they are done.
//!
//! All of it knows the application as a `Handler`: what was generic over the application would be
//! compiled again in each program.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, FutureExt};
use pingora_error::Result;
use pingora_runtime::{RuntimeOpts, current_handle};
use tokio::sync::{oneshot, watch};

use crate::apps::ServerApp;
use crate::listeners::tls::TlsSettings;
use crate::listeners::{
    ConnectionFilter, ListenerConfig, Listeners, Preparation, ServerAddress, TcpSocketOptions,
    TransportStack,
};
use crate::protocols::Stream;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::server::{ListenFds, ShutdownWatch};
use crate::sys;

/// Returns the options of a service's runtime given those of the server, `None` to keep the latter.
pub type RuntimeOptsOverride = Arc<dyn Fn(&RuntimeOpts) -> Option<RuntimeOpts> + Send + Sync>;

/// The first and the longest pause after `accept` failed for want of descriptors or memory. Long
/// enough not to spin, short enough to serve again soon after some were freed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long the TCP handshakes that have begun at shutdown may take: most round trips.
const HANDSHAKE_GRACE: Duration = Duration::from_millis(50);

/// How many connections a socket may still bring at shutdown; far more than a backlog holds.
const MAX_LAST_CONNECTIONS: usize = 1 << 16;

/// An application with the addresses on which it is served.
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::apps::ServerApp;
/// use pingora_core::protocols::Stream;
/// use pingora_core::server::ShutdownWatch;
/// use pingora_core::services::listening::Service;
/// use std::sync::Arc;
///
/// struct Hello;
///
/// #[async_trait]
/// impl ServerApp for Hello {
///     async fn process_new(
///         self: &Arc<Self>,
///         mut stream: Stream,
///         _shutdown: &ShutdownWatch,
///     ) -> Option<Stream> {
///         use tokio::io::AsyncWriteExt;
///         let _ = stream.write_all(b"hello").await;
///         let _ = stream.flush().await;
///         None
///     }
/// }
///
/// let mut service = Service::new("hello".to_string(), Hello);
/// service.add_tcp("127.0.0.1:0");
/// let addresses = service.address_watch();
/// // server.add_service(service);
/// // once it listens, `addresses.borrow()` holds the port the system chose.
/// ```
pub struct Service<A> {
    name: String,
    listeners: Listeners,
    app_logic: Option<Arc<A>>,
    bound: watch::Sender<Vec<String>>,
    runtime_opts_override: Option<RuntimeOptsOverride>,
    /// The number of threads of this service; `None`, the default: that of the configuration.
    pub threads: Option<usize>,
}

impl<A> Service<A> {
    /// Returns a service without an address.
    pub fn new(name: String, app_logic: A) -> Self {
        Service::with_listeners(name, Listeners::new(), app_logic)
    }

    /// Returns a service with the addresses of `listeners`.
    pub fn with_listeners(name: String, listeners: Listeners, app_logic: A) -> Self {
        Service {
            name,
            listeners,
            app_logic: Some(Arc::new(app_logic)),
            bound: watch::Sender::new(vec![]),
            runtime_opts_override: None,
            threads: None,
        }
    }

    /// Returns the addresses, to be changed before the service starts.
    pub fn endpoints(&mut self) -> &mut Listeners {
        &mut self.listeners
    }

    /// Adds a plain TCP address, `host:port`.
    pub fn add_tcp(&mut self, addr: &str) {
        self.listeners.add_tcp(addr);
    }

    /// Adds a plain TCP address with socket options.
    pub fn add_tcp_with_settings(&mut self, addr: &str, sock_opt: TcpSocketOptions) {
        self.listeners.add_tcp_with_settings(addr, sock_opt);
    }

    /// Adds a Unix socket at the path `addr`; everybody may connect unless `perm` says otherwise.
    pub fn add_uds(&mut self, addr: &str, perm: Option<Permissions>) {
        self.listeners.add_uds(addr, perm);
    }

    /// Adds a TLS address that uses the PEM files given.
    ///
    /// # Errors
    /// If the files cannot be used, or no TLS feature is compiled in.
    pub fn add_tls(&mut self, addr: &str, cert_path: &str, key_path: &str) -> Result<()> {
        self.listeners.add_tls(addr, cert_path, key_path)
    }

    /// Adds a TLS address with settings and, optionally, socket options.
    pub fn add_tls_with_settings(
        &mut self,
        addr: &str,
        sock_opt: Option<TcpSocketOptions>,
        settings: TlsSettings,
    ) {
        self.listeners
            .add_tls_with_settings(addr, sock_opt, settings);
    }

    /// Adds a plain address of either kind.
    pub fn add_address(&mut self, addr: ServerAddress) {
        self.listeners.add_address(addr);
    }

    /// Adds an address with everything that belongs to it.
    pub fn add_listener(&mut self, endpoint: ListenerConfig) {
        self.listeners.add_listener(endpoint);
    }

    /// Has `filter` decide which connections are served.
    pub fn set_connection_filter(&mut self, filter: Arc<dyn ConnectionFilter>) {
        self.listeners.set_connection_filter(filter);
    }

    /// Has `override_fn` choose the options of this service's runtime.
    pub fn set_runtime_opts_override(&mut self, override_fn: RuntimeOptsOverride) {
        self.runtime_opts_override = Some(override_fn);
    }

    /// Returns the application to change it; `None` once the service has started.
    pub fn app_logic_mut(&mut self) -> Option<&mut A> {
        Arc::get_mut(self.app_logic.as_mut()?)
    }

    /// Returns the application; `None` once the service has started.
    pub fn app_logic(&self) -> Option<&A> {
        self.app_logic.as_deref()
    }

    /// Returns the addresses on which the service listens at this moment, with the ports the
    /// system chose; empty before it listens and after it stopped.
    pub fn bound_addresses(&self) -> Vec<String> {
        self.bound.borrow().clone()
    }

    /// Returns a view of [`bound_addresses`](Service::bound_addresses) that stays valid when the
    /// service is given to a server.
    ///
    /// ```no_run
    /// # async fn f(service: pingora_core::services::listening::Service<()>) {
    /// let mut addresses = service.address_watch();
    /// // elsewhere, while a server runs the service:
    /// if let Ok(addresses) = addresses.wait_for(|bound| !bound.is_empty()).await {
    ///     println!("listening on {addresses:?}");
    /// }
    /// # }
    /// ```
    pub fn address_watch(&self) -> watch::Receiver<Vec<String>> {
        self.bound.subscribe()
    }
}

impl<A: ServerApp + Send + Sync + 'static> Service<A> {
    /// Gives `event` to the application again and again until it does not hand it back.
    pub async fn handle_event(event: Stream, app_logic: Arc<A>, shutdown: ShutdownWatch) {
        let mut next = Some(event);
        while let Some(stream) = next {
            next = app_logic.process_new(stream, &shutdown).await;
        }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> crate::services::Service for Service<A> {
    /// Listens, and serves connections until `shutdown`; then stops accepting, closes the sockets,
    /// tells the application to clean up, and returns when the last connection has ended.
    ///
    /// An address that cannot be listened on is reported as a failure of the server.
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        let Some(app) = self.app_logic.take() else {
            log::error!("service {} was started twice", self.name);
            return;
        };
        let running = Running {
            name: &self.name,
            bound: &self.bound,
            app: Arc::new(Arc::clone(&app)),
            tasks_per_stack: listeners_per_fd.max(1),
            shutdown,
        };
        if let Err(e) = running.run(&mut self.listeners, fds).await {
            self.app_logic = Some(app);
            crate::server::failure::report(e);
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }

    fn runtime_opts_override(&self, global: &RuntimeOpts) -> Option<RuntimeOpts> {
        self.runtime_opts_override.as_ref()?(global)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(self.listeners.addresses())
    }
}

/// An application, as those who accept and serve connections know it.
trait Handler: Send + Sync {
    /// Gives it a connection; see [`ServerApp::process_new`].
    fn process_new<'a>(
        &'a self,
        stream: Stream,
        shutdown: &'a ShutdownWatch,
    ) -> BoxFuture<'a, Option<Stream>>;

    /// Tells it that the service stops.
    fn cleanup(&self) -> BoxFuture<'_, ()>;
}

impl<A: ServerApp + Send + Sync + 'static> Handler for Arc<A> {
    fn process_new<'a>(
        &'a self,
        stream: Stream,
        shutdown: &'a ShutdownWatch,
    ) -> BoxFuture<'a, Option<Stream>> {
        ServerApp::process_new(self, stream, shutdown)
    }

    fn cleanup(&self) -> BoxFuture<'_, ()> {
        ServerApp::cleanup(self.as_ref())
    }
}

/// A service that was started.
struct Running<'a> {
    name: &'a str,
    bound: &'a watch::Sender<Vec<String>>,
    app: Arc<dyn Handler>,
    tasks_per_stack: usize,
    shutdown: ShutdownWatch,
}

impl<'a> Running<'a> {
    /// Listens, and serves until the last connection after shutdown has ended.
    ///
    /// # Errors
    /// If it cannot listen on one of the addresses.
    fn run(
        self,
        listeners: &'a mut Listeners,
        fds: Option<ListenFds>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let stacks = listeners.build(fds).await?;
            for stack in &stacks {
                let address = stack.local_addr_string();
                crate::server::report::listening(self.name, &address, stack.protocol());
            }
            let bound = stacks.iter().map(TransportStack::local_addr_string);
            self.bound.send_replace(bound.collect());
            let in_flight = self.accept_all(stacks).await;
            self.bound.send_replace(vec![]);
            self.app.cleanup().await;
            in_flight.finish().await;
            Ok(())
        })
    }

    /// Accepts on all stacks until shutdown, then closes their sockets.
    async fn accept_all(&self, stacks: Vec<TransportStack>) -> InFlight {
        let (alive, all_done) = oneshot::channel();
        let alive = Arc::new(alive);
        let mut tasks = vec![];
        for stack in stacks {
            let shared = Arc::new(Shared {
                app: self.app.clone(),
                preparation: stack.preparation().clone(),
                _alive: alive.clone(),
            });
            let stack = Arc::new(stack);
            for _ in 0..self.tasks_per_stack {
                let accepting = accept_loop(stack.clone(), shared.clone(), self.shutdown.clone());
                tasks.push(current_handle().spawn(accepting.boxed()));
            }
        }
        for task in tasks {
            if let Err(e) = task.await {
                log::error!("accepting for service {} ended: {e}", self.name);
            }
        }
        InFlight(all_done)
    }
}

/// What all connections of a listener share.
struct Shared {
    app: Arc<dyn Handler>,
    preparation: Arc<Preparation>,
    /// Dropped with the last connection, which [`InFlight`] notices.
    _alive: Arc<oneshot::Sender<Infallible>>,
}

/// The connections being served.
struct InFlight(oneshot::Receiver<Infallible>);

impl InFlight {
    /// Waits until all of them have ended. They know of the shutdown; the server limits the wait.
    async fn finish(self) {
        // Nothing can be sent: the only outcome is that all senders are gone.
        let _ = self.0.await;
    }
}

/// Accepts connections and spawns a task for each, until shutdown.
async fn accept_loop(stack: Arc<TransportStack>, shared: Arc<Shared>, mut shutdown: ShutdownWatch) {
    let mut trouble = AcceptTrouble::default();
    // Unbounded: serving is what a service does until shutdown.
    loop {
        if *shutdown.borrow() {
            return accept_last(&stack, &shared, &shutdown).await;
        }
        // Where this connection will be served; without work stealing, one of several runtimes.
        let home = current_handle();
        // Both futures are cancel-safe: a change stays unseen, a connection in the backlog.
        let accepted = tokio::select! {
            biased;
            changed = shutdown.changed() => match changed {
                Ok(()) => continue,
                // The server is gone.
                Err(_) => return,
            },
            accepted = stack.accept(&home) => accepted,
        };
        match accepted {
            Ok(stream) => {
                trouble.is_over(&stack);
                home.spawn(serve(stream, shared.clone(), shutdown.clone()));
            }
            Err(e) if sys::is_of_one_connection(&e) => log::debug!("connection lost early: {e}"),
            Err(e) => {
                let pause = trouble.next_pause(e, &stack);
                // Both futures are cancel-safe.
                tokio::select! {
                    _ = shutdown.changed() => {}
                    _ = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

/// Accepts the connections that the closing of the socket, right after this, would reset although
/// their clients may have been told that they are connected: those that wait in the backlog, and
/// those whose handshake ends soon.
async fn accept_last(stack: &TransportStack, shared: &Arc<Shared>, shutdown: &ShutdownWatch) {
    let more_to_come = stack.stop_arrivals();
    accept_backlog(stack, shared, shutdown);
    if more_to_come {
        tokio::time::sleep(HANDSHAKE_GRACE).await;
        accept_backlog(stack, shared, shutdown);
    }
}

/// Accepts the connections that wait in the backlog.
fn accept_backlog(stack: &TransportStack, shared: &Arc<Shared>, shutdown: &ShutdownWatch) {
    for _ in 0..MAX_LAST_CONNECTIONS {
        let home = current_handle();
        match stack.accept_waiting(&home) {
            Ok(Some(stream)) => {
                home.spawn(serve(stream, shared.clone(), shutdown.clone()));
            }
            Err(e) if sys::is_of_one_connection(&e) => {
                log::debug!("connection lost early: {e}")
            }
            Ok(None) | Err(_) => return,
        }
    }
}

/// A series of failures of `accept`: paused after each, logged once.
#[derive(Default)]
struct AcceptTrouble {
    pause: Option<Duration>,
}

impl AcceptTrouble {
    /// Returns how long to wait before the next try.
    #[cold]
    fn next_pause(&mut self, e: io::Error, stack: &TransportStack) -> Duration {
        if self.pause.is_none() {
            let cause = if sys::is_exhausted(&e) {
                "out of resources"
            } else {
                "failed"
            };
            log::error!(
                "accept on {}: {cause}: {e}; trying on",
                stack.local_addr_string()
            );
        }
        let pause = self
            .pause
            .map_or(ACCEPT_PAUSE, |pause| (pause * 2).min(ACCEPT_PAUSE_MAX));
        self.pause = Some(pause);
        pause
    }

    fn is_over(&mut self, stack: &TransportStack) {
        if self.pause.take().is_some() {
            log::info!("accept on {} works again", stack.local_addr_string());
        }
    }
}

/// One connection, from its first byte to its last.
async fn serve(accepted: Box<L4Stream>, shared: Arc<Shared>, shutdown: ShutdownWatch) {
    let stream = if shared.preparation.is_empty() {
        accepted
    } else {
        // In a box of its own, which is freed before the long life of the connection begins.
        match Box::pin(prepare(accepted, &shared.preparation)).await {
            Some(stream) => stream,
            None => return,
        }
    };
    let mut next = Some(stream);
    // Ends when the application closes the connection instead of handing it back.
    while let Some(stream) = next {
        next = shared.app.process_new(stream, &shutdown).await;
    }
}

async fn prepare(accepted: Box<L4Stream>, preparation: &Preparation) -> Option<Stream> {
    match preparation.handshake(accepted).await {
        Ok(Some(stream)) => Some(stream),
        Ok(None) => {
            log::debug!("connection refused by the filter");
            None
        }
        Err(e) => {
            log::debug!("connection dropped before it was served: {e}");
            None
        }
    }
}

#[cfg(test)]
mod tests;
