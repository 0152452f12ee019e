//! [`Session`]: one request of a client, whatever version of HTTP it speaks.
//!
//! A variant per protocol; each method is one line per variant. To support another downstream
//! protocol, add a variant and follow the compiler. `server/settings.rs` is what can be set of a
//! session, `server/poll.rs` what an engine polls, `server/errors.rs` what is answered instead of a
//! response.

mod errors;
mod poll;
mod settings;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use h2::Reason;
use http::header::AsHeaderName;
use http::{HeaderMap, HeaderValue, StatusCode};
use log::debug;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::HttpTask;
use super::authority;
use super::custom::server::Session as SessionCustom;
use super::subrequest::server::HttpSession as SubrequestSession;
use super::v1::server::HttpSession as Http1Session;
use super::v2::server::{HttpSession as Http2Session, Idle};
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, Stream};

/// One exchange with a client.
///
/// ```
/// # tokio_test::block_on(async {
/// use pingora_core::protocols::http::ServerSession;
/// use tokio::io::AsyncWriteExt;
///
/// let (mut client, server) = tokio::io::duplex(1024);
/// client.write_all(b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n").await.unwrap();
///
/// let mut session = ServerSession::new_http1(Box::new(server));
/// assert!(session.read_request().await.unwrap());
/// assert_eq!(session.request_summary(), "GET /a, Host: example.com");
/// # })
/// ```
pub enum Session {
    /// HTTP/1.0 or HTTP/1.1.
    H1(Http1Session),
    /// HTTP/2: one stream of a connection.
    H2(Http2Session),
    /// A request this process makes to itself.
    Subrequest(SubrequestSession),
    /// A protocol of the application's own.
    Custom(Box<dyn SessionCustom>),
}

/// A connection that can carry another request, and the bytes of it that came already.
#[derive(Debug)]
pub struct ReusableHttpStream {
    stream: Stream,
    pipelined: Option<BytesMut>,
}

impl ReusableHttpStream {
    pub(crate) fn new(stream: Stream, pipelined: Option<BytesMut>) -> Self {
        ReusableHttpStream { stream, pipelined }
    }

    /// Returns the connection and the received start of the next request.
    pub fn into_parts(self) -> (Stream, Option<BytesMut>) {
        (self.stream, self.pipelined)
    }
}

/// Does the same with the session of either variant.
macro_rules! each {
    ($self:expr, $session:ident => $body:expr) => {
        match $self {
            Session::H1($session) => $body,
            Session::H2($session) => $body,
            Session::Subrequest($session) => $body,
            Session::Custom($session) => $body,
        }
    };
}

/// What only HTTP/1 knows; any other session answers with the default.
macro_rules! h1 {
    ($self:expr, $session:ident => $body:expr, $default:expr) => {
        match $self {
            Session::H1($session) => $body,
            _ => $default,
        }
    };
}

use {each, h1};

impl Session {
    /// Returns a session for an HTTP/1 connection; nothing is read yet.
    pub fn new_http1(stream: Stream) -> Self {
        Session::H1(Http1Session::new(stream))
    }

    /// Returns a session for a request this process makes to itself.
    pub fn new_subrequest(session: SubrequestSession) -> Self {
        Session::Subrequest(session)
    }

    /// Returns a session for a stream of HTTP/2.
    pub fn new_http2(session: Http2Session) -> Self {
        Session::H2(session)
    }

    /// Returns a session for a protocol of the application's own.
    pub fn new_custom(session: Box<dyn SessionCustom>) -> Self {
        Session::Custom(session)
    }

    /// Returns whether HTTP/2 is spoken.
    pub fn is_http2(&self) -> bool {
        matches!(self, Session::H2(_))
    }

    /// Returns whether this is a request the proxy made for itself.
    pub fn is_subrequest(&self) -> bool {
        matches!(self, Session::Subrequest(_))
    }

    /// Returns whether a custom protocol is spoken.
    pub fn is_custom(&self) -> bool {
        matches!(self, Session::Custom(_))
    }

    /// Returns the name of the protocol, for logs.
    pub fn session_type(&self) -> &'static str {
        match self {
            Session::H1(_) => "H1",
            Session::H2(_) => "H2",
            Session::Subrequest(_) => "Subrequest",
            Session::Custom(_) => "Custom",
        }
    }

    /// Reads the request head; `false` when the client closed without sending one.
    ///
    /// An error of type `InvalidHTTPHeader` (400) or `HTTPStatus` names a malformed request, or (421)
    /// one for another host than the client named in TLS when it was asked for a certificate.
    pub async fn read_request(&mut self) -> Result<bool> {
        let is_read = match self {
            Session::H1(session) => session.read_request().await?.is_some(),
            Session::Subrequest(session) => return Ok(session.read_request().await?.is_some()),
            Session::H2(_) | Session::Custom(_) => true,
        };
        if is_read {
            self.check_server_name()?;
        }
        Ok(is_read)
    }

    /// Returns that the request is for the host named in TLS, where that matters.
    fn check_server_name(&self) -> Result<()> {
        let (limits, tls) = match self {
            // Asked of the stream: a digest costs memory, and plain connections need none for this.
            Session::H1(session) => (session.limits(), session.stream().get_ssl_digest()),
            Session::H2(session) => {
                let digest = session.digest();
                (
                    session.limits(),
                    digest.and_then(|digest| digest.ssl_digest.clone()),
                )
            }
            Session::Subrequest(_) | Session::Custom(_) => return Ok(()),
        };
        match tls {
            Some(tls) if tls.verifies_client() && !limits.allow_misdirected => {
                authority::check_server_name(self.req_header(), tls.server_name())
            }
            _ => Ok(()),
        }
    }

    /// Returns the request head; panics before it was read.
    #[inline]
    pub fn req_header(&self) -> &RequestHeader {
        each!(self, s => s.req_header())
    }

    /// Returns the request head, to change; panics before it was read.
    pub fn req_header_mut(&mut self) -> &mut RequestHeader {
        each!(self, s => s.req_header_mut())
    }

    /// Returns the first value of a request header.
    pub fn get_header<K: AsHeaderName>(&self, key: K) -> Option<&HeaderValue> {
        self.req_header().headers.get(key)
    }

    /// Returns the first value of a request header, empty when it is absent.
    pub fn get_header_bytes<K: AsHeaderName>(&self, key: K) -> &[u8] {
        self.get_header(key).map_or(b"", |value| value.as_bytes())
    }

    /// Returns `METHOD target, Host: host`, for logs.
    pub fn request_summary(&self) -> String {
        each!(self, s => s.request_summary())
    }

    /// Returns the request head in the form of HTTP/1; as received where it was HTTP/1.
    pub fn to_h1_raw(&self) -> Bytes {
        match self {
            Session::H1(session) => session.get_headers_raw_bytes(),
            Session::H2(session) => session.pseudo_raw_h1_request_header(),
            Session::Subrequest(session) => session.get_headers_raw_bytes(),
            Session::Custom(session) => session.pseudo_raw_h1_request_header(),
        }
    }

    /// Reads the next piece of the request body; `None` at its end. Cancel-safe.
    pub async fn read_request_body(&mut self) -> Result<Option<Bytes>> {
        each!(self, s => s.read_body_bytes().await)
    }

    /// Reads the request body, or when none is left waits until the client goes away.
    ///
    /// Returns an error when it does. Cancel-safe.
    pub async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        each!(self, s => s.read_body_or_idle(no_body_expected).await)
    }

    /// Reads and drops the rest of the request body, within limits.
    pub async fn drain_request_body(&mut self) -> Result<()> {
        each!(self, s => s.drain_request_body().await)
    }

    /// Returns whether the whole request body was read.
    pub fn is_body_done(&mut self) -> bool {
        each!(self, s => s.is_body_done())
    }

    /// Returns whether the request has no body, or an empty one.
    pub fn is_body_empty(&mut self) -> bool {
        each!(self, s => s.is_body_empty())
    }

    /// Keeps the start of the request body, so that it can be sent to another upstream.
    pub fn enable_retry_buffering(&mut self) {
        each!(self, s => s.enable_retry_buffering());
    }

    /// Returns the request body read so far; `None` when it is empty or was too long to keep.
    pub fn get_retry_buffer(&self) -> Option<Bytes> {
        each!(self, s => s.get_retry_buffer())
    }

    /// Returns whether the request body was too long to keep.
    pub fn retry_buffer_truncated(&self) -> bool {
        each!(self, s => s.retry_buffer_truncated())
    }

    /// Sends the `100 Continue` the client waits for; nothing when it does not wait.
    pub async fn write_continue_response(&mut self) -> Result<()> {
        match self {
            Session::H1(session) => session.write_continue_response().await,
            Session::H2(session) => session.send_continue(),
            Session::Subrequest(session) => session.write_continue_response().await,
            Session::Custom(_) => Ok(()),
        }
    }

    /// Sends a response head; see the session of the protocol for what is added to it.
    pub async fn write_response_header(&mut self, resp: Box<ResponseHeader>) -> Result<()> {
        match self {
            Session::H1(session) => session.write_response_header(resp).await,
            Session::H2(session) => session.write_response_header(resp, false),
            Session::Subrequest(session) => session.write_response_header(resp).await,
            Session::Custom(session) => session.write_response_header(resp, false).await,
        }
    }

    /// Sends a response head given by reference.
    pub async fn write_response_header_ref(&mut self, resp: &ResponseHeader) -> Result<()> {
        match self {
            Session::H1(session) => session.write_response_header_ref(resp).await,
            Session::H2(session) => session.write_response_header_ref(resp, false),
            Session::Subrequest(session) => session.write_response_header_ref(resp).await,
            Session::Custom(session) => session.write_response_header_ref(resp, false).await,
        }
    }

    /// Sends a piece of the response body, and its end when `end` is set.
    pub async fn write_response_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        match self {
            Session::H1(session) => {
                session.queue_task(HttpTask::Body(Some(data), end))?;
                session.flush_queued().await
            }
            Session::H2(session) => session.write_body(data, end).await,
            Session::Subrequest(session) => {
                session.queue_task(HttpTask::Body(Some(data), end))?;
                session.flush_queued().await
            }
            Session::Custom(session) => session.write_body(data, end).await,
        }
    }

    /// Sends the trailers, which end the response.
    ///
    /// An HTTP/1 client gets them when it said `TE: trailers` and the body is chunked.
    pub async fn write_response_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        match self {
            Session::H1(session) => {
                session.queue_task(HttpTask::Trailer(Some(Box::new(trailers))))?;
                session.flush_queued().await
            }
            Session::H2(session) => {
                session.queue_task(HttpTask::Trailer(Some(Box::new(trailers))))?;
                session.flush_queued().await
            }
            Session::Subrequest(session) => session.write_trailers(Some(Box::new(trailers))).await,
            Session::Custom(session) => session.write_trailers(trailers).await,
        }
    }

    /// Ends the response body.
    pub async fn finish_body(&mut self) -> Result<()> {
        match self {
            Session::H1(session) => session.finish_body().await.map(|_| ()),
            Session::H2(session) => {
                session.finish()?;
                session.flush_queued().await
            }
            Session::Subrequest(session) => end_subrequest(session).await,
            Session::Custom(session) => session.finish().await,
        }
    }

    /// Sends pieces of a response; returns whether it has ended.
    pub async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        each!(self, s => s.response_duplex_vec(tasks).await)
    }

    /// Ends the exchange; returns the connection when it can carry another request.
    pub async fn finish(self) -> Result<Option<ReusableHttpStream>> {
        match self {
            Session::H1(mut session) => {
                if session.needs_end() {
                    end_h1(&mut session).await?;
                }
                session.reuse().await
            }
            Session::H2(mut session) => {
                session.finish()?;
                session.flush_queued().await?;
                Ok(None)
            }
            Session::Subrequest(mut session) => {
                end_subrequest(&mut session).await?;
                Ok(None)
            }
            Session::Custom(mut session) => {
                session.finish().await?;
                Ok(None)
            }
        }
    }

    /// Drops the exchange after a failure, without a well-formed end of the response.
    pub fn on_proxy_failure(&mut self, e: Box<pingora_error::Error>) {
        debug!("exchange with the client dropped: {e}");
        match self {
            Session::H1(session) => session.set_server_keepalive(None),
            Session::H2(session) => session.shutdown(),
            Session::Subrequest(session) => session.on_proxy_failure(e),
            Session::Custom(_) => (),
        }
    }

    /// Closes the connection, or the stream of it this session uses.
    pub async fn shutdown(&mut self) {
        match self {
            Session::H1(session) => session.shutdown().await,
            Session::H2(session) => session.shutdown(),
            Session::Subrequest(session) => session.shutdown(),
            Session::Custom(session) => session.shutdown(1, "shutdown").await,
        }
    }

    /// Resets the stream of HTTP/2 for this reason; any other session is told to close.
    pub fn shutdown_with_reason(&mut self, reason: Reason) {
        match self {
            Session::H1(session) => session.set_server_keepalive(None),
            Session::H2(session) => session.shutdown_with_reason(reason),
            Session::Subrequest(session) => session.shutdown(),
            Session::Custom(_) => (),
        }
    }

    /// Returns a future that is ready when the client has reset its stream of HTTP/2; `None` for
    /// any other session.
    pub fn watch_h2_stream_close(&mut self) -> Option<Idle<'_>> {
        match self {
            Session::H2(session) => Some(session.idle()),
            _ => None,
        }
    }

    /// Returns the final response head, once sent.
    pub fn response_written(&self) -> Option<&ResponseHeader> {
        each!(self, s => s.response_written())
    }

    /// Returns whether the client asks to change the protocol.
    #[inline]
    pub fn is_upgrade_req(&self) -> bool {
        each!(self, s => s.is_upgrade_req())
    }

    /// Returns whether `header` grants the upgrade; `None` when none was asked for.
    pub fn is_upgrade(&self, header: &ResponseHeader) -> Option<bool> {
        let is_switch = header.status() == StatusCode::SWITCHING_PROTOCOLS;
        match self {
            Session::H1(session) => session.is_upgrade(header),
            Session::H2(session) => session.is_upgrade_req().then_some(is_switch),
            Session::Subrequest(session) => session.is_upgrade(header),
            Session::Custom(_) => None,
        }
    }

    /// Returns whether the connection has become a tunnel.
    pub fn was_upgraded(&self) -> bool {
        each!(self, s => s.was_upgraded())
    }

    /// Returns whether pieces may be queued by the calls below.
    pub fn supports_proxy_task_api(&self) -> bool {
        each!(self, s => s.proxy_tasks_enabled())
    }

    /// Sets whether pieces may be queued by the calls below.
    pub fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        each!(self, s => s.set_proxy_tasks_enabled(enabled));
    }

    /// Queues a piece of the response.
    pub fn send_downstream_proxy_task(&mut self, task: HttpTask) {
        each!(self, s => s.send_proxy_task(task));
    }

    /// Sends what was queued; returns whether the response has ended. Cancel-safe.
    pub async fn write_downstream_proxy_tasks(&mut self) -> Result<bool> {
        each!(self, s => s.write_proxy_tasks().await)
    }

    /// Returns whether queued pieces wait to be sent.
    pub fn has_pending_downstream_proxy_tasks(&self) -> bool {
        each!(self, s => s.has_pending_proxy_tasks())
    }

    /// Returns the number of response body bytes sent.
    pub fn body_bytes_sent(&self) -> usize {
        each!(self, s => s.body_bytes_sent())
    }

    /// Returns the number of request body bytes read.
    pub fn body_bytes_read(&self) -> usize {
        each!(self, s => s.body_bytes_read())
    }

    /// Returns the facts of the connection.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Session::H1(session) => Some(session.digest()),
            Session::H2(session) => session.digest(),
            Session::Subrequest(session) => session.digest(),
            Session::Custom(session) => session.digest(),
        }
    }

    /// Returns the facts of the connection, to change.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        match self {
            Session::H1(session) => Some(session.digest_mut()),
            Session::H2(session) => session.digest_mut(),
            Session::Subrequest(session) => session.digest_mut(),
            Session::Custom(session) => session.digest_mut(),
        }
    }

    /// Returns the address of the client.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        each!(self, s => s.client_addr())
    }

    /// Returns the address the client connected to.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        each!(self, s => s.server_addr())
    }

    /// Returns the connection; only an HTTP/1 session has one for itself.
    pub fn stream(&self) -> Option<&Stream> {
        h1!(self, s => Some(s.stream()), None)
    }

    /// Returns the HTTP/1 session.
    pub fn as_http1(&self) -> Option<&Http1Session> {
        h1!(self, s => Some(s), None)
    }

    /// Returns the HTTP/1 session, to change.
    pub fn as_http1_mut(&mut self) -> Option<&mut Http1Session> {
        h1!(self, s => Some(s), None)
    }

    /// Returns the HTTP/2 session.
    pub fn as_http2(&self) -> Option<&Http2Session> {
        match self {
            Session::H2(session) => Some(session),
            _ => None,
        }
    }

    /// Returns the HTTP/2 session, to change.
    pub fn as_http2_mut(&mut self) -> Option<&mut Http2Session> {
        match self {
            Session::H2(session) => Some(session),
            _ => None,
        }
    }

    /// Returns the session of a subrequest.
    pub fn as_subrequest(&self) -> Option<&SubrequestSession> {
        match self {
            Session::Subrequest(session) => Some(session),
            _ => None,
        }
    }

    /// Returns the session of a subrequest, to change.
    pub fn as_subrequest_mut(&mut self) -> Option<&mut SubrequestSession> {
        match self {
            Session::Subrequest(session) => Some(session),
            _ => None,
        }
    }

    /// Returns the custom session.
    pub fn as_custom(&self) -> Option<&dyn SessionCustom> {
        match self {
            Session::Custom(session) => Some(session.as_ref()),
            _ => None,
        }
    }

    /// Returns the custom session, to change.
    pub fn as_custom_mut(&mut self) -> Option<&mut Box<dyn SessionCustom>> {
        match self {
            Session::Custom(session) => Some(session),
            _ => None,
        }
    }
}

/// Ends a response that was not, or closes.
fn end_h1(session: &mut Http1Session) -> BoxFuture<'_, Result<()>> {
    Box::pin(async move {
        if let Err(e) = session.finish_body().await {
            debug!("the response could not be ended: {e}");
            session.shutdown().await;
            return Err(e);
        }
        Ok(())
    })
}

fn end_subrequest(session: &mut SubrequestSession) -> BoxFuture<'_, Result<()>> {
    Box::pin(async move { session.finish().await.map(|_| ()) })
}
