//! A stream of a connection, whoever frames it: we ([`engine`](super::engine)), or the `h2` crate
//! where a program has made the connection by the types of that crate.
//!
//! [`Downstream`] is one on which a request came, [`Upstream`] one on which we send one; both take a
//! body as [`Sink`]s. Sessions know no more of either.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode, Version};
use pingora_http::ResponseHeader;

use super::engine::hpack::Encoder;
use super::engine::{Failure, StreamRef};
use super::error::StreamError;
use super::head::{encode_response, response_to_h2};

/// What takes a body and its end.
pub(super) trait Sink {
    /// Polls for room to send up to `want` bytes; at least one when ready.
    fn poll_room(&mut self, want: usize, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>>;

    /// Sends a piece no longer than the room there was.
    fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), StreamError>;

    /// Sends trailers, which end the body.
    fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError>;
}

impl Sink for SendStream<Bytes> {
    fn poll_room(&mut self, want: usize, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        loop {
            let room = self.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room.min(want)));
            }
            self.reserve_capacity(want);
            // What was given may have been taken back since: ask again.
            match ready!(self.poll_capacity(cx)) {
                Some(Ok(_)) => (),
                Some(Err(e)) => return Poll::Ready(Err(e.into())),
                // It takes no more: says why, if that is known.
                None => {
                    return Poll::Ready(Err(match self.poll_reset(cx) {
                        Poll::Ready(Ok(reason)) => Failure::Reset {
                            reason,
                            by_peer: true,
                        }
                        .into(),
                        Poll::Ready(Err(e)) => e.into(),
                        Poll::Pending => Reason::STREAM_CLOSED.into(),
                    }));
                }
            }
        }
    }

    fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), StreamError> {
        Ok(SendStream::send_data(self, data, end)?)
    }

    fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
        Ok(SendStream::send_trailers(self, trailers)?)
    }
}

impl Sink for StreamRef {
    #[inline]
    fn poll_room(&mut self, want: usize, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        Ok(ready!(StreamRef::poll_room(self, want, cx))?).into()
    }

    #[inline]
    fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), StreamError> {
        Ok(StreamRef::send_data(self, data, end)?)
    }

    fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
        Ok(StreamRef::send_trailers(self, &trailers)?)
    }
}

/// What has its bodies taken by another.
pub(super) trait Route {
    /// Returns where the body goes; an error when there is no such place, or no more.
    fn sink(&mut self) -> Result<&mut dyn Sink, StreamError>;
}

impl<T: Route> Sink for T {
    #[inline]
    fn poll_room(&mut self, want: usize, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        self.sink()?.poll_room(want, cx)
    }

    #[inline]
    fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), StreamError> {
        self.sink()?.send_data(data, end)
    }

    fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
        self.sink()?.send_trailers(trailers)
    }
}

/// A stream on which a request came.
pub(super) enum Downstream {
    Ours(StreamRef),
    H2(Box<H2Downstream>),
}

pub(super) struct H2Downstream {
    pub(super) respond: SendResponse<Bytes>,
    /// Where the response goes once its head was sent.
    pub(super) stream: Option<SendStream<Bytes>>,
    pub(super) body: RecvStream,
}

impl Downstream {
    pub(super) fn of_h2(respond: SendResponse<Bytes>, body: RecvStream) -> Self {
        Downstream::H2(Box::new(H2Downstream {
            respond,
            stream: None,
            body,
        }))
    }

    /// Sends an informational head.
    pub(super) fn send_informational(
        &mut self,
        head: &mut ResponseHeader,
    ) -> Result<(), StreamError> {
        match self {
            Downstream::Ours(stream) => stream.send_head(false, false, encoded(head))?,
            Downstream::H2(h2) => h2.respond.send_informational(response_to_h2(head))?,
        }
        Ok(())
    }

    /// Sends the final head, which ends the stream when `end`.
    pub(super) fn send_response(
        &mut self,
        head: &mut ResponseHeader,
        end: bool,
    ) -> Result<(), StreamError> {
        match self {
            Downstream::Ours(stream) => stream.send_head(true, end, encoded(head))?,
            Downstream::H2(h2) => {
                let response = response_to_h2(head);
                h2.stream = Some(h2.respond.send_response(response, end)?);
            }
        }
        Ok(())
    }

    /// Polls for a piece of the request body; its room is given back at once.
    #[inline]
    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, StreamError>>> {
        match self {
            Downstream::Ours(stream) => stream.poll_data(cx).map_err(StreamError::from),
            Downstream::H2(h2) => poll_h2_data(&mut h2.body, cx),
        }
    }

    pub(super) fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, StreamError>> {
        match self {
            Downstream::Ours(stream) => stream.poll_trailers(cx).map_err(StreamError::from),
            Downstream::H2(h2) => h2.body.poll_trailers(cx).map_err(StreamError::from),
        }
    }

    /// Returns whether nothing more can be read.
    pub(super) fn is_read(&self) -> bool {
        match self {
            Downstream::Ours(stream) => stream.is_read(),
            Downstream::H2(h2) => h2.body.is_end_stream(),
        }
    }

    /// Polls for the client resetting the stream.
    #[inline]
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, StreamError>> {
        match self {
            Downstream::Ours(stream) => stream.poll_failure(cx).map(reset_or_error),
            Downstream::H2(h2) => match &mut h2.stream {
                Some(stream) => stream.poll_reset(cx),
                None => h2.respond.poll_reset(cx),
            }
            .map_err(StreamError::from),
        }
    }

    /// Resets the stream, behind what was sent on it.
    pub(super) fn reset(&mut self, reason: Reason) {
        match self {
            Downstream::Ours(stream) => stream.reset(reason),
            Downstream::H2(h2) => match &mut h2.stream {
                Some(stream) => stream.send_reset(reason),
                None => h2.respond.send_reset(reason),
            },
        }
    }

    /// Takes what the body is sent by.
    pub(super) fn take_writer(&mut self) -> Option<SendStream<Bytes>> {
        match self {
            Downstream::Ours(stream) => super::bridge::writer(stream.take_writer()?),
            Downstream::H2(h2) => h2.stream.take(),
        }
    }
}

impl Route for Downstream {
    #[inline]
    fn sink(&mut self) -> Result<&mut dyn Sink, StreamError> {
        match self {
            Downstream::Ours(stream) => Ok(stream),
            Downstream::H2(h2) => match &mut h2.stream {
                Some(stream) => Ok(stream),
                None => Err(Reason::STREAM_CLOSED.into()),
            },
        }
    }
}

/// A stream on which we have sent a request.
pub(super) enum Upstream {
    Ours(StreamRef),
    H2(Box<H2Upstream>),
}

pub(super) struct H2Upstream {
    /// Until somebody takes it.
    stream: Option<SendStream<Bytes>>,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
}

impl Upstream {
    /// Sends a request by the `h2` crate.
    pub(super) fn open_h2(
        send: &mut h2::client::SendRequest<Bytes>,
        request: Request<()>,
        end: bool,
    ) -> Result<Self, StreamError> {
        let (response, stream) = send.send_request(request, end)?;
        Ok(Upstream::H2(Box::new(H2Upstream {
            stream: Some(stream),
            response: Some(response),
            body: None,
        })))
    }

    /// Polls for the next head of the response, informational ones before the final one.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHeader, StreamError>> {
        let h2 = match self {
            Upstream::Ours(stream) => {
                let head = ready!(stream.poll_response(cx))?;
                let status = head.status.unwrap_or_default();
                let status = StatusCode::from_u16(status).map_err(|_| Reason::PROTOCOL_ERROR)?;
                return Poll::Ready(Ok(ResponseHeader::from_h2(status, head.fields)));
            }
            Upstream::H2(h2) => h2,
        };
        let Some(response) = &mut h2.response else {
            return Poll::Ready(Err(Reason::INTERNAL_ERROR.into()));
        };
        let head = match ready!(response.poll_informational(cx)) {
            Some(informational) => informational?.into_parts().0,
            None => {
                let (head, body) = ready!(Pin::new(response).poll(cx))?.into_parts();
                h2.response = None;
                h2.body = Some(body);
                head
            }
        };
        let mut head = ResponseHeader::from(head);
        head.set_version(Version::HTTP_2);
        Poll::Ready(Ok(head))
    }

    /// Polls for a piece of the response body; its room is given back at once.
    #[inline]
    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, StreamError>>> {
        match self {
            Upstream::Ours(stream) => stream.poll_data(cx).map_err(StreamError::from),
            Upstream::H2(h2) => match &mut h2.body {
                Some(body) => poll_h2_data(body, cx),
                None => Poll::Ready(None),
            },
        }
    }

    pub(super) fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, StreamError>> {
        match self {
            Upstream::Ours(stream) => stream.poll_trailers(cx).map_err(StreamError::from),
            Upstream::H2(h2) => match &mut h2.body {
                Some(body) => body.poll_trailers(cx).map_err(StreamError::from),
                None => Poll::Ready(Ok(None)),
            },
        }
    }

    /// Returns whether nothing more can be read, once the head was.
    pub(super) fn is_read(&self) -> bool {
        match self {
            Upstream::Ours(stream) => stream.is_read(),
            Upstream::H2(h2) => h2.body.as_ref().is_some_and(RecvStream::is_end_stream),
        }
    }

    /// Polls for the server resetting the stream.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, StreamError>> {
        match self {
            Upstream::Ours(stream) => stream.poll_failure(cx).map(reset_or_error),
            Upstream::H2(h2) => match &mut h2.stream {
                Some(stream) => stream.poll_reset(cx).map_err(StreamError::from),
                None => Poll::Pending,
            },
        }
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        match self {
            Upstream::Ours(stream) => stream.reset(reason),
            Upstream::H2(h2) => {
                if let Some(stream) = &mut h2.stream {
                    stream.send_reset(reason);
                }
            }
        }
    }

    /// Takes what the body is sent by.
    pub(super) fn take_writer(&mut self) -> Option<SendStream<Bytes>> {
        match self {
            Upstream::Ours(stream) => super::bridge::writer(stream.take_writer()?),
            Upstream::H2(h2) => h2.stream.take(),
        }
    }
}

impl Route for Upstream {
    #[inline]
    fn sink(&mut self) -> Result<&mut dyn Sink, StreamError> {
        match self {
            Upstream::Ours(stream) => Ok(stream),
            Upstream::H2(h2) => match &mut h2.stream {
                Some(stream) => Ok(stream),
                None => Err(Reason::STREAM_CLOSED.into()),
            },
        }
    }
}

fn encoded(head: &ResponseHeader) -> impl FnOnce(&mut Encoder, &mut BytesMut) + '_ {
    |encoder, out| encode_response(head, encoder, out)
}

fn reset_or_error(failure: Failure) -> Result<Reason, StreamError> {
    match failure {
        Failure::Reset {
            reason,
            by_peer: true,
        } => Ok(reason),
        _ => Err(failure.into()),
    }
}

fn poll_h2_data(
    body: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, StreamError>>> {
    let data = ready!(body.poll_data(cx));
    if let Some(Ok(data)) = &data {
        // An error: the stream is gone, which the next poll tells.
        let _ = body.flow_control().release_capacity(data.len());
    }
    Poll::Ready(data.map(|data| data.map_err(StreamError::from)))
}
