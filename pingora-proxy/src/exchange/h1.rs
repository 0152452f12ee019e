//! The HTTP/1 leg.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_http::RequestHeader;

use super::leg::Leg;
use crate::forward;
use crate::session::UpstreamCounters;

/// An HTTP/1 server on the other side.
pub(crate) struct H1Leg<'a> {
    session: &'a mut HttpSession,
    /// The connection is older than this exchange: only the difference counts. In nanoseconds, which
    /// take half the room.
    write_pending_before: u64,
}

impl<'a> H1Leg<'a> {
    pub(crate) fn new(session: &'a mut HttpSession) -> Self {
        let before = session.stream().get_write_pending_time();
        H1Leg {
            session,
            write_pending_before: u64::try_from(before.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl Leg for H1Leg<'_> {
    fn prepare(req: &mut RequestHeader, has_body: bool, peer: &HttpPeer) -> Result<()> {
        forward::prepare_h1(req, has_body, peer)
    }

    #[inline]
    fn send_head(&mut self, req: Box<RequestHeader>) -> Result<()> {
        self.session.queue_request_header(req);
        Ok(())
    }

    #[inline]
    fn send_body(&mut self, data: Option<Bytes>, end: bool) -> Result<()> {
        if let Some(data) = data {
            self.session.queue_body(data)?;
        }
        if !end {
            return Ok(());
        }
        if self.session.was_upgraded() {
            self.session.queue_shutdown();
            return Ok(());
        }
        self.session.queue_finish()
    }

    fn has_room(&self) -> bool {
        !self.session.wants_flush()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.session.poll_flush(cx)
    }

    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        self.session.poll_read_task(cx)
    }

    fn abandon(&mut self) {
        self.session.abandon_request();
    }

    fn is_tunnel(&self) -> bool {
        self.session.was_upgraded()
    }

    fn upgrade(&mut self) {
        self.session.maybe_upgrade_body_writer();
    }

    fn counters(&self) -> UpstreamCounters {
        UpstreamCounters {
            body_bytes_received: self.session.body_bytes_received(),
            body_bytes_sent: Some(self.session.body_bytes_sent()),
            write_pending_time: self
                .session
                .stream()
                .get_write_pending_time()
                .saturating_sub(Duration::from_nanos(self.write_pending_before)),
        }
    }
}
