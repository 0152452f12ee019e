//! Parses HTTP/1 heads: pure, bytes in, head out (RFC 9112 sections 2 to 5).
//!
//! [`tokens`](super::tokens) finds the words; what they may be, and how long, is decided here.
//! [`framing`](super::framing) reads the result next.

use bytes::{Buf, BytesMut};
use http::{Method, StatusCode, Version};
use memchr::memmem;
use pingora_http::{RequestHeader, ResponseHeader};

use super::tokens::{self, Malformed};
use crate::protocols::http::HttpLimits;
use crate::protocols::http::authority::{RawTargetAuthority, is_valid_host, raw_target_authority};

/// Longer methods are unknown ones (RFC 9112 section 3); the longest registered has 17 letters.
const MAX_METHOD_BYTES: usize = 32;

/// Why a head is refused, as the status that says so to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadError {
    /// The status of the answer.
    pub status: u16,
    /// What is wrong, for the log.
    pub why: &'static str,
}

impl HeadError {
    pub(super) const fn new(status: u16, why: &'static str) -> Self {
        HeadError { status, why }
    }

    pub(super) const fn bad(why: &'static str) -> Self {
        HeadError { status: 400, why }
    }
}

/// Takes a request head off the front of `input`; `None` while it is incomplete.
///
/// `scanned` remembers between calls how much was looked at, so that a head that arrives byte by
/// byte is not parsed again and again; start with 0.
pub fn parse_request(
    input: &mut BytesMut,
    scanned: &mut usize,
    limits: &HttpLimits,
) -> Result<Option<Box<RequestHeader>>, HeadError> {
    skip_leading_line(input, scanned)?;
    if !may_be_complete(input, scanned)? {
        check_request_line(input, limits)?;
        return incomplete(input, limits);
    }
    let words = tokens::request(input, limits.max_fields).map_err(|e| refused(e, input, limits))?;
    let Some(words) = words else {
        check_request_line(input, limits)?;
        return incomplete(input, limits);
    };
    let method = check_request(&words, input, limits)?;
    check_size(words.head_len, limits)?;
    *scanned = 0;
    let head = input.split_to(words.head_len).freeze();
    Ok(Some(Box::new(RequestHeader::from_parsed(
        method,
        words.target,
        version_of(words.minor),
        head,
        words.fields,
    ))))
}

/// Takes a response head off the front of `input`; `None` while it is incomplete.
pub fn parse_response(
    input: &mut BytesMut,
    scanned: &mut usize,
    limits: &HttpLimits,
) -> Result<Option<Box<ResponseHeader>>, HeadError> {
    // The tokeniser would skip empty lines, and wait for more of them.
    if input.first().is_some_and(|&first| first != b'H') {
        return Err(HeadError::new(502, "bytes before the status line"));
    }
    if !may_be_complete(input, scanned)? {
        return incomplete(input, limits);
    }
    let words = tokens::response(input, limits.max_fields).map_err(refused_response)?;
    let Some(words) = words else {
        return incomplete(input, limits);
    };
    let status =
        StatusCode::from_u16(words.status).map_err(|_| HeadError::new(502, "invalid status"))?;
    check_size(words.head_len, limits)?;
    *scanned = 0;
    let head = input.split_to(words.head_len).freeze();
    Ok(Some(Box::new(ResponseHeader::from_parsed(
        status,
        words.reason,
        version_of(words.minor),
        head,
        words.fields,
    ))))
}

/// Checks what the request line says; returns the method.
fn check_request(
    words: &tokens::Request,
    input: &[u8],
    limits: &HttpLimits,
) -> Result<Method, HeadError> {
    let (method, target) = (part(input, words.method), part(input, words.target));
    if method.len() > MAX_METHOD_BYTES {
        return Err(HeadError::new(501, "unknown method"));
    }
    if target.len() > limits.max_target_bytes {
        return Err(HeadError::new(414, "request target too long"));
    }
    let method = Method::from_bytes(method).map_err(|_| HeadError::bad("invalid method"))?;
    check_target(&method, target)?;
    Ok(method)
}

fn part(input: &[u8], span: tokens::Span) -> &[u8] {
    &input[span.0 as usize..][..span.1 as usize]
}

fn version_of(minor: u8) -> Version {
    if minor == 0 {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    }
}

/// Checks that the target has one of the four forms, and one its method allows (RFC 9112 section 3.2).
fn check_target(method: &Method, target: &[u8]) -> Result<(), HeadError> {
    if target.iter().any(|&b| b <= b' ' || b == 0x7f || b == b'#') {
        return Err(HeadError::bad("request target with a forbidden byte"));
    }
    if *method == Method::CONNECT {
        let valid = is_valid_host(target)
            && target.rsplit(|&b| b == b':').next().is_some_and(|port| {
                !port.is_empty() && port.len() < target.len() && port.iter().all(u8::is_ascii_digit)
            });
        return if valid {
            Ok(())
        } else {
            Err(HeadError::bad("CONNECT without host and port"))
        };
    }
    match target {
        [b'/', ..] => Ok(()),
        b"*" if *method == Method::OPTIONS => Ok(()),
        _ if is_absolute_http(target) => Ok(()),
        _ => Err(HeadError::bad("invalid request target")),
    }
}

fn is_absolute_http(target: &[u8]) -> bool {
    match raw_target_authority(target) {
        RawTargetAuthority::Absolute { authority, .. } => is_valid_host(authority),
        _ => false,
    }
}

fn refused(e: Malformed, input: &[u8], limits: &HttpLimits) -> HeadError {
    match e {
        Malformed::TooManyFields => HeadError::new(431, "too many header fields"),
        Malformed::NameTooLong => HeadError::new(431, "header name too long"),
        Malformed::Version if has_other_http_version(input) => {
            HeadError::new(505, "unsupported HTTP version")
        }
        _ if head_len(input) > limits.max_head_bytes => {
            HeadError::new(431, "request head too large")
        }
        Malformed::Version => HeadError::bad("invalid HTTP version"),
        Malformed::RequestLine => HeadError::bad("invalid byte in the request line"),
        Malformed::LineEnd => HeadError::bad("line not ended by CRLF"),
        Malformed::Name => HeadError::bad("invalid header name"),
        Malformed::Value => HeadError::bad("invalid header value"),
        Malformed::Status => HeadError::bad("invalid status"),
    }
}

fn refused_response(e: Malformed) -> HeadError {
    match e {
        Malformed::TooManyFields => HeadError::new(502, "too many header fields"),
        Malformed::NameTooLong => HeadError::new(502, "header name too long"),
        Malformed::LineEnd => HeadError::new(502, "line not ended by CRLF"),
        _ => HeadError::new(502, "malformed response head"),
    }
}

/// Returns the length of the head that `input` starts with, whose end may still be to come.
fn head_len(input: &[u8]) -> usize {
    memmem::find(input, b"\r\n\r\n").map_or(input.len(), |end| end + 4)
}

/// Whether the first line ends in a well-formed version we do not speak, such as `HTTP/2.0`.
fn has_other_http_version(input: &[u8]) -> bool {
    let line = &input[..memchr::memchr(b'\n', input).unwrap_or(input.len())];
    let mut words = line.trim_ascii_end().split(|&b| b == b' ');
    let (Some(_), Some(_), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Tolerates one empty line before the request line (RFC 9112 section 2.2).
fn skip_leading_line(input: &mut BytesMut, scanned: &mut usize) -> Result<(), HeadError> {
    // Taken together with what follows only: alone it could come again and again.
    if b"\r\n".starts_with(input.as_ref()) {
        return Ok(());
    }
    if input.starts_with(b"\r\n") {
        input.advance(2);
        *scanned = scanned.saturating_sub(2);
    }
    match input.first() {
        Some(b'\r' | b'\n') => Err(HeadError::bad("empty line before the request line")),
        _ => Ok(()),
    }
}

/// Returns whether parsing is worth a try: always the first time, then only with the end in sight.
#[inline]
fn may_be_complete(input: &[u8], scanned: &mut usize) -> Result<bool, HeadError> {
    if input.is_empty() {
        return Ok(false);
    }
    let from = scanned.saturating_sub(3);
    let first = *scanned == 0;
    *scanned = input.len();
    if first || memmem::find(&input[from.min(input.len())..], b"\r\n\r\n").is_some() {
        return Ok(true);
    }
    // A bare LF never becomes a CRLF: answer now instead of waiting for an end that cannot come.
    let new = &input[from.min(input.len())..];
    let bare = memchr::memchr_iter(b'\n', new).any(|at| {
        let at = from + at;
        at == 0 || input[at - 1] != b'\r'
    });
    if bare {
        return Err(HeadError::bad("line not ended by CRLF"));
    }
    Ok(false)
}

/// A target is too long as soon as so much of it has come, whether or not it ends.
fn check_request_line(input: &[u8], limits: &HttpLimits) -> Result<(), HeadError> {
    const AROUND: usize = MAX_METHOD_BYTES + "  HTTP/1.1\r\n".len();
    let limit = limits.max_target_bytes + AROUND;
    if input.len() > limit && memchr::memchr(b'\n', &input[..limit]).is_none() {
        return Err(HeadError::new(414, "request target too long"));
    }
    Ok(())
}

fn incomplete<T>(input: &[u8], limits: &HttpLimits) -> Result<Option<T>, HeadError> {
    check_size(input.len(), limits)?;
    Ok(None)
}

fn check_size(len: usize, limits: &HttpLimits) -> Result<(), HeadError> {
    if len > limits.max_head_bytes {
        return Err(HeadError::new(431, "head too large"));
    }
    Ok(())
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
