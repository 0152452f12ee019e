//! The leg of a custom protocol: its sessions are asked by futures, which may be no good cancelled.
//!
//! So they own what they work on (`side.rs`). The session and the writer of the request body are
//! two: a request goes up while its response comes down.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use log::debug;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::client::Session;
use pingora_core::protocols::http::custom::{BodyWrite, is_informational_except_101};
use pingora_core::protocols::http::v1::common::is_upgrade_req;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{
    BError, Error,
    ErrorType::{InternalError, ReadTimedout},
    Result,
};
use pingora_http::fields::KnownName;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::fast_timeout::Deadline;
use pingora_timeout::timeout;

use super::filter::append;
use super::leg::Leg;
use super::messages::Ends;
use super::side::Side;
use crate::forward;
use crate::session::UpstreamCounters;

/// How long giving up the rest of a request may take, once its response is whole.
const CLEANUP_LIMIT: Duration = Duration::from_secs(1);

/// How far the request is.
enum Request {
    /// The head is to be sent.
    Queued(Box<RequestHeader>),
    /// The head is on its way.
    Sending,
    /// The head was sent.
    Sent,
    /// It could not be sent.
    Failed(BError),
}

/// What the session is to be asked for next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
    Tunnel,
    Ended,
}

/// A server of a custom protocol on the other side.
pub(crate) struct CustomLeg<'a, S> {
    session: Side<'a, &'a mut S, Option<HttpTask>>,
    writer: Side<'a, Box<dyn BodyWrite>, ()>,
    request: Request,
    stage: Stage,
    /// The piece of the body to send next.
    piece: Option<Bytes>,
    /// Nothing follows that piece.
    ended: bool,
    /// The end is sent, or on its way.
    end_sent: bool,
    /// A tunnel was asked for and is not decided on.
    awaits_tunnel: bool,
    /// What the writer writes from now on belongs to the tunnel.
    upgrade_writer: bool,
    read_timeout: Option<Duration>,
    /// When that is over for the read in flight.
    deadline: Option<Box<Deadline>>,
    /// Where its messages come from and go to, until somebody takes them.
    messages: Option<Ends>,
    counters: UpstreamCounters,
}

impl<'a, S: Session> CustomLeg<'a, S> {
    pub(crate) fn new(session: &'a mut S, peer: &HttpPeer) -> Self {
        // It counts from the end of the request, of which a session being read hears nothing.
        session.set_read_timeout(None);
        session.set_write_timeout(peer.options.write_timeout);
        CustomLeg {
            session: Side::Idle(session),
            writer: Side::Absent,
            request: Request::Sending,
            stage: Stage::Head,
            piece: None,
            ended: false,
            end_sent: false,
            awaits_tunnel: false,
            upgrade_writer: false,
            read_timeout: peer.options.read_timeout,
            deadline: None,
            messages: None,
            counters: UpstreamCounters {
                body_bytes_sent: Some(0),
                ..UpstreamCounters::default()
            },
        }
    }

    /// Gives up what is left of the request once its response is whole; returns whether the
    /// session is fit to be kept.
    pub(crate) async fn close(self) -> bool {
        if self.is_request_sent() {
            return true;
        }
        let Side::Idle(session) = self.session else {
            return false;
        };
        if let Side::Idle(mut writer) = self.writer
            && let Ok(Err(e)) = timeout(CLEANUP_LIMIT, writer.cleanup()).await
        {
            debug!("the rest of a request could not be given up: {e}");
        }
        let why = "the response ended before the request";
        if timeout(CLEANUP_LIMIT, session.abandon(why)).await.is_err() {
            debug!("a session took too long to be given up");
        }
        false
    }

    /// Polls until the head was sent; false when that failed.
    fn poll_head_sent(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match std::mem::replace(&mut self.request, Request::Sending) {
            Request::Queued(head) => {
                let end = self.ended && self.piece.is_none();
                self.end_sent = end;
                self.session.start(|session| async move {
                    let sent = session.write_request_header(head, end).await;
                    (session, sent.map(|()| None))
                });
            }
            Request::Sending => (),
            Request::Sent => {
                self.request = Request::Sent;
                return Poll::Ready(true);
            }
            failed @ Request::Failed(_) => {
                self.request = failed;
                return Poll::Ready(false);
            }
        }
        match ready!(self.session.poll(cx)) {
            Some(Err(e)) => {
                self.request = Request::Failed(e.into_up());
                Poll::Ready(false)
            }
            _ => {
                self.request = Request::Sent;
                self.messages = self.session.idle().map(|session| Ends {
                    reader: session.take_custom_message_reader(),
                    writer: session.take_custom_message_writer(),
                });
                Poll::Ready(true)
            }
        }
    }

    /// Takes the writer of the body out of the session when it is needed first.
    fn ensure_writer(&mut self) -> Result<()> {
        if !matches!(self.writer, Side::Absent) {
            return Ok(());
        }
        // Not there while the session is being read: then it was asked for too late.
        let writer = self
            .session
            .idle()
            .and_then(|session| session.take_request_body_writer());
        match writer {
            Some(writer) => {
                self.writer = Side::Idle(writer);
                Ok(())
            }
            None => Error::e_explain(InternalError, "no writer for the request body")
                .map_err(Error::into_in),
        }
    }

    /// Starts the next write, if there is one.
    fn start_write(&mut self) {
        if self.upgrade_writer
            && let Some(writer) = self.writer.idle()
        {
            writer.upgrade_body_writer();
            self.upgrade_writer = false;
        }
        if let Some(mut piece) = self.piece.take() {
            let sent = self.counters.body_bytes_sent.get_or_insert_default();
            *sent += piece.len();
            self.writer.start(|mut writer| async move {
                let sent = writer.write_all_buf(&mut piece).await;
                (writer, sent)
            });
        } else if self.ended && !self.end_sent {
            self.end_sent = true;
            self.writer.start(|mut writer| async move {
                let sent = writer.finish().await;
                (writer, sent)
            });
        }
    }

    fn start_read(&mut self) {
        match self.stage {
            Stage::Head => self.session.start(|session| async move {
                let head = read_head(session).await;
                (session, head.map(Some))
            }),
            Stage::Body | Stage::Tunnel => {
                let tunnel = self.stage == Stage::Tunnel;
                self.session.start(move |session| async move {
                    let piece = read_piece(session, tunnel).await;
                    (session, piece.map(Some))
                });
            }
            Stage::Ended => (),
        }
    }

    /// Polls for the end of the read timeout, which runs when the request was sent.
    fn poll_read_timeout(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        if let Some(limit) = self.read_timeout
            && self.is_request_sent()
        {
            let deadline = self
                .deadline
                .get_or_insert_with(|| Box::new(Deadline::new(limit)));
            ready!(deadline.poll_elapsed(cx));
            let why = "the server says nothing more";
            return Poll::Ready(Error::explain(ReadTimedout, why).into_up());
        }
        Poll::Pending
    }

    fn is_request_sent(&self) -> bool {
        self.end_sent && !matches!(self.writer, Side::Busy(_))
    }

    fn on_task(&mut self, task: &HttpTask) {
        match task {
            HttpTask::Header(head, end) if !is_interim(head) => {
                self.stage = match (self.is_tunnel(), *end) {
                    (_, true) => Stage::Ended,
                    (true, false) => Stage::Tunnel,
                    (false, false) => Stage::Body,
                };
                if std::mem::take(&mut self.awaits_tunnel) && self.stage != Stage::Tunnel {
                    self.ended = true;
                }
            }
            HttpTask::Header(..) => (),
            HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => {
                self.counters.body_bytes_received += data.as_ref().map_or(0, Bytes::len);
                if *end {
                    self.stage = Stage::Ended;
                }
            }
            HttpTask::Trailer(_) | HttpTask::Done | HttpTask::Failed(_) => {
                self.stage = Stage::Ended;
            }
        }
    }
}

impl<S: Session> Leg for CustomLeg<'_, S> {
    fn prepare(req: &mut RequestHeader, _has_body: bool, peer: &HttpPeer) -> Result<()> {
        let version = req.version();
        forward::prepare_h2(req, peer)?;
        req.set_version(version);
        Ok(())
    }

    fn send_head(&mut self, req: Box<RequestHeader>) -> Result<()> {
        self.awaits_tunnel = *req.method() == Method::CONNECT || is_upgrade_req(&req);
        self.request = Request::Queued(req);
        Ok(())
    }

    fn send_body(&mut self, data: Option<Bytes>, end: bool) -> Result<()> {
        // What comes before the tunnel is granted is the end of a request that goes on in it.
        if self.awaits_tunnel {
            return Ok(());
        }
        append(&mut self.piece, data.filter(|data| !data.is_empty()));
        self.ended |= end;
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.piece.is_none()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !ready!(self.poll_head_sent(cx)) {
            // The answer to that is the error: `poll_task` has it.
            return Poll::Ready(Ok(()));
        }
        if self.stage == Stage::Head && !self.end_sent {
            self.ensure_writer()?;
        }
        loop {
            if let Some(Err(e)) = ready!(self.writer.poll(cx)) {
                return Poll::Ready(Err(e.into_up()));
            }
            self.start_write();
            if !matches!(self.writer, Side::Busy(_)) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_task(&mut self, cx: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        match std::mem::replace(&mut self.request, Request::Sent) {
            Request::Sent => (),
            Request::Failed(e) => return Poll::Ready(Err(e)),
            // `poll_flush` wakes when that changes.
            unsent => {
                self.request = unsent;
                return Poll::Pending;
            }
        }
        loop {
            let Poll::Ready(read) = self.session.poll(cx) else {
                return self.poll_read_timeout(cx).map(Err);
            };
            match read {
                Some(Ok(Some(task))) => {
                    self.deadline = None;
                    self.on_task(&task);
                    return Poll::Ready(Ok(task));
                }
                Some(Err(e)) => return Poll::Ready(Err(e.into_up())),
                Some(Ok(None)) | None if self.stage == Stage::Ended => {
                    return Poll::Ready(Ok(HttpTask::Done));
                }
                Some(Ok(None)) | None => self.start_read(),
            }
        }
    }

    fn has_messages(&self) -> bool {
        true
    }

    fn take_messages(&mut self) -> Option<Ends> {
        self.messages.take()
    }

    fn abandon(&mut self) {
        self.piece = None;
        self.end_sent = false;
    }

    fn is_tunnel(&self) -> bool {
        match &self.session {
            Side::Idle(session) => session.was_upgraded(),
            _ => self.stage == Stage::Tunnel,
        }
    }

    fn upgrade(&mut self) {
        if let Err(e) = self.ensure_writer() {
            self.request = Request::Failed(e);
        }
        self.ended = false;
        self.end_sent = false;
        self.upgrade_writer = true;
    }

    fn normalize(&self, resp: &mut ResponseHeader) {
        forward::strip_response(resp);
        // How a body is framed is for the protocol of the client to say.
        resp.remove_known(KnownName::TransferEncoding);
    }

    fn counters(&self) -> UpstreamCounters {
        self.counters
    }
}

fn is_interim(head: &ResponseHeader) -> bool {
    is_informational_except_101(u32::from(head.status().as_u16()))
}

async fn read_head<S: Session>(session: &mut S) -> Result<HttpTask> {
    session.read_response_header().await?;
    let Some(head) = session.response_header().cloned() else {
        return Error::e_explain(InternalError, "a session has no response head");
    };
    let end = !is_interim(&head)
        && !session.was_upgraded()
        && session.check_response_end_or_error(true).await?;
    Ok(HttpTask::Header(Box::new(head), end))
}

/// Reads a piece of the body, or what comes after the last one.
async fn read_piece<S: Session>(session: &mut S, tunnel: bool) -> Result<HttpTask> {
    let data = session.read_response_body().await?;
    if tunnel {
        let end = data.is_none();
        return Ok(HttpTask::UpgradedBody(data, end));
    }
    let end = session.check_response_end_or_error(false).await?;
    if data.is_some() {
        return Ok(HttpTask::Body(data, end));
    }
    Ok(match session.read_trailers().await? {
        Some(trailers) => HttpTask::Trailer(Some(Box::new(trailers))),
        None => HttpTask::Done,
    })
}

#[cfg(test)]
pub(super) mod tests;
