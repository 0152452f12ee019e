//! HTTP sessions to peers.
//!
//! [`Connector`] chooses the protocol by the peer's ALPN and gives a session of it; [`v1`] is
//! HTTP/1, [`v2`] HTTP/2, [`custom`] how a protocol of your own takes part.

pub mod custom;
pub mod v1;
pub mod v2;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use pingora_error::Result;

use super::options::DEFAULT_POOL_SIZE;
use super::{ConnectorOptions, TransportConnector};
use crate::protocols::ALPN;
use crate::protocols::http::client::HttpSession;
use crate::protocols::http::v1::client::HttpSession as Http1Session;
use crate::upstreams::peer::Peer;

/// Gives HTTP sessions to peers, on new connections or on pooled ones.
///
/// ```
/// use pingora_core::connectors::http::Connector;
/// use pingora_core::upstreams::peer::{HttpPeer, Peer};
/// use pingora_http::RequestHeader;
///
/// # async fn example() -> pingora_core::Result<()> {
/// let connector = Connector::new(None);
/// let peer = HttpPeer::new(("127.0.0.1", 8080), false, String::new());
/// let (mut session, _reused) = connector.get_http_session(&peer).await?;
///
/// let mut request = RequestHeader::build("GET", b"/", None)?;
/// request.insert_header("Host", "127.0.0.1")?;
/// session.write_request_header(Box::new(request)).await?;
/// session.finish_request_body().await?;
/// session.read_response_header().await?;
/// while session.read_response_body().await?.is_some() {}
///
/// connector.release_http_session(session, &peer, peer.idle_timeout()).await;
/// # Ok(())
/// # }
/// ```
pub struct Connector<C = ()>
where
    C: custom::Connector,
{
    h1: v1::Connector,
    h2: v2::Connector,
    custom: C,
}

impl Connector<()> {
    /// Returns a connector for HTTP; without options it keeps up to 128 idle connections.
    pub fn new(options: Option<ConnectorOptions>) -> Self {
        Self::new_custom(options, ())
    }
}

impl<C> Connector<C>
where
    C: custom::Connector,
{
    /// Returns a connector that leaves peers with a custom ALPN to `custom`.
    pub fn new_custom(options: Option<ConnectorOptions>, custom: C) -> Self {
        let pool_size = options
            .as_ref()
            .map_or(DEFAULT_POOL_SIZE, |options| options.keepalive_pool_size);
        let transport = Arc::new(TransportConnector::new(options));
        Connector {
            h1: v1::Connector::with_transport(Arc::clone(&transport)),
            h2: v2::Connector::with_transport(transport, pool_size),
            custom,
        }
    }

    /// Returns a session to `peer` and whether its connection was used before.
    ///
    /// # Errors
    /// Those of [`TransportConnector::new_stream`](super::TransportConnector::new_stream) and of
    /// [`v2::Connector::new_http_session`]; `InternalError` for a custom protocol this connector
    /// lacks.
    pub async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(HttpSession<C::Session>, bool)> {
        match peer.get_alpn() {
            Some(ALPN::Custom(_)) => self.custom_session(peer).await,
            Some(alpn)
                if alpn.get_max_http_version() > 1
                    && (peer.tls() || v2::wants_only_h2(peer))
                    && !self.h1.transport().is_h1_only(peer) =>
            {
                self.h2.get_http_session(peer).await
            }
            _ => {
                let (session, reused) = self.h1.get_http_session(peer).await?;
                Ok((HttpSession::H1(session), reused))
            }
        }
    }

    /// Keeps the connection of `session` for `peer`, no longer than `idle_timeout`, when it can
    /// be used again; closes it otherwise.
    pub async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        session: HttpSession<C::Session>,
        peer: &P,
        idle_timeout: Option<Duration>,
    ) {
        match session {
            HttpSession::H1(session) => {
                // What `release_http_session` there does, without a future around the one that waits: the
                // future of each request would be as much larger.
                if let Some(stream) = session.reuse().await {
                    let transport = self.h1.transport();
                    transport.release_stream(stream, peer.reuse_hash(), idle_timeout);
                }
            }
            HttpSession::H2(session) => self.h2.release_http_session(session, peer, idle_timeout),
            HttpSession::Custom(session) => {
                self.custom
                    .release_http_session(session, peer, idle_timeout)
                    .await;
            }
        }
    }

    /// Remembers that `peer` is to be offered HTTP/1 only.
    pub fn prefer_h1(&self, peer: &impl Peer) {
        self.h1.transport().prefer_h1(peer);
    }

    /// Returns how many idle connections had to be dropped because the server had sent something
    /// nobody had asked for.
    pub fn unexpected_data_connection_count(&self) -> u64 {
        self.h1.unexpected_data_connection_count()
    }

    /// Returns the counter behind
    /// [`unexpected_data_connection_count`](Self::unexpected_data_connection_count).
    pub fn unexpected_data_connection_counter(&self) -> Arc<AtomicU64> {
        self.h1.unexpected_data_connection_counter()
    }

    /// Returns a session of the custom connector, or HTTP/1 when the server chose that.
    async fn custom_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(HttpSession<C::Session>, bool)> {
        if let Some(session) = self.custom.reused_http_session(peer).await {
            return Ok((HttpSession::Custom(session), true));
        }
        // a server that chose HTTP/1 before has its connections in the other pool
        if let Some(session) = self.h1.reused_http_session(peer).await {
            return Ok((HttpSession::H1(session), true));
        }
        let (connection, reused) = self.custom.get_http_session(peer).await?;
        let session = match connection {
            custom::Connection::Session(session) => HttpSession::Custom(session),
            custom::Connection::Stream(stream) => {
                HttpSession::H1(Http1Session::new_with_options(stream, peer))
            }
        };
        Ok((session, reused))
    }
}
