//! Reading: the body, and whether the client is still there.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Method};
use pingora_error::{
    BError, Error,
    ErrorType::{ReadError, ReadTimedout},
    Result,
};
use pingora_http::fields::KnownName;

use super::super::error::StreamError;
use super::super::head::clean_trailers;
use super::super::{reset_error, stream_error};
use super::HttpSession;

/// A future that is ready when the client has reset the stream; made by [`HttpSession::idle`].
pub struct Idle<'a>(&'a mut HttpSession);

impl Future for Idle<'_> {
    type Output = Result<Reason, Box<Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0
            .poll_reset(cx)
            .map_err(|e| stream_error(e, "while waiting for the client").into_down())
    }
}

impl HttpSession {
    /// Reads the next piece of the request body; `None` at its end.
    ///
    /// Sends the `100 Continue` a client waits for. Cancel-safe.
    pub async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.send_continue()?;
        poll_fn(|cx| self.poll_read_body(cx)).await
    }

    /// Polls for the next piece of the request body; `Ready(None)` at its end.
    pub fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        match self.poll_next_data(cx) {
            Poll::Ready(Some(Ok(data))) => Poll::Ready(Ok(Some(data))),
            Poll::Ready(None) => Poll::Ready(Ok(None)),
            Poll::Ready(Some(Err(e))) => {
                Poll::Ready(Err(self.failed(e, "while reading the request body")))
            }
            Poll::Pending => {
                let state = &mut *self.state;
                let Some(timeout) = state.read_timeout.filter(|_| !state.upgraded) else {
                    return Poll::Pending;
                };
                if state.resp.is_some() && !state.output.is_ended() {
                    // A client may listen for as long as it is answered.
                    state.read_timer.reset(timeout);
                    state.pace.rests();
                    return Poll::Pending;
                }
                state.pace.waits(Instant::now);
                ready!(self.state.read_timer.poll_elapsed(cx));
                self.state.broken = true;
                Poll::Ready(
                    Error::e_explain(ReadTimedout, "while reading the request body")
                        .map_err(Error::into_down),
                )
            }
        }
    }

    /// Polls for the next piece of the request body, without a time limit; `Ready(None)` at its end.
    #[doc(hidden)]
    pub fn poll_read_body_bytes(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let data = ready!(self.poll_next_data(cx));
        Poll::Ready(data.map(|data| data.map_err(StreamError::into_h2)))
    }

    fn poll_next_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        if self.awaits_tunnel() {
            return Poll::Ready(None);
        }
        let state = &mut *self.state;
        while !state.body_ended {
            let Some(data) = ready!(state.stream.poll_data(cx)) else {
                state.body_ended = true;
                break;
            };
            let data = match data {
                Ok(data) => data,
                Err(e) => return Poll::Ready(Some(Err(e))),
            };
            if data.is_empty() {
                continue;
            }
            state.body_read += data.len();
            if let Some(timeout) = state.read_timeout {
                state.pace.received(data.len(), &state.limits, Instant::now);
                let left = state.pace.left(&state.limits).unwrap_or(timeout);
                state.read_timer.reset(timeout.min(left));
            }
            state.retry_buffer.keep(&data);
            return Poll::Ready(Some(Ok(data)));
        }
        Poll::Ready(None)
    }

    /// Returns the trailers of the request, once its body has ended.
    ///
    /// Fields that must not be in trailers are left out; `None` when none are left.
    pub fn request_trailers(&mut self) -> Option<&HeaderMap> {
        if !self.state.body_ended {
            return None;
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if self.state.trailers.is_none()
            && let Poll::Ready(Ok(Some(mut trailers))) = self.state.stream.poll_trailers(&mut cx)
        {
            clean_trailers(&mut trailers);
            self.state.trailers = Some(trailers);
        }
        self.state
            .trailers
            .as_ref()
            .filter(|trailers| !trailers.is_empty())
    }

    /// Returns whether the request has no body, or an empty one.
    pub fn is_body_empty(&self) -> bool {
        self.state.body_read == 0
            && (self.is_body_done()
                || self.state.req.fields().get(KnownName::ContentLength) == Some(b"0"))
    }

    /// Returns whether the whole request body was read.
    pub fn is_body_done(&self) -> bool {
        self.state.body_ended || self.awaits_tunnel() || self.state.stream.is_read()
    }

    /// Reads the request body, or when there is none left waits until the client goes away.
    ///
    /// Returns an error when it does. With `no_body_expected` the body is not looked at.
    /// Cancel-safe.
    pub async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            return Err(poll_fn(|cx| self.poll_gone(cx)).await);
        }
        self.read_body_bytes().await
    }

    /// Waits until the client resets the stream; returns why. Cancel-safe.
    pub fn idle(&mut self) -> Idle<'_> {
        Idle(self)
    }

    /// Polls for the client giving up its request; ready with the error to end with.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        let gone = ready!(self.poll_reset(cx));
        self.state.broken = true;
        Poll::Ready(
            match gone {
                Ok(reason) => reset_error(reason, "while waiting for the response"),
                Err(e) => stream_error(e, "while waiting for the response"),
            }
            .into_down(),
        )
    }

    /// Reads and drops the rest of the request body, within the limits set.
    ///
    /// An error when the body is longer than may be drained, or takes too long. Dropping the
    /// session then tells the client to stop.
    pub async fn drain_request_body(&mut self) -> Result<()> {
        let limit = self.state.limits.max_drain_bytes;
        let timeout = self.state.total_drain_timeout;
        let mut drained = 0;
        let drain = async {
            while let Some(data) = poll_fn(|cx| self.poll_read_body(cx)).await? {
                drained += data.len();
                if drained > limit {
                    return Error::e_explain(ReadError, "too much of the request body is left")
                        .map_err(Error::into_down);
                }
            }
            Ok(())
        };
        match timeout {
            None => drain.await,
            Some(timeout) => match pingora_timeout::timeout(timeout, drain).await {
                Ok(drained) => drained,
                Err(_) => Error::e_explain(ReadTimedout, "while draining the request body")
                    .map_err(Error::into_down),
            },
        }
    }

    /// What follows such a head is the tunnel's, and there is none yet.
    fn awaits_tunnel(&self) -> bool {
        !self.state.upgraded
            && (self.state.is_extended_connect || *self.state.req.method() == Method::CONNECT)
    }

    /// Polls for the client resetting the stream.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, StreamError>> {
        self.state.stream.poll_reset(cx)
    }

    /// Marks the stream as gone and returns the error as one of the client's side.
    pub(super) fn failed(&mut self, e: StreamError, what: &'static str) -> BError {
        self.state.broken = true;
        stream_error(e, what).into_down()
    }
}
