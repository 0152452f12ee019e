//! Waits for whatever happens next on either side, and has it handled.
//!
//! Polling order makes writes large: a side is flushed when its source has nothing more at hand,
//! or when enough is queued. A request head and the start of its body leave in one write, and so
//! do a response head and the start of its body. Neither side's slowness stops the other: while a
//! client takes no response its upload goes on, and the reverse.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, uri};
use log::debug;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{
    BError,
    ErrorType::{InvalidHTTPHeader, WriteTimedout},
    Result,
};
use pingora_http::ResponseHeader;
use pingora_http::fields::KnownName;
use pingora_timeout::fast_timeout::Deadline;

use super::leg::Leg;
use super::messages::{Messages, Speaker};
use super::state::Progress;
use crate::{ProxyHttp, Session};

/// How long an upstream that takes no more of a request has to answer it all the same.
const ANSWER_AFTER_REFUSAL: Duration = Duration::from_secs(10);

/// Pieces of a request passed on in a row before the response gets its turn.
///
/// A client that always has more for a server that always takes it must not hide the answer.
pub(super) const MAX_REQUEST_RUN: u8 = 16;

/// One request on its way to one upstream.
pub(crate) struct Exchange<'a, SV: ProxyHttp, L> {
    pub(super) front: Front<'a, SV>,
    pub(super) leg: L,
}

/// What of an exchange does not depend on the protocol of the upstream: all but the leg.
pub(super) struct Front<'a, SV: ProxyHttp> {
    pub(super) proxy: &'a SV,
    pub(super) session: &'a mut Session,
    pub(super) ctx: &'a mut SV::CTX,
    pub(super) progress: Progress,
    /// Body bytes an earlier try has read already.
    pub(super) replay: Option<Box<Bytes>>,
    /// Pieces of the request since the response was asked for last.
    pub(super) request_run: u8,
    /// Why the upstream takes no more of the request, and until when the next piece of its answer
    /// may come.
    pub(super) refused: Option<Box<(BError, Deadline)>>,
    /// A filter asked for a pause before the next piece of the response.
    pub(super) pause: Option<Box<Deadline>>,
    /// What a custom client is to be sent; the other sessions have queues of their own.
    pub(super) tasks: Option<Box<Tasks>>,
    /// What custom protocols say beside request and response.
    pub(super) messages: Option<Box<Messages>>,
}

/// Boxed in an exchange, which is to be small: few clients have a protocol of their own.
#[derive(Default)]
pub(super) struct Tasks(pub(super) Vec<HttpTask>);

/// What happened; the work is done after the wait.
pub(super) enum Event {
    /// A piece of the request body, or its end.
    Request(Result<Option<Bytes>>),
    /// The upstream takes no more of the request.
    SendFailed(BError),
    /// A piece of the response.
    Response(Result<HttpTask>),
    /// A message of a custom protocol.
    Message(Speaker, Result<Bytes>),
    /// The client takes no more of the response, or went away.
    Gone(BError),
    /// The response has ended and was sent.
    Done,
}

/// What is left to do about an event, with hooks that may wait.
pub(super) enum Next {
    Wait,
    Request(Option<Bytes>),
    Head(Box<ResponseHeader>, bool),
    Trailers(Box<HeaderMap>),
    Message(Speaker, Result<Bytes>),
    Done,
}

impl<'a, SV, L> Exchange<'a, SV, L>
where
    SV: ProxyHttp + Send + Sync,
    SV::CTX: Send + Sync,
    L: Leg,
{
    pub(crate) fn new(
        proxy: &'a SV,
        session: &'a mut Session,
        ctx: &'a mut SV::CTX,
        leg: L,
    ) -> Self {
        let replay = match &mut session.filtered_body {
            Some(filtered) => filtered.replay(),
            None => session.get_retry_buffer(),
        };
        let front = Front {
            proxy,
            session,
            ctx,
            progress: Progress::new(),
            replay: replay.map(Box::new),
            request_run: 0,
            refused: None,
            pause: None,
            tasks: None,
            messages: None,
        };
        Exchange { front, leg }
    }

    /// Returns the upstream side, for what is left to do when the exchange is over.
    pub(crate) fn into_leg(self) -> L {
        self.leg
    }

    /// Sends the request to `peer` and passes on the response; ends when it was sent.
    ///
    /// On an error, [`Session::response_written`] tells whether the client saw a response begin.
    pub(crate) async fn run(&mut self, peer: &HttpPeer) -> Result<()> {
        let front = &mut self.front;
        let mut result = Ok(());
        if front.session.is_custom() || self.leg.has_messages() {
            result = front.begin_messages(self.leg.has_messages()).await;
        }
        if result.is_ok() {
            result = self.send_head(peer).await;
        }
        if result.is_ok() {
            result = self.pump().await;
        }
        let front = &mut self.front;
        if front.messages.is_some() {
            front.end_messages(result.is_ok()).await;
        }
        front.session.upstream = self.leg.counters();
        if result.is_err() {
            front.flush_once().await;
        }
        result
    }

    async fn send_head(&mut self, peer: &HttpPeer) -> Result<()> {
        let front = &mut self.front;
        let mut req = Box::new(front.session.req_header().clone());
        L::prepare(&mut req, !front.session.is_body_empty(), peer)?;
        front
            .proxy
            .upstream_request_filter(front.session, &mut req, front.ctx)
            .await?;
        let sent = self.leg.send_head(req);
        sent.map_err(|e| self.front.unsent(e))
    }

    async fn pump(&mut self) -> Result<()> {
        loop {
            let event = if self.front.session.is_custom() {
                Box::pin(self.front.custom_event(&mut self.leg)).await
            } else {
                poll_fn(|cx| self.poll_event(cx)).await
            };
            match self.begin(event)? {
                Next::Wait => (),
                Next::Request(mut data) => self.on_request(&mut data).await?,
                Next::Head(head, end) => self.on_head(head, end).await?,
                // Boxed: few responses have any, and all would make room for what is done with them.
                Next::Trailers(trailers) => Box::pin(self.front.on_trailers(trailers)).await?,
                // Boxed: most exchanges have none.
                Next::Message(from, message) => {
                    Box::pin(self.front.on_message(from, message)).await?;
                }
                Next::Done => return Ok(()),
            }
        }
    }

    /// Does what has no need to wait. Its own function, so that no event lies in the future of a request.
    fn begin(&mut self, event: Event) -> Result<Next> {
        match event {
            Event::Request(data) => data.map(Next::Request),
            Event::SendFailed(e) => {
                self.front.on_send_failed(e)?;
                self.leg.abandon();
                Ok(Next::Wait)
            }
            Event::Response(task) => {
                if let Some(refused) = &mut self.front.refused {
                    refused.1.reset(ANSWER_AFTER_REFUSAL);
                }
                self.on_response(task?)
            }
            Event::Message(from, message) => Ok(Next::Message(from, message)),
            Event::Gone(e) => Err(e),
            Event::Done => Ok(Next::Done),
        }
    }

    /// Cancel-safe: nothing is taken from either side unless it is returned.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let Exchange { front, leg } = self;
        loop {
            if front.request_run < MAX_REQUEST_RUN
                && front.progress.wants_request()
                && leg.has_room()
                && let Poll::Ready(piece) = front.poll_request(cx)
            {
                front.request_run += 1;
                return Poll::Ready(Event::Request(piece));
            }
            if front.progress.can_send() {
                let was_full = !leg.has_room();
                if let Poll::Ready(Err(e)) = leg.poll_flush(cx) {
                    return Poll::Ready(Event::SendFailed(e));
                }
                if was_full && leg.has_room() {
                    continue;
                }
            }
            let request_waits = std::mem::take(&mut front.request_run) == MAX_REQUEST_RUN;
            if let Some(messages) = &mut front.messages
                && let Poll::Ready((from, message)) = messages.poll_with(leg, cx)
            {
                return Poll::Ready(Event::Message(from, message));
            }
            let full = front.downstream().wants_flush();
            if front.progress.wants_response()
                && !full
                && front.poll_unpaused(cx)
                && let Poll::Ready(task) = leg.poll_task(cx)
            {
                return Poll::Ready(Event::Response(task));
            }
            match front.downstream().poll_flush(cx) {
                Poll::Ready(Err(e)) => return Poll::Ready(Event::Gone(e)),
                Poll::Ready(Ok(())) if front.progress.is_response_ended() => {
                    return Poll::Ready(Event::Done);
                }
                Poll::Ready(Ok(())) if full => continue,
                _ => (),
            }
            if request_waits {
                // It was not asked this time: without that nothing would wake us for it.
                continue;
            }
            if !full
                && front.progress.wants_response()
                && let Some(refused) = &mut front.refused
                && refused.1.poll_elapsed(cx).is_ready()
                && let Some(refused) = front.refused.take()
            {
                return Poll::Ready(Event::Gone(refused.0));
            }
            // A stream of HTTP/2 can be given up while its request is on the way.
            if (front.progress.awaits_response_only() || front.session.is_http2())
                && let Poll::Ready(e) = front.downstream().poll_gone(cx)
            {
                return Poll::Ready(Event::Gone(e));
            }
            return Poll::Pending;
        }
    }
}

impl<SV> Front<'_, SV>
where
    SV: ProxyHttp + Send + Sync,
    SV::CTX: Send + Sync,
{
    /// Sends what the client can take at once of a response that broke off.
    async fn flush_once(&mut self) {
        poll_fn(|cx| {
            let _ = self.downstream().poll_flush(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// A host can be valid and have no form in the protocol of the upstream: its sender is told.
    #[cold]
    fn unsent(&self, e: BError) -> BError {
        let host = self.session.req_header().fields().get(KnownName::Host);
        match host.map(uri::Authority::try_from) {
            Some(Err(_)) if *e.etype() == InvalidHTTPHeader => e.into_down(),
            _ => e,
        }
    }

    /// The upstream takes no more of the request; it may have answered all the same.
    fn on_send_failed(&mut self, e: BError) -> Result<()> {
        // One that may be tried again is not answered: the upstream has seen nothing of it.
        if *e.etype() == WriteTimedout || e.retry() {
            return Err(e);
        }
        debug!("upstream takes no more of the request: {e}");
        self.progress.request_failed();
        self.refused = Some(Box::new((e, Deadline::new(ANSWER_AFTER_REFUSAL))));
        Ok(())
    }

    #[inline]
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if let Some(replay) = self.replay.take() {
            return Poll::Ready(Ok(Some(*replay)));
        }
        self.downstream().poll_read_body(cx)
    }

    /// Returns whether no pause is in effect.
    #[inline]
    fn poll_unpaused(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(pause) = &mut self.pause {
            if pause.poll_elapsed(cx).is_pending() {
                return false;
            }
            self.pause = None;
        }
        true
    }

    #[inline]
    pub(super) fn downstream(&mut self) -> &mut ServerSession {
        &mut self.session.downstream_session
    }
}
