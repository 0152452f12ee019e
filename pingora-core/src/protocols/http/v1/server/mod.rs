//! [`HttpSession`]: one request of an HTTP/1 client and our answer to it.
//!
//! `request.rs` reads head and body, `response.rs` writes, `keepalive.rs` decides what becomes of
//! the connection afterwards. This file has the state and the options.

mod keepalive;
mod request;
mod response;

use std::any::Any;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::AsHeaderName;
use once_cell::sync::OnceCell;
use pingora_error::{Error, ErrorType::InvalidHTTPHeader, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::fast_timeout::Deadline;

use super::body::{BodyDecoder, BodyEncoder};
use super::common::{is_expect_continue_req, is_upgrade_req};
use super::framing::BodyLength;
use crate::protocols::http::HttpLimits;
use crate::protocols::http::body_buffer::RetryBuffer;
use crate::protocols::http::pace::Pace;
use crate::protocols::http::wire::{Input, Wire};
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, Stream};

pub(in crate::protocols::http::v1) use self::keepalive::{end_stream, ends_when_dropped};

pub use super::super::server::ReusableHttpStream;

/// How long a client may take to send its request, or the next piece of its body.
const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may take nothing of a response that waits for it.
const DEFAULT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long reading the rest of an answered request may take.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client that closed its sending side may still be waiting for the answer.
///
/// `printf … | nc` is, a client that went away is not, and TCP cannot tell the two apart.
const HALF_CLOSE_GRACE: Duration = Duration::from_secs(2);

/// One exchange with an HTTP/1 client.
///
/// ```
/// # tokio_test::block_on(async {
/// use pingora_core::protocols::http::v1::server::HttpSession;
/// use tokio::io::AsyncWriteExt;
///
/// let (mut client, server) = tokio::io::duplex(1024);
/// client.write_all(b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n").await.unwrap();
///
/// let mut session = HttpSession::new(Box::new(server));
/// session.read_request().await.unwrap();
/// assert_eq!(session.req_header().uri.path(), "/a");
/// # })
/// ```
pub struct HttpSession {
    /// Boxed: a session moves through many hands, and most of a request's future is its session.
    state: Box<State>,
}

struct State {
    limits: HttpLimits,
    req: Option<Box<RequestHeader>>,
    /// How much of an incomplete head was looked at.
    scanned: usize,
    body: BodyDecoder,
    pace: Pace,
    /// Set at the first request for the body: nobody may wait for a 100 any more.
    continue_sent: bool,
    retry_buffer: RetryBuffer,
    resp: Option<Box<ResponseHeader>>,
    encoder: BodyEncoder,
    /// The response breaks the framing or the request was not read: the connection must close.
    broken: bool,
    /// More was queued than is kept: nothing may be sent behind the gap.
    tasks_lost: bool,
    upgraded: bool,
    /// Keep-alive as the server wants it: seconds, 0 without limit; `None` to close.
    keepalive_timeout: Option<u64>,
    /// Keep-alive as the client wants it.
    client_keepalive: bool,
    keepalive_reuses_remaining: Option<u32>,
    half_closed: Option<Box<Deadline>>,
    options: Options,
    read_timer: Deadline,
    read_timeout: Option<Duration>,
    write_timer: Option<Box<response::WriteTimer>>,
    write_timeout: Option<Duration>,
    total_drain_timeout: Option<Duration>,
    min_send_rate: Option<usize>,
    user_context: Option<Box<dyn Any + Send + Sync>>,
    digest: OnceCell<Box<Digest>>,
    /// The last to be dropped: the heads have slices of its buffer.
    wire: Wire,
}

#[derive(Clone, Copy)]
struct Options {
    abort_on_close: bool,
    pipelining: bool,
    proxy_tasks: bool,
    ignore_info_resp: bool,
    close_on_early_response: bool,
}

impl HttpSession {
    /// Returns a session that has read nothing yet.
    ///
    /// Read, write and drain timeouts 60 s, keep-alive off, see the setters.
    pub fn new(underlying_stream: Stream) -> Self {
        let state = State {
            wire: Wire::new(underlying_stream),
            limits: HttpLimits::default(),
            req: None,
            scanned: 0,
            body: BodyDecoder::new(BodyLength::None),
            pace: Pace::default(),
            continue_sent: false,
            retry_buffer: RetryBuffer::default(),
            resp: None,
            encoder: BodyEncoder::new(),
            broken: false,
            tasks_lost: false,
            upgraded: false,
            keepalive_timeout: None,
            client_keepalive: false,
            keepalive_reuses_remaining: None,
            half_closed: None,
            options: Options {
                abort_on_close: true,
                pipelining: false,
                proxy_tasks: false,
                ignore_info_resp: false,
                close_on_early_response: false,
            },
            read_timer: Deadline::new(DEFAULT_READ_TIMEOUT),
            read_timeout: Some(DEFAULT_READ_TIMEOUT),
            write_timer: None,
            write_timeout: Some(DEFAULT_WRITE_TIMEOUT),
            total_drain_timeout: Some(DEFAULT_DRAIN_TIMEOUT),
            min_send_rate: None,
            user_context: None,
            digest: OnceCell::new(),
        };
        HttpSession {
            state: Box::new(state),
        }
    }

    /// Returns the request head; panics before [`read_request`](Self::read_request) succeeded.
    pub fn req_header(&self) -> &RequestHeader {
        self.state.req.as_ref().expect("the request was read")
    }

    /// Returns the request head, to change; panics before the request was read.
    pub fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.state.req.as_mut().expect("the request was read")
    }

    /// Returns the first value of a request header.
    pub fn get_header(&self, name: impl AsHeaderName) -> Option<&HeaderValue> {
        self.state.req.as_ref()?.headers.get(name)
    }

    /// Returns the first value of a request header, empty when it is absent.
    pub fn get_header_bytes(&self, name: impl AsHeaderName) -> &[u8] {
        self.get_header(name).map_or(b"", |value| value.as_bytes())
    }

    /// Returns the request head as it was received.
    pub fn get_headers_raw_bytes(&self) -> Bytes {
        self.state
            .req
            .as_ref()
            .and_then(|req| req.received_head().cloned())
            .unwrap_or_default()
    }

    /// Returns `METHOD target, Host: host`, for logs.
    pub fn request_summary(&self) -> String {
        let Some(req) = &self.state.req else {
            return "no request read".to_string();
        };
        let host = req
            .fields()
            .get(pingora_http::fields::KnownName::Host)
            .unwrap_or(b"");
        format!(
            "{} {}, Host: {}",
            req.method(),
            String::from_utf8_lossy(req.raw_path()),
            String::from_utf8_lossy(host),
        )
    }

    /// Checks what [`read_request`](Self::read_request) cannot refuse for everybody.
    ///
    /// An error when target and `Host` name different hosts.
    pub fn validate_request(&self) -> Result<()> {
        match &self.state.req {
            Some(req) => crate::protocols::http::authority::validate_request_authority(req),
            None => Error::e_explain(InvalidHTTPHeader, "no request read"),
        }
    }

    /// Returns whether the client asks to change the protocol.
    pub fn is_upgrade_req(&self) -> bool {
        self.state
            .req
            .as_ref()
            .is_some_and(|req| is_upgrade_req(req))
    }

    /// Returns whether `header` grants the upgrade; `None` when none was asked for.
    pub fn is_upgrade(&self, header: &ResponseHeader) -> Option<bool> {
        self.is_upgrade_req()
            .then(|| super::common::is_upgrade_resp(header))
    }

    /// Returns whether a 101, or a 2xx to CONNECT, has turned the connection into a tunnel.
    pub fn was_upgraded(&self) -> bool {
        self.state.upgraded
    }

    /// Returns the final response head, once written.
    pub fn response_written(&self) -> Option<&ResponseHeader> {
        self.state.resp.as_deref()
    }

    /// Returns the number of response body bytes written, framing not counted.
    pub fn body_bytes_sent(&self) -> usize {
        self.state.encoder.bytes()
    }

    /// Returns the number of request body bytes read, framing not counted.
    pub fn body_bytes_read(&self) -> usize {
        self.state.body.bytes()
    }

    /// Returns whether the client has closed its sending side.
    pub fn is_half_closed(&self) -> bool {
        self.state.wire.input.eof
    }

    /// Sets how long to wait for the request head, or the next piece of its body.
    ///
    /// The default is 60 s; `None` waits without limit.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.state.read_timeout = timeout;
        if let Some(timeout) = timeout {
            self.state.read_timer.reset(timeout);
        }
    }

    /// Returns how long to wait for the request.
    pub fn get_read_timeout(&self) -> Option<Duration> {
        self.state.read_timeout
    }

    /// Sets how long the client may take no bytes while some are waiting.
    ///
    /// A client that takes a few bytes now and then, less than 4 KiB in that time, takes none. The
    /// default is 60 s; `None` waits without limit.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.state.write_timeout = timeout;
    }

    /// Returns how long the client may take no bytes.
    pub fn get_write_timeout(&self) -> Option<Duration> {
        self.state.write_timeout
    }

    /// Sets how long reading the rest of a request body may take in all.
    ///
    /// The default is 60 s; `None` waits without limit.
    pub fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.state.total_drain_timeout = timeout;
    }

    /// Returns how long reading the rest of a request body may take in all.
    pub fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.state.total_drain_timeout
    }

    /// Sets the bytes per second the client must take at least; it replaces the write timeout.
    ///
    /// 0 is ignored. HTTP/1 only.
    pub fn set_min_send_rate(&mut self, min_send_rate: Option<usize>) {
        self.state.min_send_rate = min_send_rate.filter(|rate| *rate > 0);
    }

    /// Sets whether informational responses (1xx, but not 101) are dropped.
    pub fn set_ignore_info_resp(&mut self, ignore: bool) {
        self.state.options.ignore_info_resp = ignore;
    }

    /// Sets whether to close instead of reading the rest of a request that was answered early.
    pub fn set_close_on_response_before_downstream_finish(&mut self, close: bool) {
        self.state.options.close_on_early_response = close;
    }

    /// Sets whether a client that goes away ends the exchange; on by default.
    pub fn set_abort_on_close(&mut self, abort: bool) {
        self.state.options.abort_on_close = abort;
    }

    /// Sets whether bytes behind this request are kept as the next one; off by default.
    pub fn set_pipelining_enabled(&mut self, enabled: bool) {
        self.state.options.pipelining = enabled;
    }

    /// Returns whether bytes behind this request are kept as the next one.
    pub fn pipelining_enabled(&self) -> bool {
        self.state.options.pipelining
    }

    /// Hands over bytes of this request that were received before the session was made.
    pub fn set_pipelined_prefix(&mut self, prefix: BytesMut) {
        if self.state.wire.input.buf.is_empty() {
            self.state.wire.input = Input::from(prefix);
        } else {
            self.state.wire.input.append(&prefix);
        }
    }

    /// Takes over what was received of this request before the session was made.
    pub(crate) fn resume(&mut self, input: Input) {
        self.state.wire.input = input;
    }

    /// Sets the bounds the client is held to.
    pub fn set_limits(&mut self, limits: HttpLimits) {
        self.state.limits = limits;
    }

    /// Returns the bounds the client is held to.
    pub fn limits(&self) -> &HttpLimits {
        &self.state.limits
    }

    /// Keeps the start of the request body, so that it can be sent to another upstream.
    pub fn enable_retry_buffering(&mut self) {
        self.state.retry_buffer.enable();
    }

    /// Returns whether the request body outgrew the retry buffer.
    pub fn retry_buffer_truncated(&self) -> bool {
        self.state.retry_buffer.is_truncated()
    }

    /// Returns the request body read so far; `None` when it is empty, or outgrew the buffer.
    pub fn get_retry_buffer(&self) -> Option<Bytes> {
        self.state.retry_buffer.get()
    }

    /// Sets a value that lives as long as the connection.
    pub fn set_connection_user_context(&mut self, ctx: Option<Box<dyn Any + Send + Sync>>) {
        self.state.user_context = ctx;
    }

    /// Takes the value set for the connection.
    pub fn take_connection_user_context(&mut self) -> Option<Box<dyn Any + Send + Sync>> {
        self.state.user_context.take()
    }

    /// Returns the facts of the connection.
    pub fn digest(&self) -> &Digest {
        self.state
            .digest
            .get_or_init(|| Box::new(digest_of(&self.state.wire.stream)))
    }

    /// Returns the facts of the connection, to change.
    pub fn digest_mut(&mut self) -> &mut Digest {
        self.digest();
        self.state
            .digest
            .get_mut()
            .expect("initialised by digest()")
    }

    /// Returns the address of the client.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest().socket_digest.as_ref()?.peer_addr()
    }

    /// Returns the address the client connected to.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest().socket_digest.as_ref()?.local_addr()
    }

    /// Returns the connection.
    pub fn stream(&self) -> &Stream {
        &self.state.wire.stream
    }

    /// Returns the connection; what was received and not consumed is lost.
    pub fn into_inner(self) -> Stream {
        self.state.wire.stream
    }

    /// Closes the connection; errors are ignored.
    ///
    /// A response whose end would be the end of the connection, and has not come, is reset: the
    /// client would take what it got for all of it.
    pub async fn shutdown(&mut self) {
        self.state.broken = true;
        if self.ends_by_closing_only() && reset_when_dropped(&self.state.wire.stream) {
            return;
        }
        end_stream(&mut self.state.wire.stream).await;
    }

    /// Returns whether the end of the connection would be taken for the end of a response that
    /// has not come.
    fn ends_by_closing_only(&self) -> bool {
        self.state.encoder.is_until_close() && !self.state.upgraded
    }

    fn expects_continue(&self) -> bool {
        self.state.resp.is_none() && self.may_withhold_body()
    }

    /// Returns whether the client may send the body or leave it: there is no telling where its
    /// next request starts (RFC 9110 section 10.1.1).
    #[inline]
    fn may_withhold_body(&self) -> bool {
        !self.state.continue_sent
            && !self.state.body.is_done()
            && self.state.body.bytes() == 0
            && self
                .state
                .req
                .as_ref()
                .is_some_and(|req| is_expect_continue_req(req))
    }
}

/// Has the connection reset when it is dropped; returns whether that is possible.
fn reset_when_dropped(stream: &Stream) -> bool {
    stream
        .get_socket_digest()
        .is_some_and(|digest| digest.reset_on_close().is_ok())
}

/// Gathers what the stream tells about itself.
pub(in crate::protocols::http::v1) fn digest_of(stream: &Stream) -> Digest {
    Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    }
}

#[cfg(test)]
mod boundary_tests;
#[cfg(test)]
mod tests;
