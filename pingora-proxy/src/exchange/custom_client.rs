//! Clients of a custom protocol: their sessions are asked by futures, not polled.
//!
//! Reading a request is cancel-safe by contract, so a read lives as long as one wait. What is
//! queued for the client is sent before the next wait; the upload rests for that long.

use std::future::poll_fn;
use std::task::{Context, Poll};

use pingora_error::{BError, Error, ErrorType::InternalError, Result};
use pingora_timeout::fast_timeout::Deadline;

use super::duplex::{Event, Front, MAX_REQUEST_RUN};
use super::leg::Leg;
use crate::ProxyHttp;

impl<SV> Front<'_, SV>
where
    SV: ProxyHttp + Send + Sync,
    SV::CTX: Send + Sync,
{
    /// Sends what is queued, then waits for what happens next: `poll_event` for a custom client.
    pub(super) async fn custom_event<L: Leg>(&mut self, leg: &mut L) -> Event {
        if let Err(e) = self.send_tasks().await {
            return Event::Gone(e);
        }
        if self.progress.is_response_ended() {
            return Event::Done;
        }
        let wants_request = self.progress.wants_request();
        let idles = self.progress.awaits_response_only();
        let Some(client) = self.session.downstream_session.as_custom_mut() else {
            return Event::Gone(Error::explain(InternalError, "the session is not custom"));
        };
        let body_done = client.is_body_done() && !client.was_upgraded();
        let mut reading = ((wants_request && !body_done) || idles)
            .then(|| client.read_body_or_idle(!wants_request));
        poll_fn(|cx| {
            loop {
                if wants_request && self.request_run < MAX_REQUEST_RUN && leg.has_room() {
                    let piece = match (self.replay.take(), &mut reading) {
                        (Some(piece), _) => Poll::Ready(Ok(Some(*piece))),
                        (None, Some(reading)) => reading.as_mut().poll(cx),
                        (None, None) => Poll::Ready(Ok(None)),
                    };
                    if let Poll::Ready(piece) = piece {
                        self.request_run += 1;
                        return Poll::Ready(Event::Request(piece.map_err(Error::into_down)));
                    }
                }
                if self.progress.can_send() {
                    let was_full = !leg.has_room();
                    if let Poll::Ready(Err(e)) = leg.poll_flush(cx) {
                        return Poll::Ready(Event::SendFailed(e));
                    }
                    if was_full && leg.has_room() {
                        continue;
                    }
                }
                let request_waits = std::mem::take(&mut self.request_run) == MAX_REQUEST_RUN;
                if let Some(messages) = &mut self.messages
                    && let Poll::Ready((from, message)) = messages.poll_with(leg, cx)
                {
                    return Poll::Ready(Event::Message(from, message));
                }
                if poll_unpaused(&mut self.pause, cx)
                    && let Poll::Ready(task) = leg.poll_task(cx)
                {
                    return Poll::Ready(Event::Response(task));
                }
                if request_waits {
                    continue;
                }
                if let Poll::Ready(e) = poll_refused(&mut self.refused, cx) {
                    return Poll::Ready(Event::Gone(e));
                }
                if idles
                    && let Some(idling) = &mut reading
                    && let Poll::Ready(idled) = idling.as_mut().poll(cx)
                {
                    match idled {
                        Err(e) => return Poll::Ready(Event::Gone(e.into_down())),
                        // Whatever that was, the client is there.
                        Ok(_) => reading = None,
                    }
                }
                return Poll::Pending;
            }
        })
        .await
    }

    /// Sends what is queued for a custom client.
    pub(super) async fn send_tasks(&mut self) -> Result<()> {
        let Some(tasks) = self.tasks.take() else {
            return Ok(());
        };
        let Some(client) = self.session.downstream_session.as_custom_mut() else {
            return Ok(());
        };
        let sent = client.response_duplex_vec(tasks.0).await;
        sent.map(|_| ()).map_err(Error::into_down)
    }
}

/// Returns whether no pause is in effect.
fn poll_unpaused(pause: &mut Option<Box<Deadline>>, cx: &mut Context<'_>) -> bool {
    let paused = pause
        .as_mut()
        .is_some_and(|pause| pause.poll_elapsed(cx).is_pending());
    if !paused {
        *pause = None;
    }
    !paused
}

/// Polls for the end of the time a refused request has to be answered in.
fn poll_refused(
    refused: &mut Option<Box<(BError, Deadline)>>,
    cx: &mut Context<'_>,
) -> Poll<BError> {
    if let Some(waiting) = refused
        && waiting.1.poll_elapsed(cx).is_ready()
        && let Some(refused) = refused.take()
    {
        return Poll::Ready(refused.0);
    }
    Poll::Pending
}

#[cfg(test)]
pub(super) mod tests;
