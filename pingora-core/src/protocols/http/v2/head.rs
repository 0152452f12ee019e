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
use pingora_http::fields::{Fields, KnownName};
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
    let seen = check_fields(&parts.headers, limits)?;
    check_authority(&parts, &seen)?;
    if seen.length && parts.method == Method::CONNECT {
        // RFC 9110 section 9.3.6: what follows is the tunnel's. As the GET of HTTP/1 it would
        // announce a body that never comes, and swallow the next request on that connection.
        return Err(Refusal::Malformed("content-length in CONNECT"));
    }
    let has_crumbs = seen.cookies > 1;
    if parts.uri.path_and_query().map_or(0, |p| p.as_str().len()) > limits.max_target_bytes {
        return Err(Refusal::Status(StatusCode::URI_TOO_LONG));
    }
    if has_crumbs {
        join_cookies(&mut parts.headers);
    }
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
fn check_authority(parts: &request::Parts, seen: &Seen<'_>) -> Result<(), Refusal> {
    let authority = parts.uri.authority().map(|a| a.as_str().as_bytes());
    let host = seen.host.map(HeaderValue::as_bytes);
    match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Err(Refusal::Malformed("host differs from :authority"))
        }
        (Some(name), _) | (None, Some(name)) if is_valid_host(name) => Ok(()),
        (None, None) => Err(Refusal::Malformed("no :authority")),
        _ => Err(Refusal::Malformed("invalid :authority")),
    }
}

/// What was found on the way through the fields of a request.
#[derive(Default)]
struct Seen<'a> {
    host: Option<&'a HeaderValue>,
    length: bool,
    cookies: usize,
    bytes: usize,
}

fn check_fields<'a>(headers: &'a HeaderMap, limits: &HttpLimits) -> Result<Seen<'a>, Refusal> {
    let mut seen = Seen::default();
    let mut refused = None;
    for (name, value) in headers {
        if let Err(refusal) = seen.check(name, value) {
            // What is malformed comes before what is only refused.
            if matches!(refusal, Refusal::Malformed(_)) {
                return Err(refusal);
            }
            refused = Some(refusal);
        }
    }
    if headers.len() - seen.cookies > limits.max_fields
        || seen.cookies > MAX_COOKIE_CRUMBS
        || seen.bytes > limits.max_head_bytes
    {
        return Err(Refusal::Status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    refused.map_or(Ok(seen), Err)
}

impl<'a> Seen<'a> {
    fn check(&mut self, name: &HeaderName, value: &'a HeaderValue) -> Result<(), Refusal> {
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        let bytes = value.as_bytes();
        // RFC 9113 section 8.2.1: whoever trims it sees another message.
        if is_space(bytes.first()) || is_space(bytes.last()) {
            return Err(Refusal::Malformed("white space around a value"));
        }
        if is_invalid_name(name.as_str().as_bytes()) {
            return Err(Refusal::Malformed("invalid field name"));
        }
        self.bytes += name.as_str().len() + bytes.len();
        if *name == COOKIE {
            self.cookies += 1;
        } else if *name == HOST {
            if self.host.replace(value).is_some() {
                return Err(Refusal::Malformed("more than one host"));
            }
        } else if *name == CONTENT_LENGTH {
            // As strict as with HTTP/1, which may be what it goes on as.
            if parse_length(bytes).is_none() {
                return Err(Refusal::Malformed("invalid content-length"));
            }
            if std::mem::replace(&mut self.length, true) {
                return Err(Refusal::Malformed("more than one content-length"));
            }
        } else if *name == EXPECT && !bytes.eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::Status(StatusCode::EXPECTATION_FAILED));
        }
        Ok(())
    }
}

/// Returns whether a name that `h2` takes is no token (RFC 9110 section 5.6.2): it takes quotes.
pub(super) fn is_invalid_name(name: &[u8]) -> bool {
    name.contains(&b'"')
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
pub(super) fn response_to_h2(head: &mut ResponseHeader) -> Response<()> {
    let mut parts = head.take_parts();
    parts.version = Version::HTTP_2;
    strip_connection_fields(&mut parts.headers, head.fields());
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

/// Removes the fields HTTP/2 has no place for (RFC 9113 section 8.2.2); `fields` has the same.
pub(super) fn strip_connection_fields(headers: &mut HeaderMap, fields: &Fields) {
    const STRIPPED: [KnownName; 6] = [
        KnownName::Connection,
        KnownName::KeepAlive,
        KnownName::ProxyConnection,
        KnownName::Te,
        KnownName::TransferEncoding,
        KnownName::Upgrade,
    ];
    if !STRIPPED.iter().any(|&name| fields.has(name)) {
        return;
    }
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

/// Removes what must not come behind a body (RFC 9110 section 6.5.1) and names that are none, and all
/// of too many.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    if trailers.len() > MAX_TRAILERS {
        trailers.clear();
        return;
    }
    let forbidden: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| is_forbidden_trailer(name) || is_invalid_name(name.as_str().as_bytes()))
        .cloned()
        .collect();
    for name in forbidden {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests;
