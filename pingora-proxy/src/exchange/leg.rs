//! [`Leg`]: what one upstream protocol does differently. Everything else is in `duplex.rs`.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::http::HttpTask;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::messages::Ends;
use crate::forward;
use crate::session::UpstreamCounters;

/// The upstream side of an exchange.
///
/// All of it is poll-driven and cancel-safe: what was queued stays queued, what was received is
/// returned by the next poll.
pub(crate) trait Leg: Send {
    /// Makes a client's request head fit for this protocol, before `upstream_request_filter`.
    fn prepare(req: &mut RequestHeader, has_body: bool, peer: &HttpPeer) -> Result<()>;

    /// Queues the filtered head; an error when this protocol cannot express it.
    fn send_head(&mut self, req: Box<RequestHeader>) -> Result<()>;

    /// Queues a piece of the request body, and its end.
    fn send_body(&mut self, data: Option<Bytes>, end: bool) -> Result<()>;

    /// Queues the trailers of the request, which end it; just the end where they have no place.
    fn send_trailers(&mut self, _trailers: HeaderMap) -> Result<()> {
        self.send_body(None, true)
    }

    /// Returns whether another piece of the body may be queued.
    fn has_room(&self) -> bool;

    /// Polls until everything queued was sent.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Polls for the next piece of the response; heads have lost their hop-by-hop fields.
    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>>;

    /// Returns whether this protocol has messages beside request and response.
    fn has_messages(&self) -> bool {
        false
    }

    /// Takes out where messages come from and go to, once the head of the request was sent.
    fn take_messages(&mut self) -> Option<Ends> {
        None
    }

    /// Drops what is left of the request: the server does not want it.
    fn abandon(&mut self);

    /// Returns whether the head read last made the connection a tunnel.
    fn is_tunnel(&self) -> bool;

    /// Turns the request into a tunnel as well.
    fn upgrade(&mut self);

    /// Makes a response head fit for any downstream.
    fn normalize(&self, resp: &mut ResponseHeader) {
        forward::strip_response(resp);
    }

    /// Returns what the access log wants to know about this leg.
    fn counters(&self) -> UpstreamCounters;
}
