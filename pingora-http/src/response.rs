//! What can be done with the head of a response. Read next: `head.rs`, `fields.rs`.

use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;

use bytes::{BufMut, Bytes};
use http::header::AsHeaderName;
use http::response::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use pingora_error::Result;

use crate::ResponseHeader;
use crate::case_header_name::{CaseHeaderName, HeaderNameVariant, IntoCaseHeaderName};
use crate::fields::{Field, FieldSpan, Fields, H2Fields, KnownName, ParsedFields};
use crate::head::{self, head_methods};
use crate::value::{header_value_from_slice, is_clean};

/// The status line.
#[derive(Clone)]
pub(crate) struct StatusLine {
    status: StatusCode,
    version: Version,
    reason: Reason,
}

impl StatusLine {
    fn received(
        status: StatusCode,
        reason: Option<(u32, u32)>,
        version: Version,
        head: &[u8],
    ) -> Self {
        let reason = reason.map_or(Reason::Canonical, |(start, len)| {
            let end = start as usize + len as usize;
            assert!(end <= head.len(), "the reason lies in the head");
            Reason::Received(start, len)
        });
        StatusLine {
            status,
            version,
            reason,
        }
    }
}

/// Where the reason phrase is.
#[derive(Clone)]
enum Reason {
    /// The usual one of the status.
    Canonical,
    /// In the received head, as (start, length).
    Received(u32, u32),
    /// Given by a user.
    Custom(Box<str>),
}

// === impl ResponseHeader ===

impl ResponseHeader {
    /// Returns the head of an HTTP/1.1 response without fields that keeps the case of names.
    ///
    /// `code` is a number such as `200u16` or a [`StatusCode`]. `size_hint` is the number of
    /// fields to make room for, 8 by default.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` if the status is not within 100-999.
    pub fn build(code: impl TryInto<StatusCode>, size_hint: Option<usize>) -> Result<Self> {
        Self::build_with(code, Fields::new(true, size_hint.unwrap_or(DEFAULT_FIELDS)))
    }

    /// Returns the head of a response that writes its names in Title-Case on HTTP/1; the rest is
    /// as in [`build`](Self::build). For responses that go to or came from HTTP/2.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_no_case(code: impl TryInto<StatusCode>, size_hint: Option<usize>) -> Result<Self> {
        Self::build_with(
            code,
            Fields::new(false, size_hint.unwrap_or(DEFAULT_FIELDS)),
        )
    }

    /// Returns the head a parser found in `head`, whose bytes it shares.
    ///
    /// `reason` is (start, length) of the reason phrase in `head`, `None` if the status line ends
    /// after the status: the canonical one is then used. Nothing is checked: the parser has made
    /// sure that names are tokens of at most 65,535 bytes and that values and the reason phrase
    /// hold no control bytes.
    ///
    /// # Panics
    /// If a span is not inside `head` or a name is too long: mistakes of the parser.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{StatusCode, Version};
    /// use pingora_http::{ResponseHeader, fields::FieldSpan};
    ///
    /// let head = Bytes::from_static(b"HTTP/1.1 200 Fine\r\nage: 7\r\n\r\n");
    /// let age = FieldSpan { name: (19, 3), value: (24, 1) };
    /// let resp = ResponseHeader::from_received(
    ///     StatusCode::OK, Some((13, 4)), Version::HTTP_11, head, [age].into_iter(),
    /// );
    /// assert_eq!(resp.get_reason_phrase(), Some("Fine"));
    /// assert_eq!(resp.headers["age"], "7");
    /// ```
    pub fn from_received(
        status: StatusCode,
        reason: Option<(u32, u32)>,
        version: Version,
        head: Bytes,
        fields: impl Iterator<Item = FieldSpan>,
    ) -> Self {
        let line = StatusLine::received(status, reason, version, &head);
        Self::new(line, Fields::from_received(head, fields))
    }

    /// Returns the head a parser has found in `head`, as [`from_received`](Self::from_received)
    /// does, of fields the parser has looked at already.
    ///
    /// # Panics
    /// If the reason or a field is not inside `head`: a mistake of the parser.
    pub fn from_parsed(
        status: StatusCode,
        reason: Option<(u32, u32)>,
        version: Version,
        head: Bytes,
        fields: ParsedFields,
    ) -> Self {
        let line = StatusLine::received(status, reason, version, &head);
        Self::new(line, Fields::from_parsed(head, fields))
    }

    /// Returns the head of a response received with HTTP/2, whose fields the caller has checked.
    pub fn from_h2(status: StatusCode, fields: H2Fields) -> Self {
        let line = StatusLine {
            status,
            version: Version::HTTP_2,
            reason: Reason::Canonical,
        };
        Self::new(line, Fields::from(fields))
    }

    /// Sets the status. Another status than before drops a received reason phrase, which spoke
    /// of the old one; a phrase set by [`set_reason_phrase`](Self::set_reason_phrase) stays.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` if the status is not within 100-999; the head is then unchanged.
    pub fn set_status(&mut self, status: impl TryInto<StatusCode>) -> Result<()> {
        let status = status
            .try_into()
            .or_else(|_| head::invalid("invalid status"))?;
        if status != self.line.status && matches!(self.line.reason, Reason::Received(..)) {
            self.line.reason = Reason::Canonical;
        }
        self.line.status = status;
        if let Some(parts) = self.parts.get_mut() {
            parts.status = status;
        }
        Ok(())
    }

    /// Sets the version.
    pub fn set_version(&mut self, version: Version) {
        self.line.version = version;
        if let Some(parts) = self.parts.get_mut() {
            parts.version = version;
        }
    }

    /// Sets the reason phrase HTTP/1 writes after the status; `None` sets the canonical one.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` if the phrase holds control characters; the head is then unchanged.
    pub fn set_reason_phrase(&mut self, reason_phrase: Option<&str>) -> Result<()> {
        self.line.reason = match reason_phrase {
            None => Reason::Canonical,
            Some(phrase) if is_clean(phrase.as_bytes()) => Reason::Custom(phrase.into()),
            Some(_) => return head::invalid("invalid reason phrase"),
        };
        Ok(())
    }

    /// Sets the content-length field to `len` bytes.
    ///
    /// # Errors
    /// None: the result is there for the sake of the API.
    pub fn set_content_length(&mut self, len: usize) -> Result<()> {
        let mut digits = [0; MAX_DIGITS];
        self.set_known(KnownName::ContentLength, decimal(len, &mut digits));
        Ok(())
    }

    /// Returns the status without building `Parts`.
    pub fn status(&self) -> StatusCode {
        self.line.status
    }

    /// Returns the version without building `Parts`.
    pub fn version(&self) -> Version {
        self.line.version
    }

    /// Returns the reason phrase: the one set, else the received one, else the canonical one of
    /// the status.
    ///
    /// `None` if the status has no canonical phrase and no other is there. A received phrase that
    /// is not UTF-8 counts as not there.
    pub fn get_reason_phrase(&self) -> Option<&str> {
        let given = match &self.line.reason {
            Reason::Canonical => None,
            Reason::Received(start, len) => {
                let start = *start as usize;
                std::str::from_utf8(&self.fields.received()[start..start + *len as usize]).ok()
            }
            Reason::Custom(phrase) => Some(&**phrase),
        };
        given.or_else(|| self.line.status.canonical_reason())
    }

    fn build_with(code: impl TryInto<StatusCode>, fields: Fields) -> Result<Self> {
        let status = code
            .try_into()
            .or_else(|_| head::invalid("invalid status"))?;
        let line = StatusLine {
            status,
            version: Version::HTTP_11,
            reason: Reason::Canonical,
        };
        Ok(Self::new(line, fields))
    }

    fn new(line: StatusLine, fields: Fields) -> Self {
        Self {
            line,
            fields,
            parts: OnceLock::new(),
            user_data: Extensions::new(),
        }
    }

    /// Each of many connections of clients may remember fields of one response for long, which must
    /// not lie in a large buffer.
    fn map_to_take(&self) -> HeaderMap {
        self.fields.to_detached_map()
    }

    fn parts_with(&self, headers: HeaderMap) -> Parts {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = self.line.status;
        parts.version = self.line.version;
        parts.headers = headers;
        parts.extensions = self.user_data.clone();
        parts
    }
}

head_methods!(
    ResponseHeader,
    Parts,
    "let mut head = pingora_http::ResponseHeader::build(200, None)?;"
);

impl Clone for ResponseHeader {
    fn clone(&self) -> Self {
        Self {
            line: self.line.clone(),
            fields: self.fields.clone(),
            parts: OnceLock::new(),
            user_data: self.current_extensions().clone(),
        }
    }
}

impl From<Parts> for ResponseHeader {
    fn from(parts: Parts) -> ResponseHeader {
        let (status, version) = (parts.status, parts.version);
        let line = StatusLine {
            status,
            version,
            reason: Reason::Canonical,
        };
        let mut head = Self::new(line, Fields::from_map(&parts.headers));
        head.parts = OnceLock::from(Box::new(parts));
        head
    }
}

/// Shows everything but credentials and values marked sensitive.
impl fmt::Debug for ResponseHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHeader")
            .field("status", &self.line.status)
            .field("reason", &self.get_reason_phrase())
            .field("version", &self.line.version)
            .field("fields", &self.fields)
            .finish()
    }
}

/// Returns the decimal digits of `number`, written at the end of `digits`.
fn decimal(mut number: usize, digits: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut at = MAX_DIGITS;
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// Digits of the largest `usize` of 64 bits.
const MAX_DIGITS: usize = 20;

/// Room for fields when a user gives no hint.
const DEFAULT_FIELDS: usize = 8;

#[cfg(test)]
mod tests;
