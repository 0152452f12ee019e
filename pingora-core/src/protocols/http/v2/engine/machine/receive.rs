//! What the peer sends: frame by frame. Read next: `heads.rs`, for those with header blocks.

use bytes::{Buf, Bytes, BytesMut};
use h2::Reason;

use super::super::Failure;
use super::super::frame::{
    self, DEFAULT_WINDOW, HEAD_BYTES, Head, MAX_PAYLOAD, MAX_WINDOW, PREFACE, flag, kind,
};
use super::super::streams::{Half, Wish};
use super::{ALIVE_PING, Ending, LAST_PING, MAX_OWED, Machine};

/// How many times its own size a piece of a body may keep in memory: a smaller one is copied out of
/// the buffer it came in.
const MAX_PINNED: usize = 16;

/// Why the connection must end.
pub(super) type Fatal = (Reason, &'static str);

impl Machine {
    /// Takes complete frames off the front of `input`; returns whether some are left because the peer
    /// does not take what it is owed.
    pub(in super::super) fn receive(&mut self, input: &mut BytesMut) -> bool {
        // It shrinks as frames are taken off the front.
        let buffer = input.capacity();
        while self.failure.is_none() && !input.is_empty() {
            if self.owes_too_much() {
                return true;
            }
            match self.receive_one(input, buffer) {
                Ok(true) => (),
                Ok(false) => return false,
                Err((reason, why)) => self.fail(reason, why),
            }
        }
        false
    }

    /// Something came that changes nothing: to be expected among other frames, and not without them.
    pub(super) fn useless(&mut self) {
        match self.credit.checked_sub(1) {
            Some(left) => self.credit = left,
            None => self.wasted.frames += 1,
        }
    }

    /// Returns whether nothing is to be read for now.
    pub(in super::super) fn owes_too_much(&self) -> bool {
        self.out.len() + self.unsent >= MAX_OWED
    }

    /// Takes the preface or a frame; returns whether there was one.
    fn receive_one(&mut self, input: &mut BytesMut, buffer: usize) -> Result<bool, Fatal> {
        if self.preface_left > 0 {
            return self.receive_preface(input);
        }
        let Some(head) = Head::parse(input) else {
            return Ok(false);
        };
        if head.len > MAX_PAYLOAD {
            return Err((Reason::FRAME_SIZE_ERROR, "a frame too large"));
        }
        if let Some(block) = &self.block
            && (head.kind != kind::CONTINUATION || head.stream != block.stream)
        {
            return Err((Reason::PROTOCOL_ERROR, "a frame inside a header block"));
        }
        if !self.peer.has_come && head.kind != kind::SETTINGS {
            return Err((Reason::PROTOCOL_ERROR, "no SETTINGS first"));
        }
        if input.len() < HEAD_BYTES + head.len {
            return Ok(false);
        }
        if head.kind == kind::DATA {
            input.advance(HEAD_BYTES);
            self.on_data(head, input, buffer)?;
            return Ok(true);
        }
        let payload = &input[HEAD_BYTES..HEAD_BYTES + head.len];
        match head.kind {
            kind::HEADERS => self.on_headers(head, payload)?,
            kind::CONTINUATION => self.on_continuation(head, payload)?,
            kind::PRIORITY => self.on_priority(head)?,
            kind::RST_STREAM => self.on_reset(head, payload)?,
            kind::SETTINGS => self.on_settings(head, payload)?,
            kind::PUSH_PROMISE => return Err((Reason::PROTOCOL_ERROR, "PUSH_PROMISE")),
            kind::PING => self.on_ping(head, payload)?,
            kind::GOAWAY => self.on_goaway(head, payload)?,
            kind::WINDOW_UPDATE => self.on_window_update(head, payload)?,
            // RFC 9113 section 5.5: extensions are ignored.
            _ => self.useless(),
        }
        input.advance(HEAD_BYTES + head.len);
        Ok(true)
    }

    fn receive_preface(&mut self, input: &mut BytesMut) -> Result<bool, Fatal> {
        let expected = &PREFACE[PREFACE.len() - self.preface_left..];
        let len = expected.len().min(input.len());
        if input[..len] != expected[..len] {
            return Err((Reason::PROTOCOL_ERROR, "no preface of HTTP/2"));
        }
        input.advance(len);
        self.preface_left -= len;
        Ok(self.preface_left == 0)
    }

    /// Returns whether a stream of this number was never opened.
    fn is_idle(&self, id: u32) -> bool {
        id.is_multiple_of(2)
            || match self.is_server {
                true => id > self.last_id && !self.is_beyond_the_end(id),
                false => id >= self.next_id,
            }
    }

    /// A request turned out to be none.
    pub(in super::super) fn refuse_malformed(&mut self, id: u32, why: &'static str) {
        self.stream_error(id, Reason::PROTOCOL_ERROR, why);
        self.wake();
    }

    /// The peer got something wrong on a stream, which ends.
    pub(super) fn stream_error(&mut self, id: u32, reason: Reason, why: &'static str) {
        log::debug!("HTTP/2 stream {id} reset: {why}");
        self.wasted.malformed += 1;
        match self.streams.get(id) {
            Some(_) => self.reset_stream(id, reason),
            None => self.put_reset(id, reason),
        }
    }

    fn on_data(&mut self, head: Head, input: &mut BytesMut, buffer: usize) -> Result<(), Fatal> {
        if head.stream == 0 {
            return Err((Reason::PROTOCOL_ERROR, "DATA without a stream"));
        }
        let Some(content) = frame::unpadded(head, &input[..head.len]) else {
            return Err((Reason::PROTOCOL_ERROR, "more padding than DATA"));
        };
        self.recv_window -= head.len as i64;
        if self.recv_window < 0 {
            return Err((Reason::FLOW_CONTROL_ERROR, "more DATA than allowed"));
        }
        let id = head.stream;
        let Some(stream) = self.streams.get(id) else {
            if self.is_idle(id) {
                return Err((Reason::PROTOCOL_ERROR, "DATA on an idle stream"));
            }
            input.advance(head.len);
            self.claim(head.len);
            self.late();
            self.on_closed_stream(id);
            return Ok(());
        };
        let ends = head.is(flag::END_STREAM);
        let (padding, content_len) = (head.len - content.len(), content.len());
        // What comes on a stream that has failed was sent before the peer knew.
        let taken = match stream.failure {
            Some(_) => Ok(false),
            None => stream
                .accept_data(head.len, content_len, ends)
                .map(|()| true),
        };
        if taken != Ok(true) {
            input.advance(head.len);
            self.claim(head.len);
            match taken {
                Err((reason, why)) => self.stream_error(id, reason, why),
                Ok(_) => self.late(),
            }
            return Ok(());
        }
        if content_len * MAX_PINNED > buffer {
            stream.pieces.push(piece(input, head.len, content));
        } else {
            if content_len > 0 {
                stream.pieces.push_copy(&input[content]);
            }
            input.advance(head.len);
        }
        stream.wake(Wish::Read);
        match content_len == 0 && !ends {
            true => self.useless(),
            false => self.useful(),
        }
        if padding > 0 {
            // It is read as soon as it comes.
            self.claim(padding);
            self.claim_stream(id, padding);
        }
        if ends {
            self.settle(id);
        }
        Ok(())
    }

    /// A piece of a body came on a stream that is no more. Clients are told soon enough; servers may send
    /// a whole window before they know.
    fn late(&mut self) {
        if self.is_server {
            self.useless();
        }
    }

    /// Something came on a stream that is no more: it was sent before the peer could know, or it is
    /// an error.
    pub(super) fn on_closed_stream(&mut self, id: u32) {
        // A server may take its time to learn that we have given up.
        if !self.is_server {
            return;
        }
        if !self.recent_resets.contains(&id) && !self.is_beyond_the_end(id) {
            self.stream_error(id, Reason::STREAM_CLOSED, "a frame on a closed stream");
        }
    }

    /// Returns whether a stream is one we have said we would not serve.
    pub(super) fn is_beyond_the_end(&self, id: u32) -> bool {
        matches!(self.ending, Ending::After(last) if id > last)
    }

    fn on_priority(&mut self, head: Head) -> Result<(), Fatal> {
        if head.stream == 0 {
            return Err((Reason::PROTOCOL_ERROR, "PRIORITY without a stream"));
        }
        self.useless();
        if head.len != 5 {
            if self.is_idle(head.stream) {
                return Err((Reason::FRAME_SIZE_ERROR, "length of PRIORITY"));
            }
            self.stream_error(head.stream, Reason::FRAME_SIZE_ERROR, "length of PRIORITY");
        }
        Ok(())
    }

    fn on_reset(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let code = match frame::code(payload) {
            Some(code) if head.len == 4 => code,
            _ => return Err((Reason::FRAME_SIZE_ERROR, "length of RST_STREAM")),
        };
        let id = head.stream;
        if id == 0 || self.is_idle(id) {
            return Err((Reason::PROTOCOL_ERROR, "RST_STREAM on an idle stream"));
        }
        let Some(stream) = self.streams.get(id) else {
            self.useless();
            return Ok(());
        };
        if stream.failure.is_some() {
            self.useless();
            return Ok(());
        }
        if self.is_server && stream.send != Half::Ended {
            self.wasted.resets += 1;
        }
        let (reason, by_peer) = (Reason::from(code), true);
        stream.failure = Some(Failure::Reset { reason, by_peer });
        stream.wake_all();
        if let Some(at) = self.arrivals.iter().position(|arrival| arrival.id == id) {
            // Nobody has seen it.
            self.arrivals.remove(at);
            self.release(id);
        }
        self.settle(id);
        Ok(())
    }

    fn on_settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.stream != 0 {
            return Err((Reason::PROTOCOL_ERROR, "SETTINGS on a stream"));
        }
        if head.is(flag::ACK) {
            if head.len != 0 {
                return Err((Reason::FRAME_SIZE_ERROR, "length of SETTINGS"));
            }
            self.settings_are_known();
            return Ok(());
        }
        if self.peer.has_come {
            self.useless();
        }
        let changes = self.peer.apply(payload, self.is_server)?;
        if let Some((least, last)) = changes.table_size {
            self.encoder.set_max_table_size(least as usize);
            self.encoder.set_max_table_size(last as usize);
        }
        if changes.window != 0 {
            for stream in self.streams.iter_mut() {
                stream.send_window += changes.window;
                if stream.send_window > MAX_WINDOW && !stream.is_closed() {
                    return Err((Reason::FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE"));
                }
                if stream.send_window > 0 {
                    stream.wake(Wish::Write);
                }
            }
        }
        frame::put(self.out.control(), kind::SETTINGS, flag::ACK, 0, &[]);
        Ok(())
    }

    /// The peer holds itself to our windows from now on.
    fn settings_are_known(&mut self) {
        if std::mem::replace(&mut self.settings_known, true) {
            self.useless();
            return;
        }
        let ours = i64::from(self.local.stream_window);
        let less = i64::from(DEFAULT_WINDOW).max(ours) - ours;
        for stream in self.streams.iter_mut() {
            stream.recv_window -= less;
        }
    }

    fn on_ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.stream != 0 {
            return Err((Reason::PROTOCOL_ERROR, "PING on a stream"));
        }
        if head.len != 8 {
            return Err((Reason::FRAME_SIZE_ERROR, "length of PING"));
        }
        if !head.is(flag::ACK) {
            self.useless();
            frame::put(self.out.control(), kind::PING, flag::ACK, 0, payload);
        } else if payload == LAST_PING && self.ending == Ending::Announced {
            self.ends_after_last();
        } else if payload == ALIVE_PING {
            self.pong = true;
        } else {
            self.useless();
        }
        Ok(())
    }

    fn on_goaway(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.stream != 0 {
            return Err((Reason::PROTOCOL_ERROR, "GOAWAY on a stream"));
        }
        let (Some(last), Some(code)) = (
            frame::number(payload),
            payload.get(4..).and_then(frame::code),
        ) else {
            return Err((Reason::FRAME_SIZE_ERROR, "length of GOAWAY"));
        };
        self.useless();
        self.peer_ends = true;
        if self.is_server {
            return Ok(());
        }
        let (reason, by_peer) = (Reason::from(code), true);
        let unseen: Vec<u32> = (self.streams.iter_mut())
            .map(|stream| stream.id)
            .filter(|id| *id > last)
            .collect();
        for id in unseen {
            self.stream_failed(id, Failure::GoAway { reason, by_peer });
        }
        Ok(())
    }

    fn on_window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let increment = match frame::number(payload) {
            Some(increment) if head.len == 4 => increment,
            _ => return Err((Reason::FRAME_SIZE_ERROR, "length of WINDOW_UPDATE")),
        };
        let id = head.stream;
        if id == 0 {
            if increment == 0 {
                return Err((Reason::PROTOCOL_ERROR, "WINDOW_UPDATE of nothing"));
            }
            self.send_window += i64::from(increment);
            if self.send_window > MAX_WINDOW {
                return Err((Reason::FLOW_CONTROL_ERROR, "WINDOW_UPDATE too large"));
            }
            self.wake_queue();
            return Ok(());
        }
        let Some(stream) = self.streams.get(id) else {
            if self.is_idle(id) {
                return Err((Reason::PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream"));
            }
            // What was sent last was read: nothing is wrong with a few of them.
            self.useless();
            return Ok(());
        };
        if stream.failure.is_some() {
            self.useless();
            return Ok(());
        }
        if increment == 0 {
            self.stream_error(id, Reason::PROTOCOL_ERROR, "WINDOW_UPDATE of nothing");
            return Ok(());
        }
        stream.send_window += i64::from(increment);
        if stream.send_window > MAX_WINDOW {
            self.stream_error(id, Reason::FLOW_CONTROL_ERROR, "WINDOW_UPDATE too large");
        } else if stream.send_window > 0 {
            stream.wake(Wish::Write);
        }
        Ok(())
    }
}

/// Takes a payload off the front of `input`; returns its content.
fn piece(input: &mut BytesMut, len: usize, content: std::ops::Range<usize>) -> Bytes {
    let mut payload = input.split_to(len);
    payload.truncate(content.end);
    payload.advance(content.start);
    payload.freeze()
}
