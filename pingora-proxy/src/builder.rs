//! From a [`ProxyHttp`] to a service that a server can run.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use pingora_core::apps::HttpServerOptions;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::{Connector, custom};
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::{RuntimeOptsOverride, Service};
use pingora_runtime::RuntimeOpts;

use crate::exchange::{ByCustomLeg, CustomExchange};
use crate::{HttpProxy, ProxyHttp};

/// Serves a connection in a protocol of the application's own.
pub type ProcessCustomSession<SV, C> = Arc<
    dyn Fn(Arc<HttpProxy<SV, C>>, Stream, &ShutdownWatch) -> BoxFuture<'static, Option<Stream>>
        + Send
        + Sync
        + Unpin
        + 'static,
>;

const DEFAULT_NAME: &str = "Pingora HTTP Proxy Service";

/// Returns a proxy, without a service around it.
///
/// ```
/// # use async_trait::async_trait;
/// # use pingora_core::prelude::*;
/// # use pingora_proxy::{ProxyHttp, Session, http_proxy};
/// # struct MyProxy;
/// # #[async_trait]
/// # impl ProxyHttp for MyProxy {
/// #     type CTX = ();
/// #     fn new_ctx(&self) {}
/// #     async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
/// #         Ok(Box::new(HttpPeer::new("127.0.0.1:80", false, String::new())))
/// #     }
/// # }
/// use std::sync::Arc;
/// use pingora_core::apps::HttpServerOptions;
/// use pingora_core::server::configuration::ServerConf;
/// use pingora_core::services::listening::Service;
///
/// let conf = Arc::new(ServerConf::default());
/// let mut proxy = http_proxy(&conf, MyProxy);
/// let mut options = HttpServerOptions::default();
/// options.h2c = true;
/// proxy.server_options = Some(options);
/// let service = Service::new("edge".to_string(), proxy);
/// ```
pub fn http_proxy<SV>(conf: &Arc<ServerConf>, inner: SV) -> HttpProxy<SV>
where
    SV: ProxyHttp,
{
    let mut proxy = HttpProxy::new(inner, Arc::clone(conf));
    proxy.handle_init_modules();
    proxy
}

/// Returns a service of the proxy; add listeners and give it to a server.
///
/// ```
/// # use async_trait::async_trait;
/// # use pingora_core::prelude::*;
/// # use pingora_proxy::{ProxyHttp, Session, http_proxy_service};
/// # struct MyProxy;
/// # #[async_trait]
/// # impl ProxyHttp for MyProxy {
/// #     type CTX = ();
/// #     fn new_ctx(&self) {}
/// #     async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
/// #         Ok(Box::new(HttpPeer::new("127.0.0.1:80", false, String::new())))
/// #     }
/// # }
/// let mut server = Server::new(None)?;
/// let mut proxy = http_proxy_service(&server.configuration, MyProxy);
/// proxy.add_tcp("127.0.0.1:8080");
/// server.add_service(proxy);
/// # Ok::<(), Box<Error>>(())
/// ```
pub fn http_proxy_service<SV>(conf: &Arc<ServerConf>, inner: SV) -> Service<HttpProxy<SV, ()>>
where
    SV: ProxyHttp,
{
    http_proxy_service_with_name(conf, inner, DEFAULT_NAME)
}

/// Returns a service of the proxy under a name for logs.
pub fn http_proxy_service_with_name<SV>(
    conf: &Arc<ServerConf>,
    inner: SV,
    name: &str,
) -> Service<HttpProxy<SV, ()>>
where
    SV: ProxyHttp,
{
    Service::new(name.to_string(), http_proxy(conf, inner))
}

/// Returns a service of the proxy that also speaks a protocol of the application's own.
pub fn http_proxy_service_with_name_custom<SV, C>(
    conf: &Arc<ServerConf>,
    inner: SV,
    name: &str,
    connector: C,
    on_custom: ProcessCustomSession<SV, C>,
) -> Service<HttpProxy<SV, C>>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
    C: custom::Connector,
{
    ProxyServiceBuilder::new(conf, inner)
        .name(name)
        .custom(connector, on_custom)
        .build()
}

/// Builds a service of a proxy, option by option.
///
/// ```
/// # use std::sync::Arc;
/// # use async_trait::async_trait;
/// # use pingora_core::prelude::*;
/// # use pingora_core::server::configuration::ServerConf;
/// # use pingora_proxy::{ProxyHttp, ProxyServiceBuilder, Session};
/// # struct MyProxy;
/// # #[async_trait]
/// # impl ProxyHttp for MyProxy {
/// #     type CTX = ();
/// #     fn new_ctx(&self) {}
/// #     async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
/// #         Ok(Box::new(HttpPeer::new("127.0.0.1:80", false, String::new())))
/// #     }
/// # }
/// let conf = Arc::new(ServerConf::default());
/// let mut service = ProxyServiceBuilder::new(&conf, MyProxy).name("edge").build();
/// service.add_tcp("127.0.0.1:0");
/// ```
pub struct ProxyServiceBuilder<SV, C = ()>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
    C: custom::Connector,
{
    conf: Arc<ServerConf>,
    inner: SV,
    name: String,
    connector: C,
    on_custom: Option<ProcessCustomSession<SV, C>>,
    custom_exchange: Option<Box<dyn CustomExchange<SV, C>>>,
    client_options: Option<ConnectorOptions>,
    server_options: Option<HttpServerOptions>,
    runtime_opts_override: Option<RuntimeOptsOverride>,
}

impl<SV> ProxyServiceBuilder<SV, ()>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
{
    /// Returns a builder with the options of the server.
    pub fn new(conf: &Arc<ServerConf>, inner: SV) -> Self {
        ProxyServiceBuilder {
            conf: Arc::clone(conf),
            inner,
            name: DEFAULT_NAME.to_string(),
            connector: (),
            on_custom: None,
            custom_exchange: None,
            client_options: None,
            server_options: None,
            runtime_opts_override: None,
        }
    }
}

impl<SV, C> ProxyServiceBuilder<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
    C: custom::Connector,
{
    /// Sets the name for logs and threads; `Pingora HTTP Proxy Service` by default.
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        self.name = name.as_ref().to_owned();
        self
    }

    /// Speaks a protocol of the application's own, to clients and to upstreams.
    pub fn custom<C2: custom::Connector>(
        self,
        connector: C2,
        on_custom: ProcessCustomSession<SV, C2>,
    ) -> ProxyServiceBuilder<SV, C2> {
        ProxyServiceBuilder {
            conf: self.conf,
            inner: self.inner,
            name: self.name,
            connector,
            on_custom: Some(on_custom),
            custom_exchange: Some(Box::new(ByCustomLeg)),
            client_options: self.client_options,
            server_options: self.server_options,
            runtime_opts_override: self.runtime_opts_override,
        }
    }

    /// Sets how clients are treated, instead of the defaults.
    pub fn server_options(mut self, options: HttpServerOptions) -> Self {
        self.server_options = Some(options);
        self
    }

    /// Sets how upstreams are connected to, instead of what the server's configuration says.
    pub fn client_options(mut self, options: ConnectorOptions) -> Self {
        self.client_options = Some(options);
        self
    }

    /// Lets the service choose other runtime options than the server's.
    pub fn runtime_opts_override<F>(mut self, override_fn: F) -> Self
    where
        F: Fn(&RuntimeOpts) -> Option<RuntimeOpts> + Send + Sync + 'static,
    {
        self.runtime_opts_override = Some(Arc::new(override_fn));
        self
    }

    /// Returns the service; add listeners and give it to a server.
    pub fn build(self) -> Service<HttpProxy<SV, C>> {
        let options = self
            .client_options
            .unwrap_or_else(|| ConnectorOptions::from_server_conf(&self.conf));
        let connector = Connector::new_custom(Some(options), self.connector);
        let mut proxy = HttpProxy::with_connector(
            self.inner,
            &self.conf,
            connector,
            self.on_custom,
            self.custom_exchange,
        );
        proxy.server_options = self.server_options;
        proxy.handle_init_modules();
        let mut service = Service::new(self.name, proxy);
        if let Some(override_fn) = self.runtime_opts_override {
            service.set_runtime_opts_override(override_fn);
        }
        service
    }
}
