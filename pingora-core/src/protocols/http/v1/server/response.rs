//! Writing: heads made fit for this client, bodies in the framing their head announced.
//!
//! Everything is queued first and sent by [`poll_flush`](HttpSession::poll_flush), so that a head
//! and the body behind it leave together, and so that a caller can wait for other things as well.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use http::{HeaderMap, Method, StatusCode, Version};
use log::{debug, warn};
use pingora_error::{
    Error,
    ErrorType::{ConnectionClosed, InvalidHTTPHeader, WriteError, WriteTimedout},
    Result,
};
use pingora_http::ResponseHeader;
use pingora_http::fields::KnownName;
use pingora_timeout::fast_timeout::Deadline;

use super::super::common::is_upgrade_resp;
use super::super::framing::{BodyLength, connection_options, parse_length};
use super::HttpSession;
use crate::protocols::http::HttpTask;
use crate::protocols::http::date::get_cached_date;
use crate::protocols::http::pace::MIN_PROGRESS;
use crate::protocols::http::wire::OUTPUT_HIGH_WATER;

/// Bytes a TLS library may hold back of what was written to it.
const MAX_HIDDEN_BYTES: usize = 64 * 1024;

/// Bytes queued by [`send_proxy_task`](HttpSession::send_proxy_task) that were not sent: whoever
/// queues must write at times.
pub(super) const MAX_TASK_BYTES: usize = 16 * 1024 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl HttpSession {
    /// Sends the `100 Continue` the client waits for; nothing when it does not wait.
    pub async fn write_continue_response(&mut self) -> Result<()> {
        if self.expects_continue() {
            self.continue_queued();
            self.state.wire.output.control().extend_from_slice(CONTINUE);
        }
        // Also what a call that was dropped has left.
        if self.state.continue_sent && self.state.resp.is_none() {
            self.flush_queued().await?;
        }
        Ok(())
    }

    /// Sends a response head.
    ///
    /// `Date` is added when absent, `Connection` is set to what becomes of the connection, and
    /// hop-by-hop framing is chosen for this client: chunked for HTTP/1.1 when the length is not
    /// known, the end of the connection for HTTP/1.0. Informational heads may precede the final
    /// one; a second final head is dropped with a warning.
    pub async fn write_response_header(&mut self, header: Box<ResponseHeader>) -> Result<()> {
        self.queue_header(header)?;
        self.flush_queued().await
    }

    /// Sends a response head given by reference, see
    /// [`write_response_header`](Self::write_response_header).
    pub async fn write_response_header_ref(&mut self, resp: &ResponseHeader) -> Result<()> {
        self.write_response_header(Box::new(resp.clone())).await
    }

    /// Sends a piece of the response body; returns how many bytes the framing took.
    ///
    /// `None` when the response has no body or has ended.
    pub async fn write_body(&mut self, buf: &[u8]) -> Result<Option<usize>> {
        self.write_body_bytes(Bytes::copy_from_slice(buf)).await
    }

    /// Sends a piece of the response body without copying it.
    pub async fn write_body_bytes(&mut self, data: Bytes) -> Result<Option<usize>> {
        if self.state.encoder.is_done() {
            return Ok(None);
        }
        let taken = self.queue_data(data)?;
        self.flush_queued().await?;
        Ok(Some(taken))
    }

    /// Ends the response body; returns its length.
    ///
    /// An error when it is shorter than its `Content-Length`: the connection is closed then.
    pub async fn finish_body(&mut self) -> Result<Option<usize>> {
        let ended = self.queue_end(None);
        self.flush_queued().await?;
        ended?;
        Ok(self.state.resp.as_ref().map(|_| self.state.encoder.bytes()))
    }

    /// Returns whether the response still has to be ended or sent.
    pub fn needs_end(&self) -> bool {
        !self.state.encoder.is_done() || self.state.wire.needs_flush()
    }

    /// Sends pieces of a response; returns whether it has ended.
    pub async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= self.queue_task(task)?;
            if self.state.wire.output.len() >= OUTPUT_HIGH_WATER {
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
                    return Error::e_explain(WriteError, "tunnel bytes without a 101")
                        .map_err(Error::into_down);
                }
                self.queue_data(data.unwrap_or_default())?;
                end
            }
            HttpTask::Trailer(trailers) => {
                self.queue_end(trailers.as_deref())?;
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

    /// Polls until everything queued was handed to the system.
    ///
    /// Cancel-safe. Fails when the client takes nothing worth mentioning for the write timeout.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.state.wire.needs_flush() {
            return Poll::Ready(Ok(()));
        }
        let before = self.state.wire.output.len();
        match self.state.wire.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                if let Some(timer) = &mut self.state.write_timer {
                    timer.running = false;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(e)) => {
                self.state.broken = true;
                let e = match e.kind() {
                    std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => {
                        Error::because(ConnectionClosed, "while writing the response", e)
                    }
                    _ => Error::because(WriteError, "while writing the response", e),
                };
                Poll::Ready(Err(e.into_down()))
            }
            Poll::Pending => self.poll_write_timer(before, cx),
        }
    }

    /// Sends everything queued.
    pub async fn flush_queued(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Returns the number of bytes queued and not sent.
    pub fn queued_bytes(&self) -> usize {
        self.state.wire.output.len()
    }

    /// Returns whether as much is queued as should be before it is sent.
    pub fn wants_flush(&self) -> bool {
        self.state.wire.output.len() >= OUTPUT_HIGH_WATER
    }

    /// Sets whether pieces may be queued by [`send_proxy_task`](Self::send_proxy_task).
    pub fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        self.state.options.proxy_tasks = enabled;
    }

    /// Returns whether pieces may be queued.
    pub fn proxy_tasks_enabled(&self) -> bool {
        self.state.options.proxy_tasks
    }

    /// Queues a piece of the response; an error shows in the next write.
    ///
    /// The response breaks off when 16 MiB are queued and not sent.
    pub fn send_proxy_task(&mut self, task: HttpTask) {
        if self.state.tasks_lost {
            return;
        }
        if self.state.wire.output.len() >= MAX_TASK_BYTES {
            debug!("a response is queued and never sent: it breaks off");
            self.state.wire.output.clear();
            self.state.tasks_lost = true;
            self.state.broken = true;
            return;
        }
        if let Err(e) = self.queue_task(task) {
            debug!("queueing a piece of the response failed: {e}");
            self.state.broken = true;
        }
    }

    /// Sends what was queued; returns whether the response has ended. Cancel-safe.
    pub async fn write_proxy_tasks(&mut self) -> Result<bool> {
        if self.state.broken && self.state.wire.output.is_empty() {
            return Error::e_explain(WriteError, "the response broke off")
                .map_err(Error::into_down);
        }
        self.flush_queued().await?;
        Ok(self.state.encoder.is_done())
    }

    /// Returns whether queued pieces wait to be sent.
    pub fn has_pending_proxy_tasks(&self) -> bool {
        self.state.wire.needs_flush()
    }

    fn poll_write_timer(&mut self, before: usize, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let left = self.state.wire.output.len();
        // Nothing left here and not done: it waits in the TLS library, which does not say how much.
        let owed = if left == 0 { MAX_HIDDEN_BYTES } else { left };
        let limit = match self.state.min_send_rate {
            Some(rate) => Some(Duration::from_millis(
                (owed as u64 * 1000) / rate as u64 + 1,
            )),
            None => self.state.write_timeout,
        };
        let Some(limit) = limit else {
            return Poll::Pending;
        };
        // A rate is kept by all that was queued; a client that takes a byte now and then is slow.
        let owed = match self.state.min_send_rate {
            Some(_) => owed,
            None => left.min(MIN_PROGRESS),
        };
        let timer = self.state.write_timer.get_or_insert_default();
        timer.sent(before - left, limit, owed);
        match timer.deadline.poll_elapsed(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.state.broken = true;
                Poll::Ready(
                    Error::e_explain(WriteTimedout, "client takes no bytes")
                        .map_err(Error::into_down),
                )
            }
        }
    }

    fn queue_data(&mut self, data: Bytes) -> Result<usize> {
        if self.state.tasks_lost {
            return Error::e_explain(WriteError, "the response broke off")
                .map_err(Error::into_down);
        }
        self.state
            .encoder
            .write(data, &mut self.state.wire.output)
            .map_err(Error::into_down)
    }

    fn queue_end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        let trailers =
            trailers.filter(|_| self.state.encoder.is_chunked() && self.accepts_trailers());
        self.state
            .encoder
            .finish(trailers, &mut self.state.wire.output)
            .map_err(|e| {
                self.state.broken = true;
                e.into_down()
            })
    }

    /// Trailers go only to clients that asked for them (RFC 9110 section 6.5.1).
    fn accepts_trailers(&self) -> bool {
        self.state.req.as_ref().is_some_and(|req| {
            req.fields().get_all(KnownName::Te).any(|value| {
                value
                    .split(|&b| b == b',')
                    .any(|t| t.trim_ascii().eq_ignore_ascii_case(b"trailers"))
            })
        })
    }

    fn queue_header(&mut self, mut header: Box<ResponseHeader>) -> Result<()> {
        if self.state.resp.is_some() {
            warn!(
                "a second response head was dropped: {}",
                self.request_summary()
            );
            return Ok(());
        }
        if header.version() != Version::HTTP_11 {
            header.set_version(Version::HTTP_11);
        }
        let status = header.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return self.queue_switch(header);
        }
        if status.is_informational() {
            self.queue_informational(header);
            return Ok(());
        }
        let length = self.choose_framing(&mut header);
        if self.grants_connect(status) {
            header.remove_known(KnownName::Connection);
            self.state.body.upgrade();
            self.state.upgraded = true;
        } else {
            self.set_connection_fields(&mut header, length);
        }
        if !header.fields().has(KnownName::Date) {
            header.set_known(KnownName::Date, get_cached_date().as_bytes());
        }
        self.put_head(&header);
        self.state.encoder.start(length);
        self.state.resp = Some(header);
        Ok(())
    }

    fn queue_informational(&mut self, mut header: Box<ResponseHeader>) {
        let expected = header.status() == StatusCode::CONTINUE && self.expects_continue();
        let old_client = self
            .state
            .req
            .as_ref()
            .is_some_and(|r| r.version() != Version::HTTP_11);
        if old_client || (self.state.options.ignore_info_resp && !expected) {
            return;
        }
        if header.status() == StatusCode::CONTINUE {
            self.continue_queued();
        }
        // It has no body (RFC 9110 section 15.2), whatever its fields say.
        header.remove_known(KnownName::ContentLength);
        header.remove_known(KnownName::TransferEncoding);
        self.put_head(&header);
    }

    /// From here on bytes are passed as they are, in both directions.
    fn queue_switch(&mut self, mut header: Box<ResponseHeader>) -> Result<()> {
        if !self.is_upgrade_req() || !is_upgrade_resp(&header) {
            self.state.broken = true;
            return Error::e_explain(WriteError, "101 to a client that asked for no upgrade")
                .map_err(Error::into_down);
        }
        if !self.state.body.is_done() && self.state.body.remaining().is_none() {
            // Nothing tells where chunks end and the tunnel begins.
            self.state.broken = true;
            return Error::e_explain(InvalidHTTPHeader, "101 in the middle of a chunked request")
                .map_err(Error::into_up);
        }
        // It has no body, whatever its fields say.
        header.remove_known(KnownName::ContentLength);
        header.remove_known(KnownName::TransferEncoding);
        self.put_head(&header);
        self.state.resp = Some(header);
        self.state.upgraded = true;
        self.state.body.upgrade();
        self.state.encoder.upgrade();
        Ok(())
    }

    /// Decides how the end of the body is told, and makes the fields say so.
    fn choose_framing(&self, header: &mut ResponseHeader) -> BodyLength {
        let status = header.status();
        let req = self.state.req.as_deref();
        let method = req.map(|r| r.method());
        let old_client = req.is_some_and(|r| r.version() != Version::HTTP_11);
        let tunnel = self.grants_connect(status);
        if status == StatusCode::NO_CONTENT || tunnel {
            header.remove_known(KnownName::ContentLength);
            header.remove_known(KnownName::TransferEncoding);
            return if tunnel {
                BodyLength::UntilClose
            } else {
                BodyLength::None
            };
        }
        if status == StatusCode::NOT_MODIFIED {
            header.remove_known(KnownName::TransferEncoding);
            return BodyLength::None;
        }
        let head_only = method == Some(&Method::HEAD);
        if header.fields().has(KnownName::TransferEncoding) {
            header.remove_known(KnownName::ContentLength);
        } else if let Some(value) = header.fields().get(KnownName::ContentLength) {
            match parse_length(value) {
                Some(_) if head_only => return BodyLength::None,
                Some(len) => return BodyLength::Fixed(len),
                None => {
                    header.remove_known(KnownName::ContentLength);
                }
            }
        } else if head_only {
            return BodyLength::None;
        }
        if old_client || req.is_none() {
            header.remove_known(KnownName::TransferEncoding);
        } else {
            header.set_known(KnownName::TransferEncoding, b"chunked");
        }
        match (head_only, old_client || req.is_none()) {
            (true, _) => BodyLength::None,
            (false, true) => BodyLength::UntilClose,
            (false, false) => BodyLength::Chunked,
        }
    }

    /// After a 2xx to CONNECT there are raw bytes (RFC 9110 section 9.3.6).
    fn grants_connect(&self, status: StatusCode) -> bool {
        status.is_success()
            && self
                .state
                .req
                .as_deref()
                .is_some_and(|req| *req.method() == Method::CONNECT)
    }

    /// The client starts to send now: it gets its whole time for that.
    fn continue_queued(&mut self) {
        self.state.continue_sent = true;
        if let Some(timeout) = self.state.read_timeout {
            self.state.read_timer.reset(timeout);
        }
    }

    fn set_connection_fields(&mut self, header: &mut ResponseHeader, length: BodyLength) {
        if connection_options(header.fields()).close || length == BodyLength::UntilClose {
            self.state.keepalive_timeout = None;
        }
        if header.fields().has(KnownName::KeepAlive) {
            header.remove_known(KnownName::KeepAlive);
        }
        let value: &[u8] = if self.will_keepalive() {
            b"keep-alive"
        } else {
            b"close"
        };
        header.set_known(KnownName::Connection, value);
    }

    fn put_head(&mut self, header: &ResponseHeader) {
        let out = self.state.wire.output.control();
        out.reserve(512);
        put_status_line(header, out);
        header.header_to_h1_wire(out);
        out.extend_from_slice(b"\r\n");
    }
}

/// How long the client may take for what is queued.
pub(super) struct WriteTimer {
    deadline: Deadline,
    /// Bytes that must be taken before the deadline moves; 0: any.
    owed: usize,
    /// Something waits to be taken.
    running: bool,
}

impl Default for WriteTimer {
    fn default() -> Self {
        WriteTimer {
            deadline: Deadline::new(Duration::ZERO),
            owed: 0,
            running: false,
        }
    }
}

impl WriteTimer {
    /// The client took so many bytes: once they are all that was owed, the time starts anew.
    fn sent(&mut self, bytes: usize, limit: Duration, owed: usize) {
        self.owed = self.owed.saturating_sub(bytes);
        if !self.running || (bytes > 0 && self.owed == 0) {
            self.deadline.reset(limit);
            self.owed = owed;
            self.running = true;
        }
    }
}

fn put_status_line(header: &ResponseHeader, out: &mut bytes::BytesMut) {
    if header.status() == StatusCode::OK && header.get_reason_phrase() == Some("OK") {
        out.put_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(header.status().as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(header.get_reason_phrase().unwrap_or("").as_bytes());
    out.put_slice(b"\r\n");
}
