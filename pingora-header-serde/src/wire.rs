//! The wire form of a head: short tokens for what is common, bytes for the rest.
//!
//! ```text
//! head    version (1 byte), status (2 bytes), [length and bytes of the reason phrase], fields
//! field   name, value
//! name    0..=95     a name of the table in its usual spelling
//!         96..=191   a name of the table in lower case
//!         255        length, bytes
//! value   0..=191    that many bytes follow
//!         192..=249  a value of the table under that name
//!         250..=253  hexadecimal digits, in the forms of `wire/hex.rs`
//!         254        a date: 4 bytes, seconds since 1970
//!         255        length, bytes
//! length  little endian in groups of 7 bits, the last with the high bit clear
//! ```
//!
//! HTTP/1 text of 500 bytes costs zstd some 20,000 instructions; this costs 3,000, and the result is smaller.
//! Decoding writes HTTP/1 text, for a head shares the bytes it was read from.
//!
//! Read next: `wire/table.rs`, `wire/date.rs`, `wire/hex.rs`.

mod date;
mod hex;
mod table;

use std::cell::RefCell;

use bytes::Bytes;
use http::{StatusCode, Version};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_http::fields::{FieldSpan, MAX_FIELDS};

use crate::{MAX_HEAD_BYTES, invalid};

const LOWER: u8 = table::MAX_NAMES as u8;
const LITERAL: u8 = 255;
const MAX_SHORT: usize = 191;
const VALUES: u8 = 192;
const HEX: u8 = 250;
const DATE: u8 = 254;

/// The forms of digits in the order of their tokens.
const HEX_FORMS: [hex::Form; 4] = [
    hex::Form::Digits,
    hex::Form::Uuid,
    hex::Form::Tag,
    hex::Form::WeakTag,
];

/// Set in the first byte if a reason phrase follows the status.
const REASON: u8 = 0x80;

/// Versions in the order of their numbers in the first byte.
const VERSIONS: [(Version, &str); 5] = [
    (Version::HTTP_09, "HTTP/0.9 "),
    (Version::HTTP_10, "HTTP/1.0 "),
    (Version::HTTP_11, "HTTP/1.1 "),
    (Version::HTTP_2, "HTTP/2.0 "),
    (Version::HTTP_3, "HTTP/3.0 "),
];

/// Working memory that stays with a thread; what is larger is given back.
const KEPT_BYTES: usize = 64 << 10;

#[derive(Default)]
struct Scratch {
    bytes: Vec<u8>,
    spans: Vec<FieldSpan>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A head in its wire form.
pub(crate) struct Encoded<'a> {
    pub(crate) wire: &'a [u8],
    /// How many bytes of names and values have no token: what a dictionary may know.
    pub(crate) literal: usize,
}

/// Calls `then` with the wire form of `head`.
///
/// # Errors
/// If the head is too large.
pub(crate) fn with_encoded<T>(
    head: &ResponseHeader,
    then: impl FnOnce(Encoded<'_>) -> T,
) -> Result<T> {
    SCRATCH.with_borrow_mut(|scratch| {
        let literal = encode(head, &mut scratch.bytes)?;
        let wire = &scratch.bytes;
        let result = then(Encoded { wire, literal });
        scratch.trim();
        Ok(result)
    })
}

/// Returns the head of a wire form.
///
/// # Errors
/// If it is none, or the head is too large.
pub(crate) fn decode(wire: &[u8]) -> Result<ResponseHeader> {
    SCRATCH.with_borrow_mut(|scratch| {
        let head = Decoder { wire, scratch }.head();
        scratch.trim();
        head
    })
}

/// Writes the wire form of `head` in place of what `wire` holds, and returns how many bytes have no token.
pub(crate) fn encode(head: &ResponseHeader, wire: &mut Vec<u8>) -> Result<usize> {
    wire.clear();
    if head.fields().len() > MAX_FIELDS {
        return invalid("a head to store has too many fields");
    }
    let version = VERSIONS
        .iter()
        .position(|(version, _)| *version == head.version());
    let version = version.unwrap_or(2) as u8;
    let status = head.status();
    let reason = head.get_reason_phrase();
    let reason = reason.filter(|reason| status.canonical_reason() != Some(reason));
    wire.push(version | if reason.is_some() { REASON } else { 0 });
    wire.extend_from_slice(&status.as_u16().to_be_bytes());
    let mut text = VERSIONS[0].1.len() + "200 \r\n\r\n".len();
    text += reason.or(status.canonical_reason()).map_or(0, str::len);
    let mut literal = 0;
    if let Some(reason) = reason {
        put_bytes(reason.as_bytes(), wire);
    }
    for field in head.fields().iter() {
        text += field.name.len() + field.value.len() + ": \r\n".len();
        if text > MAX_HEAD_BYTES {
            return invalid("a head to store is too large");
        }
        literal += put_field(field.name, field.value, wire);
    }
    Ok(literal)
}

/// Appends a field and returns how many of its bytes have no token.
fn put_field(name: &[u8], value: &[u8], wire: &mut Vec<u8>) -> usize {
    let known = table::find_name(name);
    let mut literal = 0;
    match known {
        Some((id, false)) => wire.push(id),
        Some((id, true)) => wire.push(LOWER + id),
        None => {
            wire.push(LITERAL);
            put_bytes(name, wire);
            literal = name.len();
        }
    }
    match known.and_then(|(id, _)| table::find_value(id, value)) {
        Some(id) => wire.push(VALUES + id),
        None => literal += put_value(value, wire),
    }
    literal
}

fn put_value(value: &[u8], wire: &mut Vec<u8>) -> usize {
    if let Some(seconds) = date::parse(value) {
        wire.push(DATE);
        wire.extend_from_slice(&seconds.to_be_bytes());
        return 0;
    }
    let token = wire.len();
    wire.push(value.len().min(MAX_SHORT) as u8);
    if let Some(form) = hex::encode(value, wire) {
        wire[token] = HEX + form as u8;
        return 0;
    }
    if value.len() <= MAX_SHORT {
        wire.extend_from_slice(value);
    } else {
        wire[token] = LITERAL;
        put_bytes(value, wire);
    }
    value.len()
}

fn put_bytes(bytes: &[u8], wire: &mut Vec<u8>) {
    let mut length = bytes.len();
    while length >= 0x80 {
        wire.push(length as u8 | 0x80);
        length >>= 7;
    }
    wire.push(length as u8);
    wire.extend_from_slice(bytes);
}

/// What is left of a wire form, and the text made of what was before.
struct Decoder<'a> {
    wire: &'a [u8],
    scratch: &'a mut Scratch,
}

impl Decoder<'_> {
    fn head(mut self) -> Result<ResponseHeader> {
        self.scratch.bytes.clear();
        self.scratch.spans.clear();
        let [first, high, low] = self.array()?;
        let Some(&(version, name)) = VERSIONS.get(usize::from(first & !REASON)) else {
            return invalid("a stored head has an unknown version");
        };
        let Ok(status) = StatusCode::from_u16(u16::from_be_bytes([high, low])) else {
            return invalid("a stored head has an invalid status");
        };
        self.scratch.bytes.extend_from_slice(name.as_bytes());
        self.scratch
            .bytes
            .extend_from_slice(status.as_str().as_bytes());
        self.scratch.bytes.push(b' ');
        let reason = self.reason(first & REASON != 0, status)?;
        while !self.wire.is_empty() {
            if self.scratch.spans.len() == MAX_FIELDS {
                return invalid("a stored head has too many fields");
            }
            self.field()?;
        }
        self.scratch.bytes.extend_from_slice(b"\r\n");
        Ok(ResponseHeader::from_received(
            status,
            reason,
            version,
            Bytes::copy_from_slice(&self.scratch.bytes),
            self.scratch.spans.iter().copied(),
        ))
    }

    /// Returns where the reason phrase is, if it is not the canonical one.
    fn reason(&mut self, own: bool, status: StatusCode) -> Result<Option<(u32, u32)>> {
        let mut span = None;
        if own {
            let reason = self.counted()?;
            if !is_clean(reason) {
                return invalid("a stored head has an invalid reason phrase");
            }
            span = Some(self.put(reason)?);
        } else if let Some(reason) = status.canonical_reason() {
            self.put(reason.as_bytes())?;
        }
        self.put(b"\r\n")?;
        Ok(span)
    }

    fn field(&mut self) -> Result<()> {
        let [token] = self.array()?;
        let id = token % LOWER;
        let name = if token < 2 * LOWER {
            let known = table::NAMES.get(usize::from(id));
            let known = known.map(|known| {
                if token < LOWER {
                    known.usual
                } else {
                    known.lower
                }
            });
            known.map(|name| name.as_bytes())
        } else if token == LITERAL {
            Some(self.counted()?).filter(|name| is_token(name))
        } else {
            None
        };
        let Some(name) = name else {
            return invalid("a stored head has an invalid field name");
        };
        let name = self.put(name)?;
        self.put(b": ")?;
        let value = self.value((token < 2 * LOWER).then_some(id))?;
        self.put(b"\r\n")?;
        self.scratch.spans.push(FieldSpan { name, value });
        Ok(())
    }

    fn value(&mut self, name: Option<u8>) -> Result<(u32, u32)> {
        let [token] = self.array()?;
        match token {
            0..VALUES => {
                let value = self.take(usize::from(token))?;
                self.checked(value)
            }
            LITERAL => {
                let value = self.counted()?;
                self.checked(value)
            }
            DATE => {
                let seconds = u32::from_be_bytes(self.array()?);
                self.put(&date::format(seconds))
            }
            HEX..DATE => {
                let form = HEX_FORMS[usize::from(token - HEX)];
                match hex::decode(form, &mut self.wire) {
                    Some(text) => self.put(text.as_bytes()),
                    None => invalid("a stored head is cut off"),
                }
            }
            VALUES..HEX => match name.and_then(|name| table::value(name, token - VALUES)) {
                Some(value) => self.put(value.as_bytes()),
                None => invalid("a stored head has an unknown value"),
            },
        }
    }

    fn checked(&mut self, value: &[u8]) -> Result<(u32, u32)> {
        if !is_clean(value) {
            return invalid("a stored head has an invalid field value");
        }
        self.put(value)
    }

    /// Appends to the text and returns where.
    fn put(&mut self, bytes: &[u8]) -> Result<(u32, u32)> {
        let at = self.scratch.bytes.len();
        if at + bytes.len() > MAX_HEAD_BYTES {
            return invalid("a stored head is too large");
        }
        self.scratch.bytes.extend_from_slice(bytes);
        Ok((at as u32, bytes.len() as u32))
    }
}

impl<'a> Decoder<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.wire.split_first_chunk() {
            Some((array, rest)) => {
                self.wire = rest;
                Ok(*array)
            }
            None => invalid("a stored head is cut off"),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        match self.wire.split_at_checked(length) {
            Some((bytes, rest)) => {
                self.wire = rest;
                Ok(bytes)
            }
            None => invalid("a stored head is cut off"),
        }
    }

    /// Takes a length and that many bytes.
    fn counted(&mut self) -> Result<&'a [u8]> {
        let mut length = 0;
        for shift in [0, 7, 14] {
            let [byte] = self.array()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return self.take(length);
            }
        }
        // Three groups hold every length below MAX_HEAD_BYTES.
        invalid("a stored head has an invalid length")
    }
}

impl Scratch {
    fn trim(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        if self.spans.capacity() * size_of::<FieldSpan>() > KEPT_BYTES {
            self.spans = Vec::new();
        }
    }
}

/// Returns whether a field value may hold these bytes (RFC 9110 section 5.5).
fn is_clean(value: &[u8]) -> bool {
    // No early return, so that the loop is vectorised.
    !value.iter().fold(false, |bad, &byte| {
        bad | (byte < b' ' && byte != b'\t') | (byte == 0x7f)
    })
}

/// Returns whether these bytes are a field name (RFC 9110 section 5.1) of a size heads can hold.
fn is_token(name: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.len() <= usize::from(u16::MAX) && name.iter().all(is_tchar)
}

#[cfg(test)]
mod tests;
