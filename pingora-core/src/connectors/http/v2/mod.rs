//! HTTP/2 sessions to peers: connections shared by many streams.
//!
//! A connection is in one of two places. While it has streams it is in the [`InUsePool`], from
//! which a peer's next stream is taken; without streams it is in the idle pool, which is bounded.
//! `connection.rs` counts the streams, `pools.rs` moves connections between the two, `connecting.rs`
//! keeps a cold start from opening a connection for each request.

mod connecting;
mod connection;
mod pools;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use pingora_error::{Error, ErrorType::H2Downgrade, Result};
use pingora_pool::ConnectionPool;

use self::connecting::{Connecting, Turn};
use self::pools::Pools;
use crate::connectors::options::DEFAULT_POOL_SIZE;
use crate::connectors::{ConnectorOptions, TransportConnector};
use crate::protocols::http::client::HttpSession;
use crate::protocols::http::custom::client::Session;
use crate::protocols::http::v1::client::HttpSession as Http1Session;
use crate::protocols::http::v2::client::Http2Session;
use crate::protocols::{ALPN, Stream};
use crate::upstreams::peer::{AnyPeer, Peer};

pub use self::connection::{ConnectionRef, H2HandshakeSettings, handshake};
pub use self::pools::InUsePool;

/// Gives HTTP/2 sessions to peers, on new connections or on shared ones.
///
/// ```
/// use pingora_core::connectors::http::v2::Connector;
///
/// let connector = Connector::new(None);
/// assert!(connector.in_use_pool().get(1).is_none());
/// ```
pub struct Connector {
    transport: Arc<TransportConnector>,
    pools: Arc<Pools>,
    connecting: Connecting,
}

impl Connector {
    /// Returns a connector; without options it keeps up to 128 idle connections.
    pub fn new(options: Option<ConnectorOptions>) -> Self {
        let size = options
            .as_ref()
            .map_or(DEFAULT_POOL_SIZE, |options| options.keepalive_pool_size);
        Self::with_transport(Arc::new(TransportConnector::new(options)), size)
    }

    /// Returns a connector that shares `transport` with one of HTTP/1.
    pub(crate) fn with_transport(transport: Arc<TransportConnector>, pool_size: usize) -> Self {
        Connector {
            transport,
            pools: Arc::new(Pools::new(pool_size)),
            connecting: Connecting::default(),
        }
    }

    /// Returns what makes the connections.
    pub fn transport(&self) -> &TransportConnector {
        &self.transport
    }

    /// Returns the connections without streams.
    pub fn idle_pool(&self) -> &Arc<ConnectionPool<ConnectionRef>> {
        self.pools.idle()
    }

    /// Returns the connections with streams.
    pub fn in_use_pool(&self) -> &InUsePool {
        self.pools.in_use()
    }

    /// Returns a session to `peer` on a new connection.
    ///
    /// It is one of HTTP/1 when the server chose that; the choice is remembered.
    ///
    /// # Errors
    /// Those of [`TransportConnector::new_stream`], `HandshakeError` when the server does not speak
    /// HTTP/2, and `H2Downgrade` when it chose HTTP/1 and the peer wants nothing but HTTP/2.
    pub async fn new_http_session<P: Peer + Send + Sync + 'static, C: Session>(
        &self,
        peer: &P,
    ) -> Result<HttpSession<C>> {
        self.open_boxed(AnyPeer::of(peer))
            .await
            .map(Opened::session)
    }

    /// Returns a session on an open connection to `peer`, `None` when none has a free stream.
    ///
    /// Never waits.
    pub async fn reused_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<Option<Http2Session>> {
        Ok(self.reuse(peer))
    }

    /// Ends the exchange of `session`; its connection, once unused, is kept for `peer` no longer
    /// than `idle_timeout`.
    pub fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        session: Http2Session,
        _peer: &P,
        idle_timeout: Option<Duration>,
    ) {
        session.conn.set_idle_timeout(idle_timeout);
        // Dropping it gives its stream back, here as after any failure.
        drop(session);
    }

    /// Remembers that `peer` is to be offered HTTP/1 only.
    pub fn prefer_h1(&self, peer: &impl Peer) {
        self.transport.prefer_h1(peer);
    }

    /// Returns a session, and whether its connection was used before.
    ///
    /// While requests open connections that others can share, they wait for those.
    pub(crate) async fn get_http_session<P, C>(&self, peer: &P) -> Result<(HttpSession<C>, bool)>
    where
        P: Peer + Send + Sync + 'static,
        C: Session,
    {
        if let Some(session) = self.reused_http_session(peer).await? {
            return Ok((HttpSession::H2(session), true));
        }
        let (opened, reused) = self.open_or_wait(AnyPeer::of(peer)).await?;
        Ok((opened.session(), reused))
    }

    /// Returns a session on a new connection, or on one others open that it can share.
    ///
    /// Boxed, as is [`open_boxed`](Self::open_boxed): connecting is rare, its future is large, and so
    /// it is compiled here instead of in each program.
    fn open_or_wait<'a>(&'a self, peer: AnyPeer<'a>) -> BoxFuture<'a, Result<(Opened, bool)>> {
        Box::pin(async move {
            let shares = peer
                .get_peer_options()
                .is_some_and(|options| options.max_h2_streams > 1);
            // Each turn but the last waits for a connection somebody else has opened.
            let lead = loop {
                if !shares {
                    break None;
                }
                match self.connecting.turn(peer.reuse_hash()).await {
                    Turn::Lead(lead) => break Some(lead),
                    Turn::Alone => break None,
                    Turn::LookAgain => (),
                }
                if let Some(session) = self.reuse(&peer) {
                    return Ok((Opened::H2(session), true));
                }
            };
            let opened = self.open(peer).await?;
            if let (Some(lead), Opened::H2(session)) = (lead, &opened) {
                lead.succeeded(session.conn.stream_limit());
            }
            Ok((opened, false))
        })
    }

    fn open_boxed<'a>(&'a self, peer: AnyPeer<'a>) -> BoxFuture<'a, Result<Opened>> {
        Box::pin(self.open(peer))
    }

    /// Opens a connection and the first stream on it.
    async fn open(&self, peer: AnyPeer<'_>) -> Result<Opened> {
        let stream = self.transport.connect_here_or_there(peer).await?;
        if !speaks_h2(&stream, &peer) {
            if wants_only_h2(&peer) {
                let context = format!("the server does not speak HTTP/2, Peer: {peer}");
                return Err(Error::explain(H2Downgrade, context).into_up());
            }
            self.transport.prefer_h1(&peer);
            let session = Http1Session::new_with_options(stream, &peer);
            return Ok(Opened::H1(session));
        }
        let key = peer.reuse_hash();
        let settings = H2HandshakeSettings::of(&peer);
        let home = (&self.pools, key, peer.idle_timeout());
        let conn = connection::open(stream, settings, Some(home)).await?;
        let Some(mut session) = self.pools.share(key, &conn)? else {
            return Err(Error::explain(H2Downgrade, "the server takes no streams").into_up());
        };
        with_options(&mut session, &peer);
        Ok(Opened::H2(session))
    }

    /// Returns a session on an open connection.
    fn reuse<P: Peer>(&self, peer: &P) -> Option<Http2Session> {
        let mut session = self.pools.reuse(peer.reuse_hash());
        if let Some(session) = &mut session {
            with_options(session, peer);
        }
        session
    }
}

/// A session on a new connection: of HTTP/1 when the server chose that.
enum Opened {
    H1(Http1Session),
    H2(Http2Session),
}

impl Opened {
    fn session<C: Session>(self) -> HttpSession<C> {
        match self {
            Opened::H1(session) => HttpSession::H1(session),
            Opened::H2(session) => HttpSession::H2(session),
        }
    }
}

/// Without TLS a peer that wants nothing but HTTP/2 is spoken to at once (RFC 9113 section 3.3).
fn speaks_h2<P: Peer>(stream: &Stream, peer: &P) -> bool {
    match peer.tls() {
        true => stream.selected_alpn_proto() == Some(ALPN::H2),
        false => wants_only_h2(peer),
    }
}

pub(crate) fn wants_only_h2<P: Peer>(peer: &P) -> bool {
    peer.get_alpn()
        .is_some_and(|alpn| alpn.get_min_http_version() > 1)
}

fn with_options<P: Peer>(session: &mut Http2Session, peer: &P) {
    if let Some(options) = peer.get_peer_options() {
        session.read_timeout = options.read_timeout;
        session.write_timeout = options.write_timeout;
    }
}

#[cfg(test)]
mod tests;
