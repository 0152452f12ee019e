//! [`H2Fields`]: the fields of a head of HTTP/2 while its block is decoded.
//! Read next: `../fields.rs`, whose table it becomes.

use bytes::Bytes;
use http::HeaderMap;

use super::{FieldSpan, Fields, KnownName, LINE, ParsedFields, SENSITIVE, SPARE_RECORDS, offset};
use crate::case_header_name::push_titled;

/// Room for a head of the usual size.
const ROOM: usize = 512;

/// Records of a head of the usual size.
const RECORDS: usize = 12;

/// The fields of a head received with HTTP/2, as lines of HTTP/1, and the values of its pseudo-header
/// fields.
///
/// [`RequestHeader::from_h2`](crate::RequestHeader::from_h2) and
/// [`ResponseHeader::from_h2`](crate::ResponseHeader::from_h2) take it over.
///
/// ```
/// use http::Method;
/// use pingora_http::fields::{H2Fields, KnownName};
/// use pingora_http::{H2Target, RequestHeader};
///
/// let mut fields = H2Fields::new();
/// let target = H2Target {
///     scheme: Some(fields.put(b"https")),
///     authority: Some(fields.put(b"a.example")),
///     path: Some(fields.put(b"/x?y")),
/// };
/// fields.push(b"user-agent", Some(KnownName::UserAgent), b"c", false);
/// let req = RequestHeader::from_h2(Method::GET, target, fields);
/// assert_eq!(req.raw_path(), b"/x?y");
/// assert_eq!(req.uri, "https://a.example/x?y");
/// assert_eq!(req.headers["user-agent"], "c");
/// ```
pub struct H2Fields {
    bytes: Vec<u8>,
    fields: ParsedFields,
}

impl Default for H2Fields {
    fn default() -> Self {
        Self::new()
    }
}

impl H2Fields {
    /// Returns no fields, with room for a usual head.
    pub fn new() -> Self {
        H2Fields {
            bytes: Vec::with_capacity(ROOM),
            fields: ParsedFields::with_capacity(RECORDS + SPARE_RECORDS),
        }
    }

    /// Keeps the value of a pseudo-header field; returns where it is, as (start, length).
    pub fn put(&mut self, value: &[u8]) -> (u32, u32) {
        let start = offset(self.bytes.len());
        self.bytes.extend_from_slice(value);
        (start, offset(value.len()))
    }

    /// Returns what [`put`](Self::put) has kept.
    ///
    /// # Panics
    /// If nothing is there.
    pub fn value(&self, (start, len): (u32, u32)) -> &[u8] {
        &self.bytes[start as usize..start as usize + len as usize]
    }

    /// Adds a field, whose name and value the caller has checked.
    ///
    /// `known` is what [`KnownName::of`] says of the name; `is_sensitive`: the sender wants the value
    /// neither shown nor compressed.
    ///
    /// # Panics
    /// If the name has more than 65,535 bytes.
    pub fn push(
        &mut self,
        name: &[u8],
        known: Option<KnownName>,
        value: &[u8],
        is_sensitive: bool,
    ) {
        self.bytes.reserve(name.len() + value.len() + 4);
        let name_at = offset(self.bytes.len());
        match known {
            Some(known) => self.bytes.extend_from_slice(known.titled().as_bytes()),
            None => push_titled(name, &mut self.bytes),
        }
        self.bytes.extend_from_slice(b": ");
        let value_at = offset(self.bytes.len());
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
        let span = FieldSpan {
            name: (name_at, offset(name.len())),
            value: (value_at, offset(value.len())),
        };
        let sensitive = if is_sensitive { SENSITIVE } else { 0 };
        self.fields.push_with(span, known, LINE | sensitive);
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Returns whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns the fields as a map, which trailers are.
    pub fn into_map(self) -> HeaderMap {
        Fields::from(self).to_map()
    }

    pub(crate) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }
}

impl From<H2Fields> for Fields {
    fn from(fields: H2Fields) -> Self {
        let mut table = Fields::from_parsed(Bytes::from(fields.bytes), fields.fields);
        // All names of HTTP/2 are in lower case, which HTTP/1 does not have to see.
        table.keeps_case = false;
        table
    }
}
