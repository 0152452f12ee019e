//! Reading: heads, informational ones included, body, trailers.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, StatusCode, Version};
use pingora_error::{
    Error,
    ErrorType::{InvalidH2, ReadTimedout},
    Result,
};
use pingora_http::fields::Field;
use pingora_timeout::fast_timeout::Deadline;

use super::super::error::StreamError;
use super::super::head::{clean_trailers, is_invalid_name};
use super::super::stream::Upstream;
use super::super::websocket;
use super::Http2Session;
use crate::protocols::http::HttpTask;

/// Informational responses read before a final one; more is an attack.
const MAX_INTERIM_RESPONSES: u8 = 32;

impl Http2Session {
    /// Reads the next response head; an informational one may come first. Cancel-safe.
    pub async fn read_response_header(&mut self) -> Result<()> {
        if self.state.head_read {
            return Ok(());
        }
        poll_fn(|cx| self.poll_head(cx)).await
    }

    /// Reads the next piece of the response body; `None` at its end. Cancel-safe.
    pub async fn read_response_body(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_body(cx)).await
    }

    /// Reads the trailers, once the body has ended; `None` when there are none. Cancel-safe.
    ///
    /// Fields that must not be in trailers are left out.
    pub async fn read_trailers(&mut self) -> Result<Option<HeaderMap>> {
        poll_fn(|cx| self.poll_trailers(cx)).await
    }

    /// Returns whether the response has ended; an error when it broke off. Reads nothing.
    pub fn check_response_end_or_error(&mut self) -> Result<bool> {
        if self.state.body_ended {
            return Ok(true);
        }
        let state = &mut *self.state;
        if state.head_read && state.stream.as_ref().is_some_and(Upstream::is_read) {
            state.body_ended = true;
            return Ok(true);
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Some(stream) = &mut self.state.stream else {
            return Ok(false);
        };
        match stream.poll_reset(&mut cx) {
            Poll::Ready(Ok(Reason::NO_ERROR)) | Poll::Pending => Ok(false),
            Poll::Ready(Ok(reason)) => Err(self.failed(reason, "while reading a response")),
            Poll::Ready(Err(e)) => Err(self.failed(e, "while reading a response")),
        }
    }

    /// Polls for the response head, without a time limit.
    #[doc(hidden)]
    pub fn poll_read_response_header(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), h2::Error>> {
        self.poll_next_head(cx).map_err(StreamError::into_h2)
    }

    fn poll_next_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let state = &mut *self.state;
        if state.head_read {
            return Poll::Ready(Ok(()));
        }
        let Some(stream) = &mut state.stream else {
            // Nothing was sent, and there is nothing to wait for.
            return Poll::Ready(Err(Reason::INTERNAL_ERROR.into()));
        };
        let head = ready!(stream.poll_head(cx))?;
        if !head.status().is_informational() {
            state.head_read = true;
            state.body_ended = stream.is_read();
        }
        state.resp = Some(Box::new(head));
        Poll::Ready(Ok(()))
    }

    /// Polls for the next piece of the response body, without a time limit; `Ready(None)` at its end.
    #[doc(hidden)]
    pub fn poll_read_response_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let data = ready!(self.poll_next_data(cx));
        Poll::Ready(data.map(|data| data.map_err(StreamError::into_h2)))
    }

    fn poll_next_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        let state = &mut *self.state;
        let Some(stream) = state.stream.as_mut().filter(|_| state.head_read) else {
            return Poll::Ready(None);
        };
        loop {
            match ready!(stream.poll_data(cx)) {
                None => {
                    state.body_ended = true;
                    return Poll::Ready(None);
                }
                Some(Ok(data)) if data.is_empty() => (),
                Some(Ok(data)) => {
                    state.body_received += data.len();
                    return Poll::Ready(Some(Ok(data)));
                }
                Some(Err(e)) => return Poll::Ready(Some(Err(e))),
            }
        }
    }

    /// Polls for the next piece of the response: heads, body, trailers, end. Cancel-safe.
    ///
    /// The head moves into the task: [`response_header`](Self::response_header) is `None`
    /// afterwards.
    pub fn poll_read_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        if !self.state.head_read {
            ready!(self.poll_head(cx))?;
            let head = self.state.resp.take().expect("poll_head sets the head");
            let end = !self.state.upgraded && self.state.head_read && self.state.body_ended;
            return Poll::Ready(Ok(HttpTask::Header(head, end)));
        }
        let data = ready!(self.poll_body(cx))?;
        if self.state.upgraded {
            let end = data.is_none();
            return Poll::Ready(Ok(HttpTask::UpgradedBody(data, end)));
        }
        if data.is_some() {
            let end = self.state.stream.as_ref().is_some_and(Upstream::is_read);
            self.state.body_ended |= end;
            return Poll::Ready(Ok(HttpTask::Body(data, end)));
        }
        let trailers = ready!(self.poll_trailers(cx))?;
        Poll::Ready(Ok(match trailers {
            Some(trailers) => HttpTask::Trailer(Some(Box::new(trailers))),
            None => HttpTask::Done,
        }))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.poll_next_head(cx) {
            Poll::Ready(Ok(())) => {
                self.state.read_timer = None;
                Poll::Ready(self.check_head())
            }
            Poll::Ready(Err(e)) => {
                Poll::Ready(Err(self.failed(e, "while reading a response head")))
            }
            Poll::Pending => self.poll_late(cx, "while reading a response head"),
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        match self.poll_next_data(cx) {
            Poll::Ready(None) => Poll::Ready(Ok(None)),
            Poll::Ready(Some(Ok(data))) => {
                self.state.read_timer = None;
                Poll::Ready(Ok(Some(data)))
            }
            Poll::Ready(Some(Err(e))) => {
                Poll::Ready(Err(self.failed(e, "while reading a response body")))
            }
            Poll::Pending => self.poll_late(cx, "while reading a response body"),
        }
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>>> {
        let state = &mut *self.state;
        let may_come = state.head_read && !state.trailers_read;
        let Some(stream) = state.stream.as_mut().filter(|_| may_come) else {
            return Poll::Ready(Ok(None));
        };
        match stream.poll_trailers(cx) {
            Poll::Ready(Ok(trailers)) => {
                self.state.trailers_read = true;
                Poll::Ready(Ok(trailers.and_then(|mut trailers| {
                    clean_trailers(&mut trailers);
                    (!trailers.is_empty()).then_some(trailers)
                })))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(self.failed(e, "while reading trailers"))),
            Poll::Pending => self.poll_late(cx, "while reading trailers"),
        }
    }

    /// Checks a head; turns the one that grants a tunnel into what it means in HTTP/1.
    fn check_head(&mut self) -> Result<()> {
        let state = &mut *self.state;
        let Some(head) = &mut state.resp else {
            return Ok(());
        };
        let status = head.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return self.refuse("101, which HTTP/2 does not have");
        }
        let is_invalid = |field: Field<'_>| field.known.is_none() && is_invalid_name(field.name);
        if head.fields().iter().any(is_invalid) {
            return self.refuse("invalid field name");
        }
        if status.is_informational() {
            state.interim_responses += 1;
            if state.interim_responses > MAX_INTERIM_RESPONSES {
                return self.refuse("too many informational responses");
            }
            return Ok(());
        }
        if state.is_connect && status.is_success() {
            state.upgraded = true;
            state.body_ended = false;
            let upgrade = state
                .req
                .as_ref()
                .and_then(|req| req.fields().get_by_name(b"upgrade").map(<[u8]>::to_vec));
            if let Some(protocol) = upgrade {
                head.set_version(Version::HTTP_11);
                head.set_status(StatusCode::SWITCHING_PROTOCOLS)?;
                head.insert_header("Connection", "Upgrade")?;
                head.insert_header("Upgrade", protocol)?;
                if let Some(key) = &state.websocket_key {
                    head.insert_header("Sec-WebSocket-Accept", websocket::accept_of(key))?;
                }
            }
        }
        Ok(())
    }

    #[cold]
    fn refuse(&mut self, why: &'static str) -> Result<()> {
        self.reset(Reason::PROTOCOL_ERROR);
        Error::e_explain(InvalidH2, why).map_err(Error::into_up)
    }

    /// Nothing came: an error once that has lasted for the read timeout.
    fn poll_late<T>(&mut self, cx: &mut Context<'_>, what: &'static str) -> Poll<Result<T>> {
        // A server that is still being sent the request need not answer yet.
        let state = &self.state;
        let sent = state.output.is_end_sent() || (state.is_connect && state.stream.is_some());
        let owes = (sent || state.head_read) && !state.upgraded;
        let Some(limit) = self.read_timeout.filter(|_| owes) else {
            return Poll::Pending;
        };
        let timer = self
            .state
            .read_timer
            .get_or_insert_with(|| Box::new(Deadline::new(limit)));
        ready!(timer.poll_elapsed(cx));
        if !self.state.head_read {
            // It may be the connection that is dead: nobody else should wait for it.
            self.conn.mark_shutdown();
        }
        self.reset(Reason::CANCEL);
        Poll::Ready(Error::e_explain(ReadTimedout, what).map_err(Error::into_up))
    }
}
