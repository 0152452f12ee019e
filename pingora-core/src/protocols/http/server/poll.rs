//! The same questions without waiting, for an engine that waits for both sides of an exchange at
//! once.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use pingora_error::{Error, ErrorType::InternalError, Result};

use super::{HttpTask, Session};

/// What an engine polls that waits for both sides of an exchange at once.
///
/// All of it is cancel-safe. A custom session has no such interface: it answers with an
/// `InternalError`, or not at all.
impl Session {
    /// Polls for the next piece of the request body; `Ready(None)` at its end.
    pub fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        match self {
            Session::H1(session) => session.poll_read_body(cx),
            Session::H2(session) => session.poll_read_body(cx),
            Session::Subrequest(session) => session.poll_read_body(cx),
            Session::Custom(_) => Poll::Ready(Err(not_polled())),
        }
    }

    /// Returns the trailers of a request whose body has ended; `None` when there are none, or the
    /// protocol does not pass them on.
    pub fn request_trailers(&mut self) -> Option<&HeaderMap> {
        match self {
            Session::H2(session) => session.request_trailers(),
            _ => None,
        }
    }

    /// Queues one piece of the response; returns whether it has ended. Nothing is sent yet.
    pub fn queue_task(&mut self, task: HttpTask) -> Result<bool> {
        match self {
            Session::H1(session) => session.queue_task(task),
            Session::H2(session) => session.queue_task(task),
            Session::Subrequest(session) => session.queue_task(task),
            Session::Custom(_) => Err(not_polled()),
        }
    }

    /// Polls until everything queued was sent.
    ///
    /// Fails when the client takes nothing for the write timeout.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self {
            Session::H1(session) => session.poll_flush(cx),
            Session::H2(session) => session.poll_flush(cx),
            Session::Subrequest(session) => session.poll_flush(cx),
            Session::Custom(_) => Poll::Ready(Err(not_polled())),
        }
    }

    /// Returns whether as much is queued as should be before it is sent.
    pub fn wants_flush(&self) -> bool {
        match self {
            Session::H1(session) => session.wants_flush(),
            Session::H2(session) => session.wants_flush(),
            Session::Subrequest(session) => session.wants_flush(),
            Session::Custom(_) => false,
        }
    }

    /// Polls for the client going away while its request is being served.
    ///
    /// Ready with the error to end with.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        match self {
            Session::H1(session) => session.poll_gone(cx),
            Session::H2(session) => session.poll_gone(cx),
            Session::Subrequest(session) => session.poll_gone(cx),
            Session::Custom(_) => Poll::Pending,
        }
    }
}

#[cold]
fn not_polled() -> Box<Error> {
    Error::explain(InternalError, "a custom session cannot be polled").into_in()
}
