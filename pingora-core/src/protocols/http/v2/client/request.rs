//! Sending: the head as HTTP/2 has it, and a body no longer than the head says.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use h2::SendStream;
use http::header::{CONNECTION, EXPECT, HOST, UPGRADE};
use http::{Method, Request, Uri, Version, uri};
use pingora_error::{
    Error,
    ErrorType::{InvalidHTTPHeader, WriteError},
    Result,
};
use pingora_http::RequestHeader;
use pingora_http::fields::KnownName;

use super::super::head::strip_connection_fields;
use super::Http2Session;
use crate::protocols::http::v1::common::is_upgrade_req;
use crate::protocols::http::v1::parse_length;

impl Http2Session {
    /// Sends the request head, which ends the request when `end`.
    ///
    /// The authority is taken from the target, else from `Host`. What belongs to a connection of
    /// HTTP/1 is left out, and an upgrade becomes an extended CONNECT (RFC 8441).
    ///
    /// # Errors
    /// `InvalidHTTPHeader` for a head HTTP/2 cannot express, `H2Error` or `ConnectionClosed` when
    /// the connection takes no more requests; the latter may be tried on another.
    pub fn write_request_header(&mut self, req: Box<RequestHeader>, end: bool) -> Result<()> {
        let ends_with_head = req.send_end_stream().unwrap_or(true);
        self.queue_request_header(req)?;
        if end {
            self.queue_finish()?;
        }
        if end && !ends_with_head {
            self.send_head(false)?;
            return self.flush_at_hand();
        }
        let end = self.state.output.is_empty_message();
        self.send_head(end)
    }

    /// Sends a piece of the request body, the last one when `end`.
    pub async fn write_request_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.queue_body(data)?;
        if end {
            self.queue_finish()?;
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Ends the request body.
    pub fn finish_request_body(&mut self) -> Result<()> {
        self.queue_finish()?;
        self.flush_at_hand()
    }

    /// Takes what the request body is written to; the head must have been sent.
    ///
    /// Nothing can be written through the session afterwards.
    pub fn take_request_body_writer(&mut self) -> Option<SendStream<Bytes>> {
        self.state.stream.take()
    }

    /// Queues the request head. Nothing is sent yet.
    ///
    /// # Errors
    /// As [`write_request_header`](Self::write_request_header).
    pub fn queue_request_header(&mut self, mut req: Box<RequestHeader>) -> Result<()> {
        if self.state.req.is_some() {
            return Error::e_explain(WriteError, "a second request on a stream")
                .map_err(Error::into_in);
        }
        let is_upgrade = is_upgrade_req(&req);
        if is_upgrade && !self.state.send.is_extended_connect_protocol_enabled() {
            return Error::e_explain(
                InvalidHTTPHeader,
                "an upgrade, and the server does not speak extended CONNECT",
            )
            .map_err(Error::into_up);
        }
        if is_upgrade {
            let key = req.fields().get(KnownName::SecWebsocketKey);
            self.state.websocket_key = key.map(Bytes::copy_from_slice);
        }
        self.state.is_connect = is_upgrade || *req.method() == Method::CONNECT;
        if !self.state.is_connect {
            let length = req.fields().get(KnownName::ContentLength);
            self.state.output.set_length(length.and_then(parse_length));
        }
        let scheme = match self.conn.digest().ssl_digest {
            Some(_) => uri::Scheme::HTTPS,
            None => uri::Scheme::HTTP,
        };
        self.state.queued = Some(request_to_h2(&mut req, scheme, is_upgrade)?);
        self.state.req = Some(req);
        Ok(())
    }

    /// Queues a piece of the request body; what exceeds the length in the head is dropped.
    pub fn queue_body(&mut self, data: Bytes) -> Result<()> {
        if self.state.req.is_none() {
            return Error::e_explain(WriteError, "body before its head").map_err(Error::into_in);
        }
        self.state.output.push(data);
        Ok(())
    }

    /// Queues the end of the request.
    ///
    /// An error when the body is shorter than its `Content-Length`.
    pub fn queue_finish(&mut self) -> Result<()> {
        self.queue_end(None)
    }

    /// Queues the trailers, which end the request; those that must not be in trailers are left out.
    pub fn queue_trailers(&mut self, trailers: http::HeaderMap) -> Result<()> {
        self.queue_end(Some(trailers))
    }

    /// Polls until everything queued was handed over within the windows of the server.
    ///
    /// Cancel-safe. Fails when the server takes nothing for the write timeout.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.state.queued.is_some() {
            let whole = self.state.output.is_empty_message();
            let end = whole && self.request_may_end_with_head();
            self.send_head(end)?;
        }
        let timeout = self.write_timeout;
        let state = &mut *self.state;
        if state.output.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        let Some(stream) = &mut state.stream else {
            return Poll::Ready(Ok(()));
        };
        let before = state.output.queued_bytes();
        let flushed = state.output.poll_flush(stream, timeout, cx);
        if state.output.queued_bytes() < before && state.body.is_none() {
            // A server that is still taking the request is not late with its answer.
            state.read_timer = None;
        }
        match flushed {
            Poll::Ready(Err(e)) => {
                state.broken = true;
                Poll::Ready(Err(e.into_up()))
            }
            Poll::Ready(Ok(())) => {
                if let Some(since) = state.waits_since.take() {
                    state.write_pending += since.elapsed();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                state.waits_since.get_or_insert_with(Instant::now);
                Poll::Pending
            }
        }
    }

    /// Returns whether as much is queued as should be before it is sent.
    pub fn wants_flush(&self) -> bool {
        self.state.output.wants_flush()
    }

    /// Drops what is queued: the server does not want it.
    pub fn abandon_request(&mut self) {
        self.state.queued = None;
        self.state.output.clear();
    }

    fn request_may_end_with_head(&self) -> bool {
        let req = self.state.req.as_ref();
        req.is_none_or(|req| req.send_end_stream().unwrap_or(true))
    }

    fn queue_end(&mut self, trailers: Option<http::HeaderMap>) -> Result<()> {
        self.state.output.finish(trailers).map_err(|e| {
            self.reset(h2::Reason::CANCEL);
            e.into_up()
        })
    }

    fn send_head(&mut self, end: bool) -> Result<()> {
        let Some(request) = self.state.queued.take() else {
            return Ok(());
        };
        match self.state.send.send_request(request, end) {
            Ok((response, stream)) => {
                self.state.response = Some(response);
                self.state.stream = Some(stream);
                if end {
                    self.state.output.ended_with_head();
                }
                Ok(())
            }
            Err(e) => {
                // Whatever is wrong with the connection: the server has seen nothing.
                self.conn.mark_shutdown();
                let mut e = self.failed(e, "while sending the request head");
                e.set_retry(true);
                Err(e)
            }
        }
    }

    fn flush_at_hand(&mut self) -> Result<()> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self.poll_flush(&mut cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }
}

/// Returns a request head as HTTP/2 has it.
pub(in crate::protocols::http::v2) fn request_to_h2(
    req: &mut RequestHeader,
    scheme: uri::Scheme,
    is_upgrade: bool,
) -> Result<Request<()>> {
    let mut parts = req.take_parts();
    let fields = req.fields();
    parts.version = Version::HTTP_2;
    let protocol = match is_upgrade {
        true => parts.headers.get(UPGRADE).cloned(),
        false => None,
    };
    parts.uri = target(req, &parts, scheme, is_upgrade)?;
    if fields.has(KnownName::Host) {
        parts.headers.remove(HOST);
    }
    strip_connection_fields(&mut parts.headers, fields);
    if fields.has(KnownName::Http2Settings) {
        parts.headers.remove("http2-settings");
    }
    let expectation = fields.get(KnownName::Expect);
    if expectation.is_some_and(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        parts.headers.remove(EXPECT);
    }
    if is_upgrade {
        let protocol = protocol
            .as_ref()
            .and_then(|protocol| protocol.to_str().ok());
        let protocol = protocol.ok_or_else(|| invalid("invalid Upgrade"))?;
        parts.method = Method::CONNECT;
        parts.extensions.insert(h2::ext::Protocol::from(protocol));
        // RFC 8441 section 5: the stream is the proof.
        parts.headers.remove("sec-websocket-key");
        parts.headers.remove(CONNECTION);
        parts.headers.remove(http::header::CONTENT_LENGTH);
    }
    Ok(Request::from_parts(parts, ()))
}

/// Returns the pseudo-header fields in the form `h2` takes them from.
fn target(
    req: &RequestHeader,
    parts: &http::request::Parts,
    scheme: uri::Scheme,
    is_upgrade: bool,
) -> Result<Uri> {
    let of_target = parts.uri.authority();
    let authority = match req.fields().get(KnownName::Host) {
        Some(host) if of_target.is_some_and(|name| name.as_str().as_bytes() == host) => {
            of_target.cloned()
        }
        Some(host) => uri::Authority::try_from(host).ok(),
        None => of_target.cloned(),
    };
    let mut target = uri::Parts::default();
    target.authority = authority;
    if *req.method() == Method::CONNECT && !is_upgrade {
        target.authority = parts.uri.authority().cloned().or(target.authority);
        return Uri::from_parts(target).map_err(|_| invalid("invalid target of CONNECT"));
    }
    if target.authority.is_none() {
        return Err(invalid("no valid Host"));
    }
    // Servers expect the scheme of the connection it comes on.
    target.scheme = Some(scheme);
    let (path, raw) = (parts.uri.path_and_query(), req.raw_path());
    target.path_and_query = match path {
        // The same, and checked.
        Some(path) if path.as_str().as_bytes() == raw => Some(path.clone()),
        _ => match uri::PathAndQuery::try_from(raw) {
            Ok(path) if raw.first() == Some(&b'/') || path == "*" => Some(path),
            _ => path.cloned(),
        },
    };
    if target.path_and_query.is_none() {
        return Err(invalid("a target HTTP/2 cannot express"));
    }
    Uri::from_parts(target).map_err(|_| invalid("a target HTTP/2 cannot express"))
}

#[cold]
fn invalid(why: &'static str) -> Box<Error> {
    Error::explain(InvalidHTTPHeader, why).into_in()
}
