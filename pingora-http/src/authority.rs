//! Which authority a request target names, without guessing. Read next: `request/target.rs`.
//!
//! A request target is one of four forms (RFC 9112 section 3.2):
//!
//! ```text
//!   origin-form     /path?query               no authority: Host decides
//!   absolute-form   http://host:80/path       the authority wins over Host (section 3.2.2)
//!   authority-form  host:443                  CONNECT only
//!   asterisk-form   *                         OPTIONS only
//! ```
//!
//! Two recipients that read different authorities out of one target are how requests reach hosts
//! and caches they should not. So whatever could be read in two ways is reported as such.

/// What [`raw_target_authority`] found in a request target.
#[derive(Debug, PartialEq, Eq)]
pub enum RawTargetAuthority<'a> {
    /// The target is no absolute-form of an HTTP family scheme: origin-form (also one that starts
    /// with `//`, which RFC 9112 reads as a path), asterisk-form, authority-form, or another
    /// scheme. Such a target names no authority that could replace Host.
    None,
    /// The absolute-form of an HTTP family scheme with exactly one reading.
    Absolute {
        /// The scheme as sent, without the colon.
        scheme: &'a [u8],
        /// The host and optional port, as sent.
        authority: &'a [u8],
        /// What follows the authority: empty, or begins with `/` or `?`.
        path_and_query: &'a [u8],
    },
    /// The target begins with an HTTP family scheme, but its authority is missing or can be read
    /// in several ways: user information (`@`), an empty host, `http:/host`, backslashes, percent
    /// encoding, a list, a bad port. Such a request should be refused.
    AmbiguousAuthority,
}

impl<'a> RawTargetAuthority<'a> {
    /// Returns the authority, if there is exactly one reading of it.
    pub fn authority(&self) -> Option<&'a [u8]> {
        match self {
            RawTargetAuthority::Absolute { authority, .. } => Some(authority),
            RawTargetAuthority::None | RawTargetAuthority::AmbiguousAuthority => None,
        }
    }
}

/// Returns whether `scheme` (without the colon) is http, https, ws or wss, in any case.
///
/// ```
/// use pingora_http::authority::is_http_family_scheme;
///
/// assert!(is_http_family_scheme(b"HTTPS"));
/// assert!(!is_http_family_scheme(b"ftp"));
/// ```
pub fn is_http_family_scheme(scheme: &[u8]) -> bool {
    HTTP_FAMILY
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
}

/// Returns the authority a request target names, of its exact bytes.
///
/// ```
/// use pingora_http::authority::{RawTargetAuthority, raw_target_authority};
///
/// let target = raw_target_authority(b"http://example.com:8080/a?b");
/// assert_eq!(target.authority(), Some(&b"example.com:8080"[..]));
/// assert_eq!(raw_target_authority(b"/a?b"), RawTargetAuthority::None);
/// let userinfo = raw_target_authority(b"http://example.com@evil.example/");
/// assert_eq!(userinfo, RawTargetAuthority::AmbiguousAuthority);
/// ```
pub fn raw_target_authority(target: &[u8]) -> RawTargetAuthority<'_> {
    if target.first() == Some(&b'/') {
        return RawTargetAuthority::None;
    }
    let Some(colon) = target.iter().position(|&byte| byte == b':') else {
        return RawTargetAuthority::None;
    };
    let (scheme, rest) = (&target[..colon], &target[colon + 1..]);
    if !is_http_family_scheme(scheme) {
        return RawTargetAuthority::None;
    }
    // "http:80" is also the authority-form of a host called http: no `//`, no single reading.
    let Some(rest) = rest.strip_prefix(b"//") else {
        return RawTargetAuthority::AmbiguousAuthority;
    };
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at(end);
    if !is_plain_authority(authority) {
        return RawTargetAuthority::AmbiguousAuthority;
    }
    RawTargetAuthority::Absolute {
        scheme,
        authority,
        path_and_query,
    }
}

/// Returns whether every reader takes these bytes as the same host and port
/// (RFC 3986 section 3.2; user information is refused by RFC 9110 section 4.2.4).
fn is_plain_authority(authority: &[u8]) -> bool {
    let (host, port) = match authority.strip_prefix(b"[") {
        Some(literal) => {
            let Some(end) = literal.iter().position(|&byte| byte == b']') else {
                return false;
            };
            if !is_ip_literal(&literal[..end]) {
                return false;
            }
            (&authority[..end + 2], &literal[end + 1..])
        }
        None => {
            let colon = authority.iter().position(|&byte| byte == b':');
            let (host, port) = authority.split_at(colon.unwrap_or(authority.len()));
            if !host.iter().all(|&byte| is_host_byte(byte)) {
                return false;
            }
            (host, port)
        }
    };
    !host.is_empty() && is_port(port)
}

/// Returns whether `port` is empty, a colon, or a colon and a number up to 65535.
fn is_port(port: &[u8]) -> bool {
    let Some(digits) = port.strip_prefix(b":") else {
        return port.is_empty();
    };
    let number = || {
        digits
            .iter()
            .fold(0u32, |n, digit| n * 10 + u32::from(digit - b'0'))
    };
    digits.len() <= PORT_DIGITS && digits.iter().all(u8::is_ascii_digit) && number() <= 65_535
}

/// Returns whether the bytes between the brackets can be an IPv6 address. Zones (`%25eth0`) and
/// future versions (`v1.x`) are local or unknown and not taken.
fn is_ip_literal(literal: &[u8]) -> bool {
    let text = std::str::from_utf8(literal).ok();
    text.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Returns whether a registered name may hold `byte`: unreserved and sub-delims of RFC 3986 but
/// for the comma, which makes a list. Percent encoding is left out: it is decoded by some only.
const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
        )
}

const HTTP_FAMILY: [&[u8]; 4] = [b"http", b"https", b"ws", b"wss"];

/// Digits of the largest port; more would be leading zeros.
const PORT_DIGITS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(targets: &[&str], want: fn(&RawTargetAuthority<'_>) -> bool) {
        for target in targets {
            let got = raw_target_authority(target.as_bytes());
            assert!(want(&got), "{target}: {got:?}");
        }
    }

    #[test]
    fn targets_without_authority() {
        check(
            &[
                "",
                "/",
                "/a?b",
                "//",
                "//evil.example/a",
                "/http://a/",
                "*",
                "a",
                "a/b",
                "example.com:443",
                "[::1]:443",
                "ftp://a/b",
                "httpx://a/",
                "htt p://a/",
                "?x:y",
                "://a/",
                "http",
                "https",
                "127.0.0.1:80",
                "foo?http://a",
            ],
            |got| *got == RawTargetAuthority::None,
        );
    }

    #[test]
    fn targets_with_one_reading() {
        let cases: [(&str, &str, &str, &str); 14] = [
            ("http://a", "http", "a", ""),
            ("http://a/", "http", "a", "/"),
            ("HTTP://A.example/B", "HTTP", "A.example", "/B"),
            ("https://a?q", "https", "a", "?q"),
            ("ws://a:80/x", "ws", "a:80", "/x"),
            ("wss://a:/x", "wss", "a:", "/x"),
            ("http://[::1]/", "http", "[::1]", "/"),
            (
                "http://[2001:db8::7]:65535/?@",
                "http",
                "[2001:db8::7]:65535",
                "/?@",
            ),
            ("http://10.0.0.1:00080", "http", "10.0.0.1:00080", ""),
            ("http://a_b-c.d~e/", "http", "a_b-c.d~e", "/"),
            ("http://a//b@c", "http", "a", "//b@c"),
            ("http://a/\\b", "http", "a", "/\\b"),
            ("http://a./", "http", "a.", "/"),
            ("http://a/#f", "http", "a", "/#f"),
        ];
        for (target, scheme, authority, path_and_query) in cases {
            let want = RawTargetAuthority::Absolute {
                scheme: scheme.as_bytes(),
                authority: authority.as_bytes(),
                path_and_query: path_and_query.as_bytes(),
            };
            assert_eq!(raw_target_authority(target.as_bytes()), want, "{target}");
            assert_eq!(want.authority(), Some(authority.as_bytes()));
        }
    }

    #[test]
    fn targets_with_several_readings() {
        check(
            &[
                "http:",
                "http:a",
                "http:80",
                "http:/a",
                "http:/",
                "http://",
                "http:///",
                "http:///a",
                "http://?a",
                "http:////a/b",
                "http://:80/",
                "http://a@b/",
                "http://@a/",
                "http://a@/",
                "http://a:b@c/",
                "http://a,b/",
                "http://a:80:80/",
                "http://a:http/",
                "http://a:65536/",
                "http://a:000080/",
                "http://a:-1/",
                "http://a:+1/",
                "http://a\\b/",
                "http:\\\\a/",
                "http:/\\a",
                "http://a%2eb/",
                "http://a b/",
                "http://a\tb",
                "http://a\0/",
                "http://\u{e9}/",
                "http://a#b/",
                "http://#/",
                "http://[::1/",
                "http://[]/",
                "http://[::1]a/",
                "http://[::1]:x/",
                "http://[fe80::1%25eth0]/",
                "http://[v1.a]/",
                "http://::1/",
                "http://[a]/",
                "http://a[::1]/",
                "HTTPS:x",
                "ws:/a",
                "wss://",
            ],
            |got| *got == RawTargetAuthority::AmbiguousAuthority && got.authority().is_none(),
        );
    }

    #[test]
    fn no_bytes_panic() {
        for byte in 0..=255u8 {
            for prefix in [
                &b""[..],
                b"http:",
                b"http://",
                b"http://a",
                b"http://a:",
                b"http://[",
            ] {
                raw_target_authority(&[prefix, &[byte]].concat());
                raw_target_authority(&[prefix, &[byte], b"/"].concat());
            }
        }
    }
}
