//! The chunked transfer coding, taken apart (RFC 9112 section 7.1). Pure.
//!
//! ```text
//!            size          LF, size > 0           all bytes
//!   Size ──────────> Ext ──────────────> Data ──────────────> DataEnd ──CRLF──> Size
//!                     │ LF, size = 0
//!                     └────────────────> Trailers ──empty line──> (end)
//! ```
//!
//! Strict: hexadecimal digits only, every line ended by CRLF, extensions bounded and dropped.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::head::HeadError;
use crate::protocols::http::HttpLimits;

/// More digits than any chunk needs; fewer than overflow.
const MAX_SIZE_DIGITS: u8 = 15;

/// Trailer fields kept; beyond: refused.
pub(in crate::protocols::http) const MAX_TRAILERS: usize = 32;

#[derive(Debug)]
pub(super) struct ChunkDecoder {
    state: State,
    extension_bytes: usize,
    trailers: Option<Box<HeaderMap>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Reading the digits of a chunk size.
    Size { size: u64, digits: u8 },
    /// Skipping extensions to the end of the line; `cr` when a CR was the last byte.
    Ext { size: u64, cr: bool },
    /// Inside the data of a chunk.
    Data { left: u64 },
    /// Before the CRLF after the data; `cr` when the CR was seen.
    DataEnd { cr: bool },
    /// Inside the trailer section, of which `read` bytes were consumed.
    Trailers { read: usize },
    /// Behind the body.
    Done,
}

/// What [`ChunkDecoder::next`] found at the front of the input.
pub(super) enum Found {
    /// So many framing bytes, then this many bytes of data.
    Data { skip: usize, len: usize },
    /// So many framing bytes, and the end of the body.
    End { skip: usize },
    /// So many framing bytes, and nothing else yet.
    More { skip: usize },
}

impl ChunkDecoder {
    pub(super) fn new() -> Self {
        ChunkDecoder {
            state: State::Size { size: 0, digits: 0 },
            extension_bytes: 0,
            trailers: None,
        }
    }

    /// Takes the trailers that were read, if any.
    pub(super) fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.trailers.take()
    }

    /// Finds the next piece in `input`; what it reports as skipped or data counts as consumed.
    pub(super) fn next(&mut self, input: &[u8], limits: &HttpLimits) -> Result<Found, HeadError> {
        let mut at = 0;
        while at < input.len() {
            let byte = input[at];
            match self.state {
                State::Size { size, digits } => {
                    self.state = size_byte(size, digits, byte)?;
                    at += 1;
                }
                State::Ext { size, cr } => {
                    self.state = self.ext_byte(size, cr, byte, limits)?;
                    at += 1;
                }
                State::Data { left } => {
                    let len = left.min((input.len() - at) as u64);
                    self.state = match left - len {
                        0 => State::DataEnd { cr: false },
                        left => State::Data { left },
                    };
                    return Ok(Found::Data {
                        skip: at,
                        len: len as usize,
                    });
                }
                State::DataEnd { cr } => {
                    self.state = match (cr, byte) {
                        (false, b'\r') => State::DataEnd { cr: true },
                        (true, b'\n') => State::Size { size: 0, digits: 0 },
                        _ => return Err(HeadError::bad("chunk data not ended by CRLF")),
                    };
                    at += 1;
                }
                State::Trailers { read } => {
                    let Some(end) = memchr::memchr(b'\n', &input[at..]) else {
                        check_trailer_size(read + input.len() - at, limits)?;
                        return Ok(Found::More { skip: at });
                    };
                    check_trailer_size(read + end + 1, limits)?;
                    let Some(line) = input[at..at + end].strip_suffix(b"\r") else {
                        return Err(HeadError::bad("trailer line not ended by CRLF"));
                    };
                    at += end + 1;
                    if line.is_empty() {
                        self.state = State::Done;
                        return Ok(Found::End { skip: at });
                    }
                    self.trailer(line)?;
                    self.state = State::Trailers {
                        read: read + end + 1,
                    };
                }
                State::Done => return Ok(Found::End { skip: at }),
            }
        }
        Ok(match self.state {
            State::Done => Found::End { skip: at },
            _ => Found::More { skip: at },
        })
    }

    fn ext_byte(
        &mut self,
        size: u64,
        cr: bool,
        byte: u8,
        limits: &HttpLimits,
    ) -> Result<State, HeadError> {
        match (cr, byte) {
            (true, b'\n') if size == 0 => Ok(State::Trailers { read: 0 }),
            (true, b'\n') => Ok(State::Data { left: size }),
            (false, b'\r') => Ok(State::Ext { size, cr: true }),
            (false, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extension_bytes += 1;
                if self.extension_bytes > limits.max_chunk_extension_bytes {
                    return Err(HeadError::bad("too many chunk extensions"));
                }
                Ok(State::Ext { size, cr: false })
            }
            _ => Err(HeadError::bad("invalid byte in a chunk extension")),
        }
    }

    /// Keeps a trailer field unless it would change how the message is read (RFC 9110 section 6.5.1).
    fn trailer(&mut self, line: &[u8]) -> Result<(), HeadError> {
        const INVALID: HeadError = HeadError::bad("invalid trailer field");
        let colon = memchr::memchr(b':', line).ok_or(INVALID)?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| INVALID)?;
        let value = HeaderValue::from_bytes(trim_ows(&line[colon + 1..])).map_err(|_| INVALID)?;
        if is_forbidden_trailer(&name) {
            return Ok(());
        }
        let trailers = self.trailers.get_or_insert_default();
        if trailers.len() >= MAX_TRAILERS {
            return Err(HeadError::bad("too many trailer fields"));
        }
        trailers.append(name, value);
        Ok(())
    }
}

fn size_byte(size: u64, digits: u8, byte: u8) -> Result<State, HeadError> {
    const INVALID: HeadError = HeadError::bad("invalid chunk size");
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\r' if digits > 0 => return Ok(State::Ext { size, cr: true }),
        b';' if digits > 0 => return Ok(State::Ext { size, cr: false }),
        _ => return Err(INVALID),
    };
    if digits == MAX_SIZE_DIGITS {
        return Err(INVALID);
    }
    Ok(State::Size {
        size: size << 4 | u64::from(digit),
        digits: digits + 1,
    })
}

fn check_trailer_size(len: usize, limits: &HttpLimits) -> Result<(), HeadError> {
    if len > limits.max_trailer_bytes {
        return Err(HeadError::bad("trailer section too large"));
    }
    Ok(())
}

/// Without optional white space: spaces and tabs, not the CR and FF `trim_ascii` takes as well.
fn trim_ows(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Framing, routing, authentication, caching and content fields have no business in trailers.
pub(in crate::protocols::http) fn is_forbidden_trailer(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "transfer-encoding"
            | "content-length"
            | "host"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "upgrade"
            | "te"
            | "trailer"
            | "expect"
            | "max-forwards"
            | "range"
            | "content-encoding"
            | "content-type"
            | "content-range"
            | "cache-control"
            | "pragma"
            | "age"
            | "expires"
            | "date"
            | "location"
            | "retry-after"
            | "vary"
            | "warning"
            | "authorization"
            | "proxy-authorization"
            | "proxy-authenticate"
            | "www-authenticate"
            | "cookie"
            | "set-cookie"
    ) || name.as_str().starts_with("if-")
        || name.as_str().starts_with("x-forwarded-")
}

/// Writes the line before the data of a chunk.
pub(super) fn put_size_line(out: &mut BytesMut, size: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.max(1).leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        out.extend_from_slice(&[HEX[size >> (digit * 4) & 0xf]]);
    }
    out.extend_from_slice(b"\r\n");
}
