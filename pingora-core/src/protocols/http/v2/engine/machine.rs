//! [`Machine`]: a connection of HTTP/2 without its I/O: bytes in, frames out, streams in between.
//!
//! `machine/receive.rs` takes what the peer sends, `machine/heads.rs` makes requests and responses of it,
//! `machine/send.rs` takes what our streams have to say; this file has the state, and how a connection
//! ends.

mod heads;
mod receive;
mod send;

use std::collections::VecDeque;
use std::task::{Context, Waker};

use h2::Reason;

use super::Failure;
use super::block::RawHead;
use super::frame::{self, DEFAULT_WINDOW, PREFACE};
use super::hpack::{Decoder, Encoder};
use super::settings::{HEADER_TABLE_BYTES, Local, Peer};
use super::streams::{Half, Streams, Wish};
use crate::protocols::http::wire::Output;

/// Bytes of frames that wait beyond which no bodies are added: a peer has a window and does not read.
const MAX_UNSENT: usize = 128 * 1024;

/// Bytes of frames that wait beyond which nothing of the peer is read: it does not take what it asks
/// for.
const MAX_OWED: usize = 2 * MAX_UNSENT;

/// Streams we have reset of which the peer may not know yet; what comes on older ones is refused. As
/// many as may be open twice over, and not less than this.
const MIN_RECENT_RESETS: usize = 128;

const MAX_RECENT_RESETS: usize = 4096;

/// Frames that may change nothing for each that does something, and how many of them are not counted
/// at most: clients measure their connection by PINGs while they download.
const CREDIT: u32 = 4;
const MAX_CREDIT: u32 = 4000;

/// Sessions that may live beyond the streams that may be open: those of streams that were reset, or
/// that have ended and are still logged.
const MAX_LINGERING: usize = 100;

/// The highest number of a stream.
const MAX_ID: u32 = (1 << 31) - 1;

/// The payload of the PING that follows the first GOAWAY of a graceful end.
const LAST_PING: [u8; 8] = *b"last one";

/// The payload of those that ask whether a server is alive.
const ALIVE_PING: [u8; 8] = *b"are you?";

/// A new request.
pub(super) struct Arrival {
    pub(super) head: RawHead,
    pub(super) id: u32,
}

/// What the peer did that is allowed, but not any number of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wasted {
    /// Requests it has reset before they were answered.
    pub(super) resets: u32,
    /// Streams it made us reset.
    pub(super) malformed: u32,
    /// Frames that change nothing.
    pub(super) frames: u32,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// The peer was told, and a PING follows to learn when it knows.
    Announced,
    /// No stream above this one is served.
    After(u32),
}

/// A connection.
pub(super) struct Machine {
    is_server: bool,
    local: Local,
    peer: Peer,
    decoder: Decoder,
    encoder: Encoder,
    streams: Streams,
    /// Streams that are open in the sense of the protocol.
    open: u32,
    /// The highest number of a stream the peer has opened.
    last_id: u32,
    /// The number of our next stream.
    next_id: u32,
    out: Output,
    /// Bytes the driver has taken from `out` and not written yet.
    unsent: usize,
    /// Bytes all our streams may send.
    send_window: i64,
    /// Bytes all streams of the peer may send.
    recv_window: i64,
    /// Bytes that were read and not announced as room yet.
    unclaimed: u32,
    /// How much of the preface is still expected.
    preface_left: usize,
    /// The block whose CONTINUATION must come next.
    block: Option<Box<Block>>,
    arrivals: VecDeque<Arrival>,
    /// Streams that wait for the connection, first come first served.
    queue: VecDeque<u32>,
    recent_resets: VecDeque<u32>,
    wasted: Wasted,
    /// Frames that may change nothing, as so many others did not.
    credit: u32,
    ending: Ending,
    /// The peer will open no more streams, or take no more of ours.
    peer_ends: bool,
    /// The peer has acknowledged our SETTINGS.
    settings_known: bool,
    /// A PING of ours was answered.
    pong: bool,
    failure: Option<Failure>,
    /// Nobody can open a stream any more.
    abandoned: bool,
    waker: Option<Waker>,
    /// The task of the connection is at work, or was woken to be.
    is_driven: bool,
}

/// A header block that comes in several frames.
struct Block {
    stream: u32,
    flags: u8,
    bytes: Vec<u8>,
    frames: usize,
}

impl Machine {
    /// Returns a connection that has its first frames to send.
    pub(super) fn new(is_server: bool, local: Local) -> Self {
        let mut machine = Machine {
            is_server,
            peer: Peer::default(),
            decoder: Decoder::new(HEADER_TABLE_BYTES),
            encoder: Encoder::new(),
            streams: Streams::default(),
            open: 0,
            last_id: 0,
            next_id: 1,
            out: Output::default(),
            unsent: 0,
            send_window: i64::from(DEFAULT_WINDOW),
            recv_window: i64::from(DEFAULT_WINDOW.max(local.connection_window)),
            unclaimed: 0,
            preface_left: if is_server { PREFACE.len() } else { 0 },
            block: None,
            arrivals: VecDeque::new(),
            queue: VecDeque::new(),
            recent_resets: VecDeque::new(),
            wasted: Wasted::default(),
            credit: 0,
            ending: Ending::No,
            peer_ends: false,
            settings_known: false,
            pong: false,
            failure: None,
            abandoned: false,
            waker: None,
            is_driven: false,
            local,
        };
        let out = machine.out.control();
        if !is_server {
            out.extend_from_slice(PREFACE);
        }
        machine.local.put(is_server, out);
        if let Some(more @ 1..) = machine.local.connection_window.checked_sub(DEFAULT_WINDOW) {
            frame::put_window_update(out, 0, more);
        }
        machine
    }

    /// The task of the connection is at work until it registers again: it need not be woken.
    pub(super) fn set_driven(&mut self) {
        self.is_driven = true;
    }

    /// Has the task of the connection woken when there is something to send.
    pub(super) fn register(&mut self, cx: &Context<'_>) {
        self.is_driven = false;
        match &mut self.waker {
            Some(waker) if waker.will_wake(cx.waker()) => (),
            waker => *waker = Some(cx.waker().clone()),
        }
    }

    /// Wakes the task of the connection.
    fn wake(&mut self) {
        if let Some(waker) = &self.waker
            && !std::mem::replace(&mut self.is_driven, true)
        {
            waker.wake_by_ref();
        }
    }

    /// A frame went either way that serves a purpose: a few that do not may go with it.
    fn useful(&mut self) {
        self.credit = (self.credit + CREDIT).min(MAX_CREDIT);
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Returns whether the peer's first frame has come.
    pub(super) fn is_set_up(&self) -> bool {
        self.peer.has_come
    }

    /// Returns whether the connection has ended as it should: nothing is open and nothing new can
    /// come.
    pub(super) fn is_done(&self) -> bool {
        let ends = match self.is_server {
            true => matches!(self.ending, Ending::After(_)) || self.peer_ends,
            false => self.peer_ends || self.abandoned,
        };
        // To a server that takes nothing there is nothing left to say.
        let is_sent = !self.is_server || (self.out.is_empty() && self.unsent == 0);
        ends && self.streams.is_empty() && self.arrivals.is_empty() && is_sent
    }

    /// A client of ours leaves.
    pub(super) fn say_goodbye(&mut self) {
        frame::put_goaway(self.out.control(), 0, Reason::NO_ERROR, "");
    }

    /// Returns the number of streams somebody has in hand, or that are open.
    pub(super) fn live(&self) -> usize {
        self.streams.len()
    }

    /// Takes the next request.
    ///
    /// One that was reset is gone, but the work it has caused may not be: while too many sessions live
    /// on, further requests wait.
    pub(super) fn next_arrival(&mut self) -> Option<Arrival> {
        let sessions = self.streams.len() - self.arrivals.len();
        if sessions >= self.local.max_streams as usize + MAX_LINGERING {
            return None;
        }
        let arrival = self.arrivals.pop_front();
        if self.arrivals.is_empty() && self.arrivals.capacity() > 0 {
            self.arrivals = VecDeque::new();
        }
        arrival
    }

    /// Takes what was counted since it was asked last.
    pub(super) fn take_wasted(&mut self) -> Wasted {
        std::mem::take(&mut self.wasted)
    }

    /// Takes the frames to send, which go behind those taken before.
    pub(super) fn take_out(&mut self) -> Output {
        std::mem::take(&mut self.out)
    }

    pub(super) fn has_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// So many bytes that were taken are not written yet.
    pub(super) fn set_unsent(&mut self, unsent: usize) {
        self.unsent = unsent;
        if !self.queue.is_empty() && !self.is_full() && self.send_window > 0 {
            self.wake_queue();
        }
    }

    /// Returns whether more waits to be sent than a peer that reads would leave.
    fn is_full(&self) -> bool {
        self.out.len() + self.unsent >= MAX_UNSENT
    }

    /// Wakes the streams that wait for the connection.
    fn wake_queue(&mut self) {
        for id in std::mem::take(&mut self.queue) {
            if let Some(stream) = self.streams.get(id) {
                stream.is_queued = false;
                stream.wake(Wish::Write);
            }
        }
    }

    /// Tells the peer to open no more streams; those it has opened meanwhile are served.
    pub(super) fn end_gracefully(&mut self) {
        if self.ending != Ending::No || self.failure.is_some() {
            return;
        }
        self.ending = Ending::Announced;
        let out = self.out.control();
        frame::put_goaway(out, MAX_ID, Reason::NO_ERROR, "");
        frame::put(out, frame::kind::PING, 0, 0, &LAST_PING);
        self.wake();
    }

    /// The peer knows: what it opens from now on is not served.
    fn ends_after_last(&mut self) {
        if self.ending == Ending::Announced {
            self.ending = Ending::After(self.last_id);
            frame::put_goaway(self.out.control(), self.last_id, Reason::NO_ERROR, "");
        }
    }

    /// Ends the connection and all its streams, and tells the peer why.
    #[cold]
    pub(super) fn fail(&mut self, reason: Reason, why: &'static str) {
        if self.failure.is_some() {
            return;
        }
        log::debug!("HTTP/2 connection ended: {why}");
        frame::put_goaway(self.out.control(), self.last_id, reason, why);
        let by_peer = false;
        self.ended(Failure::GoAway { reason, by_peer });
    }

    /// The connection is no more.
    #[cold]
    pub(super) fn ended(&mut self, failure: Failure) {
        if self.failure.is_some() {
            return;
        }
        self.failure = Some(failure);
        self.arrivals.clear();
        self.block = None;
        let ids: Vec<u32> = self.streams.iter_mut().map(|stream| stream.id).collect();
        for id in ids {
            self.stream_failed(id, failure);
        }
        self.wake();
    }

    /// A stream is no more; what came on it before can still be read.
    fn stream_failed(&mut self, id: u32, failure: Failure) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        if stream.failure.is_none() && !(stream.recv == Half::Ended && stream.send == Half::Ended) {
            stream.failure = Some(failure);
        }
        stream.wake_all();
        self.settle(id);
    }

    /// Resets a stream of ours or of the peer.
    fn reset_stream(&mut self, id: u32, reason: Reason) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        if stream.is_closed() {
            return;
        }
        let by_peer = false;
        stream.failure = Some(Failure::Reset { reason, by_peer });
        if stream.pieces.len() > 0 || stream.trailers.is_some() {
            // What is dropped must not look like the end.
            stream.recv = Half::Open;
        }
        self.drop_pieces(id);
        if self.failure.is_none() {
            self.put_reset(id, reason);
        }
        if let Some(stream) = self.streams.get(id) {
            stream.wake_all();
        }
        self.settle(id);
    }

    /// Sends a reset, and remembers that the peer does not know of it yet.
    fn put_reset(&mut self, id: u32, reason: Reason) {
        frame::put_reset(self.out.control(), id, reason);
        let at_most = MIN_RECENT_RESETS.max(2 * self.local.max_streams as usize);
        if self.recent_resets.len() >= at_most.min(MAX_RECENT_RESETS) {
            self.recent_resets.pop_front();
        }
        if !self.recent_resets.contains(&id) {
            self.recent_resets.push_back(id);
        }
        self.wake();
    }

    /// What was received and will not be read makes room for others.
    fn drop_pieces(&mut self, id: u32) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        let dropped = std::mem::take(&mut stream.pieces).len();
        stream.trailers = None;
        self.claim(dropped);
    }

    /// Bytes were read, or dropped: tells the peer once it is worth it.
    fn claim(&mut self, len: usize) {
        self.unclaimed += len as u32;
        let half = i64::from(self.local.connection_window.max(DEFAULT_WINDOW) / 2);
        // Streams that are not read may hold so much of the window that the rest of it never adds up
        // to half of it.
        let worth_it = half.min((self.recv_window / 2).max(1));
        if i64::from(self.unclaimed) >= worth_it && self.failure.is_none() {
            let more = std::mem::take(&mut self.unclaimed);
            self.recv_window += i64::from(more);
            frame::put_window_update(self.out.control(), 0, more);
            self.wake();
        }
    }

    /// Counts a stream that has closed as such, and forgets it once nobody has it in hand.
    fn settle(&mut self, id: u32) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        if !stream.is_closed() {
            return;
        }
        if std::mem::take(&mut stream.is_counted) {
            self.open -= 1;
        }
        if stream.holders == 0 {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u32) {
        self.drop_pieces(id);
        self.streams.remove(id);
        if self.streams.is_empty() {
            self.queue = VecDeque::new();
            if self.is_done() || self.is_server {
                // It may end, or begins to idle.
                self.wake();
            }
        }
        if !self.arrivals.is_empty() {
            // There may be room for another session.
            self.wake();
        }
    }
}

#[cfg(test)]
mod tests;
