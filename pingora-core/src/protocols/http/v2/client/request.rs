//! Sending: the head as HTTP/2 has it, and a body no longer than the head says.

use std::borrow::Cow;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use h2::SendStream;
use http::{Method, Request, Uri, Version, uri};
use pingora_error::{
    Error,
    ErrorType::{InvalidHTTPHeader, WriteError},
    Result,
};
use pingora_http::RequestHeader;
use pingora_http::fields::{Fields, KnownName};

use super::super::engine::Asked;
use super::super::engine::hpack::{Encoder, Pseudo};
use super::super::error::StreamError;
use super::super::head::{encode_fields, strip_connection_fields};
use super::super::stream::Upstream;
use super::{Http2Session, Opener};
use crate::protocols::http::authority::is_valid_host;
use crate::protocols::http::byte_set::alphanumeric_and;
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
        self.state.stream.as_mut()?.take_writer()
    }

    /// Queues the request head. Nothing is sent yet.
    ///
    /// # Errors
    /// As [`write_request_header`](Self::write_request_header).
    pub fn queue_request_header(&mut self, req: Box<RequestHeader>) -> Result<()> {
        if self.state.req.is_some() {
            return Error::e_explain(WriteError, "a second request on a stream")
                .map_err(Error::into_in);
        }
        let is_upgrade = is_upgrade_req(&req);
        if is_upgrade && !self.conn.grants_tunnels() {
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
        // What cannot be sent is refused here, before anybody waits for it.
        Sent::of(&req, self.scheme(), is_upgrade)?;
        self.state.is_upgrade = is_upgrade;
        self.state.head_queued = true;
        self.state.req = Some(req);
        Ok(())
    }

    fn scheme(&self) -> &'static str {
        match self.conn.digest().ssl_digest {
            Some(_) => "https",
            None => "http",
        }
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
        if self.state.head_queued {
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
        if state.output.queued_bytes() < before && !state.head_read {
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
        self.state.head_queued = false;
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
        let scheme = self.scheme();
        let state = &mut *self.state;
        let Some(req) = state.req.as_deref().filter(|_| state.head_queued) else {
            return Ok(());
        };
        state.head_queued = false;
        let sent = Sent::of(req, scheme, state.is_upgrade)?;
        let opened = match &mut state.opener {
            Opener::Ours => {
                let asked = match *req.method() {
                    _ if state.is_connect => Asked::Tunnel,
                    Method::HEAD => Asked::Head,
                    _ => Asked::Other,
                };
                let encode = |encoder: &mut Encoder, out: &mut BytesMut| {
                    sent.encode(req.fields(), encoder, out)
                };
                let opened = self.conn.open(end, asked, encode);
                opened.map(Upstream::Ours).map_err(StreamError::from)
            }
            Opener::H2(send) => {
                let request = sent.to_h2(req)?;
                Upstream::open_h2(send, request, end)
            }
        };
        match opened {
            Ok(stream) => {
                self.state.stream = Some(stream);
                if end {
                    self.state.output.ended_with_head();
                }
                Ok(())
            }
            Err(e) => {
                // Whatever is wrong with the connection: the server has seen nothing.
                if !self.conn.takes_streams() {
                    self.conn.mark_shutdown();
                }
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

/// A request as HTTP/2 has it; the fields are those of the head.
struct Sent<'a> {
    method: &'a [u8],
    scheme: &'static str,
    authority: &'a [u8],
    /// `None` in a plain CONNECT.
    path: Option<Cow<'a, [u8]>>,
    /// Of an extended CONNECT (RFC 8441).
    protocol: Option<&'a [u8]>,
}

impl<'a> Sent<'a> {
    /// Returns how a request is sent.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` for one HTTP/2 cannot express.
    fn of(req: &'a RequestHeader, scheme: &'static str, is_upgrade: bool) -> Result<Self> {
        let host = req.fields().get(KnownName::Host);
        let of_target = req.target_authority();
        if *req.method() == Method::CONNECT && !is_upgrade {
            let target = Some(req.raw_path()).filter(|target| is_valid_host(target));
            let authority = of_target.or(target).or(host);
            let authority = authority.filter(|name| is_valid_host(name));
            return Ok(Sent {
                method: b"CONNECT",
                scheme,
                authority: authority.ok_or_else(|| invalid("invalid target of CONNECT"))?,
                path: None,
                protocol: None,
            });
        }
        let authority = host.or(of_target).filter(|name| is_valid_host(name));
        let protocol = req.fields().get(KnownName::Upgrade).filter(|_| is_upgrade);
        Ok(Sent {
            method: match is_upgrade {
                true => b"CONNECT",
                false => req.method().as_str().as_bytes(),
            },
            scheme,
            authority: authority.ok_or_else(|| invalid("no valid Host"))?,
            path: Some(path_of(req)?),
            protocol,
        })
    }

    /// Writes the request.
    fn encode(&self, fields: &Fields, encoder: &mut Encoder, out: &mut BytesMut) {
        encoder.pseudo(Pseudo::Method, self.method, out);
        if let Some(path) = &self.path {
            encoder.pseudo(Pseudo::Scheme, self.scheme.as_bytes(), out);
            encoder.pseudo(Pseudo::Authority, self.authority, out);
            encoder.pseudo(Pseudo::Path, path, out);
        } else {
            encoder.pseudo(Pseudo::Authority, self.authority, out);
        }
        if let Some(protocol) = self.protocol {
            encoder.pseudo(Pseudo::Protocol, protocol, out);
        }
        encode_fields(fields, encoder, out, |name| self.leaves_out(fields, name));
    }

    /// Returns whether a field is not sent.
    fn leaves_out(&self, fields: &Fields, name: KnownName) -> bool {
        match name {
            KnownName::Host | KnownName::Http2Settings => true,
            KnownName::Expect => fields
                .get(KnownName::Expect)
                .is_some_and(|value| !value.eq_ignore_ascii_case(b"100-continue")),
            // RFC 8441 section 5: the stream is the proof.
            KnownName::SecWebsocketKey | KnownName::ContentLength => self.protocol.is_some(),
            _ => false,
        }
    }

    /// Returns the request as the `h2` crate takes it.
    fn to_h2(&self, req: &RequestHeader) -> Result<Request<()>> {
        let cannot = |_| invalid("a target HTTP/2 cannot express");
        let mut target = uri::Parts::default();
        target.authority = Some(uri::Authority::try_from(self.authority).map_err(cannot)?);
        if let Some(path) = &self.path {
            target.scheme = uri::Scheme::try_from(self.scheme).ok();
            target.path_and_query = Some(uri::PathAndQuery::try_from(&**path).map_err(cannot)?);
        }
        let mut parts = req.as_owned_parts();
        parts.version = Version::HTTP_2;
        parts.uri =
            Uri::from_parts(target).map_err(|_| invalid("a target HTTP/2 cannot express"))?;
        parts.method = Method::from_bytes(self.method)
            .map_err(|_| invalid("a method HTTP/2 cannot express"))?;
        let fields = req.fields();
        strip_connection_fields(&mut parts.headers, fields);
        for name in [
            KnownName::Host,
            KnownName::Http2Settings,
            KnownName::Expect,
            KnownName::SecWebsocketKey,
            KnownName::ContentLength,
        ] {
            if self.leaves_out(fields, name) {
                parts.headers.remove(name.header_name());
            }
        }
        if let Some(protocol) = self.protocol {
            let protocol = std::str::from_utf8(protocol).map_err(|_| invalid("invalid Upgrade"))?;
            parts.extensions.insert(h2::ext::Protocol::from(protocol));
        }
        Ok(Request::from_parts(parts, ()))
    }
}

/// Returns the path to ask for: the one of the target, if HTTP/2 and others take it as it is.
fn path_of(req: &RequestHeader) -> Result<Cow<'_, [u8]>> {
    const PLAIN: [bool; 256] = alphanumeric_and(b"-._~!$&'()*+,;=:@%/?");
    let raw = req.raw_path();
    if raw.first() == Some(&b'/') && raw.iter().all(|&byte| PLAIN[usize::from(byte)]) {
        return Ok(Cow::Borrowed(raw));
    }
    let is_path = raw.first() == Some(&b'/') || raw == b"*";
    if is_path
        && uri::PathAndQuery::try_from(raw).is_ok_and(|path| path.as_str().len() == raw.len())
    {
        return Ok(Cow::Borrowed(raw));
    }
    match req.uri.path_and_query() {
        Some(path) => Ok(Cow::Owned(path.as_str().as_bytes().to_vec())),
        None => Err(invalid("a target HTTP/2 cannot express")),
    }
}

/// Returns a request head as the `h2` crate sends it.
#[cfg(fuzzing)]
pub(in crate::protocols::http::v2) fn request_to_h2(
    req: &RequestHeader,
    is_upgrade: bool,
) -> Result<Request<()>> {
    Sent::of(req, "https", is_upgrade)?.to_h2(req)
}

#[cold]
fn invalid(why: &'static str) -> Box<Error> {
    Error::explain(InvalidHTTPHeader, why).into_in()
}
