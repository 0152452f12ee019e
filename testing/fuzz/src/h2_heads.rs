//! Requests of HTTP/2: what the server takes can be written as HTTP/1 that the reference reads as the
//! same request, and sent again as HTTP/2 that is taken again.
//!
//! An input is lines: method, target, `protocol` or `-` for an extended CONNECT, then fields.

use http::{HeaderName, HeaderValue, Request, request};
use pingora_core::protocols::http::HttpLimits;
use pingora_core::protocols::http::v1::client::http_req_header_to_wire;
use pingora_core::protocols::http::v2::fuzzing::{accept, accept_framed, send};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use pingora_proxy::fuzzing::{prepare_h1, prepare_h2};

use crate::reference;

/// The most fields: far below every limit, so that nothing is refused for their number.
const MAX_FIELDS: usize = 40;

/// The longest method both sides take.
const MAX_METHOD_BYTES: usize = 32;

/// Checks the request in `data`.
pub fn h2_heads(data: &[u8]) {
    let Some(parts) = parts_of(data) else {
        return;
    };
    let limits = HttpLimits::default();
    let framed = accept_framed(&parts, &limits);
    let accepted = accept(parts, &limits);
    if let (Some((ours, tunnel)), Some((theirs, also))) = (&framed, &accepted) {
        assert_eq!((ours.method(), tunnel), (theirs.method(), also));
        assert_eq!(ours.raw_path(), theirs.raw_path());
        assert_eq!(host_of(ours), host_of(theirs));
        // In the order a map has them.
        assert_eq!(ours.headers.len(), theirs.headers.len());
    }
    for (head, is_extended) in [framed, accepted].into_iter().flatten() {
        check(&head, is_extended);
    }
}

fn check(head: &RequestHeader, is_extended: bool) {
    assert_eq!(is_extended, head.headers.contains_key("upgrade"));
    assert!(head.headers.get_all("cookie").iter().count() <= 1);
    assert!(head.headers.get_all("host").iter().count() <= 1);
    let peer = HttpPeer::new("127.0.0.1:1", false, String::new());
    as_h1(head, &peer, is_extended);
    as_h2(head, &peer, is_extended);
}

/// The host a request is for.
fn host_of(head: &RequestHeader) -> Vec<u8> {
    let authority = head.uri.authority().map(|authority| authority.as_str());
    let host = head.headers.get("host").map(HeaderValue::as_bytes);
    let host = authority.map(str::as_bytes).or(host);
    host.unwrap_or_default().to_ascii_lowercase()
}

fn as_h1(head: &RequestHeader, peer: &HttpPeer, is_extended: bool) {
    let has_body = head.headers.contains_key("content-length");
    let mut h1 = head.clone();
    if prepare_h1(&mut h1, has_body, peer).is_err() {
        return;
    }
    let Some(wire) = http_req_header_to_wire(&h1) else {
        return;
    };
    let read = reference::request(&wire);
    let text = wire.escape_ascii();
    let Ok(message) = read else {
        panic!("not a request of HTTP/1: {read:?}: {text}");
    };
    assert!(message.rest.is_empty(), "two requests: {text}");
    assert_eq!(
        message.start[0],
        head.method().as_str().as_bytes(),
        "{text}"
    );
    let values = |name: &str| {
        let of_name =
            |(field, _): &&(Vec<u8>, Vec<u8>)| field.eq_ignore_ascii_case(name.as_bytes());
        let fields = message.fields.iter().filter(of_name);
        fields.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(values("host").len(), 1, "{text}");
    assert_eq!(
        values("host")[0].to_ascii_lowercase(),
        host_of(head),
        "{text}"
    );
    // One that is not for this server is left out: it answers a plain request.
    assert!(values("upgrade").is_empty() || is_extended, "{text}");
    if let Some(length) = head.headers.get("content-length") {
        assert_eq!(values("content-length"), [length.as_bytes()], "{text}");
    }
}

fn as_h2(head: &RequestHeader, peer: &HttpPeer, is_extended: bool) {
    let mut h2 = head.clone();
    if prepare_h2(&mut h2, peer).is_err() {
        return;
    }
    let Some(sent) = send(&h2) else {
        return;
    };
    let text = format!("{sent:?}");
    for name in [
        "connection",
        "upgrade",
        "transfer-encoding",
        "keep-alive",
        "host",
    ] {
        assert!(!sent.headers().contains_key(name), "{name}: {text}");
    }
    let Some((again, tunnel)) = accept(sent.into_parts().0, &HttpLimits::default()) else {
        panic!("what is sent is not taken: {text}");
    };
    // One to another protocol is left out, like on the way to HTTP/1.
    let protocol = head.headers.get("upgrade").map(HeaderValue::as_bytes);
    let passes = protocol.is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"));
    assert_eq!(tunnel, is_extended && passes, "{text}");
    assert_eq!(again.method(), head.method(), "{text}");
    assert_eq!(again.raw_path(), head.raw_path(), "{text}");
    assert_eq!(host_of(&again), host_of(head), "{text}");
    assert_eq!(
        again.headers.get("cookie"),
        head.headers.get("cookie"),
        "{text}"
    );
}

/// Returns a request as the `h2` crate hands it over: what that refuses is left out.
fn parts_of(data: &[u8]) -> Option<request::Parts> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let method = lines.next()?;
    if method.len() > MAX_METHOD_BYTES {
        return None;
    }
    let mut request = Request::builder().method(method).uri(lines.next()?);
    let protocol = lines.next().unwrap_or(b"-");
    if protocol != b"-" {
        if method != b"CONNECT" {
            return None;
        }
        let protocol = std::str::from_utf8(protocol).ok()?;
        request = request.extension(h2::ext::Protocol::from(protocol));
    }
    for line in lines.take(MAX_FIELDS) {
        let at = line.iter().position(|byte| *byte == b'=')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        let value = HeaderValue::from_bytes(&line[at + 1..]).ok()?;
        let refused = match name.as_str() {
            "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
                true
            }
            "te" => value != "trailers",
            "content-length" => {
                let digits = value.as_bytes();
                digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit)
            }
            _ => false,
        };
        if refused {
            return None;
        }
        request = request.header(name, value);
    }
    Some(request.body(()).ok()?.into_parts().0)
}
