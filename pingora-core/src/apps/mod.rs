//! What an accepted connection is given to.
//!
//! [`ServerApp`] takes any stream. [`HttpServerApp`] takes HTTP sessions: `serve.rs` makes them
//! out of a stream and keeps the connection between requests, `serve_h2.rs` accepts streams of HTTP/2. [`http_app`] is the shortest way:
//! a function from request to response.

pub mod http_app;
mod serve;
mod serve_h2;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;

use crate::protocols::Stream;
use crate::protocols::http::v2::server::H2Options;
use crate::protocols::http::{HttpLimits, ReusableHttpStream, ServerSession};
use crate::server::ShutdownWatch;

/// An application that serves connections.
///
/// [`Service`](crate::services::listening::Service) has an example, and gives it connections.
#[async_trait]
pub trait ServerApp {
    /// Serves a connection; returns it when it may carry more, `None` when it is done.
    ///
    /// A returned connection is passed in again. `shutdown` turns true when the server stops:
    /// finish what was begun, begin nothing new.
    async fn process_new(
        self: &Arc<Self>,
        mut session: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream>;

    /// Runs once when the service has stopped listening; connections may still be served.
    async fn cleanup(&self) {}
}

/// How an HTTP server treats its clients.
///
/// ```
/// use pingora_core::apps::HttpServerOptions;
///
/// let mut options = HttpServerOptions::default();
/// options.keepalive_request_limit = Some(1000);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct HttpServerOptions {
    /// Speak HTTP/2 without TLS to clients that start with it. Default: no.
    pub h2c: bool,
    /// Hand every connection to `process_custom_session`. Default: no.
    #[doc(hidden)]
    pub force_custom: bool,
    /// Pass on `CONNECT` requests instead of answering 405. Default: no.
    pub allow_connect_method_proxying: bool,
    /// Requests a connection may carry before it is closed; `None`, the default: without limit.
    pub keepalive_request_limit: Option<u32>,
    /// How long an HTTP/2 connection may be without a request; `None`, the default: 60 s.
    pub h2_idle_timeout: Option<Duration>,
    /// The bounds on what a client may send, with defaults that protect.
    pub limits: HttpLimits,
}

/// What one request on an HTTP/1 connection leaves to the next; see [`HttpServerApp`].
#[derive(Debug)]
pub struct HttpPersistentSettings {
    keepalive_timeout: Option<u64>,
    keepalive_reuses_remaining: Option<u32>,
    pipelining: bool,
    /// Boxed: an idle connection carries these settings, and most have nothing in here.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
struct Rare {
    prefix: Option<BytesMut>,
    user_context: Option<UserContext>,
}

struct UserContext(Box<dyn Any + Send + Sync>);

impl std::fmt::Debug for UserContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UserContext")
    }
}

impl HttpPersistentSettings {
    /// Returns what the next request inherits from the one in `session`.
    pub fn for_session(session: &ServerSession) -> Self {
        HttpPersistentSettings {
            keepalive_timeout: session.get_keepalive(),
            keepalive_reuses_remaining: session.get_keepalive_reuses_remaining(),
            pipelining: session.pipelining_enabled(),
            rare: None,
        }
    }

    /// Applies what was inherited; one request fewer remains.
    pub fn apply_to_session(self, session: &mut ServerSession) {
        session.set_keepalive(self.keepalive_timeout);
        session.set_pipelining_enabled(self.pipelining);
        if let Some(remaining) = self.keepalive_reuses_remaining {
            session.set_keepalive_reuses_remaining(Some(remaining.saturating_sub(1)));
        }
        let Some(rare) = self.rare else {
            return;
        };
        if let Some(prefix) = rare.prefix {
            session.set_pipelined_prefix(prefix);
        }
        session.set_connection_user_context(rare.user_context.map(|ctx| ctx.0));
    }

    /// Sets the bytes of the next request that were received already.
    pub fn set_pipelined_prefix(&mut self, prefix: BytesMut) {
        self.rare.get_or_insert_default().prefix = Some(prefix);
    }

    /// Sets a value the next request can take from its session.
    pub fn set_user_context(&mut self, ctx: Box<dyn Any + Send + Sync>) {
        self.rare.get_or_insert_default().user_context = Some(UserContext(ctx));
    }

    /// Takes the value set for the next request.
    pub fn take_user_context(&mut self) -> Option<Box<dyn Any + Send + Sync>> {
        self.rare.as_mut()?.user_context.take().map(|ctx| ctx.0)
    }

    fn take_prefix(&mut self) -> Option<BytesMut> {
        self.rare.as_mut()?.prefix.take()
    }

    fn keepalive_timeout(&self) -> Option<u64> {
        self.keepalive_timeout
    }
}

/// A connection that can carry another request; see [`HttpServerApp`].
#[derive(Debug)]
pub struct ReusedHttpStream {
    stream: Stream,
    persistent_settings: Option<HttpPersistentSettings>,
}

impl ReusedHttpStream {
    /// Returns the connection with what the next request inherits; `None`: the defaults.
    pub fn new(stream: Stream, persistent_settings: Option<HttpPersistentSettings>) -> Self {
        ReusedHttpStream {
            stream,
            persistent_settings,
        }
    }

    /// Returns the connection a session ended with, and the start of the next request.
    pub fn from_reusable_stream(
        reusable: ReusableHttpStream,
        mut persistent_settings: HttpPersistentSettings,
    ) -> Self {
        let (stream, pipelined) = reusable.into_parts();
        if let Some(prefix) = pipelined {
            persistent_settings.set_pipelined_prefix(prefix);
        }
        Self::new(stream, Some(persistent_settings))
    }

    /// Returns the connection and what the next request inherits.
    pub fn consume(self) -> (Stream, Option<HttpPersistentSettings>) {
        (self.stream, self.persistent_settings)
    }
}

/// An application that serves HTTP requests.
///
/// Most implement [`ServeHttp`](http_app::ServeHttp) instead, or are proxies.
///
/// ```
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
/// use pingora_core::protocols::http::ServerSession;
/// use pingora_core::server::ShutdownWatch;
/// use pingora_http::ResponseHeader;
///
/// /// Answers every request with 204.
/// struct NoContent;
///
/// #[async_trait]
/// impl HttpServerApp for NoContent {
///     async fn process_new_http(
///         self: &Arc<Self>,
///         mut session: ServerSession,
///         _shutdown: &ShutdownWatch,
///     ) -> Option<ReusedHttpStream> {
///         if !session.read_request().await.ok()? {
///             return None;
///         }
///         let head = ResponseHeader::build(204, None).ok()?;
///         session.write_response_header(Box::new(head)).await.ok()?;
///         // What the next request on this connection starts with.
///         let settings = HttpPersistentSettings::for_session(&session);
///         let connection = session.finish().await.ok()??;
///         Some(ReusedHttpStream::from_reusable_stream(connection, settings))
///     }
/// }
/// ```
#[async_trait]
pub trait HttpServerApp {
    /// Serves one request; returns the connection when it can carry another.
    ///
    /// Nothing of the request was read yet.
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream>;

    /// Returns how clients are treated; `None`: the defaults.
    fn server_options(&self) -> Option<&HttpServerOptions> {
        None
    }

    /// Returns the options of HTTP/2 connections; `None`: the defaults, which protect.
    ///
    /// See [`default_h2_options`](crate::protocols::http::v2::server::default_h2_options), which
    /// is also the place to start from.
    fn h2_options(&self) -> Option<H2Options> {
        None
    }

    /// Runs once when the service has stopped listening; requests may still be served.
    async fn http_cleanup(&self) {}

    /// Serves a connection in a protocol of the application's own, when the options force it.
    #[doc(hidden)]
    async fn process_custom_session(
        self: Arc<Self>,
        _stream: Stream,
        _shutdown: &ShutdownWatch,
    ) -> Option<Stream>
    where
        Self: Sync + Send,
    {
        None
    }
}
