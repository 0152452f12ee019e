//! [`Output`]: what waits to be sent on a stream.
//!
//! Everything is queued first and sent when the windows allow; the last DATA frame carries the
//! end of the stream. What is handed over has its window already, so that nothing piles up
//! behind a peer that takes nothing: the bound is [`OUTPUT_HIGH_WATER`] here and what the connection
//! holds unsent there.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use pingora_error::{
    Error,
    ErrorType::{WriteError, WriteTimedout},
    Result,
};
use pingora_timeout::fast_timeout::Deadline;

use super::head::clean_trailers;
use super::stream::Sink;
use super::stream_error;
use crate::protocols::http::pace::MIN_PROGRESS;

/// Queued bytes beyond which a sender should flush before it queues more.
pub(crate) const OUTPUT_HIGH_WATER: usize = 64 * 1024;

/// The pieces of a body that were not sent yet, and its end: no more and no less than its head says.
#[derive(Default)]
pub(crate) struct Output {
    /// The first of them, empty if there is none: mostly it is the only one.
    next: Bytes,
    rest: VecDeque<Bytes>,
    /// Bytes in both.
    queued: usize,
    /// Bytes the head still allows; `None`: any number.
    left: Option<u64>,
    /// Bytes of the body so far, sent or queued.
    len: usize,
    end: End,
    /// Runs while the peer takes less than it should.
    timer: Option<Box<Stall>>,
}

#[derive(Default)]
enum End {
    #[default]
    Open,
    /// The body ends here, with or without trailers.
    Queued(Option<HeaderMap>),
    /// The end was handed over.
    Sent,
}

struct Stall {
    deadline: Deadline,
    /// Bytes that must still be taken before it starts anew.
    owed: usize,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Holds the body to the length its head says.
    pub(crate) fn set_length(&mut self, length: Option<u64>) {
        self.left = length;
    }

    /// Queues a piece; what exceeds the length is dropped, and all that comes after the end.
    pub(crate) fn push(&mut self, mut data: Bytes) {
        if let Some(left) = &mut self.left {
            data.truncate((*left).min(data.len() as u64) as usize);
            *left -= data.len() as u64;
        }
        self.len += data.len();
        if !data.is_empty() && matches!(self.end, End::Open) {
            self.queued += data.len();
            match self.next.is_empty() {
                true => self.next = data,
                false => self.rest.push_back(data),
            }
        }
    }

    /// Queues the end, with those of the trailers that may be in trailers; a second end is ignored.
    ///
    /// # Errors
    /// `WriteError` when the body is shorter than its head says: it must not end well then.
    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<()> {
        if let Some(left) = self.left.filter(|left| *left > 0) {
            let why = format!("body ended {left} bytes short of its Content-Length");
            return Error::e_explain(WriteError, why);
        }
        if matches!(self.end, End::Open) {
            let cleaned = trailers.and_then(|mut trailers| {
                clean_trailers(&mut trailers);
                (!trailers.is_empty()).then_some(trailers)
            });
            self.end = End::Queued(cleaned);
        }
        Ok(())
    }

    /// The head has carried the end of the stream.
    pub(crate) fn ended_with_head(&mut self) {
        self.end = End::Sent;
    }

    /// Drops what is queued; nothing more will be sent.
    pub(crate) fn clear(&mut self) {
        self.next = Bytes::new();
        self.rest.clear();
        self.queued = 0;
        self.end = End::Sent;
        self.timer = None;
    }

    /// Returns whether as much is queued as should be before it is sent.
    pub(crate) fn wants_flush(&self) -> bool {
        self.queued >= OUTPUT_HIGH_WATER
    }

    /// Returns the number of bytes that wait to be sent.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued
    }

    /// Returns the length of the body so far, sent or queued.
    pub(crate) fn body_len(&self) -> usize {
        self.len
    }

    /// Returns whether nothing waits to be sent.
    pub(crate) fn is_flushed(&self) -> bool {
        self.next.is_empty() && !matches!(self.end, End::Queued(_))
    }

    /// Returns whether the end was queued or sent.
    pub(crate) fn is_ended(&self) -> bool {
        !matches!(self.end, End::Open)
    }

    /// Returns whether the end was sent.
    pub(crate) fn is_end_sent(&self) -> bool {
        matches!(self.end, End::Sent)
    }

    /// Returns whether a head sent now would be all there is of the message.
    pub(crate) fn is_empty_message(&self) -> bool {
        self.next.is_empty() && matches!(self.end, End::Queued(None))
    }

    /// Polls until everything queued was handed over.
    ///
    /// Cancel-safe. Fails when the peer takes nothing worth mentioning for `timeout`.
    pub(crate) fn poll_flush(
        &mut self,
        stream: &mut impl Sink,
        timeout: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let before = self.queued;
        let sent = self.poll_send(stream, cx);
        if sent.is_ready() {
            self.timer = None;
            return sent;
        }
        self.poll_stalled(before, timeout, cx)
    }

    fn poll_send(&mut self, stream: &mut impl Sink, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.next.is_empty() {
            let room = match ready!(stream.poll_room(self.queued, cx)) {
                Ok(room) => room,
                Err(e) => return Poll::Ready(Err(stream_error(e, "while sending a body"))),
            };
            let data = self.next.split_to(room.min(self.next.len()));
            if self.next.is_empty() {
                self.next = self.rest.pop_front().unwrap_or_default();
            }
            self.queued -= data.len();
            let last = self.is_empty_message();
            stream
                .send_data(data, last)
                .map_err(|e| stream_error(e, "while sending a body"))?;
            if last {
                self.end = End::Sent;
            }
        }
        match std::mem::replace(&mut self.end, End::Sent) {
            End::Open => self.end = End::Open,
            End::Sent => (),
            End::Queued(None) => stream
                .send_data(Bytes::new(), true)
                .map_err(|e| stream_error(e, "while ending a body"))?,
            End::Queued(Some(trailers)) => stream
                .send_trailers(trailers)
                .map_err(|e| stream_error(e, "while sending trailers"))?,
        }
        Poll::Ready(Ok(()))
    }

    fn poll_stalled(
        &mut self,
        before: usize,
        timeout: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let Some(timeout) = timeout else {
            return Poll::Pending;
        };
        let owed = self.queued.min(MIN_PROGRESS);
        let stall = self.timer.get_or_insert_with(|| {
            Box::new(Stall {
                deadline: Deadline::new(timeout),
                owed,
            })
        });
        stall.owed = stall.owed.saturating_sub(before - self.queued);
        if stall.owed == 0 {
            stall.owed = owed;
            stall.deadline.reset(timeout);
        }
        match stall.deadline.poll_elapsed(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Error::e_explain(
                WriteTimedout,
                "the peer of a stream takes no bytes",
            )),
        }
    }
}
