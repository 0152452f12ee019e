//! Reading the response: heads, informational ones included, body and trailers.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, StatusCode};
use pingora_error::{
    BError, Error,
    ErrorType::{ConnectionClosed, InvalidHTTPHeader, ReadError, ReadTimedout},
    Result, RetryType,
};
use pingora_http::ResponseHeader;
use pingora_http::fields::KnownName;
use pingora_timeout::fast_timeout::Deadline;

use super::super::body::{BodyDecoder, Decoded};
use super::super::common::is_upgrade_resp;
use super::super::framing::{BodyLength, response_framing};
use super::super::head::{HeadError, parse_response};
use super::{HttpSession, State};
use crate::protocols::http::HttpTask;

/// Informational responses read before a final one; more is an attack.
const MAX_INTERIM_RESPONSES: u8 = 32;

impl HttpSession {
    /// Reads the next response head, informational ones included; returns its length in bytes.
    ///
    /// Cancel-safe.
    pub async fn read_response(&mut self) -> Result<usize> {
        poll_fn(|cx| self.poll_read_response(cx)).await
    }

    /// Reads the next response head and returns a copy of it.
    pub async fn read_resp_header_parts(&mut self) -> Result<Box<ResponseHeader>> {
        self.read_response().await?;
        Ok(self
            .state
            .resp
            .clone()
            .expect("read_response sets the head"))
    }

    /// Reads the next piece of the response body; `None` at its end. Cancel-safe.
    pub async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_read_body(cx)).await
    }

    /// Reads the next piece of the response body by reference; `None` at its end.
    pub async fn read_body_ref(&mut self) -> Result<Option<&[u8]>> {
        match self.read_body_bytes().await? {
            Some(data) => {
                self.state.last_body = data;
                Ok(Some(&self.state.last_body))
            }
            None => Ok(None),
        }
    }

    /// Returns whether the whole response body was read.
    pub fn is_body_done(&mut self) -> bool {
        self.state.decoder.is_done()
    }

    /// Reads the next piece of the response: heads, body, trailers, end. Cancel-safe.
    pub async fn read_response_task(&mut self) -> Result<HttpTask> {
        let task = poll_fn(|cx| self.poll_read_task(cx)).await?;
        if let HttpTask::Header(head, _) = &task {
            self.state.resp = Some(head.clone());
        }
        Ok(task)
    }

    /// Polls for the next piece of the response.
    ///
    /// The same as [`read_response_task`](Self::read_response_task), but the head moves into the
    /// task: [`resp_header`](Self::resp_header) is `None` afterwards.
    pub fn poll_read_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        if !self.state.in_body {
            ready!(self.poll_read_response(cx))?;
            let head = self
                .state
                .resp
                .take()
                .expect("poll_read_response sets the head");
            let end = self.state.in_body && !self.state.upgraded && self.state.decoder.is_done();
            return Poll::Ready(Ok(HttpTask::Header(head, end)));
        }
        let data = ready!(self.poll_read_body(cx))?;
        if self.state.upgraded {
            let end = data.is_none();
            return Poll::Ready(Ok(HttpTask::UpgradedBody(data, end)));
        }
        Poll::Ready(Ok(match data {
            Some(data) => HttpTask::Body(Some(data), self.state.decoder.is_done()),
            None => match self.state.decoder.take_trailers() {
                Some(trailers) => HttpTask::Trailer(Some(trailers)),
                None => HttpTask::Done,
            },
        }))
    }

    fn poll_read_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        loop {
            match parse_response(
                &mut self.state.wire.input.buf,
                &mut self.state.scanned,
                &self.state.limits,
            ) {
                Ok(None) => (),
                Ok(Some(resp)) => return Poll::Ready(self.start_response(resp)),
                Err(e) => return Poll::Ready(Err(self.refuse(e))),
            }
            if ready!(self.poll_fill(cx, "while reading the response head"))? == 0 {
                return Poll::Ready(Err(self.head_ended()));
            }
        }
    }

    fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.state.decoder.is_done() {
            return Poll::Ready(Ok(None));
        }
        loop {
            match self
                .state
                .decoder
                .decode(&mut self.state.wire.input.buf, &self.state.limits)
            {
                Ok(Decoded::Data(data)) => {
                    self.state.read_timer = None;
                    return Poll::Ready(Ok(Some(data)));
                }
                Ok(Decoded::End) => return Poll::Ready(Ok(None)),
                Ok(Decoded::NeedInput) => (),
                Err(e) => return Poll::Ready(Err(self.refuse(e))),
            }
            if ready!(self.poll_fill(cx, "while reading the response body"))? == 0 {
                if self.state.decoder.close().is_ok() {
                    return Poll::Ready(Ok(None));
                }
                self.state.broken = true;
                return Poll::Ready(
                    Error::e_explain(
                        ConnectionClosed,
                        "server closed in the middle of its response",
                    )
                    .map_err(Error::into_up),
                );
            }
        }
    }

    /// Drops what was received of the response body already, and reads nothing; returns whether that
    /// was all of it and the connection can carry another request.
    ///
    /// For a response nobody wants.
    pub fn skip_received_body(&mut self) -> bool {
        if !self.will_keepalive() || !self.state.in_body {
            return false;
        }
        let State {
            decoder,
            wire,
            limits,
            broken,
            ..
        } = &mut *self.state;
        // Ends: each round takes bytes off the input.
        loop {
            match decoder.decode(&mut wire.input.buf, limits) {
                Ok(Decoded::Data(_)) => (),
                Ok(Decoded::End | Decoded::NeedInput) => break,
                Err(_) => {
                    *broken = true;
                    break;
                }
            }
        }
        self.is_reusable()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, what: &'static str) -> Poll<Result<usize>> {
        match self.state.wire.poll_fill(cx) {
            Poll::Ready(Ok(received)) => {
                self.state.read_timer = None;
                Poll::Ready(Ok(received))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(self.read_failed(e, what))),
            Poll::Pending => {
                // A server that is still being sent the request need not answer yet, and one in a tunnel
                // not at all.
                let owes_bytes =
                    (self.state.in_body || self.state.encoder.is_done()) && !self.state.upgraded;
                let Some(limit) = self.read_timeout.filter(|_| owes_bytes) else {
                    return Poll::Pending;
                };
                let timer = self
                    .state
                    .read_timer
                    .get_or_insert_with(|| Box::new(Deadline::new(limit)));
                ready!(timer.poll_elapsed(cx));
                self.state.broken = true;
                Poll::Ready(Error::e_explain(ReadTimedout, what).map_err(Error::into_up))
            }
        }
    }

    fn start_response(&mut self, mut resp: Box<ResponseHeader>) -> Result<usize> {
        let len = resp.received_head().map_or(0, Bytes::len);
        if resp.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.check_switch(&resp)?;
            self.start_tunnel();
        } else if resp.status().is_informational() {
            self.state.interim_responses += 1;
            if self.state.interim_responses > MAX_INTERIM_RESPONSES {
                return Err(self.refuse(HeadError::new(502, "too many informational responses")));
            }
        } else {
            let framing = response_framing(
                &resp,
                self.method(),
                self.state.allow_invalid_content_length,
            )
            .map_err(|e| self.refuse(e))?;
            self.state.decoder = BodyDecoder::new(framing.length);
            if let Some(left) = self.state.decoder.remaining() {
                let buffered = self.state.wire.input.buf.len() as u64;
                self.state.wire.expect(left.saturating_sub(buffered));
            }
            self.state.server_keepalive = framing.keep_alive;
            self.state.in_body = true;
            if resp.status().is_success() && *self.method() == Method::CONNECT {
                self.start_tunnel();
            }
            if framing.length == BodyLength::UntilClose
                && resp.fields().has(KnownName::ContentLength)
            {
                // It is no length, and was tolerated: nobody else may try to read it.
                resp.remove_known(KnownName::ContentLength);
            }
        }
        self.state.resp = Some(resp);
        Ok(len)
    }

    /// A 101 nobody asked for is an attack on the next request.
    fn check_switch(&mut self, resp: &ResponseHeader) -> Result<()> {
        if !self.is_upgrade_req() || !is_upgrade_resp(resp) {
            return Err(self.refuse(HeadError::new(502, "101 to a request without Upgrade")));
        }
        Ok(())
    }

    /// From here on bytes are passed as they are; the connection carries nothing else any more.
    fn start_tunnel(&mut self) {
        self.state.upgraded = true;
        self.state.in_body = true;
        self.state.decoder = BodyDecoder::new(BodyLength::UntilClose);
    }

    fn refuse(&mut self, e: HeadError) -> BError {
        self.state.broken = true;
        Error::explain(InvalidHTTPHeader, e.why).into_up()
    }

    /// The connection closed before an answer: on a reused one, the server had closed it idle.
    fn head_ended(&mut self) -> BError {
        self.state.broken = true;
        let mut e = Error::explain(ConnectionClosed, "while reading the response head").into_up();
        if self.state.wire.input.buf.is_empty() && self.state.interim_responses == 0 {
            e.retry = RetryType::ReusedOnly;
        }
        e
    }

    fn read_failed(&mut self, e: io::Error, what: &'static str) -> BError {
        self.state.broken = true;
        let reset = e.kind() == io::ErrorKind::ConnectionReset;
        let etype = if reset { ConnectionClosed } else { ReadError };
        let mut error = Error::because(etype, what, e).into_up();
        if reset && self.state.wire.input.buf.is_empty() && self.state.interim_responses == 0 {
            error.retry = RetryType::ReusedOnly;
        }
        error
    }
}
