//! Writing: heads made fit for HTTP/2, and bodies no longer than their heads say.
//!
//! Everything is queued first and sent by [`poll_flush`](HttpSession::poll_flush), so that a head,
//! a short body and the end of the stream leave together.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{HeaderMap, Method, StatusCode};
use log::{debug, warn};
use pingora_error::{
    Error,
    ErrorType::{InternalError, WriteError},
    Result,
};
use pingora_http::ResponseHeader;
use pingora_http::fields::KnownName;

use super::super::head::is_bodiless;
use super::HttpSession;
use crate::protocols::http::HttpTask;
use crate::protocols::http::date::get_cached_date;
use crate::protocols::http::v1::parse_length;

impl HttpSession {
    /// Sends a response head, which ends the response when `end`.
    ///
    /// What belongs to a connection of HTTP/1 is left out and `Date` added when absent.
    /// Informational heads may precede the final one; a second final head is dropped with a
    /// warning.
    pub fn write_response_header(&mut self, header: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.queue_header(header)?;
        if end {
            self.queue_end(None)?;
        }
        self.send_head()
    }

    /// Sends a response head given by reference, see
    /// [`write_response_header`](Self::write_response_header).
    pub fn write_response_header_ref(&mut self, header: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(header.clone()), end)
    }

    /// Sends a piece of the response body, the last one when `end`.
    ///
    /// Waits for the windows of the client. Bytes beyond `Content-Length` are dropped.
    pub async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.queue_data(data)?;
        if end {
            self.queue_end(None)?;
        }
        self.flush_queued().await
    }

    /// Sends the trailers, which end the response; those that must not be in trailers are left out.
    pub fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.queue_end(Some(trailers))?;
        // What waits for a window goes on in `finish`.
        self.flush_at_hand()
    }

    /// Ends the response, if it has begun and not ended yet.
    ///
    /// A response that is shorter than its head said is reset.
    pub fn finish(&mut self) -> Result<()> {
        if self.state.resp.is_none() {
            return Ok(());
        }
        if !self.state.output.is_ended() {
            self.queue_end(None)?;
        }
        self.flush_at_hand()
    }

    /// Sends pieces of a response; returns whether it has ended.
    pub async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= self.queue_task(task)?;
            if self.state.output.wants_flush() {
                self.flush_queued().await?;
            }
        }
        self.flush_queued().await?;
        Ok(end)
    }

    /// Queues one piece of the response; returns whether it has ended. Nothing is sent yet.
    pub fn queue_task(&mut self, task: HttpTask) -> Result<bool> {
        let end = match task {
            HttpTask::Header(header, end) => {
                self.queue_header(header)?;
                end
            }
            HttpTask::Body(data, end) => {
                self.queue_data(data.unwrap_or_default())?;
                end
            }
            HttpTask::UpgradedBody(data, end) => {
                if !self.state.upgraded {
                    return Error::e_explain(WriteError, "tunnel bytes without an upgrade")
                        .map_err(Error::into_down);
                }
                self.queue_data(data.unwrap_or_default())?;
                end
            }
            HttpTask::Trailer(trailers) => {
                self.queue_end(trailers.map(|trailers| *trailers))?;
                return Ok(true);
            }
            HttpTask::Done => true,
            HttpTask::Failed(e) => {
                self.state.broken = true;
                return Err(e);
            }
        };
        if end {
            self.queue_end(None)?;
        }
        Ok(end)
    }

    /// Polls until everything queued was handed over within the windows of the client.
    ///
    /// Cancel-safe. Fails when the client takes nothing for the write timeout.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.state.head_queued {
            self.send_head()?;
        }
        let timeout = self.write_timeout;
        let state = &mut *self.state;
        if state.output.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        if !state.head_sent {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(state.output.poll_flush(&mut state.stream, timeout, cx));
        Poll::Ready(flushed.map_err(|e| {
            state.broken = true;
            e.into_down()
        }))
    }

    /// Sends everything queued.
    pub async fn flush_queued(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Returns whether as much is queued as should be before it is sent.
    pub fn wants_flush(&self) -> bool {
        self.state.output.wants_flush()
    }

    /// Returns whether something queued waits to be sent.
    pub fn needs_flush(&self) -> bool {
        self.state.head_queued || !self.state.output.is_flushed()
    }

    /// Sets whether pieces may be queued by [`send_proxy_task`](Self::send_proxy_task).
    pub fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        self.state.proxy_tasks = enabled;
    }

    /// Returns whether pieces may be queued.
    pub fn proxy_tasks_enabled(&self) -> bool {
        self.state.proxy_tasks
    }

    /// Queues a piece of the response; an error shows in the next write.
    pub fn send_proxy_task(&mut self, task: HttpTask) {
        if let Err(e) = self.queue_task(task) {
            debug!("queueing a piece of the response failed: {e}");
            self.state.broken = true;
        }
    }

    /// Sends what was queued; returns whether the response has ended. Cancel-safe.
    pub async fn write_proxy_tasks(&mut self) -> Result<bool> {
        if self.state.broken {
            return Error::e_explain(WriteError, "the response broke off")
                .map_err(Error::into_down);
        }
        self.flush_queued().await?;
        Ok(self.state.output.is_ended())
    }

    /// Returns whether queued pieces wait to be sent.
    pub fn has_pending_proxy_tasks(&self) -> bool {
        self.needs_flush()
    }

    /// Resets the stream: the client sees that the exchange failed.
    pub fn shutdown(&mut self) {
        self.shutdown_with_reason(Reason::INTERNAL_ERROR);
    }

    /// Resets the stream for this reason; nothing happens when the response was sent whole.
    pub fn shutdown_with_reason(&mut self, reason: Reason) {
        if self.state.output.is_end_sent() && !self.state.broken {
            return;
        }
        self.state.broken = true;
        self.state.head_queued = false;
        self.state.output.clear();
        self.state.reset(reason);
    }

    /// Takes what the response body is written to; the head must have been sent.
    ///
    /// Nothing can be written through the session afterwards.
    #[doc(hidden)]
    pub fn take_response_body_writer(&mut self) -> Option<SendStream<Bytes>> {
        if !self.state.head_sent {
            return None;
        }
        self.state.stream.take_writer()
    }

    /// Sends the `100 Continue` the client waits for, once.
    pub(crate) fn send_continue(&mut self) -> Result<()> {
        let state = &mut *self.state;
        if state.continue_sent || state.resp.is_some() || state.body_read > 0 {
            return Ok(());
        }
        state.continue_sent = true;
        if !state.req.fields().has(KnownName::Expect) || state.stream.is_read() {
            return Ok(());
        }
        let mut head = ResponseHeader::build(StatusCode::CONTINUE, Some(0))?;
        self.send_informational(&mut head)
    }

    fn send_informational(&mut self, header: &mut ResponseHeader) -> Result<()> {
        let is_continue = header.status() == StatusCode::CONTINUE;
        let expected = is_continue && self.state.req.fields().has(KnownName::Expect);
        if self.state.ignore_info_resp && !expected {
            return Ok(());
        }
        self.state.continue_sent |= is_continue;
        self.state
            .stream
            .send_informational(header)
            .map_err(|e| self.failed(e, "while sending an informational response"))
    }

    fn queue_header(&mut self, mut header: Box<ResponseHeader>) -> Result<()> {
        if self.state.resp.is_some() {
            warn!(
                "a second response head was dropped: {}",
                self.request_summary()
            );
            return Ok(());
        }
        let status = header.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return self.queue_switch(header);
        }
        if status.is_informational() {
            return self.send_informational(&mut header);
        }
        if self.state.is_extended_connect && status.is_success() {
            // A 2xx would grant the tunnel nobody has made.
            header.set_status(StatusCode::NOT_IMPLEMENTED)?;
            self.state.bodiless = true;
            header.remove_known(KnownName::ContentLength);
        }
        let is_tunnel = status.is_success() && *self.state.req.method() == Method::CONNECT;
        if is_tunnel {
            header.remove_known(KnownName::ContentLength);
            self.state.upgraded = true;
        }
        self.state.bodiless |= is_bodiless(status) || *self.state.req.method() == Method::HEAD;
        if let Some(length) = header.fields().get(KnownName::ContentLength) {
            match parse_length(length) {
                Some(length) if !self.state.bodiless => self.state.output.set_length(Some(length)),
                Some(_) => (),
                None => {
                    header.remove_known(KnownName::ContentLength);
                }
            }
        }
        if !header.fields().has(KnownName::Date) {
            header.set_known(KnownName::Date, get_cached_date().as_bytes());
        }
        self.state.resp = Some(header);
        self.state.head_queued = true;
        Ok(())
    }

    /// The upgrade was granted: HTTP/2 says so with a 200 (RFC 8441 section 5).
    fn queue_switch(&mut self, mut header: Box<ResponseHeader>) -> Result<()> {
        if !self.state.is_extended_connect {
            self.state.broken = true;
            return Error::e_explain(WriteError, "101 to a client that asked for no upgrade")
                .map_err(Error::into_down);
        }
        header.set_status(StatusCode::OK)?;
        header.remove_header("sec-websocket-accept");
        header.remove_known(KnownName::ContentLength);
        self.state.upgraded = true;
        self.state.resp = Some(header);
        self.state.head_queued = true;
        Ok(())
    }

    fn queue_data(&mut self, data: Bytes) -> Result<()> {
        if data.is_empty() || self.state.bodiless {
            return Ok(());
        }
        if self.state.resp.is_none() {
            return Error::e_explain(WriteError, "body before its head").map_err(Error::into_down);
        }
        self.state.output.push(data);
        Ok(())
    }

    fn queue_end(&mut self, trailers: Option<HeaderMap>) -> Result<()> {
        let trailers = trailers.filter(|_| !self.state.bodiless);
        self.state.output.finish(trailers).map_err(|e| {
            self.state.broken = true;
            e.into_down()
        })
    }

    /// Sends the head that waits, with the end of the stream when that is all.
    fn send_head(&mut self) -> Result<()> {
        if !self.state.head_queued {
            return Ok(());
        }
        let Some(head) = &mut self.state.resp else {
            return Error::e_explain(InternalError, "no head to send").map_err(Error::into_in);
        };
        let end = self.state.output.is_empty_message();
        self.state.head_queued = false;
        match self.state.stream.send_response(head, end) {
            Ok(()) => {
                self.state.head_sent = true;
                if end {
                    self.state.output.ended_with_head();
                }
                Ok(())
            }
            Err(e) => Err(self.failed(e, "while sending the response head")),
        }
    }

    /// Sends what the windows allow at once.
    fn flush_at_hand(&mut self) -> Result<()> {
        let mut cx = Context::from_waker(Waker::noop());
        match self.poll_flush(&mut cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }
}

impl super::State {
    /// Resets the stream, once, unless the client was first.
    fn reset(&mut self, reason: Reason) {
        if std::mem::replace(&mut self.was_reset, true) {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        if self.stream.poll_reset(&mut cx).is_pending() {
            self.stream.reset(reason);
        }
    }
}

/// A stream whose response did not end is reset, so that the client does not wait for it.
impl Drop for super::State {
    fn drop(&mut self) {
        if self.output.is_end_sent() && !self.broken {
            return;
        }
        self.reset(match self.resp {
            Some(_) => Reason::INTERNAL_ERROR,
            None => Reason::CANCEL,
        });
    }
}
