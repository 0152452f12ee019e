//! From a head to the length of its body and the fate of the connection: pure.
//!
//! RFC 9112 section 6.3 decides the length; wherever it leaves a choice between tolerating and
//! refusing an ambiguous message, it is refused: two parsers that disagree are a smuggling attack.

use http::{Method, StatusCode, Version};
use pingora_http::fields::{Fields, KnownName};
use pingora_http::{RequestHeader, ResponseHeader};

use super::head::HeadError;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// The body has this many bytes.
    Fixed(u64),
    /// The body tells its own length chunk by chunk.
    Chunked,
    /// The body ends with the connection.
    UntilClose,
}

/// The options of all `Connection` fields together (RFC 9110 section 7.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// The sender closes after this message.
    pub close: bool,
    /// An HTTP/1.0 sender would keep the connection.
    pub keep_alive: bool,
    /// The `Upgrade` field is meant for this hop.
    pub upgrade: bool,
}

/// What a request head says about the bytes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFraming {
    /// The length of the body.
    pub length: BodyLength,
    /// The client will take another response on this connection.
    pub keep_alive: bool,
}

/// What a response head says about the bytes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseFraming {
    /// The length of the body.
    pub length: BodyLength,
    /// The server will take another request on this connection.
    pub keep_alive: bool,
}

/// Returns the framing of a request, or the status that refuses it.
pub fn request_framing(req: &RequestHeader) -> Result<RequestFraming, HeadError> {
    let fields = req.fields();
    let version = req.version();
    check_host(req)?;
    let options = connection_options(fields);
    let chunked = match transfer_encoding(fields) {
        TransferEncoding::Absent => false,
        _ if version != Version::HTTP_11 => {
            return Err(HeadError::bad("Transfer-Encoding in HTTP/1.0"));
        }
        TransferEncoding::Chunked => true,
        TransferEncoding::Unknown => {
            return Err(HeadError::new(501, "unknown transfer coding"));
        }
        TransferEncoding::Malformed => {
            return Err(HeadError::bad("malformed Transfer-Encoding"));
        }
    };
    let content_length = content_length(fields).map_err(HeadError::bad)?;
    let length = match (chunked, content_length) {
        (true, Some(_)) => {
            return Err(HeadError::bad("both Transfer-Encoding and Content-Length"));
        }
        (true, None) => BodyLength::Chunked,
        (false, Some(0) | None) => BodyLength::None,
        (false, Some(len)) => BodyLength::Fixed(len),
    };
    if length != BodyLength::None && req.method() == Method::CONNECT {
        // What follows is the tunnel's (RFC 9110 section 9.3.6).
        return Err(HeadError::bad("CONNECT with a body"));
    }
    if fields.has(KnownName::Expect) && version == Version::HTTP_11 {
        check_expect(fields)?;
    }
    Ok(RequestFraming {
        length,
        keep_alive: persists(version, options),
    })
}

/// Returns the framing of a final response to `method`, or why it is malformed.
///
/// With `allow_invalid_length` a `Content-Length` that is no length is ignored, and the body ends
/// with the connection.
pub fn response_framing(
    resp: &ResponseHeader,
    method: &Method,
    allow_invalid_length: bool,
) -> Result<ResponseFraming, HeadError> {
    let fields = resp.fields();
    let version = resp.version();
    let keep_alive = persists(version, connection_options(fields));
    let te = transfer_encoding(fields);
    let content_length = match content_length(fields) {
        Err(_) if allow_invalid_length => None,
        other => other.map_err(|why| HeadError::new(502, why))?,
    };
    let status = resp.status();
    let bodiless = *method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || (*method == Method::CONNECT && status.is_success());
    let length = match te {
        TransferEncoding::Absent if bodiless => BodyLength::None,
        TransferEncoding::Absent => match content_length {
            Some(0) => BodyLength::None,
            Some(len) => BodyLength::Fixed(len),
            None => BodyLength::UntilClose,
        },
        _ if version != Version::HTTP_11 => {
            return Err(HeadError::new(502, "Transfer-Encoding in HTTP/1.0"));
        }
        TransferEncoding::Chunked if fields.has(KnownName::ContentLength) => {
            return Err(HeadError::new(
                502,
                "both Transfer-Encoding and Content-Length",
            ));
        }
        TransferEncoding::Chunked if bodiless => BodyLength::None,
        TransferEncoding::Chunked => BodyLength::Chunked,
        TransferEncoding::Unknown | TransferEncoding::Malformed => {
            return Err(HeadError::new(502, "unknown transfer coding"));
        }
    };
    Ok(ResponseFraming {
        length,
        keep_alive: keep_alive && length != BodyLength::UntilClose,
    })
}

/// Returns the options named by the `Connection` fields.
pub fn connection_options(fields: &Fields) -> ConnectionOptions {
    let mut options = ConnectionOptions::default();
    if !fields.has(KnownName::Connection) {
        return options;
    }
    for value in fields.get_all(KnownName::Connection) {
        for token in value.split(|&b| b == b',') {
            match token.trim_ascii() {
                t if t.eq_ignore_ascii_case(b"close") => options.close = true,
                t if t.eq_ignore_ascii_case(b"keep-alive") => options.keep_alive = true,
                t if t.eq_ignore_ascii_case(b"upgrade") => options.upgrade = true,
                _ => (),
            }
        }
    }
    options
}

/// Returns the number a `Content-Length` states: digits only (RFC 9110 section 8.6).
///
/// Leading zeros are refused: some parsers take them for octal.
pub fn parse_length(value: &[u8]) -> Option<u64> {
    // 19 digits cannot overflow, and nothing real is longer.
    if value.is_empty() || value.len() > 19 || (value[0] == b'0' && value.len() > 1) {
        return None;
    }
    value.iter().try_fold(0u64, |len, b| {
        b.is_ascii_digit().then(|| len * 10 + u64::from(b - b'0'))
    })
}

/// `close` wins over `keep-alive`; without either the version decides (RFC 9112 section 9.3).
fn persists(version: Version, options: ConnectionOptions) -> bool {
    !options.close && (version == Version::HTTP_11 || options.keep_alive)
}

enum TransferEncoding {
    Absent,
    Chunked,
    Unknown,
    Malformed,
}

fn transfer_encoding(fields: &Fields) -> TransferEncoding {
    if !fields.has(KnownName::TransferEncoding) {
        return TransferEncoding::Absent;
    }
    let mut values = fields.get_all(KnownName::TransferEncoding);
    let value = values.next().unwrap_or(b"");
    if values.next().is_some() {
        return TransferEncoding::Malformed;
    }
    if value.eq_ignore_ascii_case(b"chunked") {
        return TransferEncoding::Chunked;
    }
    // A well-formed coding we do not know is 501; whatever else looks like `chunked` is an attack.
    let is_token = !value.is_empty()
        && value
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let known_end = value.len() >= 7
        && value
            .windows(7)
            .any(|part| part.eq_ignore_ascii_case(b"chunked"));
    if is_token && !known_end {
        TransferEncoding::Unknown
    } else {
        TransferEncoding::Malformed
    }
}

fn content_length(fields: &Fields) -> Result<Option<u64>, &'static str> {
    if !fields.has(KnownName::ContentLength) {
        return Ok(None);
    }
    let mut values = fields.get_all(KnownName::ContentLength);
    let length = values
        .next()
        .and_then(parse_length)
        .ok_or("invalid Content-Length")?;
    if values.next().is_some() {
        return Err("more than one Content-Length");
    }
    Ok(Some(length))
}

/// Checks `Host` (RFC 9112 section 3.2), by which an absolute target must not be passed either.
pub(super) fn check_host(req: &RequestHeader) -> Result<(), HeadError> {
    let fields = req.fields();
    if !fields.has(KnownName::Host) {
        return if req.version() == Version::HTTP_11 {
            Err(HeadError::bad("no Host"))
        } else {
            Ok(())
        };
    }
    let mut hosts = fields.get_all(KnownName::Host);
    let host = hosts.next().unwrap_or(b"");
    if hosts.next().is_some() {
        return Err(HeadError::bad("more than one Host"));
    }
    if !crate::protocols::http::authority::is_valid_host(host) {
        return Err(HeadError::bad("invalid Host"));
    }
    Ok(())
}

/// `100-continue` is the only expectation there is (RFC 9110 section 10.1.1).
fn check_expect(fields: &Fields) -> Result<(), HeadError> {
    let mut values = fields.get_all(KnownName::Expect);
    let known = values
        .next()
        .is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"));
    if known && values.next().is_none() {
        Ok(())
    } else {
        Err(HeadError::new(417, "unknown expectation"))
    }
}

#[cfg(test)]
mod tests;
