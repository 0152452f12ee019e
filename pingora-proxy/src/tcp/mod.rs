//! TCP proxies: connections are passed on as they are, whatever is spoken in them.
//!
//! [`ProxyTcp`] decides where a connection goes, with the peers, balancing, timeouts and retries of
//! an HTTP proxy. [`TcpSession`] in `session.rs` is what it knows of the connection, which may
//! include its first bytes: a TLS connection can be routed by the name its client asks for, without
//! being decrypted. `relay.rs` moves the bytes.

mod relay;
mod session;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{debug, error, warn};
use pingora_core::apps::ServerApp;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{BError, Error, ErrorSource, Result};

pub use self::session::TcpSession;

/// A TCP proxy's decisions, one connection at a time.
///
/// ```
/// # use async_trait::async_trait;
/// # use pingora_core::prelude::*;
/// # use pingora_proxy::tcp::{ProxyTcp, TcpSession};
/// /// Sends each TLS connection to the server its client asks for.
/// struct ByName;
///
/// #[async_trait]
/// impl ProxyTcp for ByName {
///     type CTX = ();
///     fn new_ctx(&self) {}
///
///     async fn upstream_peer(
///         &self,
///         session: &mut TcpSession,
///         _ctx: &mut (),
///     ) -> Result<Box<HttpPeer>> {
///         let hello = session.client_hello().await?;
///         let name = hello.and_then(|hello| hello.server_name.clone());
///         let address = match name.as_deref() {
///             Some("a.example") => "127.0.0.1:9001",
///             _ => "127.0.0.1:9002",
///         };
///         Ok(Box::new(HttpPeer::new(address, false, String::new())))
///     }
/// }
/// ```
#[async_trait]
pub trait ProxyTcp: Send + Sync {
    /// What the hooks of one connection share.
    type CTX: Send + Sync;

    /// Returns the context of a new connection.
    fn new_ctx(&self) -> Self::CTX;

    /// Returns where the connection goes; asked again for every try.
    ///
    /// A peer with TLS gets the bytes of the client inside it.
    async fn upstream_peer(
        &self,
        session: &mut TcpSession,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>>;

    /// Returns whether to serve the connection; true by default. One that is refused is closed.
    async fn connection_filter(
        &self,
        _session: &mut TcpSession,
        _ctx: &mut Self::CTX,
    ) -> Result<bool> {
        Ok(true)
    }

    /// Decides whether another try is worth it: mark `e` retryable.
    ///
    /// By default the error is returned as it is: what failed is not tried again.
    fn fail_to_connect(
        &self,
        _session: &mut TcpSession,
        _peer: &HttpPeer,
        _ctx: &mut Self::CTX,
        e: Box<Error>,
    ) -> Box<Error> {
        e
    }

    /// Runs when the upstream is connected, before the first byte is passed on.
    async fn connected_to_upstream(
        &self,
        _session: &mut TcpSession,
        _peer: &HttpPeer,
        _ctx: &mut Self::CTX,
    ) -> Result<()> {
        Ok(())
    }

    /// Runs last, with the error that ended the connection, if one did.
    async fn logging(&self, _session: &mut TcpSession, _e: Option<&Error>, _ctx: &mut Self::CTX) {}
}

/// How long things may take in a TCP proxy.
///
/// ```
/// use std::time::Duration;
/// use pingora_proxy::tcp::TcpProxyOptions;
///
/// let mut options = TcpProxyOptions::default();
/// options.idle_timeout = Some(Duration::from_secs(3600));
/// // service.app_logic_mut().expect("not started yet").options = options;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpProxyOptions {
    /// How long neither side may send anything; `None`: for ever. Default: 10 minutes.
    pub idle_timeout: Option<Duration>,
    /// How long a client may take to send what is looked at before it is passed on. Default: 10 s.
    pub peek_timeout: Duration,
}

impl Default for TcpProxyOptions {
    fn default() -> Self {
        TcpProxyOptions {
            idle_timeout: Some(Duration::from_secs(600)),
            peek_timeout: Duration::from_secs(10),
        }
    }
}

/// A [`ProxyTcp`] as an application that serves connections.
pub struct TcpProxy<SV> {
    inner: SV,
    connector: TransportConnector,
    max_retries: usize,
    /// How long things may take.
    pub options: TcpProxyOptions,
}

/// Returns a service of the proxy; add listeners and give it to a server.
///
/// ```
/// # use async_trait::async_trait;
/// # use pingora_core::prelude::*;
/// # use pingora_proxy::tcp::{ProxyTcp, TcpSession, tcp_proxy_service};
/// # struct ToDatabase;
/// # #[async_trait]
/// # impl ProxyTcp for ToDatabase {
/// #     type CTX = ();
/// #     fn new_ctx(&self) {}
/// #     async fn upstream_peer(&self, _: &mut TcpSession, _: &mut ()) -> Result<Box<HttpPeer>> {
/// #         Ok(Box::new(HttpPeer::new("127.0.0.1:5432", false, String::new())))
/// #     }
/// # }
/// let mut server = Server::new(None).unwrap();
/// let mut proxy = tcp_proxy_service(&server.configuration, ToDatabase);
/// proxy.add_tcp("127.0.0.1:6432");
/// server.add_service(proxy);
/// ```
pub fn tcp_proxy_service<SV>(conf: &Arc<ServerConf>, inner: SV) -> Service<TcpProxy<SV>>
where
    SV: ProxyTcp + 'static,
{
    let proxy = TcpProxy {
        inner,
        connector: TransportConnector::new(Some(ConnectorOptions::from_server_conf(conf))),
        max_retries: conf.max_retries,
        options: TcpProxyOptions::default(),
    };
    Service::new("Pingora TCP Proxy Service".to_string(), proxy)
}

#[async_trait]
impl<SV> ServerApp for TcpProxy<SV>
where
    SV: ProxyTcp + 'static,
{
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        _shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let mut session = TcpSession::new(stream, self.options.peek_timeout);
        let mut ctx = self.inner.new_ctx();
        let result = self.serve(&mut session, &mut ctx).await;
        if let Err(e) = &result {
            log_failure(&session, e);
        }
        let e = result.err();
        self.inner
            .logging(&mut session, e.as_deref(), &mut ctx)
            .await;
        session.close(e.is_some()).await;
        None
    }
}

impl<SV> TcpProxy<SV>
where
    SV: ProxyTcp + 'static,
{
    async fn serve(&self, session: &mut TcpSession, ctx: &mut SV::CTX) -> Result<()> {
        if !self.inner.connection_filter(session, ctx).await? {
            debug!("connection refused by the filter");
            return Ok(());
        }
        let mut tries = 0;
        let upstream = loop {
            tries += 1;
            let peer = self.inner.upstream_peer(session, ctx).await?;
            let e = match self.connector.new_stream(&*peer).await {
                Ok(upstream) => {
                    self.inner
                        .connected_to_upstream(session, &peer, ctx)
                        .await?;
                    break upstream;
                }
                Err(e) => self.inner.fail_to_connect(session, &peer, ctx, e.into_up()),
            };
            if !e.retry() || tries >= self.max_retries.max(1) {
                return Err(e);
            }
            warn!("trying again: {e}, tries: {tries}");
        };
        session.relay(upstream, self.options.idle_timeout).await
    }
}

fn log_failure(session: &TcpSession, e: &BError) {
    let client = session.client_addr();
    match e.esource() {
        ErrorSource::Downstream => debug!("client failed: {e}, client: {client:?}"),
        _ => error!("fail to proxy a connection: {e}, client: {client:?}"),
    }
}
