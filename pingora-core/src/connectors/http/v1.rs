//! HTTP/1 sessions to peers.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use pingora_error::Result;

use crate::connectors::{ConnectorOptions, TransportConnector};
use crate::protocols::http::v1::client::HttpSession;
use crate::upstreams::peer::Peer;

/// Gives HTTP/1 sessions to peers, on new connections or on pooled ones.
///
/// ```
/// use pingora_core::connectors::http::v1::Connector;
///
/// let connector = Connector::new(None);
/// assert_eq!(connector.unexpected_data_connection_count(), 0);
/// ```
pub struct Connector {
    transport: Arc<TransportConnector>,
}

impl Connector {
    /// Returns a connector; without options it keeps up to 128 idle connections.
    pub fn new(options: Option<ConnectorOptions>) -> Self {
        Self::with_transport(Arc::new(TransportConnector::new(options)))
    }

    /// Returns a connector that shares `transport` with one of HTTP/2.
    pub(crate) fn with_transport(transport: Arc<TransportConnector>) -> Self {
        Connector { transport }
    }

    /// Returns a session to `peer` and whether its connection was used before.
    ///
    /// # Errors
    /// Those of [`TransportConnector::new_stream`].
    pub async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(HttpSession, bool)> {
        let (stream, reused) = self.transport.get_stream(peer).await?;
        Ok((HttpSession::new_with_options(stream, peer), reused))
    }

    /// Returns a session on an idle connection to `peer`, `None` when there is none.
    ///
    /// Never waits.
    pub async fn reused_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Option<HttpSession> {
        let stream = self.transport.reused_stream(peer).await?;
        Some(HttpSession::new_with_options(stream, peer))
    }

    /// Keeps the connection of `session` for `peer`, no longer than `idle_timeout`, when the
    /// response was read to its end and the server keeps the connection open; closes it otherwise.
    pub async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        session: HttpSession,
        peer: &P,
        idle_timeout: Option<Duration>,
    ) {
        if let Some(stream) = session.reuse().await {
            self.transport
                .release_stream(stream, peer.reuse_hash(), idle_timeout);
        }
    }

    /// Returns how many idle connections had to be dropped because the server had sent something
    /// nobody had asked for.
    pub fn unexpected_data_connection_count(&self) -> u64 {
        self.transport.unexpected_data_connection_count()
    }

    /// Returns the counter behind
    /// [`unexpected_data_connection_count`](Self::unexpected_data_connection_count).
    pub fn unexpected_data_connection_counter(&self) -> Arc<AtomicU64> {
        self.transport.unexpected_data_connection_counter()
    }

    /// Returns what makes and keeps the connections.
    pub(crate) fn transport(&self) -> &TransportConnector {
        &self.transport
    }
}
