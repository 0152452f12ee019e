//! The I/O of a connection, and the handles of those who use it.
//!
//! [`Driver`] is polled by the task of the connection: it reads, lets the machine work, and writes.
//! Everybody else has a [`StreamRef`], or a [`Sender`] to open streams by; what they have to say
//! piles up in the machine, which wakes that task.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora_timeout::fast_timeout::Deadline;
use tokio::io::AsyncWrite;

use super::Failure;
use super::block::RawHead;
use super::budget::Budgets;
use super::hpack::Encoder;
use super::machine::{Machine, Wasted};
use super::settings::Local;
use super::streams::{Asked, Wish};
use crate::protocols::Stream;
use crate::protocols::http::wire::Wire;

/// How long a peer has to take the last words of a connection, and to close it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes of a peer that are read and dropped meanwhile, so that it gets the last words: what it sends
/// to a closed connection would take them away.
const MAX_DRAINED: usize = 1024 * 1024;

/// What the driver and the handles share.
type Shared = Arc<Mutex<Machine>>;

/// A connection and its I/O.
pub(crate) struct Driver {
    wire: Wire,
    shared: Shared,
    budgets: Budgets,
    is_server: bool,
    /// Frames were left in the input because the peer does not take what it is owed.
    is_paused: bool,
    /// The last words are being said.
    closing: Option<Box<Closing>>,
}

struct Closing {
    timer: Deadline,
    /// Everything was written, and the end of it.
    is_shut: bool,
    drained: usize,
    result: Result<(), Failure>,
}

/// A request a client has sent.
pub(crate) struct Incoming {
    pub(crate) head: RawHead,
    pub(crate) stream: StreamRef,
}

impl Driver {
    /// Returns a connection of a client to us.
    pub(crate) fn server(stream: Stream, local: Local) -> Self {
        Self::new(stream, true, local)
    }

    /// Returns a connection of ours to a server, and what opens streams on it.
    pub(crate) fn client(stream: Stream, local: Local) -> (Sender, Self) {
        let driver = Self::new(stream, false, local);
        (Sender(Arc::clone(&driver.shared)), driver)
    }

    fn new(stream: Stream, is_server: bool, local: Local) -> Self {
        let machine = Machine::new(is_server, local);
        Driver {
            wire: Wire::new(stream),
            shared: Arc::new(Mutex::new(machine)),
            budgets: Budgets::new(Instant::now()),
            is_server,
            is_paused: false,
            closing: None,
        }
    }

    /// Polls for the next request; `Ready(None)` when there will be no more. Does the I/O of all
    /// streams. Cancel-safe.
    pub(crate) fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Incoming, Failure>>> {
        let arrival = self.shared.lock().next_arrival();
        let arrival = match arrival {
            Some(arrival) => Some(arrival),
            None => match self.poll_work(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(None),
                Poll::Ready(Err(failure)) => return Poll::Ready(Some(Err(failure))),
                Poll::Pending => self.shared.lock().next_arrival(),
            },
        };
        let Some(arrival) = arrival else {
            return Poll::Pending;
        };
        Poll::Ready(Some(Ok(Incoming {
            head: arrival.head,
            stream: StreamRef {
                shared: Arc::clone(&self.shared),
                id: arrival.id,
                is_writer: true,
            },
        })))
    }

    /// Polls for the end of the connection. Does the I/O of all streams. Cancel-safe.
    pub(crate) fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.closing.is_some() {
            return self.poll_close(cx);
        }
        loop {
            let has_read = self.poll_receive(cx);
            let written = self.poll_send(cx);
            let mut machine = self.shared.lock();
            let over = match machine.failure() {
                Some(failure) => Some(Err(failure)),
                None if machine.is_done() => Some(Ok(())),
                None => None,
            };
            if let Some(result) = over {
                drop(machine);
                self.close(result);
                return self.poll_close(cx);
            }
            machine.register(cx);
            // What was taken up now, or came from elsewhere since, goes on at once.
            let more = has_read
                || (written.is_ready() && machine.has_out())
                || (self.is_paused && !machine.owes_too_much());
            if !more {
                return Poll::Pending;
            }
        }
    }

    /// Returns whether something waits to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.wire.needs_flush() || self.shared.lock().has_out()
    }

    /// Returns how many streams there are.
    pub(crate) fn live(&self) -> usize {
        self.shared.lock().live()
    }

    /// Returns whether the peer's first frame has come.
    pub(crate) fn is_set_up(&self) -> bool {
        self.shared.lock().is_set_up()
    }

    /// Tells the client to open no more streams; those it has opened meanwhile are served.
    pub(crate) fn end_gracefully(&mut self) {
        self.shared.lock().end_gracefully();
    }

    /// Asks the peer for a sign of life.
    pub(crate) fn send_ping(&mut self) {
        self.shared.lock().send_ping();
    }

    /// Returns whether it was given since.
    pub(crate) fn has_pong(&self) -> bool {
        self.shared.lock().has_pong()
    }

    /// Reads once and lets the machine work; returns whether there was anything.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> bool {
        {
            let mut machine = self.shared.lock();
            machine.set_driven();
            self.is_paused = machine.owes_too_much();
            if self.is_paused {
                return false;
            }
        }
        let (has_read, ended) = match self.wire.poll_fill(cx) {
            Poll::Ready(Ok(0)) => (false, Some(io::ErrorKind::UnexpectedEof)),
            Poll::Ready(Ok(_)) => (true, None),
            Poll::Ready(Err(e)) => (false, Some(e.kind())),
            Poll::Pending => (false, None),
        };
        let mut machine = self.shared.lock();
        // Also what was left while the peer did not take what it was owed.
        self.is_paused = machine.receive(&mut self.wire.input.buf);
        if let Some(kind) = ended {
            machine.ended(Failure::Io(kind));
        }
        let mut wasted = machine.take_wasted();
        if !self.is_server {
            // What a server breaks are its own answers.
            (wasted.resets, wasted.malformed) = (0, 0);
        }
        if wasted != Wasted::default()
            && let Err(why) = self.budgets.charge(wasted, Instant::now())
        {
            machine.fail(Reason::ENHANCE_YOUR_CALM, why);
        }
        drop(machine);
        self.wire.input.release();
        has_read
    }

    /// Writes what the machine has for the peer.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.wire.needs_flush() {
                let mut machine = self.shared.lock();
                if !machine.has_out() {
                    return Poll::Ready(());
                }
                self.wire.output = machine.take_out();
                machine.set_unsent(self.wire.output.len());
            }
            let written = self.wire.poll_flush(cx);
            let mut machine = self.shared.lock();
            machine.set_unsent(self.wire.output.len());
            match written {
                Poll::Ready(Ok(())) => (),
                Poll::Ready(Err(e)) => {
                    self.wire.output.clear();
                    machine.ended(Failure::Io(e.kind()));
                    return Poll::Ready(());
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn close(&mut self, result: Result<(), Failure>) {
        if result.is_ok() && !self.is_server {
            self.shared.lock().say_goodbye();
        }
        self.closing = Some(Box::new(Closing {
            timer: Deadline::new(LAST_WORDS),
            is_shut: matches!(result, Err(Failure::Io(_))),
            drained: 0,
            result,
        }));
    }

    /// Polls until the last words are said and the peer has gone, or the time for that is over.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let _ = self.poll_send(cx);
        let Some(closing) = &mut self.closing else {
            return Poll::Ready(Ok(()));
        };
        let result = closing.result;
        if closing.timer.poll_elapsed(cx).is_ready() {
            return Poll::Ready(result);
        }
        if !closing.is_shut {
            if self.wire.needs_flush() || self.shared.lock().has_out() {
                return Poll::Pending;
            }
            match Pin::new(&mut self.wire.stream).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => closing.is_shut = true,
                Poll::Ready(Err(_)) => return Poll::Ready(result),
                Poll::Pending => return Poll::Pending,
            }
        }
        let says_why = matches!(result, Err(Failure::GoAway { .. }));
        if !says_why && !self.is_server {
            return Poll::Ready(result);
        }
        loop {
            self.wire.input.buf.clear();
            match ready!(self.wire.poll_fill(cx)) {
                Ok(len @ 1..) if closing.drained < MAX_DRAINED => closing.drained += len,
                _ => return Poll::Ready(result),
            }
        }
    }
}

/// Nobody hears of the streams any more.
impl Drop for Driver {
    fn drop(&mut self) {
        let kind = io::ErrorKind::ConnectionAborted;
        self.shared.lock().ended(Failure::Io(kind));
    }
}

/// What opens streams on a connection of ours; when it is dropped the connection ends with its last
/// stream.
pub(crate) struct Sender(Shared);

impl Sender {
    /// Opens a stream with the head `encode` writes.
    ///
    /// # Errors
    /// When the peer takes no more streams: it has seen nothing of this one.
    pub(crate) fn open(
        &self,
        ends: bool,
        asked: Asked,
        encode: impl FnOnce(&mut Encoder, &mut BytesMut),
    ) -> Result<StreamRef, Failure> {
        let id = self.0.lock().open(ends, asked, encode)?;
        Ok(StreamRef {
            shared: Arc::clone(&self.0),
            id,
            is_writer: true,
        })
    }

    /// Returns whether streams may be opened, as far as the peer goes.
    pub(crate) fn is_open(&self) -> bool {
        self.0.lock().takes_streams()
    }

    /// Returns how many streams the peer allows at once.
    pub(crate) fn max_streams(&self) -> usize {
        self.0.lock().peer_max_streams() as usize
    }

    /// Returns whether the peer grants tunnels in streams (RFC 8441).
    pub(crate) fn grants_tunnels(&self) -> bool {
        self.0.lock().peer_grants_tunnels()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.lock().abandon();
    }
}

/// A stream in the hands of its session; when it is dropped a stream that has not ended is reset.
pub(crate) struct StreamRef {
    shared: Shared,
    id: u32,
    /// Bodies are sent by one handle.
    is_writer: bool,
}

impl StreamRef {
    /// Returns another handle of the same stream, which does not write.
    pub(crate) fn share(&self) -> StreamRef {
        self.shared.lock().hold(self.id);
        StreamRef {
            shared: Arc::clone(&self.shared),
            id: self.id,
            is_writer: false,
        }
    }

    /// Returns a handle that writes in place of this one; `None` when there is one already.
    pub(crate) fn take_writer(&mut self) -> Option<StreamRef> {
        if !std::mem::take(&mut self.is_writer) {
            return None;
        }
        let mut writer = self.share();
        writer.is_writer = true;
        Some(writer)
    }

    /// Fails unless this is the handle that writes.
    fn may_write(&self) -> Result<(), Failure> {
        let (reason, by_peer) = (Reason::STREAM_CLOSED, false);
        match self.is_writer {
            true => Ok(()),
            false => Err(Failure::Reset { reason, by_peer }),
        }
    }

    /// Sends a head that `encode` writes: a final one, or an informational one.
    pub(crate) fn send_head(
        &mut self,
        is_final: bool,
        ends: bool,
        encode: impl FnOnce(&mut Encoder, &mut BytesMut),
    ) -> Result<(), Failure> {
        self.shared
            .lock()
            .send_head(self.id, is_final, ends, encode)
    }

    /// Polls for room to send up to `want` bytes of a body.
    pub(crate) fn poll_room(
        &mut self,
        want: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Failure>> {
        self.may_write()?;
        self.shared.lock().poll_room(self.id, want, cx)
    }

    /// Sends a piece of a body no longer than the room there was.
    pub(crate) fn send_data(&mut self, data: Bytes, ends: bool) -> Result<(), Failure> {
        self.may_write()?;
        self.shared.lock().send_data(self.id, data, ends)
    }

    /// Sends trailers, which end the stream.
    pub(crate) fn send_trailers(&mut self, trailers: &HeaderMap) -> Result<(), Failure> {
        self.may_write()?;
        self.shared.lock().send_trailers(self.id, trailers)
    }

    /// Resets the stream, unless it has ended.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.shared.lock().reset(self.id, reason);
    }

    /// Resets the stream of a request that is none; the client is told not to send many.
    pub(crate) fn refuse_malformed(&mut self, why: &'static str) {
        self.shared.lock().refuse_malformed(self.id, why);
    }

    /// Polls for a head of the response: informational ones come before the final one.
    pub(crate) fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<RawHead, Failure>> {
        self.shared.lock().poll_response(self.id, cx)
    }

    /// Polls for a piece of the body; `Ready(None)` at its end.
    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Failure>>> {
        self.shared.lock().poll_data(self.id, cx)
    }

    /// Polls for the trailers, once the body has ended.
    pub(crate) fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, Failure>> {
        self.shared.lock().poll_trailers(self.id, cx)
    }

    /// Returns whether nothing more can be read.
    pub(crate) fn is_read(&self) -> bool {
        self.shared.lock().is_read(self.id)
    }

    /// Polls for the end of a stream that did not end well; its reader does.
    pub(crate) fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        self.shared.lock().poll_failure(self.id, Wish::Read, cx)
    }

    /// Polls for the end of a stream that did not end well; its writer does.
    pub(crate) fn poll_writer_failure(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        self.shared.lock().poll_failure(self.id, Wish::Write, cx)
    }
}

impl Drop for StreamRef {
    fn drop(&mut self) {
        self.shared.lock().release(self.id);
    }
}
