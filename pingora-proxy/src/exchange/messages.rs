//! [`Messages`]: what the protocols of custom sessions say beside request and response.
//!
//! ```text
//!  client ──reader──> downstream_custom_message_proxy_filter ──┐
//!                       custom_forwarding's own ───────────────┴──> lane ──writer──> server
//!  client <──writer── lane <──┬── upstream_custom_message_proxy_filter <──reader── server
//!                             └── custom_forwarding's own
//! ```
//!
//! A side without messages has no lane: what is for it goes as far as the filter. A lane that is
//! full stops the reader of the other side, never request or response.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_core::future::BoxFuture;
use log::debug;
use pingora_core::protocols::http::custom::{CUSTOM_MESSAGE_QUEUE_SIZE, CustomMessageWrite};
use pingora_error::{Error, Result};
use pingora_timeout::timeout;
use tokio::sync::mpsc;

use super::duplex::Front;
use super::leg::Leg;
use super::side::Side;
use crate::{ProxyHttp, Session};

type Reader = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;
type Writer = Box<dyn CustomMessageWrite>;

/// Messages passed on in a row before request and response get their turn.
const MAX_MESSAGE_RUN: u8 = 16;

/// How long sending what is queued may take once the response is whole.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);

/// Where the messages of one side come from and go to.
pub(crate) struct Ends {
    pub(crate) reader: Option<Reader>,
    pub(crate) writer: Option<Writer>,
}

/// Whose message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    Client,
    Server,
}

/// The messages of an exchange.
pub(super) struct Messages {
    from_client: Option<Reader>,
    from_server: Option<Reader>,
    to_client: Option<Lane>,
    to_server: Option<Lane>,
    /// The server has not heard of the request yet. The client's messages wait for that, so that
    /// another try does not lack them.
    awaits_server: bool,
    run: u8,
}

/// What one side is to be told.
struct Lane {
    writer: Side<'static, Writer, ()>,
    queue: VecDeque<Bytes>,
    /// What the proxy says by itself.
    own: Option<mpsc::Receiver<Bytes>>,
    /// The other side says nothing more.
    ended: bool,
    /// This side was told so, or takes no more.
    finished: bool,
}

impl Lane {
    fn new(writer: Option<Writer>, own: mpsc::Receiver<Bytes>) -> Self {
        Lane {
            writer: writer.map_or(Side::Absent, Side::Idle),
            queue: VecDeque::new(),
            own: Some(own),
            ended: false,
            finished: false,
        }
    }

    fn has_room(&self) -> bool {
        self.finished || self.queue.len() < CUSTOM_MESSAGE_QUEUE_SIZE
    }

    fn is_sending(&self) -> bool {
        !self.queue.is_empty() || matches!(self.writer, Side::Busy(_))
    }

    fn push(&mut self, message: Bytes) {
        if !self.finished {
            self.queue.push_back(message);
        }
    }

    /// The proxy says nothing more by itself.
    fn close_own(&mut self) {
        if let Some(own) = &mut self.own {
            own.close();
        }
    }

    /// Writes as much as goes; ready when this side was told the end, or takes no more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Each turn begins a write, or ends this.
        loop {
            match self.writer.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(e))) => {
                    debug!("a custom session takes no more messages: {e}");
                    self.give_up();
                }
                Poll::Ready(_) if matches!(self.writer, Side::Absent) => self.give_up(),
                Poll::Ready(_) => (),
            }
            if self.finished {
                return Poll::Ready(());
            }
            if let Some(message) = self.next(cx) {
                self.writer.start(|mut writer| async move {
                    let sent = writer.write_custom_message(message).await;
                    (writer, sent)
                });
            } else if self.ended && self.own.is_none() {
                self.finished = true;
                self.writer.start(|mut writer| async move {
                    let sent = writer.finish_custom().await;
                    (writer, sent)
                });
            } else {
                return Poll::Pending;
            }
        }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        if let Some(message) = self.queue.pop_front() {
            return Some(message);
        }
        match self.own.as_mut()?.poll_recv(cx) {
            Poll::Ready(Some(message)) => Some(message),
            Poll::Ready(None) => {
                self.own = None;
                None
            }
            Poll::Pending => None,
        }
    }

    fn give_up(&mut self) {
        self.finished = true;
        self.queue.clear();
        self.own = None;
    }
}

impl Messages {
    /// Does what [`poll`](Self::poll) does, with those of the server once it has heard of the request.
    pub(super) fn poll_with<L: Leg>(
        &mut self,
        leg: &mut L,
        cx: &mut Context<'_>,
    ) -> Poll<(Speaker, Result<Bytes>)> {
        if self.awaits_server
            && let Some(ends) = leg.take_messages()
        {
            self.add_server(ends);
        }
        self.poll(cx)
    }

    /// Polls for the next message of either side, and writes what is queued. Cancel-safe.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Speaker, Result<Bytes>)> {
        self.poll_lanes(cx);
        if self.run == MAX_MESSAGE_RUN {
            self.run = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.awaits_server {
            return Poll::Pending;
        }
        let from_client = poll_reader(&mut self.from_client, &mut self.to_server, cx);
        if let Poll::Ready(message) = from_client {
            self.run += 1;
            return Poll::Ready((Speaker::Client, message));
        }
        let from_server = poll_reader(&mut self.from_server, &mut self.to_client, cx);
        if let Poll::Ready(message) = from_server {
            self.run += 1;
            return Poll::Ready((Speaker::Server, message));
        }
        self.run = 0;
        // An end is passed on.
        self.poll_lanes(cx);
        Poll::Pending
    }

    /// Returns whether both sides were told the end.
    fn poll_lanes(&mut self, cx: &mut Context<'_>) -> bool {
        let mut told = true;
        if let Some(lane) = &mut self.to_client {
            told &= lane.poll(cx).is_ready();
        }
        if let Some(lane) = &mut self.to_server
            && !self.awaits_server
        {
            told &= lane.poll(cx).is_ready();
        }
        told
    }

    fn add_server(&mut self, ends: Ends) {
        self.awaits_server = false;
        self.from_server = ends.reader;
        if let (Some(lane), Some(writer)) = (&mut self.to_server, ends.writer) {
            lane.writer = Side::Idle(writer);
        }
    }

    fn lanes(&mut self) -> impl Iterator<Item = &mut Lane> {
        let lanes = [&mut self.to_client, &mut self.to_server];
        lanes.into_iter().flatten()
    }

    /// Waits until nothing is being written to the client, or, after an exchange that went well,
    /// until both sides were told the end.
    async fn settle(&mut self, went_well: bool) {
        if went_well {
            self.lanes().for_each(|lane| lane.ended = true);
        }
        poll_fn(|cx| {
            let settled = match &mut self.to_client {
                _ if went_well => self.poll_lanes(cx),
                Some(lane) => lane.writer.poll(cx).is_ready(),
                None => true,
            };
            match settled {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    fn lane_from(&mut self, speaker: Speaker) -> Option<&mut Lane> {
        match speaker {
            Speaker::Client => self.to_server.as_mut(),
            Speaker::Server => self.to_client.as_mut(),
        }
    }
}

fn poll_reader(
    reader: &mut Option<Reader>,
    lane: &mut Option<Lane>,
    cx: &mut Context<'_>,
) -> Poll<Result<Bytes>> {
    if lane.as_ref().is_some_and(|lane| !lane.has_room()) {
        return Poll::Pending;
    }
    if let Some(reading) = reader {
        match Pin::new(reading).poll_next(cx) {
            Poll::Ready(Some(message)) => return Poll::Ready(message),
            Poll::Ready(None) => *reader = None,
            Poll::Pending => return Poll::Pending,
        }
    }
    if let Some(lane) = lane {
        lane.ended = true;
    }
    Poll::Pending
}

impl<SV> Front<'_, SV>
where
    SV: ProxyHttp + Send + Sync,
    SV::CTX: Send + Sync,
{
    /// Takes the messages of the client, and lets the proxy have its say; `with_server` if the
    /// upstream may have messages, too.
    ///
    /// Boxed: few exchanges have any.
    pub(super) fn begin_messages(&mut self, with_server: bool) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (own_up, up) = mpsc::channel(CUSTOM_MESSAGE_QUEUE_SIZE);
            let (own_down, down) = mpsc::channel(CUSTOM_MESSAGE_QUEUE_SIZE);
            let mut messages = Messages {
                from_client: None,
                from_server: None,
                to_client: None,
                to_server: with_server.then(|| Lane::new(None, up)),
                awaits_server: with_server,
                run: 0,
            };
            match self.session.downstream_session.as_custom_mut() {
                Some(client) => {
                    messages.from_client = client.take_custom_message_reader();
                    messages.to_client = Some(Lane::new(client.take_custom_message_writer(), down));
                }
                None => drop(down),
            }
            self.messages = Some(Box::new(messages));
            let own_up = with_server.then_some(own_up);
            self.proxy
                .custom_forwarding(self.session, self.ctx, own_up, own_down)
                .await
        })
    }

    /// Passes a message on.
    pub(super) async fn on_message(
        &mut self,
        speaker: Speaker,
        message: Result<Bytes>,
    ) -> Result<()> {
        let Some(messages) = &mut self.messages else {
            return Ok(());
        };
        let final_hop = messages.lane_from(speaker).is_none();
        let (session, ctx) = (&mut *self.session, &mut *self.ctx);
        let message = match speaker {
            Speaker::Client => {
                let message = message.map_err(Error::into_down)?;
                self.proxy
                    .downstream_custom_message_proxy_filter(session, message, ctx, final_hop)
                    .await?
            }
            Speaker::Server => {
                let message = message.map_err(Error::into_up)?;
                self.proxy
                    .upstream_custom_message_proxy_filter(session, message, ctx, final_hop)
                    .await?
            }
        };
        if let (Some(message), Some(lane)) = (message, messages.lane_from(speaker)) {
            lane.push(message);
        }
        Ok(())
    }

    /// Passes on what is there and the end of it after an exchange that went well; gives the
    /// client's session back what was taken out.
    pub(super) fn end_messages(&mut self, went_well: bool) -> BoxFuture<'_, ()> {
        if let Some(messages) = &mut self.messages {
            messages.lanes().for_each(Lane::close_own);
        }
        Box::pin(async move {
            let rest = async {
                if went_well && let Err(e) = self.pass_the_rest().await {
                    debug!("the last messages of a custom session: {e}");
                }
                if let Some(messages) = &mut self.messages {
                    messages.settle(went_well).await;
                }
            };
            if timeout(FAREWELL_LIMIT, rest).await.is_err() {
                debug!("the last messages of a custom session took too long");
            }
            if let Some(messages) = self.messages.take() {
                give_back(*messages, self.session);
            }
        })
    }

    /// Passes on the messages that are there already.
    async fn pass_the_rest(&mut self) -> Result<()> {
        // Ends when none is there; the caller limits the time.
        loop {
            let next = poll_fn(|cx| {
                let Some(messages) = &mut self.messages else {
                    return Poll::Ready(None);
                };
                match messages.poll(cx) {
                    Poll::Ready(message) => Poll::Ready(Some(message)),
                    // There may be more that waits for its turn, or for room.
                    Poll::Pending if messages.lanes().any(|lane| lane.is_sending()) => {
                        Poll::Pending
                    }
                    Poll::Pending => Poll::Ready(None),
                }
            });
            let Some((speaker, message)) = next.await else {
                return Ok(());
            };
            self.on_message(speaker, message).await?;
        }
    }
}

fn give_back(messages: Messages, session: &mut Session) {
    let Some(client) = session.downstream_session.as_custom_mut() else {
        return;
    };
    if let Some(reader) = messages.from_client
        && let Err(e) = client.restore_custom_message_reader(reader)
    {
        debug!("the messages of a client cannot be given back: {e}");
    }
    if let Some(lane) = messages.to_client
        && let Side::Idle(writer) = lane.writer
        && let Err(e) = client.restore_custom_message_writer(writer)
    {
        debug!("the writer of a client's messages cannot be given back: {e}");
    }
}

#[cfg(test)]
mod tests;
