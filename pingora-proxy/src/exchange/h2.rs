//! The HTTP/2 leg.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::v2::client::Http2Session;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_http::RequestHeader;

use super::leg::Leg;
use crate::forward;
use crate::session::UpstreamCounters;

/// A stream to an HTTP/2 server on the other side.
pub(crate) struct H2Leg<'a> {
    session: &'a mut Http2Session,
}

impl<'a> H2Leg<'a> {
    pub(crate) fn new(session: &'a mut Http2Session) -> Self {
        H2Leg { session }
    }
}

impl Leg for H2Leg<'_> {
    fn prepare(req: &mut RequestHeader, _has_body: bool, peer: &HttpPeer) -> Result<()> {
        forward::prepare_h2(req, peer)
    }

    #[inline]
    fn send_head(&mut self, req: Box<RequestHeader>) -> Result<()> {
        self.session.queue_request_header(req)
    }

    fn send_body(&mut self, data: Option<Bytes>, end: bool) -> Result<()> {
        // What comes before the tunnel is granted is the end of a request that goes on in it.
        if self.session.awaits_tunnel() {
            return Ok(());
        }
        if let Some(data) = data {
            self.session.queue_body(data)?;
        }
        match end {
            true => self.session.queue_finish(),
            false => Ok(()),
        }
    }

    fn send_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.session.queue_trailers(trailers)
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
        // The stream is one already.
    }

    fn counters(&self) -> UpstreamCounters {
        UpstreamCounters {
            body_bytes_received: self.session.body_bytes_received(),
            body_bytes_sent: Some(self.session.body_bytes_sent()),
            write_pending_time: self.session.write_pending_time(),
        }
    }
}
