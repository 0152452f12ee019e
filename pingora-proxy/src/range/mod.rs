//! Range requests (RFC 9110 section 14): which bytes of a whole response a client asked for.
//!
//! [`range_header_filter`] turns the head of a whole response into that of a part of it and says
//! which part that is. `parse.rs` reads the request, `multipart.rs` frames several parts.

mod multipart;
mod parse;

use std::ops::Range;

use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, LAST_MODIFIED,
    RANGE,
};
use http::{Method, StatusCode};
use log::debug;
use pingora_core::protocols::http::v1::common::header_value_content_length;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

pub use self::multipart::MultiRangeInfo;
use self::parse::{Requested, parse_range};

/// Parts a client may ask for unless the caller says otherwise: each is framed with many more bytes
/// than it takes to ask for it.
const DEFAULT_MAX_RANGES: usize = 200;

/// Which part of a response is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeType {
    /// All of it.
    None,
    /// These bytes.
    Single(Range<usize>),
    /// Several parts, framed as `multipart/byteranges`.
    Multi(MultiRangeInfo),
    /// None: nothing the client asked for exists. The head is that of a 416.
    Invalid,
}

impl RangeType {
    /// Returns several parts, with a boundary of their own.
    pub fn new_multi(ranges: Vec<Range<usize>>) -> Self {
        RangeType::Multi(MultiRangeInfo::new(ranges))
    }
}

/// Makes the head of a whole response that of the part `req` asks for; returns which that is.
///
/// Only a 200 to a GET with a known length is cut; it also gets `Accept-Ranges: bytes`. An
/// `If-Range` that does not name exactly this response, a `Range` that is malformed, one of more
/// than `max_multipart_ranges` parts (`None`: 200), and parts that are longer together than the whole
/// are ignored: the client gets everything.
///
/// ```
/// use pingora_http::{RequestHeader, ResponseHeader};
/// use pingora_proxy::{RangeType, range_header_filter};
///
/// let mut req = RequestHeader::build("GET", b"/", None).unwrap();
/// req.insert_header("Range", "bytes=-3").unwrap();
/// let mut resp = ResponseHeader::build(200, None).unwrap();
/// resp.insert_header("Content-Length", "10").unwrap();
///
/// let range = range_header_filter(&req, &mut resp, Some(10));
/// assert_eq!(range, RangeType::Single(7..10));
/// assert_eq!(resp.status(), 206);
/// assert_eq!(resp.headers["Content-Range"], "bytes 7-9/10");
/// assert_eq!(resp.headers["Content-Length"], "3");
/// ```
pub fn range_header_filter(
    req: &RequestHeader,
    resp: &mut ResponseHeader,
    max_multipart_ranges: Option<usize>,
) -> RangeType {
    if resp.status() != StatusCode::OK || req.method() != Method::GET {
        return RangeType::None;
    }
    let Some(length) = header_value_content_length(resp.headers.get(CONTENT_LENGTH)) else {
        return RangeType::None;
    };
    let range = requested(req, resp, length, max_multipart_ranges);
    match rewrite(resp, length, range) {
        Ok(range) => range,
        Err(e) => {
            // Only a content type that is no valid field value could do this.
            debug!("range ignored: {e}");
            RangeType::None
        }
    }
}

fn requested(
    req: &RequestHeader,
    resp: &ResponseHeader,
    length: usize,
    max_ranges: Option<usize>,
) -> RangeType {
    let mut values = req.headers.get_all(RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return RangeType::None;
    };
    if !if_range_matches(req, resp) {
        return RangeType::None;
    }
    match parse_range(
        value.as_bytes(),
        length,
        max_ranges.unwrap_or(DEFAULT_MAX_RANGES),
    ) {
        Requested::Everything => RangeType::None,
        Requested::Nothing => RangeType::Invalid,
        Requested::Parts(mut parts) if parts.len() == 1 => RangeType::Single(parts.remove(0)),
        Requested::Parts(parts) => RangeType::new_multi(parts),
    }
}

/// Returns whether `If-Range` is absent or names exactly this response (RFC 9110 section 13.1.5):
/// a weak tag, or a date that is not the very same, does not.
fn if_range_matches(req: &RequestHeader, resp: &ResponseHeader) -> bool {
    let Some(condition) = req.headers.get(IF_RANGE) else {
        return true;
    };
    let condition = condition.as_bytes().trim_ascii();
    let validator = if condition.starts_with(b"\"") {
        ETAG
    } else {
        LAST_MODIFIED
    };
    resp.headers
        .get(validator)
        .is_some_and(|value| value.as_bytes().trim_ascii() == condition)
}

fn rewrite(resp: &mut ResponseHeader, length: usize, mut range: RangeType) -> Result<RangeType> {
    match &mut range {
        RangeType::None => resp.insert_header(ACCEPT_RANGES, "bytes")?,
        RangeType::Single(part) => {
            let value = format!("bytes {}-{}/{length}", part.start, part.end - 1);
            resp.insert_header(CONTENT_RANGE, value)?;
            resp.insert_header(CONTENT_LENGTH, part.len())?;
            resp.insert_header(ACCEPT_RANGES, "bytes")?;
            resp.set_status(StatusCode::PARTIAL_CONTENT)?;
        }
        RangeType::Multi(parts) => {
            if let Some(content_type) = resp.headers.get(CONTENT_TYPE) {
                parts.set_content_type(content_type.to_str().unwrap_or_default().to_string());
            }
            parts.set_total_length(length);
            let value = format!("multipart/byteranges; boundary={}", parts.boundary);
            resp.insert_header(CONTENT_TYPE, value)?;
            resp.insert_header(CONTENT_LENGTH, parts.calculate_multipart_length())?;
            resp.insert_header(ACCEPT_RANGES, "bytes")?;
            resp.remove_header(&CONTENT_RANGE);
            resp.set_status(StatusCode::PARTIAL_CONTENT)?;
        }
        RangeType::Invalid => {
            resp.insert_header(CONTENT_RANGE, format!("bytes */{length}"))?;
            resp.insert_header(CONTENT_LENGTH, 0)?;
            for name in [
                CONTENT_TYPE,
                http::header::CONTENT_ENCODING,
                ETAG,
                LAST_MODIFIED,
            ] {
                resp.remove_header(&name);
            }
            resp.set_status(StatusCode::RANGE_NOT_SATISFIABLE)?;
        }
    }
    Ok(range)
}

#[cfg(test)]
mod tests;
