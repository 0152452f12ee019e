//! [`HttpProxy`]: a [`ProxyHttp`] as an application that serves HTTP sessions.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use http::Method;
use log::debug;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::{Connector, custom};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_error::{Error, ErrorType::HTTPStatus};

use crate::builder::ProcessCustomSession;
use crate::exchange::CustomExchange;
use crate::{ProxyHttp, Session};

/// A reverse proxy: the hooks of a [`ProxyHttp`] between clients and upstreams.
///
/// [`http_proxy_service`](crate::http_proxy_service) makes one and the service around it,
/// [`http_proxy`](crate::http_proxy) one alone.
pub struct HttpProxy<SV, C = ()>
where
    C: custom::Connector,
{
    pub(crate) inner: SV,
    pub(crate) connector: Connector<C>,
    pub(crate) max_retries: usize,
    on_custom: Option<ProcessCustomSession<SV, C>>,
    pub(crate) custom_exchange: Option<Box<dyn CustomExchange<SV, C>>>,
    /// The modules requests and responses of clients pass through.
    pub downstream_modules: HttpModules,
    /// The modules responses pass on the side of the upstream.
    #[cfg(feature = "upstream_modules")]
    pub upstream_modules: HttpModules,
    /// How clients are treated; `None`: the defaults.
    pub server_options: Option<HttpServerOptions>,
    /// The options of HTTP/2 connections of clients; `None`: the defaults.
    pub h2_options: Option<H2Options>,
}

impl<SV> HttpProxy<SV, ()> {
    /// Returns a proxy without modules; [`handle_init_modules`](Self::handle_init_modules) adds
    /// those of `inner`.
    pub fn new(inner: SV, conf: Arc<ServerConf>) -> Self {
        let options = ConnectorOptions::from_server_conf(&conf);
        Self::with_connector(inner, &conf, Connector::new(Some(options)), None, None)
    }
}

impl<SV, C> HttpProxy<SV, C>
where
    C: custom::Connector,
{
    pub(crate) fn with_connector(
        inner: SV,
        conf: &ServerConf,
        connector: Connector<C>,
        on_custom: Option<ProcessCustomSession<SV, C>>,
        custom_exchange: Option<Box<dyn CustomExchange<SV, C>>>,
    ) -> Self {
        HttpProxy {
            inner,
            connector,
            max_retries: conf.max_retries,
            on_custom,
            custom_exchange,
            downstream_modules: HttpModules::new(),
            #[cfg(feature = "upstream_modules")]
            upstream_modules: HttpModules::new(),
            server_options: None,
            h2_options: None,
        }
    }

    /// Adds the modules of the [`ProxyHttp`]; call it once, before requests come in.
    pub fn handle_init_modules(&mut self)
    where
        SV: ProxyHttp,
    {
        self.inner
            .init_downstream_modules(&mut self.downstream_modules);
        #[cfg(feature = "upstream_modules")]
        self.inner.init_upstream_modules(&mut self.upstream_modules);
    }

    /// Returns how many idle upstream connections were dropped because they sent something nobody
    /// had asked for.
    pub fn unexpected_data_connection_count(&self) -> u64 {
        self.connector.unexpected_data_connection_count()
    }

    /// Returns the counter of the above.
    pub fn unexpected_data_connection_counter(&self) -> Arc<AtomicU64> {
        self.connector.unexpected_data_connection_counter()
    }
}

impl<SV, C> HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
{
    /// Returns what hooks see of a request, with the modules of this proxy.
    pub(crate) fn session(
        &self,
        downstream: ServerSession,
        shutdown: Option<ShutdownWatch>,
    ) -> Session {
        let session = Session::new(downstream, &self.downstream_modules, shutdown);
        #[cfg(feature = "upstream_modules")]
        let session = session.with_upstream_modules(&self.upstream_modules);
        session
    }

    async fn serve(
        self: &Arc<Self>,
        mut downstream: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match downstream.read_request().await {
            Ok(true) => (),
            Ok(false) => {
                downstream.shutdown().await;
                return None;
            }
            Err(e) => {
                debug!("request refused: {e}");
                Box::pin(downstream.refuse_request(&e)).await;
                return None;
            }
        }
        if self.refuses_method(&downstream) {
            let refused = Error::new_down(HTTPStatus(405));
            Box::pin(downstream.refuse_request(&refused)).await;
            return None;
        }
        if *shutdown.borrow() {
            downstream.set_keepalive(None);
        }
        let previous = downstream.take_connection_user_context();
        let mut session = self.session(downstream, Some(shutdown.clone()));
        let mut ctx = self.inner.new_ctx();
        if let Some(previous) = previous {
            self.inner
                .on_connection_reuse(&mut session, &mut ctx, previous);
        }
        let outcome = self.run_phases(&mut session, &mut ctx).await;
        self.finish(&mut session, ctx, outcome).await
    }

    /// A reverse proxy is no tunnel unless it was told to be.
    fn refuses_method(&self, session: &ServerSession) -> bool {
        session.req_header().method() == Method::CONNECT
            && !self
                .server_options
                .as_ref()
                .is_some_and(|o| o.allow_connect_method_proxying)
    }
}

#[async_trait]
impl<SV, C> HttpServerApp for HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
{
    // As the macro would write it, without a second future around that of the request.
    fn process_new_http<'a, 'b, 'f>(
        self: &'a Arc<Self>,
        session: ServerSession,
        shutdown: &'b ShutdownWatch,
    ) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'f>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(self.serve(session, shutdown))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.server_options.as_ref()
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.h2_options.clone()
    }

    async fn process_custom_session(
        self: Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let on_custom = self.on_custom.clone()?;
        on_custom(self, stream, shutdown).await
    }
}

#[cfg(test)]
mod tests {
    use pingora_core::upstreams::peer::HttpPeer;
    use pingora_error::Result;

    use super::*;

    struct Default;

    #[async_trait]
    impl ProxyHttp for Default {
        type CTX = ();

        fn new_ctx(&self) {}

        async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
            Ok(Box::new(HttpPeer::new("127.0.0.1:1", false, String::new())))
        }
    }

    /// Each request allocates its future: what is rare must not make it large.
    #[test]
    fn the_future_of_a_request_is_small() {
        let proxy = Arc::new(HttpProxy::new(Default, Arc::new(ServerConf::default())));
        let (stream, _client) = tokio::io::duplex(1);
        let (_stop, shutdown) = tokio::sync::watch::channel(false);
        let future = proxy.serve(ServerSession::new_http1(Box::new(stream)), &shutdown);
        let size = size_of_val(&future);
        // Up to here the C library finds freed memory without tidying up.
        let limit = match cfg!(feature = "upstream_modules") {
            true => 1280,
            false => 1000,
        };
        assert!(size <= limit, "{size} bytes");
    }
}
