//! Parses HTTP/1 heads: pure, bytes in, head out (RFC 9112 sections 2 to 5).
//!
//! Tokenising is httparse's; what it tolerates and a proxy must not (bare LF, other versions,
//! targets that are none) is refused here. [`framing`](super::framing) reads the result next.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::{Method, StatusCode, Version};
use httparse::{Header, ParserConfig, Status};
use memchr::memmem;
use pingora_http::fields::FieldSpan;
use pingora_http::{RequestHeader, ResponseHeader};
use smallvec::SmallVec;

use crate::protocols::http::HttpLimits;
use crate::protocols::http::authority::{RawTargetAuthority, is_valid_host, raw_target_authority};

/// Fields that are tokenised on the stack; a higher limit costs an allocation.
const FIELDS_ON_STACK: usize = 100;

/// Longer methods are unknown ones (RFC 9112 section 3); the longest registered has 17 letters.
const MAX_METHOD_BYTES: usize = 32;

/// The longest name a table of fields holds, whatever the limit of the head.
const MAX_NAME_BYTES: usize = u16::MAX as usize;

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

type Spans = SmallVec<[FieldSpan; 32]>;

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
    let mut spans = Spans::new();
    let parsed = with_headers(limits, |headers| {
        request_line(input, headers, limits, &mut spans)
    })?;
    let Some(line) = parsed else {
        check_request_line(input, limits)?;
        return incomplete(input, limits);
    };
    check_size(line.head_len, limits)?;
    *scanned = 0;
    let head = input.split_to(line.head_len).freeze();
    Ok(Some(Box::new(RequestHeader::from_received(
        line.method,
        line.target,
        line.version,
        head,
        spans.into_iter(),
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
    let mut spans = Spans::new();
    let parsed = with_headers(limits, |headers| status_line(input, headers, &mut spans))?;
    let Some(line) = parsed else {
        return incomplete(input, limits);
    };
    check_size(line.head_len, limits)?;
    *scanned = 0;
    let head = input.split_to(line.head_len).freeze();
    Ok(Some(Box::new(ResponseHeader::from_received(
        line.status,
        line.reason,
        line.version,
        head,
        spans.into_iter(),
    ))))
}

struct RequestLine {
    head_len: usize,
    method: Method,
    target: (u32, u32),
    version: Version,
}

struct StatusLine {
    head_len: usize,
    status: StatusCode,
    reason: Option<(u32, u32)>,
    version: Version,
}

fn request_line<'b>(
    input: &'b [u8],
    headers: &mut [MaybeUninit<Header<'b>>],
    limits: &HttpLimits,
    spans: &mut Spans,
) -> Result<Option<RequestLine>, HeadError> {
    let mut request = httparse::Request::new(&mut []);
    let status =
        tokenise_request(&mut request, input, headers).map_err(|e| refused(e, input, limits))?;
    let Status::Complete(head_len) = status else {
        return Ok(None);
    };
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(HeadError::bad("incomplete request line"));
    };
    if method.len() > MAX_METHOD_BYTES {
        return Err(HeadError::new(501, "unknown method"));
    }
    if target.len() > limits.max_target_bytes {
        return Err(HeadError::new(414, "request target too long"));
    }
    field_spans(input, head_len, request.headers, spans)?;
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::bad("invalid method"))?;
    check_target(&method, target.as_bytes())?;
    Ok(Some(RequestLine {
        head_len,
        method,
        target: span(input, target.as_bytes()),
        version: version_of(version),
    }))
}

fn tokenise_request<'h, 'b>(
    request: &mut httparse::Request<'h, 'b>,
    input: &'b [u8],
    headers: &'h mut [MaybeUninit<Header<'b>>],
) -> httparse::Result<usize> {
    ParserConfig::default().parse_request_with_uninit_headers(request, input, headers)
}

fn status_line<'b>(
    input: &'b [u8],
    headers: &mut [MaybeUninit<Header<'b>>],
    spans: &mut Spans,
) -> Result<Option<StatusLine>, HeadError> {
    let mut response = httparse::Response::new(&mut []);
    let status = ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, input, headers)
        .map_err(|e| match e {
            httparse::Error::TooManyHeaders => HeadError::new(502, "too many header fields"),
            _ => HeadError::new(502, "malformed response head"),
        })?;
    let Status::Complete(head_len) = status else {
        return Ok(None);
    };
    let (Some(code), Some(version)) = (response.code, response.version) else {
        return Err(HeadError::new(502, "incomplete status line"));
    };
    field_spans(input, head_len, response.headers, spans)
        .map_err(|e| HeadError::new(502, e.why))?;
    Ok(Some(StatusLine {
        head_len,
        status: StatusCode::from_u16(code).map_err(|_| HeadError::new(502, "invalid status"))?,
        reason: response
            .reason
            .filter(|r| !r.is_empty())
            .map(|r| span(input, r.as_bytes())),
        version: version_of(version),
    }))
}

/// Notes where each field stands and checks that every line of the head ends in CRLF.
///
/// The tokeniser takes a bare LF for the end of a line; a proxy that did would read another
/// message than the next parser (RFC 9112 section 2.2).
fn field_spans(
    input: &[u8],
    head_len: usize,
    headers: &[Header<'_>],
    spans: &mut Spans,
) -> Result<(), HeadError> {
    const BARE_LF: HeadError = HeadError::bad("line not ended by CRLF");
    for header in headers {
        if header.name.len() > MAX_NAME_BYTES {
            return Err(HeadError::new(431, "header name too long"));
        }
        let name = span(input, header.name.as_bytes());
        let start = name.0 as usize;
        if start < 2 || input[start - 2..start] != *b"\r\n" {
            return Err(BARE_LF);
        }
        // An empty value may point anywhere; an empty span at the end of the name is as good.
        let value = if header.value.is_empty() {
            (name.0 + name.1, 0)
        } else {
            span(input, header.value)
        };
        spans.push(FieldSpan { name, value });
    }
    if !input[..head_len].ends_with(b"\r\n\r\n") {
        return Err(BARE_LF);
    }
    Ok(())
}

/// The span of `part` in `input`; both are slices of one buffer.
fn span(input: &[u8], part: &[u8]) -> (u32, u32) {
    let start = part.as_ptr() as usize - input.as_ptr() as usize;
    debug_assert!(start + part.len() <= input.len());
    (start as u32, part.len() as u32)
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

fn refused(e: httparse::Error, input: &[u8], limits: &HttpLimits) -> HeadError {
    match e {
        httparse::Error::TooManyHeaders => HeadError::new(431, "too many header fields"),
        httparse::Error::Version if has_other_http_version(input) => {
            HeadError::new(505, "unsupported HTTP version")
        }
        _ if input.len() > limits.max_head_bytes => HeadError::new(431, "request head too large"),
        httparse::Error::Version => HeadError::bad("invalid HTTP version"),
        httparse::Error::Token => HeadError::bad("invalid byte in the request line"),
        httparse::Error::NewLine => HeadError::bad("invalid line end"),
        httparse::Error::HeaderName => HeadError::bad("invalid header name"),
        httparse::Error::HeaderValue => HeadError::bad("invalid header value"),
        httparse::Error::Status => HeadError::bad("invalid status"),
    }
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

/// Calls `parse` with room for as many fields as the limits allow.
fn with_headers<'b, T>(
    limits: &HttpLimits,
    parse: impl FnOnce(&mut [MaybeUninit<Header<'b>>]) -> T,
) -> T {
    if limits.max_fields <= FIELDS_ON_STACK {
        let mut headers = [const { MaybeUninit::<Header<'b>>::uninit() }; FIELDS_ON_STACK];
        parse(&mut headers[..limits.max_fields])
    } else {
        let mut headers = vec![const { MaybeUninit::<Header<'b>>::uninit() }; limits.max_fields];
        parse(&mut headers)
    }
}

#[cfg(test)]
mod tests;
