//! Conditional requests: whether a stored response may be answered with 304 (RFC 9110 section 13).

use http::StatusCode;
use http::header::{
    AsHeaderName, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, TRANSFER_ENCODING,
};
use httpdate::HttpDate;
use pingora_error::{Error, ErrorType::InvalidHTTPHeader, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

/// Returns whether the client already has this response, so that a 304 answers it.
///
/// `If-None-Match` decides when present; `If-Modified-Since` counts only without it
/// (RFC 9110 section 13.2.2). Only 200 responses are matched.
pub fn not_modified_filter(req: &RequestHeader, resp: &ResponseHeader) -> bool {
    if resp.status() != StatusCode::OK {
        return false;
    }
    if let Some(tags) = req.headers.get(IF_NONE_MATCH) {
        let Some(etag) = resp.headers.get(ETAG) else {
            return tags.as_bytes().trim_ascii() == b"*";
        };
        return weak_validate_etag(tags.as_bytes(), etag.as_bytes());
    }
    let since = req_header_as_http_date(req, IF_MODIFIED_SINCE);
    let modified = resp_header_as_http_date(resp, LAST_MODIFIED);
    match (since, modified) {
        (Ok(Some(since)), Ok(Some(modified))) => modified <= since,
        _ => false,
    }
}

/// Returns the date in a request header; `None` without the header, an error if it is no date.
pub fn req_header_as_http_date<H>(req: &RequestHeader, header_name: H) -> Result<Option<HttpDate>>
where
    H: AsHeaderName,
{
    req.headers
        .get(header_name)
        .map(|value| parse_date(value.as_bytes()))
        .transpose()
}

/// Returns the date in a response header; `None` without the header, an error if it is no date.
pub fn resp_header_as_http_date<H>(
    resp: &ResponseHeader,
    header_name: H,
) -> Result<Option<HttpDate>>
where
    H: AsHeaderName,
{
    resp.headers
        .get(header_name)
        .map(|value| parse_date(value.as_bytes()))
        .transpose()
}

/// Returns whether `target_etag` is in the list of an `If-None-Match`, compared weakly.
///
/// `*` matches anything; `W/` prefixes do not count (RFC 9110 section 8.8.3.2). A list that is
/// malformed matches up to the malformed member.
pub fn weak_validate_etag(input_etag_header: &[u8], target_etag: &[u8]) -> bool {
    if input_etag_header.trim_ascii() == b"*" {
        return true;
    }
    let target = opaque_tag(target_etag.trim_ascii());
    let mut rest = input_etag_header.trim_ascii();
    while !rest.is_empty() {
        let tag = opaque_tag(rest);
        let Some(quoted) = tag.strip_prefix(b"\"") else {
            // Not quoted: compare the member up to the next comma as it is.
            let end = tag.iter().position(|&b| b == b',').unwrap_or(tag.len());
            if tag[..end].trim_ascii() == target {
                return true;
            }
            rest = tag[end..].trim_ascii_start();
            rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
            continue;
        };
        let Some(end) = quoted.iter().position(|&b| b == b'"') else {
            return false;
        };
        if &tag[..end + 2] == target {
            return true;
        }
        rest = tag[end + 2..].trim_ascii_start();
        match rest.strip_prefix(b",") {
            Some(next) => rest = next.trim_ascii_start(),
            None => return false,
        }
    }
    false
}

/// Turns the head of a stored response into the 304 for it.
///
/// What describes the body is removed; validators and freshness stay (RFC 9110 section 15.4.5).
pub fn to_304(resp: &mut ResponseHeader) {
    resp.set_status(StatusCode::NOT_MODIFIED)
        .expect("304 is a valid status");
    for name in [
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CONTENT_ENCODING,
        TRANSFER_ENCODING,
    ] {
        resp.remove_header(&name);
    }
}

fn opaque_tag(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

fn parse_date(value: &[u8]) -> Result<HttpDate> {
    let Ok(text) = std::str::from_utf8(value) else {
        return Error::e_explain(InvalidHTTPHeader, "HTTP date is not text");
    };
    text.parse().or_err(InvalidHTTPHeader, "invalid HTTP date")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_etags_weakly() {
        let table: &[(&str, &str, bool)] = &[
            ("*", "\"a\"", true),
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "\"a\"", true),
            ("\"a\"", "W/\"a\"", true),
            ("\"b\"", "\"a\"", false),
            ("\"b\", \"a\"", "\"a\"", true),
            ("\"a,b\", \"c\"", "\"c\"", true),
            ("\"a,b\"", "\"a\"", false),
            ("abc", "abc", true),
            ("abc, def", "def", true),
            ("\"a", "\"a\"", false),
            ("", "\"a\"", false),
        ];
        for (input, target, expected) in table {
            let matched = weak_validate_etag(input.as_bytes(), target.as_bytes());
            assert_eq!(matched, *expected, "{input} against {target}");
        }
    }

    #[test]
    fn answers_304_by_tag_then_by_date() {
        const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[], false),
            (&[("if-none-match", "\"a\"")], true),
            (
                &[("if-none-match", "\"b\""), ("if-modified-since", NEW)],
                false,
            ),
            (&[("if-modified-since", OLD)], true),
            (
                &[("if-modified-since", "Sat, 05 Nov 1994 08:49:37 GMT")],
                false,
            ),
            (&[("if-modified-since", "yesterday")], false),
        ];
        for (headers, expected) in table {
            let mut req = RequestHeader::build("GET", b"/", None).unwrap();
            for (name, value) in *headers {
                req.insert_header(*name, *value).unwrap();
            }
            let mut resp = ResponseHeader::build(200, None).unwrap();
            resp.insert_header("etag", "\"a\"").unwrap();
            resp.insert_header("last-modified", OLD).unwrap();
            assert_eq!(not_modified_filter(&req, &resp), *expected, "{headers:?}");
        }
    }

    #[test]
    fn a_304_describes_no_body() {
        let mut resp = ResponseHeader::build(200, None).unwrap();
        resp.insert_header("content-length", "5").unwrap();
        resp.insert_header("etag", "\"a\"").unwrap();
        to_304(&mut resp);
        assert_eq!(resp.status(), StatusCode::NOT_MODIFIED);
        assert!(resp.headers.get("content-length").is_none());
        assert!(resp.headers.get("etag").is_some());
    }
}
