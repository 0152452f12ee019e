//! [`ProxyHttp`]: the hooks of a proxied request, in the order they run.
//!
//! ```text
//! new_ctx → on_connection_reuse → early_request_filter → allow_spawning_subrequest
//!         → modules → request_filter
//!         → proxy_upstream_filter
//!         → upstream_peer → connect ─┬─ fail_to_connect ── retry? ─┐
//!              ↑                     └─ connected_to_upstream      │
//!              │    upstream_request_filter, request_body_filter   │
//!              │    upstream_response_* → response_*               │
//!              └──── error_while_proxy ── retry? ─────────────────┤
//!                                                                  ↓
//!                          logging ←────────────────────── fail_to_proxy
//! ```
//!
//! Each hook has one call site: `request.rs` up to the upstream, `exchange/` between the two
//! sides, `finish.rs` behind them. A default hook costs nothing: its future has no size, and
//! boxing it does not allocate.

use std::any::Any;
use std::future::Future;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use log::error;
use pingora_core::modules::http::HttpModules;
use pingora_core::modules::http::compression::ResponseCompressionBuilder;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::sync::mpsc;

use crate::Session;

/// What a hook returns: a boxed future, as `async_trait` makes it.
type Hook<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A reverse proxy's decisions, one request at a time.
///
/// Only the context type, its constructor and [`upstream_peer`](Self::upstream_peer) are
/// required. Every hook may return an error: the request then ends with
/// [`fail_to_proxy`](Self::fail_to_proxy).
///
/// ```
/// # use async_trait::async_trait;
/// # use pingora_core::prelude::*;
/// # use pingora_http::ResponseHeader;
/// # use pingora_proxy::{ProxyHttp, Session};
/// struct Tagging;
///
/// #[async_trait]
/// impl ProxyHttp for Tagging {
///     type CTX = ();
///     fn new_ctx(&self) {}
///
///     async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
///         Ok(Box::new(HttpPeer::new("127.0.0.1:8000", false, String::new())))
///     }
///
///     async fn response_filter(
///         &self,
///         _session: &mut Session,
///         response: &mut ResponseHeader,
///         _ctx: &mut (),
///     ) -> Result<()> {
///         response.insert_header("X-Proxied", "yes")
///     }
/// }
/// ```
#[async_trait]
pub trait ProxyHttp {
    /// What hooks of one request share.
    type CTX;

    /// Returns the context of a new request.
    fn new_ctx(&self) -> Self::CTX;

    /// Returns where to send the request; runs again before every retry, at most
    /// [`max_retries`](pingora_core::server::configuration::ServerConf::max_retries) times in all.
    ///
    /// An error ends the request: 500, unless its source or type says otherwise.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>>;

    /// Adds the modules requests and responses of clients pass through; runs once.
    ///
    /// By default there is [`ResponseCompression`], switched off: a request switches it on in
    /// [`early_request_filter`](Self::early_request_filter).
    ///
    /// [`ResponseCompression`]: pingora_core::modules::http::compression::ResponseCompression
    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(ResponseCompressionBuilder::switched_off());
    }

    /// Adds the modules that responses pass on the side of the upstream, before the hooks and
    /// modules of the client's side; none by default. Called once.
    #[cfg(feature = "upstream_modules")]
    fn init_upstream_modules(&self, _modules: &mut HttpModules) {}

    /// Sees what [`persist_connection_context`](Self::persist_connection_context) of the
    /// previous request on this connection kept; the first hook, HTTP/1 only.
    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
        _prev_ctx: Box<dyn Any + Send + Sync>,
    ) {
    }

    /// Runs before the modules see the request: the place to configure them.
    fn early_request_filter<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        _session: &'life1 mut Session,
        _ctx: &'life2 mut Self::CTX,
    ) -> Hook<'async_trait, Result<()>>
    where
        Self::CTX: Send + Sync,
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Pass)
    }

    /// Returns whether this request may make subrequests to the proxy; false by default.
    ///
    /// Asked once, after [`early_request_filter`](Self::early_request_filter). A subrequest is
    /// asked as well: tell it by [`Session::subrequest_ctx`] if it must not make more of them.
    fn allow_spawning_subrequest(&self, _session: &Session, _ctx: &Self::CTX) -> bool
    where
        Self::CTX: Send + Sync,
    {
        false
    }

    /// Checks, limits, answers: `Ok(true)` means a response was sent and nothing more is done.
    fn request_filter<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        _session: &'life1 mut Session,
        _ctx: &'life2 mut Self::CTX,
    ) -> Hook<'async_trait, Result<bool>>
    where
        Self::CTX: Send + Sync,
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(NotAnswered)
    }

    /// Returns whether to go upstream; `Ok(false)` without a response sent is answered 502.
    fn proxy_upstream_filter<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        _session: &'life1 mut Session,
        _ctx: &'life2 mut Self::CTX,
    ) -> Hook<'async_trait, Result<bool>>
    where
        Self::CTX: Send + Sync,
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Proceed)
    }

    /// Sees each connection to an upstream, new or `reused`, before the request is sent on it.
    fn connected_to_upstream<'life0, 'life1, 'life2, 'life3, 'life4, 'async_trait>(
        &'life0 self,
        _session: &'life1 mut Session,
        _reused: bool,
        _peer: &'life2 HttpPeer,
        _fd: RawFd,
        _digest: Option<&'life3 Digest>,
        _ctx: &'life4 mut Self::CTX,
    ) -> Hook<'async_trait, Result<()>>
    where
        Self::CTX: Send + Sync,
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        'life4: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Pass)
    }

    /// Sees why connecting failed; with `set_retry(true)` on the error it is tried again.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        _ctx: &mut Self::CTX,
        e: Box<Error>,
    ) -> Box<Error> {
        e
    }

    /// Changes the request head on its way to the upstream, after hop-by-hop fields were removed.
    fn upstream_request_filter<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _session: &'life1 mut Session,
        _upstream_request: &'life2 mut RequestHeader,
        _ctx: &'life3 mut Self::CTX,
    ) -> Hook<'async_trait, Result<()>>
    where
        Self::CTX: Send + Sync,
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Pass)
    }

    /// Sees each piece of the request body, and may replace it.
    ///
    /// The last call has `end_of_stream` set; its body may be `None`. Where the length changes,
    /// remove `Content-Length` in [`upstream_request_filter`](Self::upstream_request_filter) and
    /// insert `Transfer-Encoding: chunked`.
    fn request_body_filter<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _session: &'life1 mut Session,
        _body: &'life2 mut Option<Bytes>,
        _end_of_stream: bool,
        _ctx: &'life3 mut Self::CTX,
    ) -> Hook<'async_trait, Result<()>>
    where
        Self::CTX: Send + Sync,
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Pass)
    }

    /// Adjusts the modules of the upstream's side to a response, before they see it: after
    /// [`upstream_response_filter`](Self::upstream_response_filter), through
    /// [`Session::upstream_modules_ctx`].
    ///
    /// If the request is then tried again, the next response finds new modules.
    #[cfg(feature = "upstream_modules")]
    fn adjust_upstream_modules<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _session: &'life1 mut Session,
        _upstream_response: &'life2 ResponseHeader,
        _end_of_stream: bool,
        _ctx: &'life3 mut Self::CTX,
    ) -> Hook<'async_trait, Result<()>>
    where
        Self::CTX: Send + Sync,
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Pass)
    }

    /// Changes the response head as it came from the upstream.
    ///
    /// Informational heads (1xx, but not 101) pass without this and
    /// [`response_filter`](Self::response_filter).
    fn upstream_response_filter<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _session: &'life1 mut Session,
        _upstream_response: &'life2 mut ResponseHeader,
        _ctx: &'life3 mut Self::CTX,
    ) -> Hook<'async_trait, Result<()>>
    where
        Self::CTX: Send + Sync,
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Pass)
    }

    /// Sees each piece of the body as it came from the upstream, and may replace it.
    ///
    /// A returned duration delays the next piece.
    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        _ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// Changes the trailers as they came from the upstream.
    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        _upstream_trailers: &mut HeaderMap,
        _ctx: &mut Self::CTX,
    ) -> Result<()> {
        Ok(())
    }

    /// Changes the response head on its way to the client.
    fn response_filter<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _session: &'life1 mut Session,
        _upstream_response: &'life2 mut ResponseHeader,
        _ctx: &'life3 mut Self::CTX,
    ) -> Hook<'async_trait, Result<()>>
    where
        Self::CTX: Send + Sync,
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Pass)
    }

    /// Sees each piece of the body on its way to the client, and may replace it.
    ///
    /// The last call has `end_of_stream` set; its body may be `None`. Where the length changes,
    /// remove `Content-Length` in [`response_filter`](Self::response_filter). A returned duration
    /// delays the next piece.
    fn response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        _ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>>
    where
        Self::CTX: Send + Sync,
    {
        Ok(None)
    }

    /// Changes the trailers on their way to the client; returned bytes end the body before them.
    fn response_trailer_filter<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _session: &'life1 mut Session,
        _upstream_trailers: &'life2 mut HeaderMap,
        _ctx: &'life3 mut Self::CTX,
    ) -> Hook<'async_trait, Result<Option<Bytes>>>
    where
        Self::CTX: Send + Sync,
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(NoBytes)
    }

    /// Is given the way to say something of one's own to either side, where a protocol has messages
    /// beside requests and responses; runs before each try, if the client's or the upstream's does.
    ///
    /// The senders may be kept, in a task for example, and work while the exchange lasts; `None`,
    /// and one that fails at once, stand for a side without messages. Does nothing by default.
    #[doc(hidden)]
    async fn custom_forwarding(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
        _custom_message_to_upstream: Option<mpsc::Sender<Bytes>>,
        _custom_message_to_downstream: mpsc::Sender<Bytes>,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
    {
        Ok(())
    }

    /// Returns what becomes of a message of the client, `None` to drop it. At the `final_hop` it
    /// goes no further anyway: the upstream's protocol has no messages. Passes it on by default.
    #[doc(hidden)]
    async fn downstream_custom_message_proxy_filter(
        &self,
        _session: &mut Session,
        custom_message: Bytes,
        _ctx: &mut Self::CTX,
        _final_hop: bool,
    ) -> Result<Option<Bytes>>
    where
        Self::CTX: Send + Sync,
    {
        Ok(Some(custom_message))
    }

    /// Returns what becomes of a message of the upstream, `None` to drop it. At the `final_hop` it
    /// goes no further anyway: the client's protocol has no messages. Passes it on by default.
    #[doc(hidden)]
    async fn upstream_custom_message_proxy_filter(
        &self,
        _session: &mut Session,
        custom_message: Bytes,
        _ctx: &mut Self::CTX,
        _final_hop: bool,
    ) -> Result<Option<Bytes>>
    where
        Self::CTX: Send + Sync,
    {
        Ok(Some(custom_message))
    }

    /// Sees why the exchange broke off, and decides whether it is tried again.
    ///
    /// By default only what is safe to send twice is, with its body still whole: an idempotent
    /// method on a reused connection that turned out to be closed (RFC 9110 section 9.2.2), and any
    /// request an HTTP/2 server says it has not seen (RFC 9113 section 8.7).
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        e: Box<Error>,
        _ctx: &mut Self::CTX,
        client_reused: bool,
    ) -> Box<Error> {
        let mut e = e.more_context(format!("Peer: {peer}"));
        let idempotent = is_idempotent(session.req_header().method());
        e.retry.decide_reuse(client_reused && idempotent);
        if session.retry_buffer_truncated() {
            e.set_retry(false);
        }
        e
    }

    /// Answers a request that failed, and returns what was answered.
    ///
    /// By default the status of an `HTTPStatus` error, else 502 for errors of the upstream, 400
    /// for those of the client (nothing when it is gone), 500 for our own. Nothing is sent when a
    /// response has begun.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        e: &Error,
        _ctx: &mut Self::CTX,
    ) -> FailToProxy
    where
        Self::CTX: Send + Sync,
    {
        let error_code = status_of(e);
        if error_code > 0
            && let Err(failed) = session.respond_error(error_code).await
        {
            error!("failed to send error response to downstream: {failed}");
        }
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    /// Returns whether an error is not to be logged; false by default.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Self::CTX, _error: &Error) -> bool {
        false
    }

    /// Returns whether a warning is not to be logged; false by default.
    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        false
    }

    /// Returns how a request is named in error logs: by default as in `GET /a, Host: b`.
    fn request_summary(&self, session: &Session, _ctx: &Self::CTX) -> String {
        session.as_ref().request_summary()
    }

    /// Runs last, whatever happened: the place for access logs and metrics.
    fn logging<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _session: &'life1 mut Session,
        _e: Option<&'life2 Error>,
        _ctx: &'life3 mut Self::CTX,
    ) -> Hook<'async_trait, ()>
    where
        Self::CTX: Send + Sync,
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Nothing)
    }

    /// Returns what the next request on this connection gets to see in
    /// [`on_connection_reuse`](Self::on_connection_reuse); HTTP/1 only.
    fn persist_connection_context(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
    ) -> Option<Box<dyn Any + Send + Sync>> {
        None
    }
}

/// What [`ProxyHttp::fail_to_proxy`] did.
///
/// ```
/// use pingora_proxy::FailToProxy;
///
/// let answered = FailToProxy { error_code: 503, can_reuse_downstream: true };
/// ```
pub struct FailToProxy {
    /// The status that was answered; 0 when the client is gone.
    pub error_code: u16,
    /// The connection may carry another request.
    pub can_reuse_downstream: bool,
}

/// What a warning is about.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyWarnLogContext {
    /// A try at an upstream failed and is repeated.
    UpstreamRetry,
    /// A response could not be sent from the cache.
    DownstreamCache,
}

/// The one place where errors become statuses.
fn status_of(e: &Error) -> u16 {
    if let ErrorType::HTTPStatus(status) = e.etype() {
        return *status;
    }
    match e.esource() {
        ErrorSource::Upstream => 502,
        ErrorSource::Downstream => match e.etype() {
            ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::ReadError
            | ErrorType::ConnectionClosed => 0,
            _ => 400,
        },
        ErrorSource::Internal | ErrorSource::Unset => 500,
    }
}

fn is_idempotent(method: &Method) -> bool {
    method.is_safe() || matches!(*method, Method::PUT | Method::DELETE)
}

/// Futures without a size that are ready at once: what default hooks return.
macro_rules! ready_futures {
    ($($(#[$doc:meta])* $name:ident -> $output:ty = $value:expr;)*) => {$(
        $(#[$doc])*
        struct $name;

        impl Future for $name {
            type Output = $output;

            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<$output> {
                Poll::Ready($value)
            }
        }
    )*};
}

ready_futures! {
    Pass -> Result<()> = Ok(());
    NotAnswered -> Result<bool> = Ok(false);
    Proceed -> Result<bool> = Ok(true);
    NoBytes -> Result<Option<Bytes>> = Ok(None);
    Nothing -> () = ();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_hooks_do_not_allocate() {
        assert_eq!(
            size_of::<Pass>() + size_of::<Proceed>() + size_of::<NoBytes>(),
            0
        );
    }

    #[test]
    fn errors_become_statuses() {
        let table = [
            (Error::new_up(ErrorType::ConnectRefused), 502),
            (Error::new_up(ErrorType::HTTPStatus(504)), 504),
            (Error::new_down(ErrorType::InvalidHTTPHeader), 400),
            (Error::new_down(ErrorType::ConnectionClosed), 0),
            (Error::new_down(ErrorType::WriteError), 0),
            (Error::new_down(ErrorType::ReadTimedout), 400),
            (Error::new_in(ErrorType::InternalError), 500),
            (Error::new(ErrorType::UnknownError), 500),
            (Error::explain(ErrorType::HTTPStatus(403), "no"), 403),
        ];
        for (e, status) in table {
            assert_eq!(status_of(&e), status, "{e}");
        }
    }
}
