//! Header names that keep their spelling, and how they are written when they have none.
//! Read next: `fields.rs`, which stores them.

use std::fmt;

use bytes::Bytes;
use http::HeaderName;

use crate::fields::KnownName;

/// A header name in the spelling it was received or given in.
#[derive(Clone, PartialEq, Eq)]
pub struct CaseHeaderName(Bytes);

impl CaseHeaderName {
    /// Returns a name of these bytes; they are not checked here but where the name is used.
    pub(crate) fn new(name: Bytes) -> Self {
        Self(name)
    }

    /// Returns the name in its spelling.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for CaseHeaderName {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CaseHeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for CaseHeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// How the name of a field is to be written, as passed to the function given to `map`.
#[derive(Debug)]
pub enum HeaderNameVariant<'a> {
    /// The head keeps case: the spelling received or given.
    Case(&'a CaseHeaderName),
    /// The head keeps no case: the name in Title-Case, such as `Content-Length`.
    Titled(&'a str),
}

/// Types that name a header, with the spelling to use on an HTTP/1 connection.
///
/// Strings and bytes keep their spelling; a [`HeaderName`], which has none, is written in
/// Title-Case. The name is checked where it is used.
///
/// ```
/// use pingora_http::{RequestHeader, IntoCaseHeaderName};
///
/// assert_eq!("x-REAL-ip".into_case_header_name().as_slice(), b"x-REAL-ip");
/// assert_eq!(http::header::USER_AGENT.into_case_header_name().as_slice(), b"User-Agent");
/// ```
pub trait IntoCaseHeaderName {
    /// Returns the name with the spelling to write.
    fn into_case_header_name(self) -> CaseHeaderName;
}

impl IntoCaseHeaderName for CaseHeaderName {
    fn into_case_header_name(self) -> CaseHeaderName {
        self
    }
}

impl IntoCaseHeaderName for String {
    fn into_case_header_name(self) -> CaseHeaderName {
        CaseHeaderName(Bytes::from(self))
    }
}

impl IntoCaseHeaderName for &'static str {
    fn into_case_header_name(self) -> CaseHeaderName {
        CaseHeaderName(Bytes::from_static(self.as_bytes()))
    }
}

impl IntoCaseHeaderName for Bytes {
    fn into_case_header_name(self) -> CaseHeaderName {
        CaseHeaderName(self)
    }
}

impl IntoCaseHeaderName for HeaderName {
    fn into_case_header_name(self) -> CaseHeaderName {
        (&self).into_case_header_name()
    }
}

impl IntoCaseHeaderName for &HeaderName {
    fn into_case_header_name(self) -> CaseHeaderName {
        let name = self.as_str().as_bytes();
        let titled = match KnownName::of(name) {
            Some(known) => Bytes::from_static(known.titled().as_bytes()),
            None => {
                let mut titled = Vec::with_capacity(name.len());
                push_titled(name, &mut titled);
                Bytes::from(titled)
            }
        };
        CaseHeaderName(titled)
    }
}

/// Appends `name` in Title-Case: a capital at the start and after each dash, the rest small.
pub(crate) fn push_titled(name: &[u8], out: &mut Vec<u8>) {
    let mut capital = true;
    out.extend(name.iter().map(|byte| {
        let titled = if capital {
            byte.to_ascii_uppercase()
        } else {
            byte.to_ascii_lowercase()
        };
        capital = *byte == b'-';
        titled
    }));
}

/// Returns whether `name` is a token and so a field name (RFC 9110 section 5.6.2).
pub(crate) fn is_valid_name(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= usize::from(u16::MAX) && name.iter().all(|&b| is_token(b))
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+')
        || matches!(byte, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_their_spelling() {
        let check = |name: CaseHeaderName, want: &str| assert_eq!(name.to_string(), want);
        check("aBc".into_case_header_name(), "aBc");
        check(String::from("X-y").into_case_header_name(), "X-y");
        check(Bytes::from_static(b"ETag").into_case_header_name(), "ETag");
        check(http::header::ETAG.into_case_header_name(), "Etag");
        check(
            (&http::header::WWW_AUTHENTICATE).into_case_header_name(),
            "Www-Authenticate",
        );
        let odd = HeaderName::from_static("a--b-c_d.e");
        check(odd.into_case_header_name(), "A--B-C_d.e");
    }

    #[test]
    fn validity_agrees_with_http() {
        for byte in 0..=255u8 {
            for name in [&[byte][..], &[b'x', byte, b'y'][..]] {
                let valid = HeaderName::from_bytes(name).is_ok();
                assert_eq!(is_valid_name(name), valid, "{}", name.escape_ascii());
            }
        }
        assert!(!is_valid_name(b""));
        assert!(is_valid_name(&[b'a'; 65_535]));
        assert!(!is_valid_name(&[b'a'; 65_536]));
    }
}
