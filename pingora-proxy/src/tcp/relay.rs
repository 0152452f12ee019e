//! [`Relay`]: moves bytes between two connections, both ways at once, in one future.
//!
//! Bytes are read into a buffer of the thread and written from it at once; only what the other
//! side does not take is kept, and nothing more is read before it has. So a connection that idles,
//! or whose sides keep up with each other, holds no buffer at all.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pingora_core::protocols::Stream;
use pingora_error::{
    BError, Error,
    ErrorType::{ConnectionClosed, ReadError, ReadTimedout, WriteError},
};
use pingora_timeout::fast_timeout::Deadline;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is moved at a time, and so how much is kept at most, each way.
const CHUNK_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK_BYTES].into());
}

/// Whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Downstream,
    Upstream,
}

pub(super) struct Relay<'a> {
    downstream: &'a mut Stream,
    upstream: &'a mut Stream,
    up: Direction,
    down: Direction,
    idle: Option<Deadline>,
    limit: Duration,
}

impl<'a> Relay<'a> {
    /// Returns a relay that first sends `first` upstream.
    pub(super) fn new(
        downstream: &'a mut Stream,
        upstream: &'a mut Stream,
        first: BytesMut,
        idle_timeout: Option<Duration>,
    ) -> Self {
        Relay {
            downstream,
            upstream,
            up: Direction {
                bytes: first.len() as u64,
                kept: first,
                ..Direction::default()
            },
            down: Direction::default(),
            idle: idle_timeout.map(Deadline::new),
            limit: idle_timeout.unwrap_or_default(),
        }
    }

    /// Ends when both sides have ended; an error says which one broke.
    pub(super) async fn run(&mut self) -> Result<(), (Side, BError)> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Returns how many bytes went upstream and downstream.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.up.bytes, self.down.bytes)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), (Side, BError)>> {
        let before = (self.up.bytes, self.down.bytes);
        let up = self.up.poll(cx, self.downstream, self.upstream);
        let down = self.down.poll(cx, self.upstream, self.downstream);
        let up = blame(up, Side::Downstream, Side::Upstream)?;
        let down = blame(down, Side::Upstream, Side::Downstream)?;
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(Ok(()));
        }
        let Some(idle) = &mut self.idle else {
            return Poll::Pending;
        };
        if before != (self.up.bytes, self.down.bytes) {
            idle.reset(self.limit);
        }
        ready!(idle.poll_elapsed(cx));
        let e = Error::explain(ReadTimedout, "neither side sends anything");
        Poll::Ready(Err((Side::Downstream, e)))
    }
}

type Blamed = Result<Poll<()>, (Side, BError)>;

fn blame(polled: Poll<Result<(), Failure>>, from: Side, to: Side) -> Blamed {
    match polled {
        Poll::Pending => Ok(Poll::Pending),
        Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
        Poll::Ready(Err(Failure::Read(e))) => Err((from, broken(ReadError, "reading", e))),
        Poll::Ready(Err(Failure::Write(e))) => Err((to, broken(WriteError, "writing", e))),
    }
}

#[cold]
fn broken(etype: pingora_error::ErrorType, what: &'static str, e: io::Error) -> BError {
    let etype = match e.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ConnectionClosed,
        _ => etype,
    };
    Error::because(etype, format!("while {what} in a relay"), e)
}

enum Failure {
    Read(io::Error),
    Write(io::Error),
}

/// One way through the relay.
#[derive(Default)]
struct Direction {
    /// Read, and not taken by the other side yet.
    kept: BytesMut,
    /// Bytes read.
    bytes: u64,
    /// Something was written since the last flush.
    unflushed: bool,
    ended: bool,
    shut: bool,
}

impl Direction {
    /// Ready when `from` has ended and `to` was told.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Result<(), Failure>> {
        if self.shut {
            return Poll::Ready(Ok(()));
        }
        // Ends when a side has nothing more at hand; the runtime bounds how often one has.
        loop {
            while !self.kept.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.kept));
                self.unflushed = true;
                match written {
                    Ok(0) => {
                        return Poll::Ready(Err(Failure::Write(io::ErrorKind::WriteZero.into())));
                    }
                    Ok(count) => self.kept.advance(count),
                    Err(e) => return Poll::Ready(Err(Failure::Write(e))),
                }
                if self.kept.is_empty() {
                    self.kept = BytesMut::new();
                }
            }
            if self.ended {
                ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Failure::Write)?;
                // The other way may go on: this is the end of one direction.
                let shut = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.shut = true;
                return Poll::Ready(match shut {
                    Err(e) if e.kind() != io::ErrorKind::NotConnected => Err(Failure::Write(e)),
                    _ => Ok(()),
                });
            }
            let moved = SCRATCH.with_borrow_mut(|scratch| self.poll_move(cx, scratch, from, to));
            if moved?.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Failure::Write)?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }

    /// Reads once, and writes what was read; keeps what is not taken.
    fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        from: &mut Stream,
        to: &mut Stream,
    ) -> Result<Poll<()>, Failure> {
        let mut buf = ReadBuf::new(scratch);
        match Pin::new(&mut *from).poll_read(cx, &mut buf) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(read) => read.map_err(Failure::Read)?,
        }
        let data = buf.filled();
        if data.is_empty() {
            self.ended = true;
            return Ok(Poll::Ready(()));
        }
        self.bytes += data.len() as u64;
        let taken = match Pin::new(&mut *to).poll_write(cx, data) {
            Poll::Pending => 0,
            Poll::Ready(written) => written.map_err(Failure::Write)?,
        };
        self.unflushed = true;
        if taken < data.len() {
            self.kept.extend_from_slice(&data[taken..]);
        }
        Ok(Poll::Ready(()))
    }
}
