//! The service that receives UDP: binds its addresses and gives each socket to an application.
//!
//! Who sends to whom is the affair of the application; see `pingora_proxy::udp` for a proxy.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use pingora_error::Result;
use pingora_runtime::current_handle;
use tokio::sync::watch;

use crate::listeners::udp::{UdpListener, UdpSocketOptions, table_key};
use crate::server::{ListenFds, ShutdownWatch};

/// What serves UDP sockets.
#[async_trait]
pub trait DatagramApp: Send + Sync {
    /// Serves a socket until `shutdown` becomes true, then finishes what it has begun and returns.
    /// Is called once for each address, at the same time.
    async fn serve(self: &Arc<Self>, listener: Arc<UdpListener>, shutdown: ShutdownWatch);
}

/// A [`DatagramApp`] with the addresses it serves.
///
/// ```
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use pingora_core::listeners::udp::UdpListener;
/// use pingora_core::server::ShutdownWatch;
/// use pingora_core::services::datagram::{DatagramApp, Service};
///
/// struct Echo;
///
/// #[async_trait]
/// impl DatagramApp for Echo {
///     async fn serve(self: &Arc<Self>, listener: Arc<UdpListener>, mut shutdown: ShutdownWatch) {
///         let mut datagram = [0; 1500];
///         loop {
///             let received = tokio::select! {
///                 // cancel-safe
///                 _ = shutdown.changed() => return,
///                 // cancel-safe
///                 received = listener.socket().recv_from(&mut datagram) => received,
///             };
///             if let Ok((bytes, client)) = received {
///                 let _ = listener.socket().send_to(&datagram[..bytes], client).await;
///             }
///         }
///     }
/// }
///
/// let mut service = Service::new("echo".to_string(), Echo);
/// service.add_udp("127.0.0.1:0");
/// // server.add_service(service);
/// ```
pub struct Service<A> {
    name: String,
    addresses: Vec<(String, UdpSocketOptions)>,
    app_logic: Option<Arc<A>>,
    bound: watch::Sender<Vec<String>>,
    /// The number of threads of this service; `None`, the default: that of the configuration.
    pub threads: Option<usize>,
}

impl<A> Service<A> {
    /// Returns a service without an address.
    pub fn new(name: String, app_logic: A) -> Self {
        Service {
            name,
            addresses: vec![],
            app_logic: Some(Arc::new(app_logic)),
            bound: watch::Sender::new(vec![]),
            threads: None,
        }
    }

    /// Adds an address, `host:port`.
    pub fn add_udp(&mut self, addr: &str) {
        self.add_udp_with_settings(addr, UdpSocketOptions::default());
    }

    /// Adds an address with socket options.
    pub fn add_udp_with_settings(&mut self, addr: &str, options: UdpSocketOptions) {
        self.addresses.push((addr.to_string(), options));
    }

    /// Returns the application to change it; `None` once the service has started.
    pub fn app_logic_mut(&mut self) -> Option<&mut A> {
        Arc::get_mut(self.app_logic.as_mut()?)
    }

    /// Returns the application; `None` once the service has started.
    pub fn app_logic(&self) -> Option<&A> {
        self.app_logic.as_deref()
    }

    /// Returns a view of the addresses served, with the ports the system chose; empty before the
    /// service has started and after it has ended.
    pub fn address_watch(&self) -> watch::Receiver<Vec<String>> {
        self.bound.subscribe()
    }

    async fn bind(&self, fds: Option<ListenFds>) -> Result<Vec<Arc<UdpListener>>> {
        let mut listeners = Vec::with_capacity(self.addresses.len());
        for (address, options) in &self.addresses {
            let listener = UdpListener::bind(address, options, fds.clone()).await?;
            listeners.push(Arc::new(listener));
        }
        Ok(listeners)
    }
}

#[async_trait]
impl<A: DatagramApp + 'static> super::Service for Service<A> {
    /// Binds all addresses and serves them; returns when the application has finished with each.
    ///
    /// An address that cannot be bound is reported as a failure of the server.
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let listeners = match self.bind(fds).await {
            Ok(listeners) => listeners,
            Err(e) => return crate::server::failure::report(e),
        };
        let Some(app) = self.app_logic.take() else {
            log::error!("service {} was started twice", self.name);
            return;
        };
        let name = |listener: &Arc<UdpListener>| listener.local_addr().to_string();
        let bound: Vec<String> = listeners.iter().map(name).collect();
        for address in &bound {
            crate::server::report::listening(&self.name, address, "udp");
        }
        self.bound.send_replace(bound);
        let mut tasks = vec![];
        for listener in listeners {
            let (app, shutdown) = (app.clone(), shutdown.clone());
            let serving = async move { app.serve(listener, shutdown).await };
            tasks.push(current_handle().spawn(serving.boxed()));
        }
        for task in tasks {
            if let Err(e) = task.await {
                log::error!("a socket of service {} is no longer served: {e}", self.name);
            }
        }
        self.bound.send_replace(vec![]);
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        let addresses = self.addresses.iter();
        Some(addresses.map(|(addr, _)| table_key(addr)).collect())
    }
}
