//! [`HttpSession`]: one request of an HTTP/2 client and our answer to it.
//!
//! `accept.rs` makes sessions out of a connection, `request.rs` reads the body, `response.rs`
//! writes. This file has the state and the options.

mod accept;
mod request;
mod response;

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use pingora_http::fields::KnownName;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::fast_timeout::Deadline;

use super::output::Output;
use super::stream::Downstream;
use crate::protocols::Digest;
use crate::protocols::http::HttpLimits;
use crate::protocols::http::authority::host_of;
use crate::protocols::http::body_buffer::RetryBuffer;
use crate::protocols::http::pace::Pace;
use crate::protocols::l4::socket::SocketAddr;

pub(crate) use self::accept::{Arrival, DEFAULT_IDLE_TIMEOUT, local_settings};
pub use self::accept::{H2Accept, default_h2_options, handshake};
pub use self::request::Idle;
pub use h2::server::Builder as H2Options;

/// How long a client may send nothing of a body it owes.
const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may take nothing of a response that waits for it.
const DEFAULT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long reading the rest of an answered request may take.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// One exchange with an HTTP/2 client: a stream of its connection.
///
/// ```
/// # tokio_test::block_on(async {
/// use std::sync::Arc;
/// use pingora_core::protocols::Digest;
/// use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession, handshake};
///
/// let (client, server) = tokio::io::duplex(1024);
/// # tokio::spawn(async move {
/// #     let (mut requests, connection) = h2::client::handshake(client).await.unwrap();
/// #     tokio::spawn(connection);
/// #     let request = http::Request::get("http://example.com/a").body(()).unwrap();
/// #     let response = requests.send_request(request, true).unwrap().0.await;
/// # });
/// let mut connection = handshake(Box::new(server), None).await.unwrap();
/// let digest = Arc::new(Digest::default());
/// let accepted = HttpSession::from_h2_conn(&mut connection, digest).await.unwrap();
/// let Some(H2Accept::Session(session)) = accepted else {
///     panic!("a client sent a valid request");
/// };
/// assert_eq!(session.req_header().uri.path(), "/a");
/// # })
/// ```
pub struct HttpSession {
    /// Boxed: a session moves through many hands.
    state: Box<State>,
    /// How long the client may take nothing of a response that waits for it; `None`: without
    /// limit. Default 60 s.
    pub write_timeout: Option<Duration>,
}

struct State {
    req: RequestHeader,
    stream: Downstream,
    body_read: usize,
    body_ended: bool,
    trailers: Option<HeaderMap>,
    retry_buffer: RetryBuffer,
    read_timer: Deadline,
    pace: Pace,
    read_timeout: Option<Duration>,
    total_drain_timeout: Option<Duration>,
    limits: HttpLimits,
    /// Asks for a tunnel in this stream (RFC 8441).
    is_extended_connect: bool,
    upgraded: bool,
    continue_sent: bool,
    ignore_info_resp: bool,
    proxy_tasks: bool,
    resp: Option<Box<ResponseHeader>>,
    /// The head in `resp` waits for what comes with it.
    head_queued: bool,
    head_sent: bool,
    output: Output,
    /// The response has no body, whatever is written.
    bodiless: bool,
    /// The stream is no more, or must not be ended well.
    broken: bool,
    /// We have reset it.
    was_reset: bool,
    digest: Arc<Digest>,
}

impl HttpSession {
    /// Returns the request head.
    pub fn req_header(&self) -> &RequestHeader {
        &self.state.req
    }

    /// Returns the request head, to change.
    pub fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.state.req
    }

    /// Returns the bounds the client is held to.
    pub(crate) fn limits(&self) -> &HttpLimits {
        &self.state.limits
    }

    /// Returns `METHOD target, Host: host`, for logs.
    pub fn request_summary(&self) -> String {
        let req = &self.state.req;
        format!(
            "{} {}, Host: {}",
            req.method(),
            String::from_utf8_lossy(req.raw_path()),
            String::from_utf8_lossy(host_of(req)),
        )
    }

    /// Returns the request head as HTTP/1 would have written it.
    pub fn pseudo_raw_h1_request_header(&self) -> Bytes {
        let req = &self.state.req;
        let mut out = BytesMut::with_capacity(512);
        out.put_slice(req.method().as_str().as_bytes());
        out.put_u8(b' ');
        out.put_slice(req.raw_path());
        out.put_slice(b" HTTP/1.1\r\n");
        if !req.fields().has(KnownName::Host) {
            out.put_slice(b"Host: ");
            out.put_slice(host_of(req));
            out.put_slice(b"\r\n");
        }
        req.header_to_h1_wire(&mut out);
        out.put_slice(b"\r\n");
        out.freeze()
    }

    /// Returns the final response head, once written.
    pub fn response_written(&self) -> Option<&ResponseHeader> {
        self.state.resp.as_deref()
    }

    /// Returns whether the client asks for a tunnel in this stream (RFC 8441).
    ///
    /// The request then looks like an upgrade of HTTP/1.
    pub fn is_upgrade_req(&self) -> bool {
        self.state.is_extended_connect
    }

    /// Returns whether the stream has become a tunnel.
    pub fn was_upgraded(&self) -> bool {
        self.state.upgraded
    }

    /// Returns the number of response body bytes sent or waiting for a window.
    pub fn body_bytes_sent(&self) -> usize {
        self.state.output.body_len()
    }

    /// Returns the number of request body bytes read.
    pub fn body_bytes_read(&self) -> usize {
        self.state.body_read
    }

    /// Sets how long the client may send nothing of a body it owes; 60 s by default.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.state.read_timeout = timeout;
        if let Some(timeout) = timeout {
            self.state.read_timer.reset(timeout);
        }
    }

    /// Returns how long the client may send nothing of a body it owes.
    pub fn get_read_timeout(&self) -> Option<Duration> {
        self.state.read_timeout
    }

    /// Sets how long the client may take nothing of a response; 60 s by default.
    ///
    /// A client that takes a few bytes now and then takes nothing.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_timeout = timeout;
    }

    /// Returns how long the client may take nothing of a response.
    pub fn get_write_timeout(&self) -> Option<Duration> {
        self.write_timeout
    }

    /// Sets how long reading the rest of a request body may take in all; 60 s by default.
    pub fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.state.total_drain_timeout = timeout;
    }

    /// Returns how long reading the rest of a request body may take in all.
    pub fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.state.total_drain_timeout
    }

    /// Sets whether informational responses (1xx) are dropped.
    pub fn set_ignore_info_resp(&mut self, ignore: bool) {
        self.state.ignore_info_resp = ignore;
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

    /// Returns the facts of the connection.
    pub fn digest(&self) -> Option<&Digest> {
        Some(&self.state.digest)
    }

    /// Returns the facts of the connection, to change for this request.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(Arc::make_mut(&mut self.state.digest))
    }

    /// Returns the address of the client.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        self.state.digest.socket_digest.as_ref()?.peer_addr()
    }

    /// Returns the address the client connected to.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        self.state.digest.socket_digest.as_ref()?.local_addr()
    }

    fn new(
        head: super::head::Accepted,
        stream: Downstream,
        limits: HttpLimits,
        digest: Arc<Digest>,
    ) -> Self {
        let state = State {
            req: head.head,
            stream,
            body_read: 0,
            body_ended: false,
            trailers: None,
            retry_buffer: RetryBuffer::default(),
            read_timer: Deadline::new(DEFAULT_READ_TIMEOUT),
            pace: Pace::default(),
            read_timeout: Some(DEFAULT_READ_TIMEOUT),
            total_drain_timeout: Some(DEFAULT_DRAIN_TIMEOUT),
            limits,
            is_extended_connect: head.is_extended_connect,
            upgraded: false,
            continue_sent: false,
            ignore_info_resp: false,
            proxy_tasks: false,
            resp: None,
            head_queued: false,
            head_sent: false,
            output: Output::new(),
            bodiless: false,
            broken: false,
            was_reset: false,
            digest,
        };
        HttpSession {
            state: Box::new(state),
            write_timeout: Some(DEFAULT_WRITE_TIMEOUT),
        }
    }
}

#[cfg(test)]
mod tests;
