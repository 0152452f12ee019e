//! Heads of HTTP/2 as ours and back: pure.
//!
//! RFC 9113 section 8 says what a valid message is; `h2` checks most of it (order and number of
//! pseudo-header fields, lower case, connection-specific fields, lengths) and this file the rest.
//! What passes can be written as HTTP/1 without changing its meaning.

use bytes::Bytes;
use h2::ext::Protocol;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, request};
use pingora_http::{RequestHeader, ResponseHeader};

use super::websocket;
use crate::protocols::http::HttpLimits;
use crate::protocols::http::authority::is_valid_host;
use crate::protocols::http::v1::{MAX_TRAILERS, is_forbidden_trailer, parse_length};

/// Pieces of `Cookie` a request may have; they do not count as fields.
///
/// Clients may send a field for each cookie (RFC 9113 section 8.2.3), and browsers keep up to 180
/// for a site.
const MAX_COOKIE_CRUMBS: usize = 256;

/// Why a request is not served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is no message of HTTP/2: its stream is reset (RFC 9113 section 8.1.1).
    Malformed(&'static str),
    /// It is answered with a status.
    Status(StatusCode),
}

/// A valid request.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) head: RequestHeader,
    /// Asks for a tunnel in this stream (RFC 8441): the answer is 200 where HTTP/1 says 101.
    pub(super) is_extended_connect: bool,
}

/// Checks a request and returns it as a head of ours.
///
/// Cookies come joined. An extended CONNECT comes as the `GET` with `Upgrade` it means, so that
/// nobody behind this has to know two kinds of upgrade.
pub(super) fn accept_request(
    mut parts: request::Parts,
    limits: &HttpLimits,
) -> Result<Accepted, Refusal> {
    check_target(&parts)?;
    check_authority(&parts)?;
    check_fields(&parts.headers, limits)?;
    if parts.uri.path_and_query().map_or(0, |p| p.as_str().len()) > limits.max_target_bytes {
        return Err(Refusal::Status(StatusCode::URI_TOO_LONG));
    }
    join_cookies(&mut parts.headers);
    let protocol = parts.extensions.remove::<Protocol>();
    let is_extended_connect = protocol.is_some();
    if let Some(protocol) = protocol {
        let value = HeaderValue::from_str(protocol.as_str())
            .ok()
            .filter(|value| !value.is_empty())
            .ok_or(Refusal::Malformed("invalid :protocol"))?;
        if value.as_bytes().eq_ignore_ascii_case(b"websocket")
            && !parts.headers.contains_key("sec-websocket-key")
        {
            // HTTP/2 has none (RFC 8441 section 5), and a server of HTTP/1 insists.
            parts
                .headers
                .insert("sec-websocket-key", websocket::new_key());
        }
        parts.method = Method::GET;
        parts.headers.insert(UPGRADE, value);
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    let mut head = RequestHeader::from(parts);
    head.set_version(Version::HTTP_2);
    Ok(Accepted {
        head,
        is_extended_connect,
    })
}

fn check_target(parts: &request::Parts) -> Result<(), Refusal> {
    let extended = parts.extensions.get::<Protocol>().is_some();
    let path = parts.uri.path_and_query().map(|path| path.as_str());
    let is_connect = parts.method == Method::CONNECT && !extended;
    match path {
        // RFC 9113 section 8.5: the host and port to connect to.
        None if is_connect && parts.uri.port_u16().is_some() => Ok(()),
        None if is_connect => Err(Refusal::Malformed("no port in CONNECT")),
        _ if is_connect => Err(Refusal::Malformed(":path in CONNECT")),
        Some(path) if path.starts_with('/') => Ok(()),
        Some("*") if parts.method == Method::OPTIONS => Ok(()),
        _ => Err(Refusal::Malformed("invalid :path")),
    }
}

/// A request names one host (RFC 9113 section 8.3.1).
fn check_authority(parts: &request::Parts) -> Result<(), Refusal> {
    let authority = parts.uri.authority().map(|a| a.as_str().as_bytes());
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Refusal::Malformed("more than one host"));
    }
    match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Err(Refusal::Malformed("host differs from :authority"))
        }
        (Some(name), _) | (None, Some(name)) if is_valid_host(name) => Ok(()),
        (None, None) => Err(Refusal::Malformed("no :authority")),
        _ => Err(Refusal::Malformed("invalid :authority")),
    }
}

fn check_fields(headers: &HeaderMap, limits: &HttpLimits) -> Result<(), Refusal> {
    let crumbs = headers.get_all(COOKIE).iter().count();
    if headers.len() - crumbs > limits.max_fields || crumbs > MAX_COOKIE_CRUMBS {
        return Err(Refusal::Status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    let mut bytes = 0;
    for (name, value) in headers {
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        let value = value.as_bytes();
        // RFC 9113 section 8.2.1: whoever trims it sees another message.
        if is_space(value.first()) || is_space(value.last()) {
            return Err(Refusal::Malformed("white space around a value"));
        }
        bytes += name.as_str().len() + value.len();
    }
    if bytes > limits.max_head_bytes {
        return Err(Refusal::Status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    // As strict as with HTTP/1, which may be what it goes on as.
    if lengths
        .next()
        .is_some_and(|length| parse_length(length.as_bytes()).is_none())
    {
        return Err(Refusal::Malformed("invalid content-length"));
    }
    if lengths.next().is_some() {
        return Err(Refusal::Malformed("more than one content-length"));
    }
    let odd_expectation =
        |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(EXPECT).iter().any(odd_expectation) {
        return Err(Refusal::Status(StatusCode::EXPECTATION_FAILED));
    }
    Ok(())
}

/// Joins the pieces of `Cookie` with `; `: HTTP/1 has one such field (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() < 2 {
        return;
    }
    // An empty one would leave white space at the end, which HTTP/2 refuses.
    let crumbs: Vec<&[u8]> = crumbs
        .into_iter()
        .filter(|crumb| !crumb.is_empty())
        .collect();
    let joined = HeaderValue::from_maybe_shared(Bytes::from(crumbs.join(&b"; "[..])))
        .expect("valid values joined by valid bytes");
    headers.insert(COOKIE, joined);
}

/// Returns a response head as HTTP/2 has it: without what belongs to a connection of HTTP/1.
pub(super) fn response_to_h2(head: &ResponseHeader) -> Response<()> {
    let mut parts = head.as_owned_parts();
    parts.version = Version::HTTP_2;
    strip_connection_fields(&mut parts.headers);
    if is_bodiless(parts.status) {
        // Some clients take any length here for one that is not kept.
        parts.headers.remove(CONTENT_LENGTH);
    }
    Response::from_parts(parts, ())
}

/// Returns whether a response of this status never has a body.
pub(super) fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// Removes the fields HTTP/2 has no place for (RFC 9113 section 8.2.2).
pub(super) fn strip_connection_fields(headers: &mut HeaderMap) {
    const OTHERS: [HeaderName; 2] = [
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    if headers.contains_key(CONNECTION) {
        let nominated: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&b| b == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| *name != CONTENT_LENGTH && *name != CONTENT_TYPE)
            .collect();
        for name in nominated {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
    for name in OTHERS {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|te| te != "trailers") {
        headers.remove(TE);
    }
}

/// Removes what must not come behind a body (RFC 9110 section 6.5.1), and all of too many.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    if trailers.len() > MAX_TRAILERS {
        trailers.clear();
        return;
    }
    let forbidden: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| is_forbidden_trailer(name))
        .cloned()
        .collect();
    for name in forbidden {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests;
