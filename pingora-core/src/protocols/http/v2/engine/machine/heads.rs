//! Header blocks: whole ones out of frames, then requests, responses and trailers out of them.
//! Read next: `../block.rs`, which decodes.

use h2::Reason;

use super::super::block::{self, RawHead, Role, Unfit};
use super::super::frame::{self, DEFAULT_WINDOW, Head, MAX_PAYLOAD, flag};
use super::super::hpack::{ENDLESS, Malformed};
use super::super::streams::{Asked, Half, Stream, Wish};
use super::receive::Fatal;
use super::{Arrival, Block, Machine};

/// Frames a header block may come in.
const MAX_BLOCK_FRAMES: usize = 64;

/// What a request that is too large counts as, in frames that change nothing.
const REFUSED_COST: u32 = 16;

/// Heads of a response that wait to be read: more informational ones are an attack.
const MAX_HEADS: usize = 33;

impl Machine {
    pub(super) fn on_headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.stream.is_multiple_of(2) {
            return Err((Reason::PROTOCOL_ERROR, "HEADERS on no stream of a client"));
        }
        let Some(mut content) = frame::unpadded(head, payload) else {
            return Err((Reason::PROTOCOL_ERROR, "more padding than HEADERS"));
        };
        if head.is(flag::PRIORITY) {
            // RFC 9113 section 5.3.2: what they say is of no use any more.
            content.start += 5;
            if content.start > content.end {
                return Err((Reason::FRAME_SIZE_ERROR, "HEADERS without priority"));
            }
        }
        let fragment = &payload[content];
        if head.is(flag::END_HEADERS) {
            return self.on_block(head.stream, head.flags, fragment);
        }
        self.block = Some(Box::new(Block {
            stream: head.stream,
            flags: head.flags,
            bytes: fragment.to_vec(),
            frames: 1,
        }));
        Ok(())
    }

    pub(super) fn on_continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let Some(mut block) = self.block.take() else {
            return Err((Reason::PROTOCOL_ERROR, "CONTINUATION of nothing"));
        };
        block.frames += 1;
        // A block is seldom longer than the list it becomes; there is room for a list that is
        // refused with a status.
        let at_most = self.local.max_header_list as usize + MAX_PAYLOAD;
        if block.frames > MAX_BLOCK_FRAMES || block.bytes.len() + payload.len() > at_most {
            return Err((Reason::ENHANCE_YOUR_CALM, "a header block without end"));
        }
        block.bytes.extend_from_slice(payload);
        if head.is(flag::END_HEADERS) {
            return self.on_block(block.stream, block.flags, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole header block: whatever it is for, it must be decoded, as the next ones build on it.
    fn on_block(&mut self, id: u32, flags: u8, block: &[u8]) -> Result<(), Fatal> {
        let ends = flags & flag::END_STREAM != 0;
        let is_new = self.is_server && id > self.last_id;
        if !self.is_server && id >= self.next_id {
            return Err((Reason::PROTOCOL_ERROR, "HEADERS on an idle stream"));
        }
        let role = match self.streams.get(id) {
            _ if is_new => Role::Request,
            Some(stream) if stream.recv == Half::Idle => Role::Response,
            _ => Role::Trailers,
        };
        let is_wanted = match self.streams.get(id) {
            Some(stream) => stream.failure.is_none(),
            None => is_new && self.open < self.local.max_streams && !self.is_beyond_the_end(id),
        };
        let announced = self.local.max_header_list as usize;
        // What is dropped anyway is decoded for the sake of the table alone.
        let max_list = match is_wanted {
            true => announced,
            false => {
                self.useless();
                0
            }
        };
        let decoded = block::decode(
            &mut self.decoder,
            block,
            role,
            !self.is_server,
            (max_list, announced),
        )
        .map_err(|malformed| match malformed {
            ENDLESS => (Reason::ENHANCE_YOUR_CALM, ENDLESS.0),
            Malformed(why) => (Reason::COMPRESSION_ERROR, why),
        })?;
        match role {
            Role::Request => self.on_request(id, ends, decoded),
            Role::Response => self.on_response(id, ends, decoded),
            Role::Trailers => self.on_trailers(id, ends, decoded),
        }
        Ok(())
    }

    fn on_request(&mut self, id: u32, ends: bool, decoded: Result<RawHead, Unfit>) {
        if self.is_beyond_the_end(id) {
            return;
        }
        self.last_id = id;
        if self.open >= self.local.max_streams {
            log::debug!("HTTP/2 stream {id} refused: too many");
            // Who does not know the limit yet may exceed it.
            self.wasted.resets += u32::from(self.settings_known);
            self.put_reset(id, Reason::REFUSED_STREAM);
            return;
        }
        let mut head = match decoded {
            Ok(head) => head,
            Err(Unfit::Malformed(why)) => {
                self.stream_error(id, Reason::PROTOCOL_ERROR, why);
                return;
            }
            Err(Unfit::TooLarge) => {
                self.refuse_large(id, ends);
                return;
            }
        };
        let length = head.length.take().filter(|_| !head.is_connect());
        if ends && length.is_some_and(|length| length > 0) {
            self.stream_error(id, Reason::PROTOCOL_ERROR, "no DATA but Content-Length");
            return;
        }
        if head.protocol.is_some() && !self.local.connect_protocol {
            self.stream_error(
                id,
                Reason::PROTOCOL_ERROR,
                ":protocol, which was not offered",
            );
            return;
        }
        self.useful();
        let mut stream = Stream::new(id, self.peer.stream_window, self.first_recv_window());
        stream.recv = if ends { Half::Ended } else { Half::Open };
        stream.left = length;
        self.streams.push(stream);
        self.open += 1;
        self.arrivals.push_back(Arrival { head, id });
    }

    /// Answers a request whose head is longer than we have said we take.
    fn refuse_large(&mut self, id: u32, ends: bool) {
        let status = http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        log::debug!("HTTP/2 request refused: {status}");
        self.wasted.frames += REFUSED_COST;
        self.put_head(id, true, |encoder, out| {
            encoder.status(status.as_u16(), out);
        });
        if !ends {
            self.put_reset(id, Reason::NO_ERROR);
        }
    }

    /// Returns the window the peer believes a new stream has.
    pub(super) fn first_recv_window(&self) -> u32 {
        match self.settings_known {
            true => self.local.stream_window,
            // It may not know ours yet (RFC 9113 section 6.9.2).
            false => self.local.stream_window.max(DEFAULT_WINDOW),
        }
    }

    fn on_response(&mut self, id: u32, ends: bool, decoded: Result<RawHead, Unfit>) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        if stream.failure.is_some() {
            return;
        }
        let wrong = match decoded {
            Err(Unfit::Malformed(why)) => why,
            Err(Unfit::TooLarge) => "a head too large",
            Ok(mut head) => {
                let status = head.status.unwrap_or_default();
                let length = head.length.take();
                let bodiless = stream.asked == Asked::Head || status == 204 || status == 304;
                let is_tunnel = stream.asked == Asked::Tunnel && (200..300).contains(&status);
                if status < 200 && ends {
                    "an informational head that ends the stream"
                } else if stream.heads.len() >= MAX_HEADS {
                    "too many informational heads"
                } else if ends && !bodiless && !is_tunnel && length.is_some_and(|length| length > 0)
                {
                    "no DATA but Content-Length"
                } else {
                    if status >= 200 {
                        stream.recv = if ends { Half::Ended } else { Half::Open };
                        stream.left = match bodiless {
                            true => Some(0),
                            // RFC 9110 section 9.3.6: a length is to be ignored.
                            false => length.filter(|_| !is_tunnel),
                        };
                    }
                    stream.heads.push(head);
                    stream.wake(Wish::Read);
                    self.settle(id);
                    return;
                }
            }
        };
        self.stream_error(id, Reason::PROTOCOL_ERROR, wrong);
    }

    fn on_trailers(&mut self, id: u32, ends: bool, decoded: Result<RawHead, Unfit>) {
        let Some(stream) = self.streams.get(id) else {
            self.on_closed_stream(id);
            return;
        };
        if stream.failure.is_some() {
            return;
        }
        let (reason, wrong) = match decoded {
            _ if stream.recv != Half::Open => (Reason::STREAM_CLOSED, "HEADERS after the end"),
            _ if !ends => (Reason::PROTOCOL_ERROR, "trailers that are not the end"),
            _ if stream.left.is_some_and(|left| left > 0) => {
                (Reason::PROTOCOL_ERROR, "less DATA than Content-Length")
            }
            Err(Unfit::Malformed(why)) => (Reason::PROTOCOL_ERROR, why),
            Err(Unfit::TooLarge) => (Reason::PROTOCOL_ERROR, "trailers too large"),
            Ok(head) => {
                stream.recv = Half::Ended;
                if !head.fields.is_empty() {
                    stream.trailers = Some(head.fields.into_map());
                }
                stream.wake(Wish::Read);
                self.settle(id);
                return;
            }
        };
        self.stream_error(id, reason, wrong);
    }
}
