//! [`Side`]: half of a session whose methods are futures that may be no good cancelled. So a future
//! in flight owns what it works on, and gives it back when it is done.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pingora_error::Result;

type Working<'a, T, R> = Pin<Box<dyn Future<Output = (T, Result<R>)> + Send + 'a>>;

/// A half of a session, or the future that has it.
pub(super) enum Side<'a, T, R> {
    Idle(T),
    Busy(Working<'a, T, R>),
    /// There is none, or it is on its way between the two above.
    Absent,
}

impl<'a, T, R> Side<'a, T, R> {
    /// Lets `work` begin if nothing else is going on.
    pub(super) fn start<F>(&mut self, work: impl FnOnce(T) -> F)
    where
        F: Future<Output = (T, Result<R>)> + Send + 'a,
    {
        *self = match std::mem::replace(self, Side::Absent) {
            Side::Idle(half) => Side::Busy(Box::pin(work(half))),
            other => other,
        };
    }

    /// Polls what is going on; `Ready(None)` when nothing is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<R>>> {
        let Side::Busy(working) = self else {
            return Poll::Ready(None);
        };
        let (half, result) = ready!(working.as_mut().poll(cx));
        *self = Side::Idle(half);
        Poll::Ready(Some(result))
    }

    pub(super) fn idle(&mut self) -> Option<&mut T> {
        match self {
            Side::Idle(half) => Some(half),
            _ => None,
        }
    }
}
