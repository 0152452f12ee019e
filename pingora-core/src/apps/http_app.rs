//! The shortest way to an HTTP server: a function from request to response.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Response;
use http::header::CONTENT_LENGTH;
use log::{debug, error};
use pingora_error::Result;
use pingora_http::ResponseHeader;

use super::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use crate::modules::http::{HttpModuleCtx, HttpModules, ModuleBuilder};
use crate::protocols::http::v2::server::H2Options;
use crate::protocols::http::{HttpTask, ServerSession};
use crate::server::ShutdownWatch;

/// An HTTP server that answers each request with a whole response; [`HttpServer`] has an example.
#[async_trait]
pub trait ServeHttp {
    /// Returns the response to the request in `http_session`, whose head was read.
    ///
    /// `Content-Length` is added when the response says neither it nor `Transfer-Encoding`.
    async fn response(&self, http_session: &mut ServerSession) -> Response<Vec<u8>>;
}

// Neither of these two by `async_trait`: the boxed future is made in one place, for all applications.
impl<SV> HttpServerApp for SV
where
    SV: ServeHttp + Send + Sync,
{
    fn process_new_http<'life0, 'life1, 'async_trait>(
        self: &'life0 Arc<Self>,
        session: ServerSession,
        shutdown: &'life1 ShutdownWatch,
    ) -> BoxFuture<'async_trait, Option<ReusedHttpStream>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        boxed(self.as_ref(), session, HttpModuleCtx::empty(), shutdown)
    }
}

/// A [`ServeHttp`] with HTTP modules and options.
///
/// ```
/// # use async_trait::async_trait;
/// # use http::Response;
/// # use pingora_core::apps::http_app::{HttpServer, ServeHttp};
/// # use pingora_core::protocols::http::ServerSession;
/// # use pingora_core::services::listening::Service;
/// struct Hello;
///
/// #[async_trait]
/// impl ServeHttp for Hello {
///     async fn response(&self, _session: &mut ServerSession) -> Response<Vec<u8>> {
///         Response::new(b"hello".to_vec())
///     }
/// }
///
/// let mut app = HttpServer::new_app(Hello);
/// app.server_options = Some(Default::default());
/// let mut service = Service::new("hello".to_string(), app);
/// service.add_tcp("127.0.0.1:8080");
/// // server.add_service(service);
/// ```
pub struct HttpServer<SV> {
    app: SV,
    modules: HttpModules,
    /// How clients are treated; `None`: the defaults.
    pub server_options: Option<HttpServerOptions>,
    /// The options of HTTP/2 connections; `None`: the defaults.
    pub h2_options: Option<H2Options>,
}

impl<SV> HttpServer<SV> {
    /// Returns a server of `app` without modules.
    pub fn new_app(app: SV) -> Self {
        HttpServer {
            app,
            modules: HttpModules::new(),
            server_options: None,
            h2_options: None,
        }
    }

    /// Adds a module every request and response passes through.
    pub fn add_module(&mut self, module: ModuleBuilder) {
        self.modules.add_module(module);
    }
}

impl<SV> HttpServerApp for HttpServer<SV>
where
    SV: ServeHttp + Send + Sync,
{
    fn process_new_http<'life0, 'life1, 'async_trait>(
        self: &'life0 Arc<Self>,
        session: ServerSession,
        shutdown: &'life1 ShutdownWatch,
    ) -> BoxFuture<'async_trait, Option<ReusedHttpStream>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        boxed(&self.app, session, self.modules.build_ctx(), shutdown)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.server_options.as_ref()
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.h2_options.clone()
    }
}

fn boxed<'a>(
    app: &'a (dyn ServeHttp + Send + Sync),
    session: ServerSession,
    modules: HttpModuleCtx,
    shutdown: &'a ShutdownWatch,
) -> BoxFuture<'a, Option<ReusedHttpStream>> {
    Box::pin(serve(app, session, modules, shutdown))
}

async fn serve(
    app: &(dyn ServeHttp + Send + Sync),
    mut session: ServerSession,
    mut modules: HttpModuleCtx,
    shutdown: &ShutdownWatch,
) -> Option<ReusedHttpStream> {
    match session.read_request().await {
        Ok(true) => (),
        Ok(false) => return None,
        Err(e) => {
            debug!("request refused: {e}");
            session.refuse_request(&e).await;
            return None;
        }
    }
    if *shutdown.borrow() {
        session.set_keepalive(None);
    }
    if let Err(e) = modules
        .request_header_filter(session.req_header_mut())
        .await
    {
        error!("request of {} failed: {e}", session.request_summary());
        let _ = session.respond_error(500).await;
        let _ = session.finish().await;
        return None;
    }
    let response = app.response(&mut session).await;
    if let Err(e) = send(&mut session, response, &mut modules).await {
        debug!("response to {} failed: {e}", session.request_summary());
        session.shutdown().await;
        return None;
    }
    let settings = HttpPersistentSettings::for_session(&session);
    let reusable = session.finish().await.ok().flatten()?;
    Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
}

async fn send(
    session: &mut ServerSession,
    response: Response<Vec<u8>>,
    modules: &mut HttpModuleCtx,
) -> Result<()> {
    let (parts, body) = response.into_parts();
    let mut head: ResponseHeader = parts.into();
    let tells_length = head.headers.contains_key(CONTENT_LENGTH)
        || head.headers.contains_key(http::header::TRANSFER_ENCODING);
    let bodiless = head.status().is_informational() || matches!(head.status().as_u16(), 204 | 304);
    if !tells_length && !bodiless {
        head.set_content_length(body.len())?;
    }
    modules
        .response_header_filter(&mut head, body.is_empty())
        .await?;
    let mut body = Some(Bytes::from(body));
    modules.response_body_filter(&mut body, true)?;
    let rest = modules.response_done_filter()?;

    let mut tasks = vec![HttpTask::Header(Box::new(head), false)];
    tasks.extend(
        [body, rest]
            .into_iter()
            .flatten()
            .map(|data| HttpTask::Body(Some(data), false)),
    );
    tasks.push(HttpTask::Done);
    session.response_duplex_vec(tasks).await?;
    Ok(())
}
