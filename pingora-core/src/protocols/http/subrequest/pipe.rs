//! [`ResponsePipe`]: the way of a response to the main session, a few pieces at a time.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pingora_error::{Error, ErrorType::ConnectionClosed, Result};
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::sync::mpsc::{OwnedPermit, Sender};

use crate::protocols::http::HttpTask;

type Reserving =
    Pin<Box<dyn Future<Output = Result<OwnedPermit<HttpTask>, SendError<()>>> + Send + Sync>>;

type Closing = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

pub(super) struct ResponsePipe {
    to_main: Sender<HttpTask>,
    queue: VecDeque<HttpTask>,
    queued_bytes: usize,
    /// Set while the channel is full.
    reserving: Option<Reserving>,
    /// Set while somebody waits for the other end to go away.
    closing: Option<Closing>,
}

impl ResponsePipe {
    pub(super) fn new(to_main: Sender<HttpTask>) -> Self {
        ResponsePipe {
            to_main,
            queue: VecDeque::new(),
            queued_bytes: 0,
            reserving: None,
            closing: None,
        }
    }

    pub(super) fn push(&mut self, task: HttpTask) {
        self.queued_bytes += size(&task);
        self.queue.push_back(task);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns the number of body bytes that wait for room.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Polls until everything queued is on its way. Cancel-safe.
    ///
    /// # Errors
    /// `ConnectionClosed` when nobody receives any more.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        // Each turn sends a piece.
        while !self.queue.is_empty() {
            let permit = match &mut self.reserving {
                Some(reserving) => {
                    let reserved = ready!(reserving.as_mut().poll(cx));
                    self.reserving = None;
                    reserved.map_err(|_| ())
                }
                None => match self.to_main.clone().try_reserve_owned() {
                    Ok(permit) => Ok(permit),
                    Err(TrySendError::Full(sender)) => {
                        self.reserving = Some(Box::pin(sender.reserve_owned()));
                        continue;
                    }
                    Err(TrySendError::Closed(_)) => Err(()),
                },
            };
            let Ok(permit) = permit else {
                return Poll::Ready(
                    Error::e_explain(ConnectionClosed, "nobody takes the response")
                        .map_err(Error::into_down),
                );
            };
            if let Some(task) = self.queue.pop_front() {
                self.queued_bytes -= size(&task);
                permit.send(task);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Polls until nobody receives any more.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let closing = self.closing.get_or_insert_with(|| {
            let to_main = self.to_main.clone();
            Box::pin(async move { to_main.closed().await })
        });
        closing.as_mut().poll(cx)
    }

    /// Drops what is queued; nothing follows.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.queued_bytes = 0;
        self.reserving = None;
    }
}

fn size(task: &HttpTask) -> usize {
    match task {
        HttpTask::Body(Some(data), _) | HttpTask::UpgradedBody(Some(data), _) => data.len(),
        _ => 0,
    }
}
