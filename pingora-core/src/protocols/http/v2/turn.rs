//! [`Turn`] and [`Gathered`]: the task of a connection runs after those of its streams, and what all
//! of them have to send leaves in one write.
//!
//! `h2` flushes after each piece of a body. That is one system call for each response, where the
//! responses of a turn fit into one packet.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::protocols::Stream;
use crate::protocols::layered::{as_its_stream, pass_reads};

/// Bytes that are gathered before they are sent: the most TLS puts into a record.
const GATHERED: usize = 16 * 1024;

/// Buffers of that size a thread keeps for the next turns of its connections.
const MAX_SPARE: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// The most parts written at once.
const MAX_SLICES: usize = 8;

/// Makes the task of a connection wait for the others that are ready when it is woken, then send
/// what they wrote.
///
/// Streams of a connection have something to send at about the same time: what they asked for was
/// read in one piece, or was answered so. The first of them wakes the task of the connection.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// The task was woken since it had nothing to do, and has not waited.
    has_waited: bool,
    gate: Arc<Gate>,
}

/// What a turn and its connection share.
#[derive(Debug, Default)]
struct Gate {
    /// Writes are gathered.
    is_closed: AtomicBool,
    /// Something was written since the last flush that was not put off.
    is_dirty: AtomicBool,
}

/// A connection whose writes wait for the end of the turn.
#[derive(Debug)]
pub(crate) struct Gathered<S> {
    stream: S,
    waiting: BytesMut,
    gate: Arc<Gate>,
}

impl Turn {
    /// Returns `stream` with its writes gathered during turns.
    pub(crate) fn gather<S>(&self, stream: S) -> Gathered<S> {
        Gathered {
            stream,
            waiting: BytesMut::new(),
            gate: self.gate.clone(),
        }
    }

    /// Polls `work`, on the first poll after a pause one turn later than that; once more if it
    /// wrote something and is not ready, so that it is flushed. Cancel-safe if the work is.
    pub(crate) fn poll_last<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if !self.has_waited {
            self.has_waited = true;
            // To the end of the queue: that is where a task goes that wakes itself.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.gate.is_closed.store(true, Relaxed);
        let mut done = work(cx);
        self.gate.is_closed.store(false, Relaxed);
        if done.is_pending() && self.gate.is_dirty.load(Relaxed) {
            done = work(cx);
        }
        self.has_waited = done.is_ready();
        done
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Sends all that was gathered.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            ready!(self.poll_send_with(cx, &[]))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends once, what was gathered before `bufs`; returns how much of `bufs` was sent.
    fn poll_send_with(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        slices[0] = IoSlice::new(&self.waiting);
        let used = bufs.len().min(MAX_SLICES - 1);
        slices[1..=used].copy_from_slice(&bufs[..used]);
        let slices = &slices[usize::from(self.waiting.is_empty())..=used];
        let sent = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let gathered = sent.min(self.waiting.len());
        self.waiting.advance(gathered);
        if gathered > 0 && self.waiting.is_empty() {
            // An idle connection holds no buffer.
            give_back(std::mem::take(&mut self.waiting));
        }
        Poll::Ready(Ok(sent - gathered))
    }
}

/// Returns an empty buffer with room for what a turn gathers.
fn spare() -> BytesMut {
    let kept = SPARE.try_with(|spare| spare.borrow_mut().pop());
    // While the thread ends there is none.
    kept.ok()
        .flatten()
        .unwrap_or_else(|| BytesMut::with_capacity(GATHERED))
}

/// Keeps a buffer for the next turn of any connection.
fn give_back(mut buf: BytesMut) {
    buf.clear();
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < MAX_SPARE && buf.try_reclaim(GATHERED) {
            spare.push(buf);
        }
    });
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    pass_reads!(stream);
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        this.gate.is_dirty.store(true, Relaxed);
        if this.gate.is_closed.load(Relaxed) && this.waiting.len() + length <= GATHERED {
            if this.waiting.is_empty() {
                this.waiting = spare();
            }
            for buf in bufs {
                this.waiting.extend_from_slice(buf);
            }
            return Poll::Ready(Ok(length));
        }
        loop {
            let sent = ready!(this.poll_send_with(cx, bufs))?;
            if sent > 0 {
                return Poll::Ready(Ok(sent));
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Sends what was gathered, unless the turn is not over.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.gate.is_closed.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_send(cx))?;
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.gate.is_dirty.store(false, Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

as_its_stream!(Gathered<Stream>);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_test::io::Builder;
    use tokio_test::{assert_pending, assert_ready};

    use super::*;

    #[test]
    fn work_waits_a_turn_after_each_pause() {
        let (mut turn, mut done) = (Turn::default(), 0);
        // Pauses before the second and the fourth time.
        let mut task = tokio_test::task::spawn(poll_fn(|cx| {
            let polled = turn.poll_last(cx, |_| {
                done += 1;
                match done % 2 {
                    1 => Poll::Pending,
                    _ => Poll::Ready(()),
                }
            });
            polled.map(|()| done)
        }));
        // It asks for another turn, has nothing to do, asks again when it is woken, and is ready.
        assert_pending!(task.poll());
        assert!(task.is_woken());
        assert_pending!(task.poll());
        assert!(!task.is_woken());
        assert_pending!(task.poll());
        assert!(task.is_woken());
        assert_eq!(assert_ready!(task.poll()), 2);
        // There is more to do at once.
        assert_pending!(task.poll());
        assert!(!task.is_woken());
    }

    /// The mock takes each write as a whole: what it expects is what is written at once.
    #[test]
    fn what_is_written_in_a_turn_is_sent_at_once() {
        let mut turn = Turn::default();
        let large = vec![b'x'; GATHERED];
        let mock = Builder::new()
            .write(b"before")
            .write(b"one two three")
            .write(&[b"four", &large[..]].concat())
            .write(b"last")
            .build();
        let mut stream = turn.gather(mock);
        let mut writes: Vec<Vec<&[u8]>> =
            vec![vec![b"one ", b"two ", b"three"], vec![b"four", &large]];
        let mut task = tokio_test::task::spawn(async move {
            stream.write_all(b"before").await.unwrap();
            stream.flush().await.unwrap();
            for pieces in &mut writes {
                let mut pieces = std::mem::take(pieces).into_iter();
                let mut rounds = 0;
                poll_fn(|cx| {
                    turn.poll_last(cx, |cx| {
                        rounds += 1;
                        for piece in pieces.by_ref() {
                            let sent = Pin::new(&mut stream).poll_write(cx, piece);
                            assert_eq!(assert_ready!(sent).unwrap(), piece.len());
                        }
                        assert_ready!(Pin::new(&mut stream).poll_flush(cx)).unwrap();
                        match rounds {
                            1 => Poll::Pending,
                            _ => Poll::Ready(()),
                        }
                    })
                })
                .await;
                assert_eq!(rounds, 2);
                assert!(stream.waiting.is_empty() && stream.waiting.capacity() == 0);
            }
            stream.write_all(b"last").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        while task.poll().is_pending() {
            assert!(task.is_woken());
        }
    }

    #[tokio::test]
    async fn nothing_is_lost_when_the_other_side_is_slow() {
        let mut turn = Turn::default();
        let (near, mut far) = tokio::io::duplex(7);
        let mut stream = turn.gather(near);
        let expected: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        let mut rest = expected.clone();
        let sending = async move {
            poll_fn(|cx| {
                turn.poll_last(cx, |cx| {
                    while !rest.is_empty() {
                        let next = rest.len().min(3_000);
                        match Pin::new(&mut stream).poll_write(cx, &rest[..next]) {
                            Poll::Ready(sent) => drop(rest.drain(..sent.unwrap())),
                            Poll::Pending => return Poll::Pending,
                        }
                    }
                    ready!(Pin::new(&mut stream).poll_flush(cx)).unwrap();
                    match stream.waiting.is_empty() {
                        true => Poll::Ready(()),
                        false => Poll::Pending,
                    }
                })
            })
            .await;
        };
        let mut received = Vec::new();
        let ((), read) = tokio::join!(sending, far.read_to_end(&mut received));
        read.unwrap();
        assert!(received == expected);
    }
}
