//! [`HttpSession`]: the server side of a subrequest.
//!
//! It has the methods of the other downstream sessions; what they write goes to the main session
//! as [`HttpTask`]s instead of bytes. `body.rs` receives, `pipe.rs` sends; `server/response.rs` has
//! the methods that write.

mod response;

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::AsHeaderName;
use log::debug;
use pingora_error::{
    BError, Error,
    ErrorType::{ConnectionClosed, ReadError, ReadTimedout},
    Result,
};
use pingora_http::fields::KnownName;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::fast_timeout::Deadline;
use pingora_timeout::timeout;
use tokio::sync::{mpsc, oneshot};

use super::body::RequestBody;
pub use super::handle::SubrequestHandle;
use super::pipe::ResponsePipe;
use crate::protocols::Digest;
use crate::protocols::http::authority::validate_request_authority;
use crate::protocols::http::body_buffer::RetryBuffer;
use crate::protocols::http::server::Session;
use crate::protocols::http::v1::common::{is_upgrade_req, is_upgrade_resp};
use crate::protocols::http::{HttpLimits, HttpTask, authority};
use crate::protocols::l4::socket::SocketAddr;

/// How many pieces wait in each direction between the two sessions.
const PIECES_ON_THE_WAY: usize = 4;

/// A request one session of this process makes on behalf of another.
///
/// ```
/// # tokio_test::block_on(async {
/// use pingora_core::protocols::http::subrequest::server::HttpSession;
/// use pingora_core::protocols::http::{HttpTask, ServerSession};
/// use pingora_http::ResponseHeader;
/// use tokio::io::AsyncWriteExt;
///
/// let (mut client, server) = tokio::io::duplex(1024);
/// client.write_all(b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n").await.unwrap();
/// let mut main = ServerSession::new_http1(Box::new(server));
/// main.read_request().await.unwrap();
///
/// let (mut subrequest, mut handle) = HttpSession::new_from_session(&main);
/// assert_eq!(subrequest.req_header().uri.path(), "/a");
/// let head = Box::new(ResponseHeader::build(204, None).unwrap());
/// subrequest.write_response_header(head).await.unwrap();
/// assert!(matches!(handle.rx.recv().await, Some(HttpTask::Header(..))));
/// # })
/// ```
pub struct HttpSession {
    /// In a box, which keeps the session cheap to move.
    state: Box<State>,
}

struct State {
    req: Box<RequestHeader>,
    resp: Option<Box<ResponseHeader>>,
    body: RequestBody,
    pipe: ResponsePipe,
    /// The response was ended, or broke off.
    ended: bool,
    upgraded: bool,
    sent: usize,
    failure: Option<oneshot::Sender<BError>>,
    retry_buffer: RetryBuffer,
    digest: Option<Box<Digest>>,
    proxy_tasks: bool,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    total_drain_timeout: Option<Duration>,
    read_timer: Option<Deadline>,
    write_timer: Option<Deadline>,
}

impl HttpSession {
    /// Returns a session with a copy of the request of `session`, and what its maker holds of it.
    ///
    /// It announces the same body; [`clear_request_body_headers`](Self::clear_request_body_headers)
    /// makes it one without.
    pub fn new_from_session(session: &Session) -> (Self, SubrequestHandle) {
        let req = Box::new(session.req_header().clone());
        let (to_body, from_main) = mpsc::channel(PIECES_ON_THE_WAY);
        let (to_main, from_pipe) = mpsc::channel(PIECES_ON_THE_WAY);
        let (wanted, subreq_wants_body) = oneshot::channel();
        let (failure, subreq_proxy_error) = oneshot::channel();
        let state = State {
            body: RequestBody::new(&req, from_main, wanted),
            pipe: ResponsePipe::new(to_main),
            req,
            resp: None,
            ended: false,
            upgraded: false,
            sent: 0,
            failure: Some(failure),
            retry_buffer: RetryBuffer::default(),
            digest: session.digest().cloned().map(Box::new),
            proxy_tasks: false,
            read_timeout: None,
            write_timeout: None,
            total_drain_timeout: None,
            read_timer: None,
            write_timer: None,
        };
        let subrequest = HttpSession {
            state: Box::new(state),
        };
        let handle = SubrequestHandle {
            tx: to_body,
            rx: from_pipe,
            subreq_wants_body,
            subreq_proxy_error,
        };
        (subrequest, handle)
    }

    /// Returns the length of the request head, which was there from the start.
    pub async fn read_request(&mut self) -> Result<Option<usize>> {
        Ok(Some(self.get_headers_raw_bytes().len()))
    }

    /// Checks the request.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` when target and `Host` name different hosts.
    pub fn validate_request(&self) -> Result<()> {
        validate_request_authority(&self.state.req)
    }

    /// Removes the fields that announce a body; there is none then.
    pub fn clear_request_body_headers(&mut self) {
        for name in [
            KnownName::ContentLength,
            KnownName::TransferEncoding,
            KnownName::Expect,
        ] {
            self.state.req.remove_known(name);
        }
        for name in ["content-type", "content-encoding"] {
            self.state.req.remove_header(name);
        }
        self.state.body.clear();
    }

    /// Announces a body of this length in place of the one of the main session.
    ///
    /// # Errors
    /// Never in practice: the length is a valid field value.
    #[doc(hidden)]
    pub fn set_request_body_length(&mut self, len: usize) -> Result<()> {
        self.state.req.remove_known(KnownName::TransferEncoding);
        self.state
            .req
            .insert_header(http::header::CONTENT_LENGTH, len)?;
        self.state.body.expect(len);
        Ok(())
    }

    /// Reads the next piece of the request body; `None` at its end. Cancel-safe.
    pub async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_read_body(cx)).await
    }

    /// Polls for the next piece of the request body; `Ready(None)` at its end.
    #[doc(hidden)]
    pub fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        match self.state.body.poll_next(cx) {
            Poll::Ready(Ok(Some(data))) => {
                self.state.read_timer = None;
                self.state.retry_buffer.keep(&data);
                Poll::Ready(Ok(Some(data)))
            }
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => {
                let Some(limit) = self.state.read_timeout.filter(|_| !self.state.upgraded) else {
                    return Poll::Pending;
                };
                let timer = self
                    .state
                    .read_timer
                    .get_or_insert_with(|| Deadline::new(limit));
                ready!(timer.poll_elapsed(cx));
                Poll::Ready(
                    Error::e_explain(ReadTimedout, "while reading the request body")
                        .map_err(Error::into_down),
                )
            }
        }
    }

    /// Reads the request body, or when none is left waits until the main session is gone.
    ///
    /// Returns an error when it is. Cancel-safe.
    pub async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.state.body.is_done() {
            return Err(poll_fn(|cx| self.poll_gone(cx)).await);
        }
        self.read_body_bytes().await
    }

    /// Polls until nobody takes the response any more, or the main session says that it failed.
    #[doc(hidden)]
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        if let Poll::Ready(e) = self.state.body.poll_failed(cx) {
            return Poll::Ready(e);
        }
        ready!(self.state.pipe.poll_closed(cx));
        Poll::Ready(Error::explain(ConnectionClosed, "nobody takes the response").into_down())
    }

    /// Waits for what the main session sends next. Cancel-safe.
    ///
    /// # Errors
    /// `ReadError` when it is gone.
    pub async fn idle(&mut self) -> Result<HttpTask> {
        let next = poll_fn(|cx| self.state.body.poll_any(cx)).await;
        next.ok_or_else(|| Error::explain(ReadError, "the main session is gone").into_down())
    }

    /// Reads and drops the rest of the request body, within limits.
    ///
    /// # Errors
    /// `ReadError` when there is more of it than may be drained, `ReadTimedout` when it takes
    /// longer than the total drain timeout.
    pub async fn drain_request_body(&mut self) -> Result<()> {
        match self.state.total_drain_timeout {
            None => self.drain().await,
            Some(limit) => match timeout(limit, self.drain()).await {
                Ok(drained) => drained,
                Err(_) => Error::e_explain(ReadTimedout, "while draining the request body")
                    .map_err(Error::into_down),
            },
        }
    }

    async fn drain(&mut self) -> Result<()> {
        let mut left = HttpLimits::default().max_drain_bytes;
        while let Some(data) = self.read_body_bytes().await? {
            left = left.checked_sub(data.len()).ok_or_else(|| {
                Error::explain(ReadError, "too much of the request body is left").into_down()
            })?;
        }
        Ok(())
    }

    /// Returns whether the whole request body was read.
    pub fn is_body_done(&mut self) -> bool {
        self.state.body.is_done()
    }

    /// Returns whether the request has no body.
    pub fn is_body_empty(&mut self) -> bool {
        self.state.body.is_done() && self.state.body.bytes() == 0
    }

    /// Keeps the start of the request body, so that it can be sent to another upstream.
    pub fn enable_retry_buffering(&mut self) {
        self.state.retry_buffer.enable();
    }

    /// Returns the request body read so far; `None` when it is empty or was too long to keep.
    pub fn get_retry_buffer(&self) -> Option<Bytes> {
        self.state.retry_buffer.get()
    }

    /// Returns whether the request body was too long to keep.
    pub fn retry_buffer_truncated(&self) -> bool {
        self.state.retry_buffer.is_truncated()
    }

    /// Tells the maker of the subrequest why it failed. A response that has not ended breaks off.
    pub fn on_proxy_failure(&mut self, e: Box<Error>) {
        debug!("subrequest failed: {e}, {}", self.request_summary());
        if !self.state.ended || self.has_pending_proxy_tasks() {
            self.shutdown();
        }
        if let Some(failure) = self.state.failure.take() {
            // Who does not listen sees the response break off.
            let _ = failure.send(e);
        }
    }

    /// Ends the session without ending the response.
    pub fn shutdown(&mut self) {
        self.state.ended = true;
        self.state.pipe.clear();
        self.state.body.clear();
    }

    /// Returns the request head.
    pub fn req_header(&self) -> &RequestHeader {
        &self.state.req
    }

    /// Returns the request head, to change.
    pub fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.state.req
    }

    /// Returns the first value of a request header.
    pub fn get_header(&self, name: impl AsHeaderName) -> Option<&HeaderValue> {
        self.state.req.headers.get(name)
    }

    /// Returns the first value of a request header, empty when it is absent.
    pub fn get_header_bytes(&self, name: impl AsHeaderName) -> &[u8] {
        self.get_header(name).map_or(b"", |value| value.as_bytes())
    }

    /// Returns the request head in the form of HTTP/1.
    pub fn get_headers_raw_bytes(&self) -> Bytes {
        let mut wire = BytesMut::new();
        wire.extend_from_slice(self.state.req.method().as_str().as_bytes());
        wire.extend_from_slice(b" ");
        wire.extend_from_slice(self.state.req.raw_path());
        wire.extend_from_slice(b" HTTP/1.1\r\n");
        if !self.state.req.fields().has(KnownName::Host) {
            // A client of HTTP/2 names it in the target.
            wire.extend_from_slice(b"Host: ");
            wire.extend_from_slice(authority::host_of(&self.state.req));
            wire.extend_from_slice(b"\r\n");
        }
        self.state.req.header_to_h1_wire(&mut wire);
        wire.extend_from_slice(b"\r\n");
        wire.freeze()
    }

    /// Returns `METHOD target, Host: host`, for logs.
    pub fn request_summary(&self) -> String {
        format!(
            "{} {}, Host: {}",
            self.state.req.method(),
            String::from_utf8_lossy(self.state.req.raw_path()),
            String::from_utf8_lossy(authority::host_of(&self.state.req)),
        )
    }

    /// Returns whether the request asks to change the protocol.
    pub fn is_upgrade_req(&self) -> bool {
        is_upgrade_req(&self.state.req)
    }

    /// Returns whether `header` grants the upgrade; `None` when none was asked for.
    pub fn is_upgrade(&self, header: &ResponseHeader) -> Option<bool> {
        self.is_upgrade_req().then(|| is_upgrade_resp(header))
    }

    /// Returns whether the session has become a tunnel.
    pub fn was_upgraded(&self) -> bool {
        self.state.upgraded
    }

    /// Returns the final response head, once written.
    pub fn response_written(&self) -> Option<&ResponseHeader> {
        self.state.resp.as_deref()
    }

    /// Returns the number of response body bytes written.
    pub fn body_bytes_sent(&self) -> usize {
        self.state.sent
    }

    /// Returns the number of request body bytes read.
    pub fn body_bytes_read(&self) -> usize {
        self.state.body.bytes()
    }

    /// Sets how long to wait for the next piece of the body.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.state.read_timeout = timeout;
        self.state.read_timer = None;
    }

    /// Returns how long to wait for the next piece of the body.
    pub fn get_read_timeout(&self) -> Option<Duration> {
        self.state.read_timeout
    }

    /// Sets how long the main session may take nothing.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.state.write_timeout = timeout;
        self.state.write_timer = None;
    }

    /// Returns how long the main session may take nothing.
    pub fn get_write_timeout(&self) -> Option<Duration> {
        self.state.write_timeout
    }

    /// Sets how long reading the rest of a request body may take in all.
    pub fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.state.total_drain_timeout = timeout;
    }

    /// Returns how long reading the rest of a request body may take in all.
    pub fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.state.total_drain_timeout
    }

    /// Returns the facts of the connection of the main session.
    pub fn digest(&self) -> Option<&Digest> {
        self.state.digest.as_deref()
    }

    /// Returns the facts of the connection, to change here.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.state.digest.as_deref_mut()
    }

    /// Returns the address of the client of the main session.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest()?.socket_digest.as_ref()?.peer_addr()
    }

    /// Returns the address that client connected to.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest()?.socket_digest.as_ref()?.local_addr()
    }
}
