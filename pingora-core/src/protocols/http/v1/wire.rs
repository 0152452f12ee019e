//! A stream with what was received but not consumed, and what is queued but not sent.
//!
//! Both roles build on it. Everything is poll-driven: one future can wait for the input and the
//! output of two connections at once, without a task or a channel between them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::protocols::Stream;

/// Bytes asked for while it is not known how much will come; nothing is held while waiting.
///
/// Room for a head and 64 KiB of body, a size many senders cut their messages to.
const SCRATCH_SIZE: usize = 68 * 1024;

/// A read of so much means bulk: the next one goes into a buffer of its own, not through a copy.
const BULK_FROM: usize = 16 * 1024;

/// Bytes asked for at once in bulk, and after further full reads.
const MIN_BULK_READ: usize = 68 * 1024;
const MAX_BULK_READ: usize = 256 * 1024;

/// Pieces handed to one vectored write.
const MAX_SLICES: usize = 32;

/// A piece of a body up to this size is copied behind its head: one buffer beats two.
const INLINE_DATA: usize = 2 * 1024;

/// Queued bytes beyond which a sender should flush before it queues more.
pub(crate) const OUTPUT_HIGH_WATER: usize = 64 * 1024;

/// Capacity for control bytes that is kept after they were sent.
const KEEP_CONTROL: usize = 8 * 1024;

thread_local! {
    /// The last response on this thread came in bulk: expect the same of the next.
    static EXPECT_BULK: Cell<bool> = const { Cell::new(false) };
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_SIZE].into_boxed_slice());
}

/// A connection that speaks HTTP/1.
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

    /// Reads as much at once as the last messages on this thread were long.
    ///
    /// For the side that has just asked for something: the buffer is held until it comes.
    pub(crate) fn expect_like_before(&mut self) {
        if EXPECT_BULK.get() {
            self.input.bulk = MIN_BULK_READ;
        }
    }

    /// Remembers whether this message came in bulk.
    pub(crate) fn remember_size(&self, bytes: usize) {
        EXPECT_BULK.set(bytes >= BULK_FROM);
    }

    /// Reads in bulk when so many more bytes are known to come.
    pub(crate) fn expect(&mut self, bytes: u64) {
        if bytes >= BULK_FROM as u64 && self.input.bulk == 0 {
            self.input.bulk = bytes.clamp(MIN_BULK_READ as u64, MAX_BULK_READ as u64) as usize;
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
) -> Poll<io::Result<BytesMut>> {
    let mut input = Input::default();
    ready!(input.poll_small(stream, cx))?;
    Poll::Ready(Ok(input.buf))
}

/// What was received and not consumed yet.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pub(crate) buf: BytesMut,
    /// The peer has sent everything it ever will.
    pub(crate) eof: bool,
    /// How much to ask for at once; 0 while reads are small.
    bulk: usize,
}

impl Input {
    fn poll_fill(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        let received = if self.bulk == 0 {
            ready!(self.poll_small(stream, cx))?
        } else {
            ready!(self.poll_bulk(stream, cx))?
        };
        self.eof = received == 0;
        Poll::Ready(Ok(received))
    }

    /// Reads through a buffer all connections of the thread share, so that waiting costs nothing.
    fn poll_small(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
            let received = buf.filled();
            self.buf.extend_from_slice(received);
            if received.len() >= BULK_FROM {
                self.bulk = MIN_BULK_READ;
            }
            Poll::Ready(Ok(received.len()))
        })
    }

    /// Reads into a buffer of our own, which grows while reads fill it.
    fn poll_bulk(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buf.capacity() - self.buf.len() < self.bulk / 2 {
            self.buf.reserve(self.bulk);
        }
        let room = self.buf.capacity() - self.buf.len();
        let received = ready!(pin!(stream.read_buf(&mut self.buf)).poll(cx))?;
        if received == room {
            self.bulk = (self.bulk * 2).min(MAX_BULK_READ);
        }
        Poll::Ready(Ok(received))
    }
}

/// What is queued and not sent yet: control bytes (heads, chunk sizes) with data between them.
#[derive(Debug, Default)]
pub(crate) struct Output {
    control: BytesMut,
    /// Data, each with how many control bytes go before it.
    data: VecDeque<(usize, Bytes)>,
    data_len: usize,
    /// The stream was given bytes since its last complete flush; it may have kept some back.
    unflushed: bool,
}

impl Output {
    /// Returns the control bytes, to append to.
    pub(crate) fn control(&mut self) -> &mut BytesMut {
        &mut self.control
    }

    /// Queues data behind everything queued before.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.len() <= INLINE_DATA {
            self.control.extend_from_slice(&data);
            return;
        }
        let before = self.control.len() - self.data.iter().map(|(before, _)| before).sum::<usize>();
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
        if self.control.capacity() > KEEP_CONTROL {
            self.control = BytesMut::new();
        }
        ready!(Pin::new(stream).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
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
        assert_eq!(wire.input.bulk, 0);
        let big = vec![b'y'; 500_000];
        theirs.write_all(&big).await.unwrap();
        drop(theirs);
        while poll_fn(|cx| wire.poll_fill(cx)).await.unwrap() > 0 {}
        assert!(wire.input.eof && wire.input.bulk >= MIN_BULK_READ);
        assert_eq!(wire.input.buf.len(), 500_005);
        assert_eq!(wire.input.buf[5..], big[..]);
    }
}
