//! Heads of HTTP/2 as ours and back: pure.
//!
//! RFC 9113 section 8 says what a valid message is; whoever frames it checks most of it (order and
//! number of pseudo-header fields, lower case, connection-specific fields, lengths) and this file the
//! rest.
//! What passes can be written as HTTP/1 without changing its meaning.

use bytes::{Bytes, BytesMut};
use h2::ext::Protocol;
use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, request};
use pingora_http::fields::{Field, Fields, KnownName};
use pingora_http::{H2Target, RequestHeader, ResponseHeader};

use super::engine::RawHead;
use super::engine::hpack::Encoder;
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

/// Checks a request the `h2` crate has framed; see [`accept_request`].
pub(super) fn accept_parts(
    mut parts: request::Parts,
    limits: &HttpLimits,
) -> Result<Accepted, Refusal> {
    let protocol = parts.extensions.remove::<Protocol>();
    let protocol = protocol.map(|protocol| protocol.as_str().as_bytes().to_vec());
    let has_path = parts.uri.path_and_query().is_some();
    accept(RequestHeader::from(parts), has_path, protocol, limits)
}

/// Checks a request and returns it as a head of ours.
///
/// Cookies come joined. An extended CONNECT comes as the `GET` with `Upgrade` it means, so that
/// nobody behind this has to know two kinds of upgrade.
pub(super) fn accept_request(raw: RawHead, limits: &HttpLimits) -> Result<Accepted, Refusal> {
    let method = raw.value(raw.method).unwrap_or_default();
    let method = Method::from_bytes(method).map_err(|_| Refusal::Malformed("invalid :method"))?;
    let protocol = raw.value(raw.protocol).map(<[u8]>::to_vec);
    let target = H2Target {
        scheme: raw.scheme,
        authority: raw.authority,
        path: raw.path,
    };
    let head = RequestHeader::from_h2(method, target, raw.fields);
    accept(head, target.path.is_some(), protocol, limits)
}

fn accept(
    mut head: RequestHeader,
    has_path: bool,
    protocol: Option<Vec<u8>>,
    limits: &HttpLimits,
) -> Result<Accepted, Refusal> {
    check_target(&head, has_path, protocol.is_some())?;
    let seen = check_fields(head.fields(), limits)?;
    check_authority(&head, &seen)?;
    if seen.length && *head.method() == Method::CONNECT {
        // RFC 9110 section 9.3.6: what follows is the tunnel's. As the GET of HTTP/1 it would
        // announce a body that never comes, and swallow the next request on that connection.
        return Err(Refusal::Malformed("content-length in CONNECT"));
    }
    if has_path && head.raw_path().len() > limits.max_target_bytes {
        return Err(Refusal::Status(StatusCode::URI_TOO_LONG));
    }
    if seen.cookies > 1 {
        join_cookies(&mut head);
    }
    let is_extended_connect = protocol.is_some();
    if let Some(protocol) = protocol {
        if protocol.is_empty() || HeaderValue::from_bytes(&protocol).is_err() {
            return Err(Refusal::Malformed("invalid :protocol"));
        }
        if protocol.eq_ignore_ascii_case(b"websocket")
            && !head.fields().has(KnownName::SecWebsocketKey)
        {
            // HTTP/2 has none (RFC 8441 section 5), and a server of HTTP/1 insists.
            let key = websocket::new_key();
            head.set_known(KnownName::SecWebsocketKey, key.as_bytes());
        }
        head.set_method(Method::GET);
        head.set_known(KnownName::Upgrade, &protocol);
        head.set_known(KnownName::Connection, b"Upgrade");
    }
    head.set_version(Version::HTTP_2);
    Ok(Accepted {
        head,
        is_extended_connect,
    })
}

fn check_target(head: &RequestHeader, has_path: bool, is_extended: bool) -> Result<(), Refusal> {
    let is_connect = *head.method() == Method::CONNECT && !is_extended;
    match has_path {
        // RFC 9113 section 8.5: the host and port to connect to.
        false if is_connect && head.target_authority().is_some_and(has_port) => Ok(()),
        false if is_connect => Err(Refusal::Malformed("no port in CONNECT")),
        _ if is_connect => Err(Refusal::Malformed(":path in CONNECT")),
        true if head.raw_path().starts_with(b"/") => Ok(()),
        true if head.raw_path() == b"*" && *head.method() == Method::OPTIONS => Ok(()),
        _ => Err(Refusal::Malformed("invalid :path")),
    }
}

/// Returns whether an authority ends with a port (RFC 3986 section 3.2.3).
fn has_port(authority: &[u8]) -> bool {
    let colon = authority.iter().rposition(|&byte| byte == b':');
    let port = colon.map(|colon| &authority[colon + 1..]);
    let port = port.and_then(|port| std::str::from_utf8(port).ok());
    port.is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// A request names one host (RFC 9113 section 8.3.1).
fn check_authority(head: &RequestHeader, seen: &Seen<'_>) -> Result<(), Refusal> {
    match (head.target_authority(), seen.host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Err(Refusal::Malformed("host differs from :authority"))
        }
        // `http::Uri` has no place for it, and without an authority there a hook would miss the host.
        (Some(authority), _) if authority.contains(&b'%') => {
            Err(Refusal::Malformed("invalid :authority"))
        }
        (Some(name), _) | (None, Some(name)) if is_valid_host(name) => Ok(()),
        (None, None) => Err(Refusal::Malformed("no :authority")),
        _ => Err(Refusal::Malformed("invalid :authority")),
    }
}

/// What was found on the way through the fields of a request.
#[derive(Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    length: bool,
    cookies: usize,
    bytes: usize,
}

fn check_fields<'a>(fields: &'a Fields, limits: &HttpLimits) -> Result<Seen<'a>, Refusal> {
    let mut seen = Seen::default();
    let mut refused = None;
    for field in fields.iter() {
        if let Err(refusal) = seen.check(field) {
            // What is malformed comes before what is only refused.
            if matches!(refusal, Refusal::Malformed(_)) {
                return Err(refusal);
            }
            refused = Some(refusal);
        }
    }
    if fields.len() - seen.cookies > limits.max_fields
        || seen.cookies > MAX_COOKIE_CRUMBS
        || seen.bytes > limits.max_head_bytes
    {
        return Err(Refusal::Status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    refused.map_or(Ok(seen), Err)
}

impl<'a> Seen<'a> {
    fn check(&mut self, field: Field<'a>) -> Result<(), Refusal> {
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        let value = field.value;
        // RFC 9113 section 8.2.1: whoever trims it sees another message.
        if is_space(value.first()) || is_space(value.last()) {
            return Err(Refusal::Malformed("white space around a value"));
        }
        self.bytes += field.name.len() + value.len();
        match field.known {
            None if is_invalid_name(field.name) => {
                return Err(Refusal::Malformed("invalid field name"));
            }
            Some(KnownName::Cookie) => self.cookies += 1,
            Some(KnownName::Host) if self.host.replace(value).is_some() => {
                return Err(Refusal::Malformed("more than one host"));
            }
            Some(KnownName::ContentLength) => {
                // As strict as with HTTP/1, which may be what it goes on as.
                if parse_length(value).is_none() {
                    return Err(Refusal::Malformed("invalid content-length"));
                }
                if std::mem::replace(&mut self.length, true) {
                    return Err(Refusal::Malformed("more than one content-length"));
                }
            }
            Some(KnownName::Expect) if !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(Refusal::Status(StatusCode::EXPECTATION_FAILED));
            }
            _ => (),
        }
        Ok(())
    }
}

/// Returns whether a name that `h2` takes is no token (RFC 9110 section 5.6.2): it takes quotes.
pub(super) fn is_invalid_name(name: &[u8]) -> bool {
    name.contains(&b'"')
}

/// Joins the pieces of `Cookie` with `; `: HTTP/1 has one such field (RFC 9113 section 8.2.3).
fn join_cookies(head: &mut RequestHeader) {
    // An empty one would leave white space at the end, which HTTP/2 refuses.
    let cookies = |field: &Field<'_>| field.known == Some(KnownName::Cookie);
    let fields = head.fields().iter().filter(cookies);
    let crumbs: Vec<&[u8]> = fields
        .map(|field| field.value)
        .filter(|crumb| !crumb.is_empty())
        .collect();
    let joined = HeaderValue::from_maybe_shared(Bytes::from(crumbs.join(&b"; "[..])));
    let mut joined = joined.expect("valid values joined by valid bytes");
    // Who wants one of them kept out of tables wants all of them kept out.
    joined.set_sensitive(
        head.fields()
            .iter()
            .filter(cookies)
            .any(|field| field.is_sensitive),
    );
    head.insert_header("Cookie", joined)
        .expect("less than there was");
}

/// Writes a response head, without what belongs to a connection of HTTP/1.
pub(super) fn encode_response(head: &ResponseHeader, encoder: &mut Encoder, out: &mut BytesMut) {
    encoder.status(head.status().as_u16(), out);
    let bodiless = is_bodiless(head.status());
    encode_fields(head.fields(), encoder, out, |name| {
        // Some clients take any length here for one that is not kept.
        name == KnownName::ContentLength && bodiless
    });
}

/// Writes the fields HTTP/2 has a place for (RFC 9113 section 8.2.2) but those `left_out` is true for.
pub(super) fn encode_fields(
    fields: &Fields,
    encoder: &mut Encoder,
    out: &mut BytesMut,
    left_out: impl Fn(KnownName) -> bool,
) {
    let nominated: Vec<&[u8]> = match fields.has(KnownName::Connection) {
        true => nominated(fields).collect(),
        false => Vec::new(),
    };
    for field in fields.iter() {
        let is_left_out = match field.known {
            Some(name) => {
                STRIPPED.contains(&name) && !(name == KnownName::Te && field.value == b"trailers")
                    || left_out(name)
            }
            None => false,
        };
        if !is_left_out && !nominated.iter().any(|n| n.eq_ignore_ascii_case(field.name)) {
            encoder.field(
                field.name,
                field.known,
                field.value,
                field.is_sensitive,
                out,
            );
        }
    }
}

/// Returns the names that `Connection` says are of that connection, but those a message needs.
fn nominated(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields
        .get_all(KnownName::Connection)
        .flat_map(|value| value.split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| {
            let known = KnownName::of(name);
            known != Some(KnownName::ContentLength) && known != Some(KnownName::ContentType)
        })
}

const STRIPPED: [KnownName; 6] = [
    KnownName::Connection,
    KnownName::KeepAlive,
    KnownName::ProxyConnection,
    KnownName::Te,
    KnownName::TransferEncoding,
    KnownName::Upgrade,
];

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
    if !STRIPPED.iter().any(|&name| fields.has(name)) {
        return;
    }
    const OTHERS: [HeaderName; 2] = [
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    if headers.contains_key(CONNECTION) {
        for name in nominated(fields).filter_map(|name| HeaderName::from_bytes(name).ok()) {
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
