//! The response of a subrequest: pieces are queued in order, then sent to the main session.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use log::{debug, warn};
use pingora_error::{
    Error,
    ErrorType::{WriteError, WriteTimedout},
    Result,
};
use pingora_http::ResponseHeader;
use pingora_http::fields::KnownName;
use pingora_timeout::fast_timeout::Deadline;

use super::HttpSession;
use crate::protocols::http::HttpTask;

/// How many bytes of a response may be queued before they should be sent.
const HIGH_WATER: usize = 64 * 1024;

impl HttpSession {
    /// Tells the main session that the body is expected.
    pub async fn write_continue_response(&mut self) -> Result<()> {
        let expects = self.state.req.fields().has(KnownName::Expect);
        if !expects
            || self.state.resp.is_some()
            || self.state.body.bytes() > 0
            || self.state.body.is_done()
        {
            return Ok(());
        }
        let head = ResponseHeader::build(StatusCode::CONTINUE, None)?;
        self.write_response_header(Box::new(head)).await
    }

    /// Sends a response head. Informational ones may precede the final one; a second final head
    /// is dropped with a warning.
    pub async fn write_response_header(&mut self, header: Box<ResponseHeader>) -> Result<()> {
        self.queue_header(header, false)?;
        self.flush_queued().await
    }

    /// Sends a response head given by reference.
    pub async fn write_response_header_ref(&mut self, resp: &ResponseHeader) -> Result<()> {
        self.write_response_header(Box::new(resp.clone())).await
    }

    /// Sends a piece of the response body; returns its length, `None` after the end.
    pub async fn write_body(&mut self, buf: Bytes) -> Result<Option<usize>> {
        if self.state.ended {
            return Ok(None);
        }
        let len = buf.len();
        self.queue_data(Some(buf), false)?;
        self.flush_queued().await?;
        Ok(Some(len))
    }

    /// Sends the trailers, which end the response.
    pub async fn write_trailers(&mut self, trailers: Option<Box<HeaderMap>>) -> Result<()> {
        self.queue_task(HttpTask::Trailer(trailers))?;
        self.flush_queued().await
    }

    /// Ends the response; returns the length of its body, `None` when there was no response.
    pub async fn finish(&mut self) -> Result<Option<usize>> {
        if self.state.resp.is_some() {
            self.queue_task(HttpTask::Done)?;
        }
        self.flush_queued().await?;
        Ok(self.state.resp.as_ref().map(|_| self.state.sent))
    }

    /// Sends pieces of a response; returns whether it has ended.
    pub async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= self.queue_task(task)?;
            if self.wants_flush() {
                self.flush_queued().await?;
            }
        }
        self.flush_queued().await?;
        Ok(end)
    }

    /// Queues one piece of the response; returns whether it has ended. Nothing is sent yet.
    #[doc(hidden)]
    pub fn queue_task(&mut self, task: HttpTask) -> Result<bool> {
        if self.state.ended && !matches!(task, HttpTask::Failed(_)) {
            return Ok(true);
        }
        let end = task.is_end();
        match task {
            HttpTask::Header(header, end) => self.queue_header(header, end)?,
            HttpTask::Body(data, end) => self.queue_data(data, end)?,
            HttpTask::UpgradedBody(data, end) => {
                if !self.state.upgraded {
                    return Error::e_explain(WriteError, "tunnel bytes without a 101")
                        .map_err(Error::into_down);
                }
                self.queue_data(data, end)?;
            }
            HttpTask::Trailer(_) | HttpTask::Done => self.state.pipe.push(task),
            HttpTask::Failed(e) => {
                self.state.ended = true;
                self.state.pipe.clear();
                return Err(e);
            }
        }
        self.state.ended = end;
        Ok(end)
    }

    fn queue_header(&mut self, header: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.state.resp.is_some() {
            warn!(
                "a second response head was dropped: {}",
                self.request_summary()
            );
            return Ok(());
        }
        if header.status() == StatusCode::SWITCHING_PROTOCOLS {
            if self.is_upgrade(&header) != Some(true) {
                return Error::e_explain(WriteError, "101 to a request for no upgrade")
                    .map_err(Error::into_down);
            }
            self.state.upgraded = true;
            self.state.body.upgrade();
        } else if header.status().is_informational() {
            self.state.pipe.push(HttpTask::Header(header, false));
            return Ok(());
        }
        self.state.resp = Some(header.clone());
        self.state.pipe.push(HttpTask::Header(header, end));
        Ok(())
    }

    fn queue_data(&mut self, data: Option<Bytes>, end: bool) -> Result<()> {
        if self.state.resp.is_none() {
            return Error::e_explain(WriteError, "a response body before its head")
                .map_err(Error::into_down);
        }
        self.state.sent += data.as_ref().map_or(0, Bytes::len);
        self.state.pipe.push(if self.state.upgraded {
            HttpTask::UpgradedBody(data, end)
        } else {
            HttpTask::Body(data, end)
        });
        Ok(())
    }

    /// Polls until everything queued is on its way to the main session. Cancel-safe.
    ///
    /// # Errors
    /// `ConnectionClosed` when it takes no more, `WriteTimedout` when it takes nothing for the
    /// write timeout.
    #[doc(hidden)]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = self.state.pipe.poll_flush(cx);
        if flushed.is_ready() {
            self.state.write_timer = None;
            return flushed;
        }
        let Some(limit) = self.state.write_timeout else {
            return Poll::Pending;
        };
        let timer = self
            .state
            .write_timer
            .get_or_insert_with(|| Deadline::new(limit));
        ready!(timer.poll_elapsed(cx));
        Poll::Ready(
            Error::e_explain(WriteTimedout, "the main session takes nothing")
                .map_err(Error::into_down),
        )
    }

    /// Sends everything queued.
    #[doc(hidden)]
    pub async fn flush_queued(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Returns whether as much is queued as should be before it is sent.
    #[doc(hidden)]
    pub fn wants_flush(&self) -> bool {
        self.state.pipe.queued_bytes() >= HIGH_WATER
    }

    /// Sets whether pieces may be queued by [`send_proxy_task`](Self::send_proxy_task).
    pub fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        self.state.proxy_tasks = enabled;
    }

    /// Returns whether pieces may be queued.
    pub fn proxy_tasks_enabled(&self) -> bool {
        self.state.proxy_tasks
    }

    /// Queues a piece of the response.
    pub fn send_proxy_task(&mut self, task: HttpTask) {
        if let Err(e) = self.queue_task(task) {
            debug!("queueing a piece of the response failed: {e}");
            self.state.ended = true;
        }
    }

    /// Sends what was queued; returns whether the response has ended. Cancel-safe.
    pub async fn write_proxy_tasks(&mut self) -> Result<bool> {
        self.flush_queued().await?;
        Ok(self.state.ended)
    }

    /// Returns whether queued pieces wait to be sent.
    pub fn has_pending_proxy_tasks(&self) -> bool {
        !self.state.pipe.is_empty()
    }
}
