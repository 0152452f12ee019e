//! [`RequestBody`]: the request body of a subrequest, held to the length its head announced.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pingora_error::{
    BError, Error,
    ErrorType::{ConnectionClosed, InvalidHTTPHeader, ReadError},
    Result,
};
use pingora_http::RequestHeader;
use pingora_http::fields::KnownName;
use tokio::sync::{mpsc, oneshot};

use crate::protocols::http::HttpTask;
use crate::protocols::http::v1::common::header_value_content_length;

/// What is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    /// This many bytes.
    Bytes(usize),
    /// Everything until the end is told.
    UntilEnd,
}

pub(super) struct RequestBody {
    from_main: mpsc::Receiver<HttpTask>,
    wanted: Option<oneshot::Sender<()>>,
    left: Left,
    received: usize,
}

impl RequestBody {
    /// Returns the body that `req` announces, to be received from the main session.
    pub(super) fn new(
        req: &RequestHeader,
        from_main: mpsc::Receiver<HttpTask>,
        wanted: oneshot::Sender<()>,
    ) -> Self {
        RequestBody {
            from_main,
            wanted: Some(wanted),
            left: announced(req),
            received: 0,
        }
    }

    /// Polls for the next piece; `None` at the end. The first call tells the main session that the
    /// body is wanted.
    ///
    /// # Errors
    /// `ConnectionClosed` when the main session goes away before the end, `InvalidHTTPHeader` when
    /// it sends more or less than was announced.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        // Each turn takes a piece out of a bounded channel.
        loop {
            if self.left == Left::Nothing {
                return Poll::Ready(Ok(None));
            }
            self.want();
            let Some(task) = ready!(self.from_main.poll_recv(cx)) else {
                return Poll::Ready(Err(main_session_gone()));
            };
            match self.take(task) {
                Ok(Some(data)) => return Poll::Ready(Ok(Some(data))),
                Ok(None) => (),
                Err(e) => {
                    self.left = Left::Nothing;
                    return Poll::Ready(Err(e.into_down()));
                }
            }
        }
    }

    /// Polls until the main session says that it failed; what it still sends besides is dropped.
    ///
    /// That it sends nothing more means nothing: it may have had nothing to send.
    pub(super) fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        // Each turn takes a piece out of a bounded channel.
        loop {
            match ready!(self.from_main.poll_recv(cx)) {
                None => return Poll::Pending,
                Some(HttpTask::Failed(e)) => return Poll::Ready(e.into_down()),
                Some(_) => (),
            }
        }
    }

    /// Polls for whatever the main session sends next.
    pub(super) fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<Option<HttpTask>> {
        self.from_main.poll_recv(cx)
    }

    /// There is no body, whatever the head said.
    pub(super) fn clear(&mut self) {
        self.left = Left::Nothing;
    }

    /// The body has this length, whatever the head said.
    pub(super) fn expect(&mut self, len: usize) {
        self.left = match len {
            0 => Left::Nothing,
            len => Left::Bytes(len),
        };
    }

    /// From here on bytes come until the main session ends them.
    pub(super) fn upgrade(&mut self) {
        self.left = Left::UntilEnd;
    }

    pub(super) fn is_done(&self) -> bool {
        self.left == Left::Nothing
    }

    /// Returns the number of bytes received.
    pub(super) fn bytes(&self) -> usize {
        self.received
    }

    fn want(&mut self) {
        if let Some(wanted) = self.wanted.take() {
            // Who does not listen sends the body unasked, or none.
            let _ = wanted.send(());
        }
    }

    fn take(&mut self, task: HttpTask) -> Result<Option<Bytes>> {
        match task {
            HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => {
                let data = data.filter(|data| !data.is_empty());
                if let Some(data) = &data {
                    self.count(data.len())?;
                }
                if end {
                    self.end()?;
                }
                Ok(data)
            }
            HttpTask::Done | HttpTask::Trailer(_) => self.end().map(|()| None),
            HttpTask::Failed(e) => Err(e),
            HttpTask::Header(..) => Error::e_explain(ReadError, "a head in a request body"),
        }
    }

    fn count(&mut self, len: usize) -> Result<()> {
        self.received += len;
        match &mut self.left {
            Left::Bytes(left) if *left < len => {
                Error::e_explain(InvalidHTTPHeader, "request body longer than announced")
            }
            Left::Bytes(left) => {
                *left -= len;
                if *left == 0 {
                    self.left = Left::Nothing;
                }
                Ok(())
            }
            Left::UntilEnd | Left::Nothing => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.left, Left::Nothing) {
            Left::Bytes(1..) => {
                Error::e_explain(InvalidHTTPHeader, "request body shorter than announced")
            }
            _ => Ok(()),
        }
    }
}

/// Returns what a head says of the body. Only HTTP/1 needs a field to announce one.
fn announced(req: &RequestHeader) -> Left {
    if req.fields().has(KnownName::TransferEncoding) {
        return Left::UntilEnd;
    }
    match header_value_content_length(req.headers.get(http::header::CONTENT_LENGTH)) {
        Some(0) => Left::Nothing,
        Some(len) => Left::Bytes(len),
        None if req.version() >= http::Version::HTTP_2 => Left::UntilEnd,
        None => Left::Nothing,
    }
}

#[cold]
fn main_session_gone() -> BError {
    Error::explain(ConnectionClosed, "the session of the subrequest is gone").into_down()
}
