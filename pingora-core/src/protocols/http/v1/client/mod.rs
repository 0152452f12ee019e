//! [`HttpSession`]: one request to an HTTP/1 server and its answer.
//!
//! `response.rs` reads; this file has the state, the options and the request.

mod response;

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::AsHeaderName;
use http::{HeaderValue, Method, StatusCode, Version};
use once_cell::sync::OnceCell;
use pingora_error::{
    Error,
    ErrorType::{ConnectionClosed, WriteError, WriteTimedout},
    Result,
};
use pingora_http::fields::KnownName;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::fast_timeout::Deadline;

use super::body::{BodyDecoder, BodyEncoder};
use super::common::is_upgrade_req;
use super::framing::{BodyLength, parse_length};
use super::server::{digest_of, end_stream, ends_when_dropped};
use crate::protocols::http::HttpLimits;
use crate::protocols::http::wire::{OUTPUT_HIGH_WATER, Wire};
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, Stream, UniqueID, UniqueIDType};
use crate::upstreams::peer::Peer;

/// One exchange with an HTTP/1 server.
///
/// ```
/// # tokio_test::block_on(async {
/// use pingora_core::protocols::http::v1::client::HttpSession;
/// use pingora_http::RequestHeader;
/// use tokio::io::AsyncWriteExt;
///
/// let (client, mut server) = tokio::io::duplex(1024);
/// server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
///
/// let mut session = HttpSession::new(Box::new(client));
/// let mut req = RequestHeader::build("GET", b"/", None).unwrap();
/// req.insert_header("Host", "example.com").unwrap();
/// session.write_request_header(Box::new(req)).await.unwrap();
/// session.finish_body().await.unwrap();
/// session.read_response().await.unwrap();
/// assert_eq!(session.get_status().unwrap(), 200);
/// assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "hi");
/// assert!(session.read_body_bytes().await.unwrap().is_none());
/// # })
/// ```
pub struct HttpSession {
    /// Boxed: a session moves through many hands.
    state: Box<State>,
    /// How long the server may take for the next bytes; `None`: without limit.
    pub read_timeout: Option<Duration>,
    /// How long the server may take no bytes; `None`: without limit.
    pub write_timeout: Option<Duration>,
}

struct State {
    limits: HttpLimits,
    req: Option<Box<RequestHeader>>,
    encoder: BodyEncoder,
    resp: Option<Box<ResponseHeader>>,
    /// The final head, or a 101, was read.
    in_body: bool,
    /// How much of an incomplete head was looked at.
    scanned: usize,
    interim_responses: u8,
    decoder: BodyDecoder,
    /// The framing broke or the response did not end: the connection must close.
    broken: bool,
    /// The server keeps the connection open after this response.
    server_keepalive: bool,
    upgraded: bool,
    allow_invalid_content_length: bool,
    last_body: Bytes,
    read_timer: Option<Box<Deadline>>,
    write_timer: Option<Box<Deadline>>,
    digest: OnceCell<Digest>,
    /// The last to be dropped: what was read are slices of its buffer.
    wire: Wire,
}

impl HttpSession {
    /// Returns a session that has sent nothing yet, without timeouts.
    pub fn new(stream: Stream) -> Self {
        let state = State {
            wire: Wire::new(stream),
            limits: HttpLimits::for_responses(),
            req: None,
            encoder: BodyEncoder::new(),
            resp: None,
            in_body: false,
            scanned: 0,
            interim_responses: 0,
            decoder: BodyDecoder::new(BodyLength::None),
            broken: false,
            server_keepalive: false,
            upgraded: false,
            allow_invalid_content_length: false,
            last_body: Bytes::new(),
            read_timer: None,
            write_timer: None,
            digest: OnceCell::new(),
        };
        HttpSession {
            state: Box::new(state),
            read_timeout: None,
            write_timeout: None,
        }
    }

    /// Returns a session with the timeouts and tolerances of `peer`.
    pub fn new_with_options<P: Peer>(stream: Stream, peer: &P) -> Self {
        let mut session = Self::new(stream);
        if let Some(options) = peer.get_peer_options() {
            session.read_timeout = options.read_timeout;
            session.write_timeout = options.write_timeout;
            session.state.allow_invalid_content_length =
                options.allow_h1_response_invalid_content_length;
        }
        session
    }

    /// Sets whether a `Content-Length` that is no length is ignored instead of refused.
    pub fn set_allow_h1_response_invalid_content_length(&mut self, allow: bool) {
        self.state.allow_invalid_content_length = allow;
    }

    /// Sets the bounds the server is held to; [`HttpLimits::for_responses`] by default.
    pub fn set_limits(&mut self, limits: HttpLimits) {
        self.state.limits = limits;
    }

    /// Sends a request head; returns its length in bytes.
    pub async fn write_request_header(&mut self, req: Box<RequestHeader>) -> Result<usize> {
        let len = self.queue_request_header(req);
        self.flush().await?;
        Ok(len)
    }

    /// Queues a request head; returns its length in bytes. Nothing is sent yet.
    #[inline]
    pub fn queue_request_header(&mut self, req: Box<RequestHeader>) -> usize {
        let before = self.state.wire.output.len();
        let out = self.state.wire.output.control();
        out.reserve(512);
        put_request_head(&req, out);
        self.state.encoder.start(request_body_length(&req));
        self.state.req = Some(req);
        self.state.wire.output.len() - before
    }

    /// Sends a piece of the request body; returns how many bytes the framing took.
    pub async fn write_body(&mut self, buf: &[u8]) -> Result<Option<usize>> {
        let taken = self.queue_body(Bytes::copy_from_slice(buf))?;
        self.flush().await?;
        Ok(taken)
    }

    /// Queues a piece of the request body; `None` when the request has no body, or it has ended.
    pub fn queue_body(&mut self, data: Bytes) -> Result<Option<usize>> {
        if self.state.encoder.is_done() {
            return Ok(None);
        }
        self.state
            .encoder
            .write(data, &mut self.state.wire.output)
            .map(Some)
            .map_err(Error::into_up)
    }

    /// Ends the request body; returns its length.
    pub async fn finish_body(&mut self) -> Result<Option<usize>> {
        let ended = self.queue_finish();
        self.flush().await?;
        ended?;
        Ok(Some(self.state.encoder.bytes()))
    }

    /// Queues the end of the request body.
    ///
    /// An error when the body is shorter than its `Content-Length`: the connection is lost then.
    pub fn queue_finish(&mut self) -> Result<()> {
        self.state
            .encoder
            .finish(None, &mut self.state.wire.output)
            .map_err(|e| {
                self.state.broken = true;
                e.into_up()
            })
    }

    /// Closes our side of a tunnel once everything queued was sent.
    pub fn queue_shutdown(&mut self) {
        self.state.wire.queue_shutdown();
    }

    /// Polls until everything queued was handed to the system. Cancel-safe.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.state.wire.needs_flush() {
            return Poll::Ready(Ok(()));
        }
        let before = self.state.wire.output.len();
        let flushed = self.state.wire.poll_flush(cx);
        if self.state.wire.output.len() < before && !self.state.in_body {
            // A server that is still taking the request is not late with its answer.
            self.state.read_timer = None;
        }
        match flushed {
            Poll::Ready(Ok(())) => {
                self.state.write_timer = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(e)) => {
                self.state.broken = true;
                let etype = match e.kind() {
                    std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => {
                        ConnectionClosed
                    }
                    _ => WriteError,
                };
                Poll::Ready(Err(
                    Error::because(etype, "while writing the request", e).into_up()
                ))
            }
            Poll::Pending => self.poll_write_timer(before, cx),
        }
    }

    /// Returns whether as much is queued as should be before it is sent.
    pub fn wants_flush(&self) -> bool {
        self.state.wire.output.len() >= OUTPUT_HIGH_WATER
    }

    /// Returns the number of bytes queued and not sent.
    pub fn queued_bytes(&self) -> usize {
        self.state.wire.output.len()
    }

    /// Drops what is queued: the server does not want it, and the connection is lost.
    pub fn abandon_request(&mut self) {
        self.state.wire.output.clear();
        self.state.broken = true;
    }

    /// Treats the rest of the request as raw bytes when a 101, or a 2xx to CONNECT, was read.
    pub fn maybe_upgrade_body_writer(&mut self) {
        if self.was_upgraded() {
            self.state.encoder.upgrade();
        }
    }

    /// Returns whether the request asks to change the protocol.
    pub fn is_upgrade_req(&self) -> bool {
        self.state
            .req
            .as_ref()
            .is_some_and(|req| is_upgrade_req(req))
    }

    /// Returns whether a 101, or a 2xx to CONNECT, has turned the connection into a tunnel.
    pub fn was_upgraded(&self) -> bool {
        self.state.upgraded
    }

    /// Returns the number of request body bytes sent, framing not counted.
    pub fn body_bytes_sent(&self) -> usize {
        self.state.encoder.bytes()
    }

    /// Returns the number of response body bytes read, framing not counted.
    pub fn body_bytes_received(&self) -> usize {
        self.state.decoder.bytes()
    }

    /// Returns the response head, once read.
    pub fn resp_header(&self) -> Option<&ResponseHeader> {
        self.state.resp.as_deref()
    }

    /// Returns the status of the response, once read.
    pub fn get_status(&self) -> Option<StatusCode> {
        self.state.resp.as_ref().map(|resp| resp.status())
    }

    /// Returns the first value of a response header.
    pub fn get_header(&self, name: impl AsHeaderName) -> Option<&HeaderValue> {
        self.state.resp.as_ref()?.headers.get(name)
    }

    /// Returns the first value of a response header, empty when it is absent.
    pub fn get_header_bytes(&self, name: impl AsHeaderName) -> &[u8] {
        self.get_header(name).map_or(b"", |value| value.as_bytes())
    }

    /// Returns the response head as it was received.
    pub fn get_headers_raw_bytes(&self) -> Bytes {
        self.state
            .resp
            .as_ref()
            .and_then(|resp| resp.received_head().cloned())
            .unwrap_or_default()
    }

    /// Returns the facts of the connection.
    pub fn digest(&self) -> &Digest {
        self.state
            .digest
            .get_or_init(|| digest_of(&self.state.wire.stream))
    }

    /// Returns the facts of the connection, to change.
    pub fn digest_mut(&mut self) -> &mut Digest {
        self.digest();
        self.state
            .digest
            .get_mut()
            .expect("initialised by digest()")
    }

    /// Returns the address of the server.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest().socket_digest.as_ref()?.peer_addr()
    }

    /// Returns our address.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
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
    pub async fn shutdown(&mut self) {
        self.state.broken = true;
        end_stream(&mut self.state.wire.stream).await;
    }

    /// Gives up keep-alive when the server does not offer it; harmless to call again.
    pub fn respect_keepalive(&mut self) {
        if !self.state.server_keepalive {
            self.state.broken = true;
        }
    }

    /// Returns whether the connection can carry another request once this response was read.
    pub fn will_keepalive(&self) -> bool {
        self.state.server_keepalive && !self.state.broken && !self.state.upgraded
    }

    /// Ends the exchange; returns the connection when it can carry another request.
    ///
    /// That takes a request and a response that both ended, and not one byte behind the response:
    /// it would be read as the answer to somebody else's request.
    pub async fn reuse(mut self) -> Option<Stream> {
        if self.is_reusable() {
            return Some(self.state.wire.stream);
        }
        if !ends_when_dropped(&self.state.wire.stream) {
            end_stream(&mut self.state.wire.stream).await;
        }
        None
    }

    /// Returns whether the connection can carry another request now.
    fn is_reusable(&self) -> bool {
        self.will_keepalive()
            && self.state.in_body
            && self.state.encoder.is_done()
            && self.state.decoder.is_done()
            && self.state.wire.input.buf.is_empty()
            && self.state.wire.output.is_flushed()
            && !self.state.wire.input.eof
    }

    async fn flush(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn poll_write_timer(&mut self, before: usize, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(limit) = self.write_timeout else {
            return Poll::Pending;
        };
        if self.state.wire.output.len() < before || self.state.write_timer.is_none() {
            self.state.write_timer = Some(Box::new(Deadline::new(limit)));
        }
        let timer = self.state.write_timer.as_mut().expect("set above");
        match timer.poll_elapsed(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.state.broken = true;
                Poll::Ready(
                    Error::e_explain(WriteTimedout, "server takes no bytes")
                        .map_err(Error::into_up),
                )
            }
        }
    }

    fn method(&self) -> &Method {
        self.state
            .req
            .as_ref()
            .map_or(&Method::GET, |req| req.method())
    }
}

impl UniqueID for HttpSession {
    fn id(&self) -> UniqueIDType {
        self.state.wire.stream.id()
    }
}

/// Returns the request head as it goes over the wire; `None` when the method or target is empty.
pub fn http_req_header_to_wire(req: &RequestHeader) -> Option<BytesMut> {
    if req.raw_path().is_empty() && req.method() != Method::CONNECT {
        return None;
    }
    let mut out = BytesMut::with_capacity(512);
    put_request_head(req, &mut out);
    Some(out)
}

fn put_request_head(req: &RequestHeader, out: &mut BytesMut) {
    out.put_slice(req.method().as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(req.raw_path());
    let version: &[u8] = match req.version() {
        Version::HTTP_10 => b" HTTP/1.0\r\n",
        Version::HTTP_09 => b" HTTP/0.9\r\n",
        _ => b" HTTP/1.1\r\n",
    };
    out.put_slice(version);
    req.header_to_h1_wire(out);
    out.put_slice(b"\r\n");
}

/// The framing the fields of a request announce.
fn request_body_length(req: &RequestHeader) -> BodyLength {
    let fields = req.fields();
    if fields.has(KnownName::TransferEncoding) {
        return BodyLength::Chunked;
    }
    match fields.get(KnownName::ContentLength).and_then(parse_length) {
        Some(0) | None => BodyLength::None,
        Some(len) => BodyLength::Fixed(len),
    }
}

#[cfg(test)]
mod boundary_tests;
#[cfg(test)]
mod tests;
