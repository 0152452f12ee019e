//! A stream with what was received but not consumed, and what is queued but not sent.
//!
//! Both roles of HTTP/1 and of HTTP/2 build on it. Everything is poll-driven: one future can wait for the input and the
//! output of two connections at once, without a task or a channel between them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::buffers::{self, BULK_SIZE, Class, SMALL_SIZE};
use crate::protocols::Stream;

/// A read of so much is handed on in the buffer it came in, less is copied out of it.
const BULK_FROM: usize = 16 * 1024;

/// Unconsumed bytes that are copied in front of what is read next, so that both are in one piece.
const MAX_MOVED: usize = 4 * 1024;

/// Pieces handed to one vectored write.
const MAX_SLICES: usize = 32;

/// A piece of a body up to this size is copied behind its head: one buffer beats two.
const INLINE_DATA: usize = 2 * 1024;

/// Queued bytes beyond which a sender should flush before it queues more.
pub(crate) const OUTPUT_HIGH_WATER: usize = 64 * 1024;

/// A connection that speaks HTTP/1 or HTTP/2.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: Stream,
    pub(crate) input: Input,
    pub(crate) output: Output,
    /// Close our side of the connection once everything queued was sent.
    fin: bool,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Wire {
            stream,
            input: Input::default(),
            output: Output::default(),
            fin: false,
        }
    }

    /// Reads as much at once as is sensible when so many more bytes are known to come.
    pub(crate) fn expect(&mut self, bytes: u64) {
        if bytes > BULK_SIZE as u64 {
            self.input.reads = Class::Huge;
        }
    }

    /// Receives more input; `Ready(Ok(0))` is the end of it.
    ///
    /// Cancel-safe: what was received is in the input.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.poll_fill(&mut self.stream, cx)
    }

    /// Sends what is queued. Cancel-safe: what is left stays queued.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.output.poll_flush(&mut self.stream, cx))?;
        if self.fin {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.fin = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Closes our side of the connection once everything queued was sent.
    pub(crate) fn queue_shutdown(&mut self) {
        self.fin = true;
    }

    /// Returns whether a flush has something to do.
    pub(crate) fn needs_flush(&self) -> bool {
        self.fin || !self.output.is_flushed()
    }
}

/// Polls for the first bytes of a request, without holding a buffer while there are none.
///
/// Ready with no bytes at the end of the connection.
pub(crate) fn poll_first_bytes(
    stream: &mut Stream,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Input>> {
    let mut input = Input::default();
    ready!(input.poll_fill(stream, cx))?;
    Poll::Ready(Ok(input))
}

/// What was received and not consumed yet.
#[derive(Debug)]
pub(crate) struct Input {
    /// Elsewhere it is taken apart only; [`append`](Self::append) makes it longer.
    pub(crate) buf: BytesMut,
    /// What kind of buffer `buf` is, or is the rest of.
    class: Class,
    /// What kind of buffer reads go into.
    reads: Class,
    /// The peer has sent everything it ever will.
    pub(crate) eof: bool,
}

impl Default for Input {
    fn default() -> Self {
        Input::from(BytesMut::new())
    }
}

impl From<BytesMut> for Input {
    fn from(buf: BytesMut) -> Self {
        Input {
            buf,
            class: Class::Foreign,
            reads: Class::Bulk,
            eof: false,
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.replace(BytesMut::new(), Class::Foreign);
    }
}

impl Input {
    /// Takes what was received and not consumed.
    pub(crate) fn take(&mut self) -> BytesMut {
        self.class = Class::Foreign;
        std::mem::take(&mut self.buf)
    }

    /// Gives the buffer back if all of it was consumed.
    pub(crate) fn release(&mut self) {
        if self.buf.is_empty() {
            self.replace(BytesMut::new(), Class::Foreign);
        }
    }

    /// Receives into a buffer all connections of the thread share: waiting holds none.
    fn poll_fill(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        let mut buf = buffers::take(self.reads);
        if !self.buf.is_empty() && self.buf.len() <= MAX_MOVED {
            buf.extend_from_slice(&self.buf);
        }
        let moved = buf.len();
        let room = buf.capacity() - moved;
        // `read_buf` keeps no state, so that a new future for each poll is the same as one.
        let polled = pin!(stream.read_buf(&mut (&mut buf).limit(room))).poll(cx);
        let Poll::Ready(Ok(received)) = polled else {
            buffers::give_back(self.reads, buf);
            return polled;
        };
        self.received(buf, moved);
        if received == room {
            self.reads = Class::Huge;
        }
        self.eof = received == 0;
        Poll::Ready(Ok(received))
    }

    /// Takes over what `buf` has behind the first `moved` bytes, which we have as well.
    fn received(&mut self, buf: BytesMut, moved: usize) {
        if moved == self.buf.len() && buf.len() >= BULK_FROM {
            return self.replace(buf, self.reads);
        }
        let received = buf.len() - moved;
        if self.buf.is_empty() && received > 0 {
            let (small, class) = match received {
                ..=SMALL_SIZE => (buffers::take(Class::Small), Class::Small),
                _ => (BytesMut::with_capacity(received), Class::Foreign),
            };
            self.replace(small, class);
        }
        self.append(&buf[moved..]);
        buffers::give_back(self.reads, buf);
    }

    /// Adds bytes behind what was received.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if self.buf.capacity() - self.buf.len() < bytes.len() {
            // It becomes another buffer, which is none of ours.
            self.class = Class::Foreign;
        }
        self.buf.extend_from_slice(bytes);
    }

    fn replace(&mut self, buf: BytesMut, class: Class) {
        let old = std::mem::replace(&mut self.buf, buf);
        buffers::give_back(std::mem::replace(&mut self.class, class), old);
    }
}

/// What is queued and not sent yet: control bytes (heads, chunk sizes) with data between them.
#[derive(Debug, Default)]
pub(crate) struct Output {
    control: BytesMut,
    /// Data, each with how many control bytes go before it.
    data: VecDeque<(usize, Bytes)>,
    data_len: usize,
    /// Control bytes that go before data.
    placed: usize,
    /// The stream was given bytes since its last complete flush; it may have kept some back.
    unflushed: bool,
}

impl Drop for Output {
    fn drop(&mut self) {
        self.release();
    }
}

impl Output {
    /// Returns the control bytes, to append to.
    pub(crate) fn control(&mut self) -> &mut BytesMut {
        if self.control.capacity() == 0 {
            self.control = buffers::take(Class::Small);
        }
        &mut self.control
    }

    /// Queues data behind everything queued before.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.len() <= INLINE_DATA {
            self.control().extend_from_slice(&data);
            return;
        }
        let before = self.control.len() - self.placed;
        self.placed += before;
        self.data_len += data.len();
        self.data.push_back((before, data));
    }

    /// Returns the number of bytes queued.
    pub(crate) fn len(&self) -> usize {
        self.control.len() + self.data_len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.data.is_empty()
    }

    /// Returns whether everything queued has left the stream as well.
    pub(crate) fn is_flushed(&self) -> bool {
        self.is_empty() && !self.unflushed
    }

    /// Takes everything queued, in the order it would be sent.
    #[cfg(test)]
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let used = self.slices(&mut slices);
            let before = bytes.len();
            slices[..used]
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
            self.advance(bytes.len() - before);
        }
        bytes
    }

    /// Forgets everything queued.
    pub(crate) fn clear(&mut self) {
        *self = Output::default();
    }

    fn poll_flush(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        while !self.is_empty() {
            let sent = {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let used = self.slices(&mut slices);
                ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..used]))?
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(sent);
        }
        self.release();
        ready!(Pin::new(stream).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Gives the buffer back: nothing is queued, and waiting holds none.
    fn release(&mut self) {
        let control = std::mem::take(&mut self.control);
        if control.capacity() <= SMALL_SIZE {
            buffers::give_back(Class::Small, control);
        }
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let mut used = 0;
        let mut control = &self.control[..];
        for (before, data) in &self.data {
            if used + 3 > MAX_SLICES {
                return used;
            }
            let (head, rest) = control.split_at(*before);
            control = rest;
            if !head.is_empty() {
                slices[used] = IoSlice::new(head);
                used += 1;
            }
            slices[used] = IoSlice::new(data);
            used += 1;
        }
        if !control.is_empty() {
            slices[used] = IoSlice::new(control);
            used += 1;
        }
        used
    }

    fn advance(&mut self, mut sent: usize) {
        while let Some((before, data)) = self.data.front_mut() {
            let control = sent.min(*before);
            self.control.advance(control);
            *before -= control;
            self.placed -= control;
            sent -= control;
            let taken = sent.min(data.len());
            data.advance(taken);
            self.data_len -= taken;
            sent -= taken;
            if !data.is_empty() {
                return;
            }
            self.data.pop_front();
        }
        if sent == self.control.len() {
            self.control.clear();
        } else {
            self.control.advance(sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn sends_control_and_data_in_order() {
        let (ours, mut theirs) = tokio::io::duplex(1000);
        let mut wire = Wire::new(Box::new(ours));
        let big = Bytes::from(vec![b'x'; INLINE_DATA + 1]);
        let mut expected = Vec::new();
        for round in 0..50u8 {
            wire.output.control().extend_from_slice(&[round, b'\n']);
            wire.output.push(big.clone());
            wire.output.push(Bytes::from_static(b"small"));
            expected.extend_from_slice(&[round, b'\n']);
            expected.extend_from_slice(&big);
            expected.extend_from_slice(b"small");
        }
        assert_eq!(wire.output.len(), expected.len());
        let send = tokio::spawn(async move {
            poll_fn(|cx| wire.poll_flush(cx)).await.unwrap();
            assert!(wire.output.is_empty());
        });
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).await.unwrap();
        send.await.unwrap();
        assert_eq!(received, expected);
    }

    #[tokio::test]
    async fn receives_small_then_in_bulk() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut wire = Wire::new(Box::new(ours));
        theirs.write_all(b"hello").await.unwrap();
        assert_eq!(poll_fn(|cx| wire.poll_fill(cx)).await.unwrap(), 5);
        assert_eq!(
            (wire.input.class, wire.input.reads),
            (Class::Small, Class::Bulk)
        );
        let big = vec![b'y'; 500_000];
        theirs.write_all(&big).await.unwrap();
        drop(theirs);
        assert!(poll_fn(|cx| wire.poll_fill(cx)).await.unwrap() >= BULK_FROM);
        // What was there stands before it, in one piece.
        assert!(wire.input.buf.starts_with(b"helloyyyy"));
        assert_eq!(
            (wire.input.class, wire.input.reads),
            (Class::Bulk, Class::Huge)
        );
        while poll_fn(|cx| wire.poll_fill(cx)).await.unwrap() > 0 {}
        assert!(wire.input.eof);
        assert_eq!(wire.input.buf.len(), 500_005);
        assert_eq!(wire.input.buf[5..], big[..]);
    }

    #[tokio::test]
    async fn bytes_come_out_as_they_went_in() {
        for step in [1, 7, 4_096, 20_000, 100_000] {
            let (ours, mut theirs) = tokio::io::duplex(1 << 20);
            let mut wire = Wire::new(Box::new(ours));
            let sent: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
            let (mut received, mut held) = (Vec::new(), Vec::new());
            for (round, piece) in sent.chunks(step).enumerate().take(400) {
                theirs.write_all(piece).await.unwrap();
                poll_fn(|cx| wire.poll_fill(cx)).await.unwrap();
                // Some is left, and some slices live for long.
                let taken = wire.input.buf.len() - wire.input.buf.len().min(round % 3);
                held.push(wire.input.buf.split_to(taken).freeze());
                received.extend_from_slice(held.last().unwrap());
                if round % 5 == 0 {
                    held.clear();
                }
            }
            received.extend_from_slice(&wire.input.buf);
            drop(theirs);
            loop {
                wire.input.buf.clear();
                if poll_fn(|cx| wire.poll_fill(cx)).await.unwrap() == 0 {
                    break;
                }
                received.extend_from_slice(&wire.input.buf);
            }
            assert_eq!(received, sent[..received.len()], "in steps of {step}");
        }
    }
}
