//! Facts of HTTP/1 heads that both roles and applications ask for.

use http::HeaderValue;
use pingora_http::fields::KnownName;
use pingora_http::{RequestHeader, ResponseHeader, Version};

use super::framing;

/// The end of a line.
pub const CRLF: &[u8; 2] = b"\r\n";

/// What stands between the name and the value of a header.
pub const HEADER_KV_DELIMITER: &[u8; 2] = b": ";

/// Returns the length a `Content-Length` value states, `None` when it is absent or no length.
pub fn header_value_content_length(header_value: Option<&HeaderValue>) -> Option<usize> {
    framing::parse_length(header_value?.as_bytes()).and_then(|len| usize::try_from(len).ok())
}

/// Returns whether the client waits for a `100 Continue` before it sends the body.
pub fn is_expect_continue_req(req: &RequestHeader) -> bool {
    req.version() == Version::HTTP_11
        && req
            .fields()
            .get(KnownName::Expect)
            .is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"))
}

/// Returns whether the request asks to change the protocol (RFC 9110 section 7.8).
///
/// That takes HTTP/1.1, an `Upgrade` header, and a `Connection` header that nominates it. An
/// extended CONNECT of HTTP/2 (RFC 8441) looks the same in a session of ours.
pub fn is_upgrade_req(req: &RequestHeader) -> bool {
    matches!(req.version(), Version::HTTP_11 | Version::HTTP_2)
        && req.fields().has(KnownName::Upgrade)
        && framing::connection_options(req.fields()).upgrade
}

/// Returns whether the response changes the protocol.
pub fn is_upgrade_resp(header: &ResponseHeader) -> bool {
    header.status() == http::StatusCode::SWITCHING_PROTOCOLS && header.version() == Version::HTTP_11
}
