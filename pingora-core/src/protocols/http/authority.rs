//! Which host a request is for: target and `Host` must agree (RFC 9112 section 3.2).

use pingora_error::{
    Error,
    ErrorType::{HTTPStatus, InvalidHTTPHeader},
    Result,
};
use pingora_http::RequestHeader;
use pingora_http::fields::KnownName;

pub use pingora_http::authority::{
    RawTargetAuthority, is_http_family_scheme, raw_target_authority,
};

use super::byte_set::alphanumeric_and;

/// Checks that a request names one host, and names it validly.
///
/// An error says which rule is broken: more than one `Host`, a `Host` that is no
/// `uri-host [":" port]`, an ambiguous authority in the target, or two that differ.
pub fn validate_request_authority(req: &RequestHeader) -> Result<()> {
    let mut hosts = req.fields().get_all(KnownName::Host);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Error::e_explain(InvalidHTTPHeader, "more than one Host");
    }
    if let Some(host) = host
        && !is_valid_host(host)
    {
        return Error::e_explain(InvalidHTTPHeader, "invalid Host");
    }
    match raw_target_authority(req.raw_path()) {
        RawTargetAuthority::None => Ok(()),
        RawTargetAuthority::AmbiguousAuthority => Error::e_explain(
            InvalidHTTPHeader,
            "ambiguous authority in the request target",
        ),
        RawTargetAuthority::Absolute { authority, .. } => {
            if !is_valid_host(authority) {
                return Error::e_explain(
                    InvalidHTTPHeader,
                    "invalid authority in the request target",
                );
            }
            match host {
                Some(host) if !host.eq_ignore_ascii_case(authority) => Error::e_explain(
                    InvalidHTTPHeader,
                    "Host differs from the authority of the request target",
                ),
                _ => Ok(()),
            }
        }
    }
}

/// Returns the host of a request with its port, empty when it names none.
pub(crate) fn host_of(req: &RequestHeader) -> &[u8] {
    match req.fields().get(KnownName::Host) {
        Some(host) => host,
        None => req.target_authority().unwrap_or(b""),
    }
}

/// Checks that a request is for the host its client named in TLS (RFC 9110 section 7.4), if it
/// named one there and names one here.
///
/// What was demanded of the client, or what it showed, may depend on that name.
///
/// # Errors
/// `HTTPStatus(421)`, Misdirected Request.
pub(crate) fn check_server_name(req: &RequestHeader, server_name: Option<&str>) -> Result<()> {
    let (host, Some(name)) = (without_port(host_of(req)), server_name) else {
        return Ok(());
    };
    let name = name.as_bytes();
    let name = name.strip_suffix(b".").unwrap_or(name);
    let plain = host.strip_suffix(b".").unwrap_or(host);
    if host.is_empty() || plain.eq_ignore_ascii_case(name) {
        return Ok(());
    }
    Err(Error::explain(
        HTTPStatus(421),
        "the host is not the server name of the TLS handshake",
    )
    .into_down())
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|&b| b == b':' || b == b']') {
        Some(colon) if host[colon] == b':' => &host[..colon],
        _ => host,
    }
}

/// Returns whether `host` is a `uri-host [":" port]` that is not empty (RFC 3986 section 3.2.2).
pub(crate) fn is_valid_host(host: &[u8]) -> bool {
    let (name, port) = match host.first() {
        None => return false,
        Some(b'[') => {
            let Some(end) = host.iter().position(|&b| b == b']') else {
                return false;
            };
            if !is_ipv6(&host[1..end]) {
                return false;
            }
            (&host[..=end], &host[end + 1..])
        }
        Some(_) => match host.iter().position(|&b| b == b':') {
            Some(colon) => host.split_at(colon),
            None => (host, &b""[..]),
        },
    };
    !name.is_empty() && (name[0] == b'[' || is_reg_name(name)) && is_port_suffix(port)
}

fn is_port_suffix(port: &[u8]) -> bool {
    match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits
                    .iter()
                    .fold(0u32, |n, d| n * 10 + u32::from(d - b'0'))
                    <= 65535
        }
        _ => false,
    }
}

fn is_reg_name(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(&byte) = bytes.next() {
        let valid = REG_NAME[usize::from(byte)]
            || byte == b'%'
                && bytes.next().is_some_and(u8::is_ascii_hexdigit)
                && bytes.next().is_some_and(u8::is_ascii_hexdigit);
        if !valid {
            return false;
        }
    }
    true
}

/// The bytes a name is made of as they are: sub-delims without the quote and the comma, which no host
/// has and smuggling uses.
static REG_NAME: [bool; 256] = alphanumeric_and(b"-._~!$&()*+;=");

/// No zone and no future version: the first means nothing to others, the second does not exist.
fn is_ipv6(literal: &[u8]) -> bool {
    std::str::from_utf8(literal).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_server_name() {
        for (host, name, is_it) in [
            (Some("a.example"), Some("a.example"), true),
            (Some("A.Example:443"), Some("a.example"), true),
            (Some("a.example.:443"), Some("a.EXAMPLE"), true),
            (Some("a.example"), Some("a.example."), true),
            (Some("b.example"), Some("a.example"), false),
            (Some("a.example.org"), Some("a.example"), false),
            (Some("[::1]:443"), Some("a.example"), false),
            (Some("[::1]"), None, true),
            (Some("b.example"), None, true),
            (None, Some("a.example"), true),
        ] {
            let mut req = RequestHeader::build("GET", b"/", None).unwrap();
            if let Some(host) = host {
                req.insert_header("Host", host).unwrap();
            }
            let checked = check_server_name(&req, name);
            assert_eq!(checked.is_ok(), is_it, "{host:?} {name:?}");
        }
    }

    #[test]
    fn tells_valid_hosts() {
        for valid in [
            "a",
            "a.b",
            "a:80",
            "a:",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:443",
            "a_b-c~d",
            "%41",
            "A",
        ] {
            assert!(is_valid_host(valid.as_bytes()), "{valid}");
        }
        for invalid in [
            "",
            ":80",
            "a,b",
            "a@b",
            "a/b",
            "a b",
            "a:8x",
            "a:99999",
            "a:123456",
            "\"a\"",
            "a'b",
            "a\\b",
            "[::1",
            "[]",
            "[1:2]",
            "[----]",
            "[::1%25a]",
            "[v1.a]",
            "[::1]x",
            "a#b",
            "a?b",
            "a:80:80",
            "%4",
            "\u{e9}",
            "a\t",
            "<a>",
            "a|b",
            "a^b",
        ] {
            assert!(!is_valid_host(invalid.as_bytes()), "{invalid}");
        }
    }
}
