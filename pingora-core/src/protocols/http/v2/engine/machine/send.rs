//! What our streams have to say, and what they ask for.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http::HeaderMap;

use super::super::Failure;
use super::super::block::RawHead;
use super::super::frame::{self, DEFAULT_WINDOW, HEAD_BYTES, Head, MAX_PAYLOAD, flag, kind};
use super::super::hpack::Encoder;
use super::super::streams::{Asked, Half, Stream, Wish};
use super::{ALIVE_PING, MAX_ID, MAX_UNSENT, Machine};

/// The longest content of a DATA frame we send: with its head it fits into one record of TLS.
const MAX_CONTENT: usize = MAX_PAYLOAD - HEAD_BYTES;

impl Machine {
    /// Opens a stream with the head `encode` writes; returns its number.
    ///
    /// # Errors
    /// When the peer takes no more streams: it has seen nothing of this one.
    pub(in super::super) fn open(
        &mut self,
        ends: bool,
        asked: Asked,
        encode: impl FnOnce(&mut Encoder, &mut BytesMut),
    ) -> Result<u32, Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let (id, by_peer) = (self.next_id, true);
        let reason = Reason::REFUSED_STREAM;
        if !self.takes_streams() {
            return Err(Failure::GoAway { reason, by_peer });
        }
        if self.open >= self.peer.max_streams {
            return Err(Failure::Reset { reason, by_peer });
        }
        self.next_id += 2;
        let mut stream = Stream::new(id, self.peer.stream_window, self.first_recv_window());
        stream.send = if ends { Half::Ended } else { Half::Open };
        stream.asked = asked;
        self.streams.push(stream);
        self.open += 1;
        self.put_head(id, ends, encode);
        self.wake();
        Ok(id)
    }

    /// Returns whether streams may be opened, as far as the peer and the numbers go.
    pub(in super::super) fn takes_streams(&self) -> bool {
        self.failure.is_none() && !self.peer_ends && self.next_id < MAX_ID
    }

    /// Returns how many streams the peer allows at once.
    pub(in super::super) fn peer_max_streams(&self) -> u32 {
        self.peer.max_streams
    }

    /// Returns whether the peer grants tunnels in streams (RFC 8441).
    pub(in super::super) fn peer_grants_tunnels(&self) -> bool {
        self.peer.connect_protocol
    }

    /// Nobody will open a stream any more.
    pub(in super::super) fn abandon(&mut self) {
        self.abandoned = true;
        self.wake();
    }

    /// Asks the peer for a sign of life.
    pub(in super::super) fn send_ping(&mut self) {
        self.pong = false;
        frame::put(self.out.control(), kind::PING, 0, 0, &ALIVE_PING);
        self.wake();
    }

    /// Returns whether it was given since.
    pub(in super::super) fn has_pong(&self) -> bool {
        self.pong
    }

    /// Sends a head that `encode` writes: a final one, or an informational one.
    pub(in super::super) fn send_head(
        &mut self,
        id: u32,
        is_final: bool,
        ends: bool,
        encode: impl FnOnce(&mut Encoder, &mut BytesMut),
    ) -> Result<(), Failure> {
        let stream = self.sendable(id)?;
        if is_final {
            stream.send = if ends { Half::Ended } else { Half::Open };
        }
        self.put_head(id, ends, encode);
        self.wake();
        if ends {
            self.settle(id);
        }
        Ok(())
    }

    /// Sends trailers, which end the stream.
    pub(in super::super) fn send_trailers(
        &mut self,
        id: u32,
        trailers: &HeaderMap,
    ) -> Result<(), Failure> {
        self.send_head(id, true, true, |encoder, out| {
            for (name, value) in trailers {
                let name = name.as_str().as_bytes();
                let known = pingora_http::fields::KnownName::of(name);
                encoder.field(name, known, value.as_bytes(), value.is_sensitive(), out);
            }
        })
    }

    /// Polls for room to send up to `want` bytes of a body.
    pub(in super::super) fn poll_room(
        &mut self,
        id: u32,
        want: usize,
        cx: &Context<'_>,
    ) -> Poll<Result<usize, Failure>> {
        // No more than fits, and no splinters.
        let of_buffer = match MAX_UNSENT.saturating_sub(self.out.len() + self.unsent) {
            0 => 0,
            left => left.max(MAX_PAYLOAD) as i64,
        };
        let of_connection = self.send_window;
        let stream = match self.sendable(id) {
            Ok(stream) => stream,
            Err(failure) => return Poll::Ready(Err(failure)),
        };
        let room = stream.send_window.min(of_connection).min(of_buffer);
        if room > 0 {
            return Poll::Ready(Ok(want.min(room as usize)));
        }
        stream.wait(Wish::Write, cx);
        let waits_for_connection = stream.send_window > 0;
        if waits_for_connection && !std::mem::replace(&mut stream.is_queued, true) {
            self.queue.push_back(id);
        }
        Poll::Pending
    }

    /// Sends a piece of a body no longer than the room there was.
    pub(in super::super) fn send_data(
        &mut self,
        id: u32,
        mut data: Bytes,
        ends: bool,
    ) -> Result<(), Failure> {
        let stream = self.sendable(id)?;
        stream.send_window -= data.len() as i64;
        if ends {
            stream.send = Half::Ended;
        }
        self.send_window -= data.len() as i64;
        self.useful();
        loop {
            let content = data.split_to(data.len().min(MAX_CONTENT));
            let is_last = data.is_empty();
            let head = Head {
                len: content.len(),
                kind: kind::DATA,
                flags: if ends && is_last { flag::END_STREAM } else { 0 },
                stream: id,
            };
            self.out.control().extend_from_slice(&head.encode());
            self.out.push(content);
            if is_last {
                break;
            }
        }
        self.wake();
        if ends {
            self.settle(id);
        }
        Ok(())
    }

    /// Resets a stream, unless it has ended.
    pub(in super::super) fn reset(&mut self, id: u32, reason: Reason) {
        self.reset_stream(id, reason);
    }

    /// Somebody else has the stream in hand as well.
    pub(in super::super) fn hold(&mut self, id: u32) {
        if let Some(stream) = self.streams.get(id) {
            stream.holders += 1;
        }
    }

    /// One who had the stream in hand has not any more.
    pub(in super::super) fn release(&mut self, id: u32) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        stream.holders -= 1;
        if stream.holders > 0 {
            return;
        }
        if stream.is_closed() {
            self.settle(id);
            return;
        }
        // A client that was answered may stop sending; everybody else is told that nobody listens.
        let is_answered = self.is_server && stream.send == Half::Ended;
        self.reset_stream(
            id,
            match is_answered {
                true => Reason::NO_ERROR,
                false => Reason::CANCEL,
            },
        );
    }

    /// Polls for a head of the response.
    pub(in super::super) fn poll_response(
        &mut self,
        id: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<RawHead, Failure>> {
        let Some(stream) = self.streams.get(id) else {
            return Poll::Ready(Err(GONE));
        };
        if let Some(head) = stream.heads.pop() {
            return Poll::Ready(Ok(head));
        }
        if let Some(failure) = stream.failure {
            return Poll::Ready(Err(failure));
        }
        stream.wait(Wish::Read, cx);
        Poll::Pending
    }

    /// Polls for a piece of the body; `Ready(None)` at its end.
    pub(in super::super) fn poll_data(
        &mut self,
        id: u32,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Bytes, Failure>>> {
        let Some(stream) = self.streams.get(id) else {
            return Poll::Ready(Some(Err(GONE)));
        };
        if let Some(piece) = stream.pieces.pop() {
            self.claim(piece.len());
            self.claim_stream(id, piece.len());
            return Poll::Ready(Some(Ok(piece)));
        }
        if stream.recv == Half::Ended {
            stream.end_unread = false;
            return Poll::Ready(None);
        }
        if let Some(failure) = stream.failure {
            return Poll::Ready(Some(Err(failure)));
        }
        stream.wait(Wish::Read, cx);
        Poll::Pending
    }

    /// Polls for the trailers, once the body has ended.
    pub(in super::super) fn poll_trailers(
        &mut self,
        id: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, Failure>> {
        let Some(stream) = self.streams.get(id) else {
            return Poll::Ready(Err(GONE));
        };
        if stream.recv == Half::Ended {
            return Poll::Ready(Ok(stream.trailers.take()));
        }
        if let Some(failure) = stream.failure {
            return Poll::Ready(Err(failure));
        }
        stream.wait(Wish::Read, cx);
        Poll::Pending
    }

    /// Returns whether nothing more can be read.
    pub(in super::super) fn is_read(&mut self, id: u32) -> bool {
        self.streams.get(id).is_none_or(|stream| {
            let is_received = stream.recv == Half::Ended && !stream.end_unread;
            is_received && stream.pieces.len() == 0 && stream.trailers.is_none()
        })
    }

    /// Polls for the end of a stream that did not end well, on behalf of its reader or its writer.
    pub(in super::super) fn poll_failure(
        &mut self,
        id: u32,
        side: Wish,
        cx: &Context<'_>,
    ) -> Poll<Failure> {
        let Some(stream) = self.streams.get(id) else {
            return Poll::Ready(GONE);
        };
        if let Some(failure) = stream.failure {
            return Poll::Ready(failure);
        }
        stream.wait_for_end(side, cx);
        Poll::Pending
    }

    /// Bytes of a stream were read: tells the peer once it is worth it.
    pub(super) fn claim_stream(&mut self, id: u32, len: usize) {
        let window = self.local.stream_window;
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        stream.unclaimed += len as u32;
        let is_worth_it = stream.unclaimed > 0 && stream.unclaimed >= window.div_ceil(2);
        if is_worth_it && stream.recv == Half::Open && stream.failure.is_none() {
            let more = std::mem::take(&mut stream.unclaimed);
            stream.recv_window += i64::from(more);
            frame::put_window_update(self.out.control(), id, more);
            self.wake();
        }
    }

    /// Appends a header block, in as many frames as it takes.
    pub(super) fn put_head(
        &mut self,
        id: u32,
        ends: bool,
        encode: impl FnOnce(&mut Encoder, &mut BytesMut),
    ) {
        let out = self.out.control();
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        self.encoder.begin(out);
        encode(&mut self.encoder, out);
        let len = out.len() - start - HEAD_BYTES;
        let end_stream = if ends { flag::END_STREAM } else { 0 };
        let mut head = Head {
            len: len.min(MAX_PAYLOAD),
            kind: kind::HEADERS,
            flags: end_stream | flag::END_HEADERS,
            stream: id,
        };
        if len <= MAX_PAYLOAD {
            out[start..start + HEAD_BYTES].copy_from_slice(&head.encode());
            return;
        }
        let block = out.split_off(start + HEAD_BYTES);
        out.truncate(start);
        head.flags = end_stream;
        let count = block.len().div_ceil(MAX_PAYLOAD);
        for (at, part) in block.chunks(MAX_PAYLOAD).enumerate() {
            if at + 1 == count {
                head.flags |= flag::END_HEADERS;
            }
            head.len = part.len();
            out.extend_from_slice(&head.encode());
            out.extend_from_slice(part);
            head.kind = kind::CONTINUATION;
            head.flags = 0;
        }
    }

    /// Returns a stream on which more can be sent.
    fn sendable(&mut self, id: u32) -> Result<&mut Stream, Failure> {
        let stream = self.streams.get(id).ok_or(GONE)?;
        match stream.failure {
            Some(failure) => Err(failure),
            None if stream.send == Half::Ended => Err(GONE),
            None => Ok(stream),
        }
    }
}

/// What is asked of a stream that has ended.
const GONE: Failure = Failure::Reset {
    reason: Reason::STREAM_CLOSED,
    by_peer: false,
};

const _: () = assert!(DEFAULT_WINDOW as usize > MAX_CONTENT);
