//! Reading: the head, the body, and what a client does while it waits.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::Method;
use pingora_error::{
    BError, Error,
    ErrorType::{ConnectionClosed, HTTPStatus, InvalidHTTPHeader, ReadError, ReadTimedout},
    Result,
};

use super::super::body::{BodyDecoder, Decoded};
use super::super::framing::{check_host, request_framing};
use super::super::head::{HeadError, parse_request};
use super::{HALF_CLOSE_GRACE, HttpSession, State};
use pingora_timeout::fast_timeout::Deadline;

impl HttpSession {
    /// Reads the request head; returns its length in bytes.
    ///
    /// `None` when the client closed the connection, or let the time run out, without sending
    /// anything. An error of type `HTTPStatus` or `InvalidHTTPHeader` (400) names a malformed
    /// request; what follows it must not be read. Cancel-safe.
    pub async fn read_request(&mut self) -> Result<Option<usize>> {
        match self.state.keepalive_timeout {
            // The first byte may take as long as the connection is kept for it.
            Some(seconds @ 1..) if self.state.wire.input.buf.is_empty() => {
                let kept = std::time::Duration::from_secs(seconds);
                self.state.read_timer.reset(kept);
            }
            _ => self.state.read_timer.reset(self.head_timeout()),
        }
        poll_fn(|cx| self.poll_read_request(cx)).await
    }

    /// Polls for the request head; the parts of [`read_request`](Self::read_request).
    fn poll_read_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<usize>>> {
        loop {
            match parse_request(
                &mut self.state.wire.input.buf,
                &mut self.state.scanned,
                &self.state.limits,
            ) {
                Ok(None) => (),
                Ok(Some(req)) => {
                    let len = req.received_head().map_or(0, Bytes::len);
                    self.state.req = Some(req);
                    self.start_request()?;
                    return Poll::Ready(Ok(Some(len)));
                }
                Err(e) => return Poll::Ready(Err(self.refuse(e))),
            }
            let is_first = self.state.wire.input.buf.is_empty();
            match self.state.wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(self.head_ended()),
                Poll::Ready(Ok(_)) if is_first => {
                    self.state.read_timer.reset(self.head_timeout());
                }
                Poll::Ready(Ok(_)) => (),
                Poll::Ready(Err(e)) => return Poll::Ready(self.head_failed(e)),
                Poll::Pending => {
                    ready!(self.state.read_timer.poll_elapsed(cx));
                    return Poll::Ready(self.head_timed_out());
                }
            }
        }
    }

    /// Reads the next piece of the request body; `None` at its end.
    ///
    /// Sends the `100 Continue` a client waits for. Cancel-safe.
    pub async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.write_continue_response().await?;
        poll_fn(|cx| self.poll_read_body(cx)).await
    }

    /// Polls for the next piece of the request body; `Ready(None)` at its end.
    pub fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.state.body.is_done() {
            return Poll::Ready(Ok(None));
        }
        loop {
            match self
                .state
                .body
                .decode(&mut self.state.wire.input.buf, &self.state.limits)
            {
                Ok(Decoded::Data(data)) => {
                    self.body_received(&data);
                    return Poll::Ready(Ok(Some(data)));
                }
                Ok(Decoded::End) => return Poll::Ready(Ok(None)),
                Ok(Decoded::NeedInput) => (),
                Err(e) => return Poll::Ready(Err(self.refuse(e))),
            }
            match self.state.wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(self.body_ended()),
                Poll::Ready(Ok(_)) => (),
                Poll::Ready(Err(e)) => {
                    self.state.broken = true;
                    return Poll::Ready(Err(read_error(e, "while reading the request body")));
                }
                Poll::Pending => {
                    if self.state.read_timeout.is_none() || self.state.upgraded {
                        return Poll::Pending;
                    }
                    self.state.pace.waits(Instant::now);
                    ready!(self.state.read_timer.poll_elapsed(cx));
                    self.state.broken = true;
                    return Poll::Ready(
                        Error::e_explain(ReadTimedout, "while reading the request body")
                            .map_err(Error::into_down),
                    );
                }
            }
        }
    }

    /// Returns whether the request has no body, or an empty one.
    pub fn is_body_empty(&mut self) -> bool {
        self.state.body.is_done() && self.state.body.bytes() == 0
    }

    /// Returns whether the whole request body was read.
    pub fn is_body_done(&mut self) -> bool {
        self.state.body.is_done()
    }

    /// Reads the request body, or when there is none left waits until the client goes away.
    ///
    /// Returns an error when it does. With `no_body_expected` the body is not looked at.
    /// Cancel-safe.
    pub async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.state.body.is_done() {
            return Err(poll_fn(|cx| self.poll_gone(cx)).await);
        }
        self.read_body_bytes().await
    }

    /// Waits for the client to do something; returns the bytes received, 0 when it closed.
    ///
    /// Received bytes are kept for the next request. Cancel-safe.
    pub async fn idle(&mut self) -> Result<usize> {
        poll_fn(|cx| self.state.wire.poll_fill(cx))
            .await
            .map_err(|e| read_error(e, "while waiting for the client"))
    }

    /// Polls for the client going away while its request is being served.
    ///
    /// Bytes of a next request are kept up to a limit and do not count. A client that closes only
    /// its sending side has a moment to take the answer. Ready with the error to end with.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        loop {
            if let Some(grace) = &mut self.state.half_closed {
                if !self.state.options.abort_on_close {
                    return Poll::Pending;
                }
                if self.state.wire.needs_flush() {
                    // Whether it takes the answer shows in sending it, and has its own limits.
                    grace.reset(HALF_CLOSE_GRACE);
                    return Poll::Pending;
                }
                ready!(grace.poll_elapsed(cx));
                self.state.broken = true;
                return Poll::Ready(
                    Error::explain(
                        ConnectionClosed,
                        "client went away before the response ended",
                    )
                    .into_down(),
                );
            }
            if self.state.wire.input.buf.len() >= self.state.limits.max_pipelined_bytes {
                return Poll::Pending;
            }
            match ready!(self.state.wire.poll_fill(cx)) {
                Ok(0) => self.state.half_closed = Some(Box::new(Deadline::new(HALF_CLOSE_GRACE))),
                Ok(_) => (),
                Err(e) => {
                    self.state.broken = true;
                    if !self.state.options.abort_on_close {
                        return Poll::Pending;
                    }
                    return Poll::Ready(read_error(e, "while waiting for the response"));
                }
            }
        }
    }

    /// Reads and drops the rest of the request body, within the limits set.
    ///
    /// An error when the body is longer than may be drained, or takes too long: close then.
    pub async fn drain_request_body(&mut self) -> Result<()> {
        if self.state.body.is_done() {
            return Ok(());
        }
        if self.may_withhold_body() {
            return self.give_up_body("the client still waits for 100 Continue");
        }
        let limit = self.state.limits.max_drain_bytes;
        if self
            .state
            .body
            .remaining()
            .is_some_and(|left| left > limit as u64)
        {
            return self.give_up_body("too much of the request body is left");
        }
        match self.state.total_drain_timeout {
            None => self.drain_within(limit).await,
            Some(timeout) => {
                match pingora_timeout::timeout(timeout, self.drain_within(limit)).await {
                    Ok(drained) => drained,
                    Err(_) => {
                        self.state.broken = true;
                        Error::e_explain(ReadTimedout, "while draining the request body")
                            .map_err(Error::into_down)
                    }
                }
            }
        }
    }

    async fn drain_within(&mut self, limit: usize) -> Result<()> {
        let mut drained = 0;
        while let Some(data) = poll_fn(|cx| self.poll_read_body(cx)).await? {
            drained += data.len();
            if drained > limit {
                return self.give_up_body("too much of the request body is left");
            }
        }
        Ok(())
    }

    fn give_up_body(&mut self, why: &'static str) -> Result<()> {
        self.state.broken = true;
        Error::e_explain(ReadError, why).map_err(Error::into_down)
    }

    /// Takes over what the request head says.
    fn start_request(&mut self) -> Result<()> {
        let req = self.state.req.as_deref_mut().expect("set by the caller");
        let checked = check_host(req).and_then(|()| {
            overwrite_host(req);
            request_framing(req)
        });
        let framing = match checked {
            Ok(framing) => framing,
            Err(e) => return Err(self.refuse(e)),
        };
        self.state.body = BodyDecoder::new(framing.length);
        if let Some(left) = self.state.body.remaining() {
            let buffered = self.state.wire.input.buf.len() as u64;
            self.state.wire.expect(left.saturating_sub(buffered));
        }
        // What follows a CONNECT was meant for its tunnel, granted or not: it is no request.
        self.state.client_keepalive = framing.keep_alive && req.method() != Method::CONNECT;
        if let Some(timeout) = self.state.read_timeout
            && !self.state.body.is_done()
        {
            self.state.read_timer.reset(timeout);
        }
        Ok(())
    }

    fn body_received(&mut self, data: &Bytes) {
        if let Some(timeout) = self.state.read_timeout {
            let State { pace, limits, .. } = &mut *self.state;
            pace.received(data.len(), limits, Instant::now);
            let left = pace.left(limits).unwrap_or(timeout);
            self.state.read_timer.reset(timeout.min(left));
        }
        self.state.retry_buffer.keep(data);
    }

    fn body_ended(&mut self) -> Result<Option<Bytes>> {
        if self.state.body.close().is_ok() {
            return Ok(None);
        }
        self.state.broken = true;
        Error::e_explain(
            ConnectionClosed,
            "client closed in the middle of its request body",
        )
        .map_err(Error::into_down)
    }

    fn head_ended(&mut self) -> Result<Option<usize>> {
        self.state.broken = true;
        if self.state.wire.input.buf.is_empty() {
            return Ok(None);
        }
        Error::e_explain(
            ConnectionClosed,
            "client closed in the middle of a request head",
        )
        .map_err(Error::into_down)
    }

    fn head_failed(&mut self, e: io::Error) -> Result<Option<usize>> {
        self.state.broken = true;
        if self.state.wire.input.buf.is_empty() && e.kind() == io::ErrorKind::ConnectionReset {
            return Ok(None);
        }
        Err(read_error(e, "while reading the request head"))
    }

    fn head_timed_out(&mut self) -> Result<Option<usize>> {
        self.state.broken = true;
        if self.state.wire.input.buf.is_empty() {
            return Ok(None);
        }
        Error::e_explain(ReadTimedout, "while reading the request head").map_err(Error::into_down)
    }

    fn head_timeout(&self) -> std::time::Duration {
        let limit = self.state.limits.head_timeout;
        self.state
            .read_timeout
            .map_or(limit, |timeout| timeout.min(limit))
    }

    /// Turns a malformed message into the error that answers it; nothing behind it is read.
    fn refuse(&mut self, e: HeadError) -> BError {
        self.state.broken = true;
        let etype = match e.status {
            400 => InvalidHTTPHeader,
            status => HTTPStatus(status),
        };
        Error::explain(etype, e.why).into_down()
    }
}

/// The authority of an absolute target replaces `Host` (RFC 9112 section 3.2.2).
fn overwrite_host(req: &mut pingora_http::RequestHeader) {
    use pingora_http::authority::{RawTargetAuthority, raw_target_authority};
    use pingora_http::fields::KnownName;

    if req.raw_path().first() == Some(&b'/') {
        return;
    }
    let RawTargetAuthority::Absolute { authority, .. } = raw_target_authority(req.raw_path())
    else {
        return;
    };
    if req.fields().get(KnownName::Host) == Some(authority) {
        return;
    }
    let authority = authority.to_vec();
    // At most one: that was checked. HTTP/1.0 may have none.
    if req.fields().get_all(KnownName::Host).count() <= 1 {
        req.set_known(KnownName::Host, &authority);
    }
}

fn read_error(e: io::Error, what: &'static str) -> BError {
    let etype = match e.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => ConnectionClosed,
        _ => ReadError,
    };
    Error::because(etype, what, e).into_down()
}
