//! Response heads and their framing (RFC 9112 sections 4 and 6).

use super::cursor::{Cursor, Stop, is_value_byte, refuse};
use super::fields::{fields, length, persists};
use super::{Length, MAX_HEAD_BYTES, Message};

/// Returns the response to a request of this method at the front of `bytes`.
pub fn response(bytes: &[u8], method: &str) -> Result<Message, Stop> {
    let mut input = Cursor::new(bytes);
    input.expect(b"HTTP/1.", "invalid version")?;
    let minor_version = match input.next()? {
        b'0' => 0,
        b'1' => 1,
        _ => return refuse("unsupported version"),
    };
    input.expect(b" ", "no space after the version")?;
    let status = [input.next()?, input.next()?, input.next()?];
    if !matches!(status, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']) {
        return refuse("invalid status");
    }
    if input.peek()? != b'\r' {
        input.expect(b" ", "no space after the status")?;
    }
    input.until(b'\r', is_value_byte, "invalid byte in the reason phrase")?;
    input.expect(b"\n", "bare CR")?;
    let fields = fields(&mut input)?;
    if input.at() > MAX_HEAD_BYTES {
        return refuse("too large");
    }
    let stated = length(&fields, minor_version)?;
    let length = match stated {
        _ if has_no_body(method, status) => Length::Bytes(0),
        Some(length) => length,
        None => Length::UntilClose,
    };
    Ok(Message {
        length,
        keep_alive: persists(&fields, minor_version) && length != Length::UntilClose,
        start: vec![status.to_vec()],
        minor_version,
        fields,
        rest: input.rest(),
    })
}

/// RFC 9112 section 6.3, points 1 and 2.
fn has_no_body(method: &str, status: [u8; 3]) -> bool {
    method == "HEAD"
        || (method == "CONNECT" && status[0] == b'2')
        || status[0] == b'1'
        || matches!(&status, b"204" | b"304")
}
