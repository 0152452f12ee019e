//! [`TransportConnector`]: streams to peers, from the pool or new.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use pingora_error::{Error, ErrorSource, ErrorType, OrErr, Result};

use super::idle::{IdleConnections, Probe};
use super::l4::L4Connector;
use super::offload::{AbortOnDrop, OffloadRuntime};
use super::options::DEFAULT_POOL_SIZE;
use super::preferred::PreferredHttpVersion;
use super::resolve::{Resolve, SystemResolver};
use super::{ConnectorOptions, TransportConnector};
use crate::backend::connector as tls;
use crate::protocols::proxy_protocol::{ProxyProtocolPlace, SendProxyHeader};
use crate::protocols::{ALPN, Stream};
use crate::upstreams::peer::{AnyPeer, Peer};

impl TransportConnector {
    /// Returns a connector; without options it keeps up to 128 idle connections.
    pub fn new(options: Option<ConnectorOptions>) -> Self {
        Self::with_resolver(options, Arc::new(SystemResolver))
    }

    /// Returns a connector that looks names up with `resolver`.
    pub(super) fn with_resolver(
        options: Option<ConnectorOptions>,
        resolver: Arc<dyn Resolve>,
    ) -> Self {
        let options = options.unwrap_or_else(|| ConnectorOptions::new(DEFAULT_POOL_SIZE));
        let tls = tls::Connector::new(Some(options.clone()));
        TransportConnector {
            idle: Arc::new(IdleConnections::new(options.keepalive_pool_size)),
            layers: Arc::new(Layers {
                l4: L4Connector::new(options.bind_to_v4, options.bind_to_v6, resolver),
                tls: tls.ctx,
            }),
            offload: options
                .offload_threadpool
                .and_then(|size| OffloadRuntime::named(size, "connect offload")),
            preferred_http_version: PreferredHttpVersion::new(),
            pool_callback: options.keepalive_pool_callback,
            unexpected_data: Arc::default(),
        }
    }

    /// Returns a connection to `peer` and whether it was used before.
    ///
    /// # Errors
    /// Those of [`new_stream`](Self::new_stream).
    pub async fn get_stream<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(Stream, bool)> {
        match self.reused_stream(peer).await {
            Some(stream) => Ok((stream, true)),
            None => Ok((self.new_stream(peer).await?, false)),
        }
    }

    /// Returns a new connection to `peer`.
    ///
    /// Bounded by the peer's timeouts, or 60 s when it has neither; dropping the future gives the
    /// attempt up.
    ///
    /// # Errors
    /// From the upstream: `ConnectRefused`, `ConnectTimedout`, `ConnectNoRoute`, `ConnectError`,
    /// `ConnectProxyFailure` and those of TLS. `BindError` and `SocketError` when the socket could
    /// not be set up as the peer wants it.
    pub async fn new_stream<P: Peer + Send + Sync + 'static>(&self, peer: &P) -> Result<Stream> {
        self.connect(AnyPeer::of(peer)).await
    }

    /// Does what [`new_stream`](Self::new_stream) does.
    ///
    /// Boxed: connecting is rare, its future is many times larger than the rest, and so it is
    /// compiled here instead of in each program.
    fn connect<'a>(&'a self, peer: AnyPeer<'a>) -> BoxFuture<'a, Result<Stream>> {
        Box::pin(self.connect_here_or_there(peer))
    }

    /// Returns a new connection, made here or by the threads for that.
    pub(super) async fn connect_here_or_there(&self, peer: AnyPeer<'_>) -> Result<Stream> {
        tls::ensure_supported(&peer)?;
        let alpn = (peer.tls() && self.is_h1_only(&peer)).then_some(ALPN::H1);
        let Some(offload) = &self.offload else {
            return self.layers.establish(&peer, alpn).await;
        };
        let (layers, owned_peer) = (self.layers.clone(), peer.to_owned());
        let asked = Instant::now();
        let attempt = offload.runtime_of(peer.reuse_hash()).spawn(async move {
            log::trace!(
                "connection attempt waited {:?} for its thread",
                asked.elapsed()
            );
            layers.establish(&owned_peer.lend(), alpn).await
        });
        AbortOnDrop::new(attempt).await.or_err(
            ErrorType::InternalError,
            "the connection attempt was cut short",
        )?
    }

    /// Returns an idle connection to `peer`, `None` when there is none that is still usable.
    ///
    /// Never waits.
    pub async fn reused_stream<P: Peer + Send + Sync>(&self, peer: &P) -> Option<Stream> {
        // see Probe::of
        tokio::task::unconstrained(async { self.take_idle(peer.reuse_hash(), peer) }).await
    }

    /// Keeps `stream` for the next who asks for a peer with the reuse hash `key`, no longer than
    /// `idle_timeout`.
    ///
    /// The stream must be between two requests. When the pool is full, the connection unused for
    /// longest is closed.
    pub fn release_stream(&self, stream: Stream, key: u64, idle_timeout: Option<Duration>) {
        self.idle.put(key, stream, idle_timeout);
    }

    /// Remembers that `peer` is to be offered HTTP/1 only.
    pub fn prefer_h1(&self, peer: &impl Peer) {
        self.preferred_http_version.prefer_h1(peer.reuse_hash());
    }

    /// Returns how many idle connections had to be dropped because the server had sent something
    /// nobody had asked for.
    pub fn unexpected_data_connection_count(&self) -> u64 {
        self.unexpected_data.load(Ordering::Relaxed)
    }

    /// Returns the counter behind
    /// [`unexpected_data_connection_count`](Self::unexpected_data_connection_count).
    pub fn unexpected_data_connection_counter(&self) -> Arc<AtomicU64> {
        self.unexpected_data.clone()
    }

    /// Returns the newest idle connection under `key` that is alive; the dead ones are closed.
    fn take_idle(&self, key: u64, peer: &dyn fmt::Display) -> Option<Stream> {
        // Each turn removes a connection from the pool, so the pool's size bounds the loop.
        while let Some((mut stream, idled)) = self.idle.take(key) {
            match Probe::of(&mut stream) {
                Probe::Alive => {
                    if let Some(callback) = &self.pool_callback {
                        callback(idled);
                    }
                    return Some(stream);
                }
                Probe::Closed => log::debug!("idle connection was closed, peer: {peer}"),
                Probe::UnexpectedData => {
                    // A response nobody asked for must not become the answer to the next request.
                    self.unexpected_data.fetch_add(1, Ordering::Relaxed);
                    log::debug!("unexpected data on an idle connection, peer: {peer}");
                }
            }
        }
        None
    }

    /// Returns whether `peer` is to be offered HTTP/1 only.
    pub(super) fn is_h1_only(&self, peer: &impl Peer) -> bool {
        self.preferred_http_version.is_h1_only(|| peer.reuse_hash())
    }

    #[cfg(test)]
    pub(super) fn idle_stream(&self, key: u64) -> Option<Stream> {
        self.idle.take(key).map(|(stream, _)| stream)
    }

    #[cfg(test)]
    pub(super) fn idle_count(&self) -> usize {
        self.idle.len()
    }
}

/// What makes connections: sockets below, TLS above.
pub(super) struct Layers {
    l4: L4Connector,
    tls: tls::TlsConnector,
}

impl Layers {
    /// Makes a connection: transport, proxy and TLS, within the total timeout.
    async fn establish(&self, peer: &AnyPeer<'_>, alpn: Option<ALPN>) -> Result<Stream> {
        let Some(limit) = peer.total_connection_timeout() else {
            return self
                .connect(peer, alpn)
                .await
                .map_err(|e| upstream_error(e, peer));
        };
        match pingora_timeout::timeout(limit, self.connect(peer, alpn)).await {
            Ok(done) => done.map_err(|e| upstream_error(e, peer)),
            Err(_) => Err(upstream_error(timed_out(limit), peer)),
        }
    }

    async fn connect(&self, peer: &AnyPeer<'_>, alpn: Option<ALPN>) -> Result<Stream> {
        let mut stream = self.l4.connect(peer).await?;
        let header = peer
            .get_peer_options()
            .and_then(|options| options.proxy_protocol.as_deref());
        if !peer.tls() {
            if let Some(header) = header {
                header.send(&mut stream).await?;
            }
            return Ok(stream);
        }
        let inside = |header: &&SendProxyHeader| header.place == ProxyProtocolPlace::InsideTls;
        if let Some(header) = header.filter(|header| !inside(header)) {
            header.send(&mut stream).await?;
        }
        let mut stream = tls::connect(*stream, peer, alpn, &self.tls).await?;
        if let Some(header) = header.filter(inside) {
            header.send(&mut stream).await?;
        }
        Ok(Box::new(stream))
    }
}

#[cold]
fn timed_out(limit: Duration) -> Box<Error> {
    Error::explain(
        ErrorType::ConnectTimedout,
        format!("not connected after {limit:?} in total"),
    )
}

/// Says which peer it was, and whose fault, when a custom transport has not already.
#[cold]
fn upstream_error(mut e: Box<Error>, peer: &AnyPeer<'_>) -> Box<Error> {
    if *e.esource() == ErrorSource::Unset {
        match e.etype() {
            ErrorType::BindError | ErrorType::SocketError | ErrorType::InternalError => e.as_in(),
            _ => e.as_up(),
        }
    }
    let context = match &e.context {
        Some(context) => format!("{context}, Peer: {peer}"),
        None => format!("Peer: {peer}"),
    };
    e.set_context(context);
    e
}
