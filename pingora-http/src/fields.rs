//! The flat table of header fields behind both heads.
//!
//! The truth about a head's fields is here: where each name and value is, in one of two buffers.
//!
//! ```text
//!   received: Bytes    GET / HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n   (shared, never changed)
//!   added:    Vec<u8>  X-Real-Ip: 10.0.0.1\r\n                                (append only)
//!   records:  [Host -> received] [Accept -> received] [X-Real-Ip -> added]
//! ```
//!
//! A field costs one 16-byte record and no allocation. Whatever is put in later is appended to
//! `added` as a complete line, so writing a head is copying runs of neighbouring lines. The
//! alternative, a `HeaderMap` plus a second map for the spelling, costs an allocation and two
//! hashes per field.
//!
//! Read next: `fields/known.rs` (names), `fields/edit.rs` (changes), `fields/view.rs` (wire,
//! `HeaderMap`, cased names), then `head.rs`.

mod edit;
mod h2;
mod known;
mod view;

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use http::HeaderValue;

use crate::case_header_name::CaseHeaderName;
use edit::offset;
pub use h2::H2Fields;
pub use known::KnownName;

/// The most fields `insert_header` and `append_header` let a head have.
///
/// A `HeaderMap` holds 24,576 names; a head far from that is an attack or a mistake.
pub const MAX_FIELDS: usize = 16_384;

/// The most bytes of names and values put in by insert and append, those since replaced included.
///
/// Offsets are 32 bits wide; the limit leaves room for what the engine adds itself.
pub const MAX_ADDED_BYTES: usize = 1 << 30;

/// Where a field is in a received head, as (start, length) in bytes.
#[derive(Clone, Copy, Debug)]
pub struct FieldSpan {
    /// The name, without the colon.
    pub name: (u32, u32),
    /// The value, without the white space around it.
    pub value: (u32, u32),
}

/// The fields a parser has found so far, in order: the table of a head that is being parsed.
///
/// [`RequestHeader::from_parsed`](crate::RequestHeader::from_parsed) takes it over.
///
/// ```
/// use pingora_http::fields::{FieldSpan, KnownName, ParsedFields};
///
/// // of `GET / HTTP/1.1\r\nHost: a\r\n\r\n`
/// let mut fields = ParsedFields::with_capacity(8);
/// let host = FieldSpan { name: (16, 4), value: (22, 1) };
/// fields.push(host, Some(KnownName::Host), true);
/// assert_eq!(fields.len(), 1);
/// ```
#[derive(Default)]
pub struct ParsedFields {
    records: Vec<Record>,
    present: u64,
    /// Where the last of them ends.
    end: u64,
}

impl ParsedFields {
    /// Returns an empty table with room for so many fields.
    pub fn with_capacity(capacity: usize) -> Self {
        ParsedFields {
            records: Vec::with_capacity(capacity),
            ..Self::default()
        }
    }

    /// Adds a field.
    ///
    /// `known` is what [`KnownName::of`] says of its name. `is_line`: the bytes around it are
    /// exactly `name: value\r\n`.
    ///
    /// # Panics
    /// If the name has more than 65,535 bytes: parsers refuse those.
    #[inline]
    pub fn push(&mut self, field: FieldSpan, known: Option<KnownName>, is_line: bool) {
        self.push_with(field, known, if is_line { LINE } else { 0 });
    }

    #[inline]
    fn push_with(&mut self, field: FieldSpan, known: Option<KnownName>, flags: u8) {
        let end = |span: (u32, u32)| u64::from(span.0) + u64::from(span.1);
        self.end = self.end.max(end(field.name)).max(end(field.value));
        self.present |= known.map_or(0, KnownName::bit);
        self.records.push(Record {
            name_at: field.name.0,
            value_at: field.value.0,
            value_len: field.value.1,
            name_len: u16::try_from(field.name.1)
                .expect("the parser refuses names over 65,535 bytes"),
            known,
            flags,
        });
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// One field of a head.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    /// The name in the spelling it is written in on HTTP/1.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The name, if it is one the engine knows.
    pub known: Option<KnownName>,
    /// Whether it stands as it does in the received head; false for what was put in since, and for
    /// all fields of a head that was not received as bytes.
    pub is_received: bool,
    /// Whether whoever sent or set it has marked it as one not to be shown or compressed.
    pub is_sensitive: bool,
}

/// The fields of a head in the order they are written.
///
/// ```
/// use pingora_http::{RequestHeader, fields::KnownName};
///
/// let mut req = RequestHeader::build("GET", b"/", None)?;
/// req.append_header("Via", "1.1 a")?;
/// req.append_header("X-Trace", "7")?;
/// let fields = req.fields();
/// assert_eq!(fields.get(KnownName::Via), Some(&b"1.1 a"[..]));
/// assert_eq!(fields.get_by_name(b"x-trace"), Some(&b"7"[..]));
/// assert_eq!(fields.iter().map(|f| f.name).collect::<Vec<_>>(), [&b"Via"[..], b"X-Trace"]);
/// # Ok::<(), pingora_error::BError>(())
/// ```
#[derive(Default)]
pub struct Fields {
    received: Bytes,
    added: Vec<u8>,
    /// Bytes of `added` no record points to any more.
    dead: usize,
    records: Vec<Record>,
    /// One bit per [`KnownName`] that has a record.
    present: u64,
    keeps_case: bool,
    /// What `case_header_iter` lends out; dropped by every change.
    cased: OnceLock<Box<[(CaseHeaderName, HeaderValue)]>>,
}

/// Where one field is.
#[derive(Clone, Copy)]
struct Record {
    name_at: u32,
    value_at: u32,
    value_len: u32,
    name_len: u16,
    known: Option<KnownName>,
    flags: u8,
}

const _: () = assert!(size_of::<Record>() == 16, "a record is two words");

/// The field is in `added`, else in `received`.
const ADDED: u8 = 1;
/// The bytes around the field are exactly `name: value\r\n`.
const LINE: u8 = 2;
/// The value was marked sensitive by whoever put it in.
const SENSITIVE: u8 = 4;

/// Room kept for the fields a proxy adds to a head.
const SPARE_RECORDS: usize = 4;
const SPARE_BYTES: usize = 128;

// === impl Fields ===

impl Fields {
    /// Returns an empty table with room for `capacity` fields.
    pub(crate) fn new(keeps_case: bool, capacity: usize) -> Self {
        Self {
            records: Vec::with_capacity(capacity.min(MAX_FIELDS)),
            keeps_case,
            ..Self::default()
        }
    }

    /// Returns the table of a received head; see `RequestHeader::from_received`.
    pub(crate) fn from_received(head: Bytes, spans: impl Iterator<Item = FieldSpan>) -> Self {
        let mut fields =
            ParsedFields::with_capacity(spans.size_hint().0.min(MAX_FIELDS) + SPARE_RECORDS);
        for span in spans {
            let (known, is_line) = look_at(&head, span);
            fields.push(span, known, is_line);
        }
        Self::from_parsed(head, fields)
    }

    /// Returns the table of a received head; see `RequestHeader::from_parsed`.
    pub(crate) fn from_parsed(head: Bytes, fields: ParsedFields) -> Self {
        assert!(
            fields.end <= head.len() as u64,
            "name and value lie in the head"
        );
        Self {
            received: head,
            records: fields.records,
            present: fields.present,
            keeps_case: true,
            ..Self::default()
        }
    }

    /// Returns the fields in the order they are written.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.records.iter().map(|record| self.field(record))
    }

    /// Returns the number of fields; a name that occurs twice counts twice.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns whether a field of this name is present: one bit test.
    #[inline]
    pub fn has(&self, name: KnownName) -> bool {
        self.present & name.bit() != 0
    }

    /// Returns the value of the first field of this name.
    #[inline]
    pub fn get(&self, name: KnownName) -> Option<&[u8]> {
        if !self.has(name) {
            return None;
        }
        self.get_all(name).next()
    }

    /// Returns the values of all fields of this name, in order.
    pub fn get_all(&self, name: KnownName) -> impl Iterator<Item = &[u8]> {
        let of_name = self
            .records
            .iter()
            .filter(move |record| record.known == Some(name));
        of_name.map(|record| self.value_bytes(record))
    }

    /// Returns the value of the first field of this name, in any case, searching one by one.
    pub fn get_by_name(&self, name: &[u8]) -> Option<&[u8]> {
        if let Some(known) = KnownName::of(name) {
            return self.get(known);
        }
        self.iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }

    /// Returns whether names keep the spelling they were received or given in.
    pub(crate) fn keeps_case(&self) -> bool {
        self.keeps_case
    }

    /// Returns the received head, empty if there is none.
    pub(crate) fn received(&self) -> &Bytes {
        &self.received
    }

    fn field(&self, record: &Record) -> Field<'_> {
        record.field(&self.received, &self.added)
    }

    fn name_bytes(&self, record: &Record) -> &[u8] {
        &record.buffer(&self.received, &self.added)[record.name()]
    }

    fn value_bytes(&self, record: &Record) -> &[u8] {
        &record.buffer(&self.received, &self.added)[record.value()]
    }
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        let mut records = Vec::with_capacity(self.records.len() + SPARE_RECORDS);
        records.extend_from_slice(&self.records);
        let mut added = Vec::new();
        if !self.added.is_empty() {
            added.reserve_exact(self.added.len() + SPARE_BYTES);
            added.extend_from_slice(&self.added);
        }
        Self {
            received: self.received.clone(),
            added,
            dead: self.dead,
            records,
            present: self.present,
            keeps_case: self.keeps_case,
            cased: OnceLock::new(),
        }
    }
}

/// Shows names and values; those of credentials and those marked sensitive are left out.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for record in &self.records {
            let Field {
                name, value, known, ..
            } = self.field(record);
            let hidden = record.is(SENSITIVE) || known.is_some_and(KnownName::is_secret);
            let value = if hidden { &b"(sensitive)"[..] } else { value };
            map.entry(
                &format_args!("{}", name.escape_ascii()),
                &format_args!("\"{}\"", value.escape_ascii()),
            );
        }
        map.finish()
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.is_sensitive || self.known.is_some_and(KnownName::is_secret);
        let value = if hidden {
            &b"(sensitive)"[..]
        } else {
            self.value
        };
        write!(f, "{}: {}", self.name.escape_ascii(), value.escape_ascii())
    }
}

// === impl Record ===

impl Record {
    fn is(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn name(self) -> std::ops::Range<usize> {
        let start = self.name_at as usize;
        start..start + usize::from(self.name_len)
    }

    fn value(self) -> std::ops::Range<usize> {
        let start = self.value_at as usize;
        start..start + self.value_len as usize
    }

    /// Returns the whole line of a record marked `LINE`.
    fn line(self) -> std::ops::Range<usize> {
        self.name_at as usize..self.value().end + 2
    }

    fn buffer<'a>(self, received: &'a [u8], added: &'a [u8]) -> &'a [u8] {
        if self.is(ADDED) { added } else { received }
    }

    /// Returns whether this is a field of this name, whose `KnownName` is `known`.
    fn is_named(
        self,
        name: &[u8],
        known: Option<KnownName>,
        received: &[u8],
        added: &[u8],
    ) -> bool {
        if known.is_some() {
            return self.known == known;
        }
        // The length is in the record, so most others are told apart without their bytes.
        self.known.is_none()
            && usize::from(self.name_len) == name.len()
            && self.buffer(received, added)[self.name()].eq_ignore_ascii_case(name)
    }

    fn field<'a>(self, received: &'a [u8], added: &'a [u8]) -> Field<'a> {
        let buffer = self.buffer(received, added);
        Field {
            name: &buffer[self.name()],
            value: &buffer[self.value()],
            known: self.known,
            is_received: !self.is(ADDED),
            is_sensitive: self.is(SENSITIVE),
        }
    }
}

/// Returns what [`ParsedFields::push`] wants to know of a field the parser found in `head`.
#[inline]
fn look_at(head: &[u8], span: FieldSpan) -> (Option<KnownName>, bool) {
    let (name_at, name_len) = (span.name.0 as usize, span.name.1 as usize);
    let (value_at, value_len) = (span.value.0 as usize, span.value.1 as usize);
    let (name_end, value_end) = (name_at + name_len, value_at + value_len);
    assert!(
        name_end.max(value_end) <= head.len(),
        "name and value lie in the head"
    );
    let is_line = value_at == name_end + 2
        && head[name_end..value_at] == *b": "
        && head[value_end..].starts_with(b"\r\n");
    (KnownName::of(&head[name_at..name_end]), is_line)
}

#[cfg(test)]
mod tests;
