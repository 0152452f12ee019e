//! Frames (RFC 9113 sections 4 and 6): their heads, kinds, flags and fixed payloads. Pure.
//! Read next: `machine.rs`, which gives them a meaning.

use bytes::BytesMut;
use h2::Reason;

/// What a client sends first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame before its payload.
pub(super) const HEAD_BYTES: usize = 9;

/// The longest payload until a peer allows more, which we never do: a stream that sends more at once
/// keeps the others waiting.
pub(super) const MAX_PAYLOAD: usize = 16_384;

/// The largest window there is (RFC 9113 section 6.9.1).
pub(super) const MAX_WINDOW: i64 = (1 << 31) - 1;

/// The window of a connection until it is raised, and that of streams until SETTINGS say otherwise.
pub(super) const DEFAULT_WINDOW: u32 = 65_535;

/// The bits of a stream identifier, or of an increment; the one above is reserved.
const VALUE_BITS: u32 = (1 << 31) - 1;

pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

pub(super) mod flag {
    pub(in super::super) const END_STREAM: u8 = 0x1;
    /// Of SETTINGS and PING.
    pub(in super::super) const ACK: u8 = 0x1;
    pub(in super::super) const END_HEADERS: u8 = 0x4;
    pub(in super::super) const PADDED: u8 = 0x8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) len: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// Returns the head at the front of `input`; `None` while it is incomplete.
    #[inline]
    pub(super) fn parse(input: &[u8]) -> Option<Head> {
        let head: &[u8; HEAD_BYTES] = input.first_chunk()?;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *head;
        Some(Head {
            len: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & VALUE_BITS,
        })
    }

    #[inline]
    pub(super) fn encode(self) -> [u8; HEAD_BYTES] {
        let [_, a, b, c] = (self.len as u32).to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, s0, s1, s2, s3]
    }

    pub(super) fn is(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame whose payload is short and at hand.
pub(super) fn put(out: &mut BytesMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let head = Head {
        len: payload.len(),
        kind,
        flags,
        stream,
    };
    out.extend_from_slice(&head.encode());
    out.extend_from_slice(payload);
}

pub(super) fn put_window_update(out: &mut BytesMut, stream: u32, increment: u32) {
    put(
        out,
        kind::WINDOW_UPDATE,
        0,
        stream,
        &increment.to_be_bytes(),
    );
}

pub(super) fn put_reset(out: &mut BytesMut, stream: u32, reason: Reason) {
    let code = u32::from(reason).to_be_bytes();
    put(out, kind::RST_STREAM, 0, stream, &code);
}

pub(super) fn put_goaway(out: &mut BytesMut, last: u32, reason: Reason, debug: &'static str) {
    let mut payload = Vec::with_capacity(8 + debug.len());
    payload.extend_from_slice(&last.to_be_bytes());
    payload.extend_from_slice(&u32::from(reason).to_be_bytes());
    payload.extend_from_slice(debug.as_bytes());
    put(out, kind::GOAWAY, 0, 0, &payload);
}

/// Returns the number in the first four bytes, without the reserved bit.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    Some(code(payload)? & VALUE_BITS)
}

/// Returns the number in the first four bytes, all of its bits.
pub(super) fn code(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*payload.first_chunk()?))
}

/// Returns where in a payload the content is, between the length of the padding and the padding;
/// `None` when there is more padding than payload (RFC 9113 section 6.1).
#[inline]
pub(super) fn unpadded(head: Head, payload: &[u8]) -> Option<std::ops::Range<usize>> {
    if !head.is(flag::PADDED) {
        return Some(0..payload.len());
    }
    let padding = usize::from(*payload.first()?);
    let end = payload.len().checked_sub(padding)?;
    (end >= 1).then_some(1..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let head = Head {
            len: 0x01_02_03,
            kind: kind::HEADERS,
            flags: flag::END_HEADERS | flag::PADDED,
            stream: 0x0102_0304,
        };
        let bytes = head.encode();
        assert_eq!(bytes, [1, 2, 3, 1, 0xc, 1, 2, 3, 4]);
        assert_eq!(Head::parse(&bytes), Some(head));
        assert_eq!(Head::parse(&bytes[..8]), None);
        // The reserved bit is ignored (RFC 9113 section 4.1).
        let reserved = [1, 2, 3, 1, 0xc, 0x81, 2, 3, 4];
        assert_eq!(Head::parse(&reserved), Some(head));
    }

    #[test]
    fn padding() {
        let head = |flags| Head {
            len: 0,
            kind: kind::DATA,
            flags,
            stream: 1,
        };
        assert_eq!(unpadded(head(0), b"\x02abc"), Some(0..4));
        let padded = head(flag::PADDED);
        assert_eq!(unpadded(padded, b"\x02abc"), Some(1..2));
        assert_eq!(unpadded(padded, b"\x00abc"), Some(1..4));
        assert_eq!(unpadded(padded, b"\x03abc"), Some(1..1));
        assert_eq!(unpadded(padded, b"\x04abc"), None);
        assert_eq!(unpadded(padded, b""), None);
    }
}
