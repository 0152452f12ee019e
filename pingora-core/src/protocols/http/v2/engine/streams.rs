//! [`Streams`]: those of a connection that are open, or that somebody still has in hand. Pure.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http::HeaderMap;

use super::Failure;
use super::block::RawHead;

/// One direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// No final head yet.
    Idle,
    Open,
    Ended,
}

/// What a request of ours asks for, as far as it says how long the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A head alone.
    Head,
    /// A tunnel, by CONNECT.
    Tunnel,
    Other,
}

/// What a task waits for on a stream, beside its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// A head, a piece of a body, trailers.
    Read,
    /// A window, or room to send.
    Write,
}

/// A stream.
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) recv: Half,
    pub(super) send: Half,
    /// Set once it is no more; what came before can still be read.
    pub(super) failure: Option<Failure>,
    /// Bytes the peer takes; less than none after it has shrunk its windows.
    pub(super) send_window: i64,
    /// Bytes we take.
    pub(super) recv_window: i64,
    /// Bytes that were read and not announced as room yet.
    pub(super) unclaimed: u32,
    /// Heads of responses: informational ones, and the final one.
    pub(super) heads: Heads,
    pub(super) pieces: Pieces,
    pub(super) trailers: Option<HeaderMap>,
    /// The end came by itself, behind the last piece, and was not read.
    pub(super) end_unread: bool,
    /// Bytes the head of what is received still allows; `None`: any number.
    pub(super) left: Option<u64>,
    pub(super) asked: Asked,
    /// Handles there are, see [`StreamRef`](super::StreamRef).
    pub(super) holders: u32,
    /// Counts against the limit of streams that are open at once.
    pub(super) is_counted: bool,
    /// Is in the queue of those that wait for the connection.
    pub(super) is_queued: bool,
    reader: Waiting,
    writer: Waiting,
}

/// Who waits on a stream: reading and writing may be done by two tasks.
#[derive(Default)]
struct Waiting {
    /// For more than the end.
    wishes: bool,
    waker: Option<Waker>,
}

impl Waiting {
    /// Has the task woken; one that only looks, with a waker that wakes nobody, takes no one's place.
    fn wait(&mut self, wishes: bool, cx: &Context<'_>) {
        if Waker::noop().will_wake(cx.waker()) {
            return;
        }
        self.wishes |= wishes;
        match &mut self.waker {
            Some(waker) if waker.will_wake(cx.waker()) => (),
            waker => *waker = Some(cx.waker().clone()),
        }
    }

    fn wake(&mut self) {
        self.wishes = false;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// What a response has begun with.
#[derive(Default)]
pub(super) struct Heads {
    pub(super) next: Option<RawHead>,
    pub(super) more: VecDeque<RawHead>,
}

impl Heads {
    pub(super) fn push(&mut self, head: RawHead) {
        match self.next {
            None => self.next = Some(head),
            Some(_) => self.more.push_back(head),
        }
    }

    pub(super) fn pop(&mut self) -> Option<RawHead> {
        let head = self.next.take()?;
        self.next = self.more.pop_front();
        Some(head)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.next.is_some()) + self.more.len()
    }
}

/// Pieces of a body that were received and not read: mostly there is one.
#[derive(Default)]
pub(super) struct Pieces {
    next: Bytes,
    rest: VecDeque<Bytes>,
    /// Small ones behind those, as one: a byte in a frame of its own must not cost more here.
    small: BytesMut,
    len: usize,
}

/// Bytes of small pieces that become one.
const MAX_JOINED: usize = 16 * 1024;

impl Pieces {
    /// Appends a piece that is not empty.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if self.next.is_empty() {
            self.next = piece;
            return;
        }
        self.end_small();
        self.rest.push_back(piece);
    }

    /// Appends a copy of a small piece that is not empty.
    pub(super) fn push_copy(&mut self, piece: &[u8]) {
        self.len += piece.len();
        if self.next.is_empty() {
            self.next = Bytes::copy_from_slice(piece);
            return;
        }
        if self.small.len() + piece.len() > MAX_JOINED {
            self.end_small();
        }
        self.small.extend_from_slice(piece);
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.rest
                .push_back(std::mem::take(&mut self.small).freeze());
        }
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.next.is_empty() {
            return None;
        }
        let next = match self.rest.pop_front() {
            Some(next) => next,
            None => std::mem::take(&mut self.small).freeze(),
        };
        let piece = std::mem::replace(&mut self.next, next);
        self.len -= piece.len();
        Some(piece)
    }

    /// Returns the number of bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Stream {
    pub(super) fn new(id: u32, send_window: u32, recv_window: u32) -> Self {
        Stream {
            id,
            recv: Half::Idle,
            send: Half::Idle,
            failure: None,
            send_window: i64::from(send_window),
            recv_window: i64::from(recv_window),
            unclaimed: 0,
            heads: Heads::default(),
            pieces: Pieces::default(),
            trailers: None,
            end_unread: false,
            left: None,
            asked: Asked::Other,
            holders: 1,
            is_counted: true,
            is_queued: false,
            reader: Waiting::default(),
            writer: Waiting::default(),
        }
    }

    /// Takes note of a DATA frame of `len` bytes, padding included.
    ///
    /// # Errors
    /// The reason to reset the stream with, and why.
    pub(super) fn accept_data(
        &mut self,
        len: usize,
        content_len: usize,
        ends: bool,
    ) -> Result<(), (Reason, &'static str)> {
        match self.recv {
            Half::Open => (),
            Half::Ended => return Err((Reason::STREAM_CLOSED, "DATA behind the end")),
            Half::Idle => return Err((Reason::PROTOCOL_ERROR, "DATA before the head")),
        }
        // The end alone needs no room, even where there is less than none.
        if len > 0 && self.recv_window < len as i64 {
            return Err((Reason::FLOW_CONTROL_ERROR, "more DATA than allowed"));
        }
        if let Some(left) = &mut self.left {
            *left = left
                .checked_sub(content_len as u64)
                .ok_or((Reason::PROTOCOL_ERROR, "more DATA than Content-Length"))?;
            if ends && *left > 0 {
                return Err((Reason::PROTOCOL_ERROR, "less DATA than Content-Length"));
            }
        }
        self.recv_window -= len as i64;
        if ends {
            self.recv = Half::Ended;
            self.end_unread = content_len == 0;
        }
        Ok(())
    }

    /// Returns whether nothing more is sent or received on it.
    pub(super) fn is_closed(&self) -> bool {
        self.failure.is_some() || (self.recv == Half::Ended && self.send == Half::Ended)
    }

    /// Has the task woken when `wish` comes true, or the stream ends.
    pub(super) fn wait(&mut self, wish: Wish, cx: &Context<'_>) {
        match wish {
            Wish::Read => self.reader.wait(true, cx),
            Wish::Write => self.writer.wait(true, cx),
        }
    }

    /// Has the task, the reader or the writer, woken when the stream ends.
    pub(super) fn wait_for_end(&mut self, side: Wish, cx: &Context<'_>) {
        match side {
            Wish::Read => self.reader.wait(false, cx),
            Wish::Write => self.writer.wait(false, cx),
        }
    }

    /// Wakes who waits for `wish`.
    pub(super) fn wake(&mut self, wish: Wish) {
        let waiting = match wish {
            Wish::Read => &mut self.reader,
            Wish::Write => &mut self.writer,
        };
        if waiting.wishes {
            waiting.wake();
        }
    }

    /// Wakes everybody: the stream is no more.
    pub(super) fn wake_all(&mut self) {
        self.reader.wake();
        self.writer.wake();
    }
}

/// The streams of a connection by their number.
#[derive(Default)]
pub(super) struct Streams {
    /// Sorted: new ones have higher numbers.
    #[expect(
        clippy::vec_box,
        reason = "they move up when others end, and are large"
    )]
    by_id: Vec<Box<Stream>>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    #[inline]
    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        let at = self.position(id)?;
        Some(&mut self.by_id[at])
    }

    /// Adds a stream whose number is higher than that of any before.
    pub(super) fn push(&mut self, stream: Stream) {
        debug_assert!(self.by_id.last().is_none_or(|last| last.id < stream.id));
        self.by_id.push(Box::new(stream));
    }

    pub(super) fn remove(&mut self, id: u32) {
        if let Some(at) = self.position(id) {
            self.by_id.remove(at);
        }
        if self.by_id.is_empty() {
            // An idle connection holds no memory for streams.
            self.by_id = Vec::new();
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.by_id.iter_mut().map(|stream| &mut **stream)
    }

    fn position(&self, id: u32) -> Option<usize> {
        // The newest is asked for most.
        let last = self.by_id.len().checked_sub(1)?;
        if self.by_id[last].id == id {
            return Some(last);
        }
        self.by_id
            .binary_search_by_key(&id, |stream| stream.id)
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_found_until_they_are_removed() {
        let mut streams = Streams::default();
        for id in (1..200).step_by(2) {
            streams.push(Stream::new(id, 1, 1));
        }
        for id in (1..200).step_by(4) {
            streams.remove(id);
        }
        for id in 0..200 {
            assert_eq!(streams.get(id).is_some(), id % 4 == 3, "{id}");
        }
        for id in 0..200 {
            streams.remove(id);
        }
        assert!(streams.is_empty() && streams.by_id.capacity() == 0);
    }

    #[test]
    fn who_only_looks_takes_no_place() {
        let mut stream = Stream::new(1, 1, 1);
        let mut reader = tokio_test::task::spawn(());
        reader.enter(|cx, _| stream.wait(Wish::Read, cx));
        stream.wait(Wish::Read, &Context::from_waker(Waker::noop()));
        stream.wait_for_end(Wish::Read, &Context::from_waker(Waker::noop()));
        assert!(!reader.is_woken());
        stream.wake(Wish::Read);
        assert!(reader.is_woken());
    }

    #[test]
    fn pieces_come_out_in_order() {
        let mut pieces = Pieces::default();
        for piece in [&b"a"[..], b"bc", b"d"] {
            pieces.push(Bytes::from_static(piece));
        }
        assert_eq!(pieces.len(), 4);
        assert_eq!(pieces.pop().unwrap(), "a");
        // Small ones become one, and keep their place.
        pieces.push_copy(b"e");
        pieces.push_copy(b"f");
        pieces.push(Bytes::from_static(b"g"));
        pieces.push_copy(b"h");
        let rest: Vec<Bytes> = std::iter::from_fn(|| pieces.pop()).collect();
        assert_eq!(rest, ["bc", "d", "ef", "g", "h"]);
        assert_eq!(pieces.len(), 0);
        pieces.push_copy(b"i");
        assert_eq!((pieces.pop().unwrap(), pieces.pop()), ("i".into(), None));
    }
}
