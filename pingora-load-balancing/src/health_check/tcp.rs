//! The check that a backend accepts connections, with or without a TLS handshake.
//!
//! `http.rs` goes on from there to a request.

use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::TransportConnector;
use pingora_core::upstreams::peer::BasicPeer;
use pingora_error::Result;

use crate::Backend;
use crate::health_check::{HealthCheck, HealthObserveCallback};

/// How long connecting, and the handshake with it, may take by default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Checks that a backend accepts a connection, and a TLS handshake if asked for, within a second.
///
/// ```
/// use pingora_load_balancing::{LoadBalancer, health_check::TcpHealthCheck, selection::RoundRobin};
/// use std::time::Duration;
///
/// let mut check = TcpHealthCheck::new();
/// check.consecutive_failure = 3;
/// check.peer_template.options.connection_timeout = Some(Duration::from_millis(300));
/// let mut balancer = LoadBalancer::<RoundRobin>::try_from_iter(["127.0.0.1:80"])?;
/// balancer.set_health_check(check);
/// balancer.health_check_frequency = Some(Duration::from_secs(5));
/// # std::io::Result::Ok(())
/// ```
pub struct TcpHealthCheck {
    /// How many checks in a row must pass before an unhealthy backend is healthy. 1 by default.
    pub consecutive_success: usize,
    /// How many checks in a row must fail before a healthy backend is unhealthy. 1 by default.
    pub consecutive_failure: usize,
    /// How to connect; the address is replaced by the backend's, a server name asks for TLS.
    ///
    /// `connection_timeout` (the connection) and `total_connection_timeout` (with the handshake) are 1 s by default.
    pub peer_template: BasicPeer,
    /// Called when a backend becomes healthy or unhealthy. None by default.
    pub health_changed_callback: Option<HealthObserveCallback>,
    connector: TransportConnector,
}

impl TcpHealthCheck {
    /// Creates a check of the connection alone.
    pub fn new() -> Box<Self> {
        Box::default()
    }

    /// Creates a check of the connection and of a TLS handshake for the server name `sni`.
    pub fn new_tls(sni: &str) -> Box<Self> {
        let mut check = Self::default();
        check.peer_template.sni = sni.to_owned();
        Box::new(check)
    }

    /// Replaces the connector, to share one or to give it options.
    pub fn set_connector(&mut self, connector: TransportConnector) {
        self.connector = connector;
    }
}

impl Default for TcpHealthCheck {
    /// Returns the check [`new`](Self::new) makes, unboxed.
    fn default() -> Self {
        // Any address: each check replaces it.
        let mut peer_template = BasicPeer::new("0.0.0.0:1");
        peer_template.options.connection_timeout = Some(CONNECT_TIMEOUT);
        peer_template.options.total_connection_timeout = Some(CONNECT_TIMEOUT);
        TcpHealthCheck {
            consecutive_success: 1,
            consecutive_failure: 1,
            peer_template,
            health_changed_callback: None,
            connector: TransportConnector::new(None),
        }
    }
}

#[async_trait]
impl HealthCheck for TcpHealthCheck {
    /// Connects to `target` and closes the connection again; never takes one from a pool.
    async fn check(&self, target: &Backend) -> Result<()> {
        let mut peer = self.peer_template.clone();
        peer._address = target.addr.clone();
        self.connector.new_stream(&peer).await.map(drop)
    }

    /// Calls [`health_changed_callback`](Self::health_changed_callback).
    async fn health_status_change(&self, target: &Backend, healthy: bool) {
        if let Some(callback) = &self.health_changed_callback {
            callback.observe(target, healthy).await;
        }
    }

    /// Returns the debug form of `target`.
    fn backend_summary(&self, target: &Backend) -> String {
        format!("{target:?}")
    }

    /// Returns [`consecutive_success`](Self::consecutive_success) or
    /// [`consecutive_failure`](Self::consecutive_failure).
    fn health_threshold(&self, success: bool) -> usize {
        match success {
            true => self.consecutive_success,
            false => self.consecutive_failure,
        }
    }
}
