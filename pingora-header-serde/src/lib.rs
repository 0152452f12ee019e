//! Compact storage of HTTP response heads.
//!
//! [`HeaderSerde`] turns a [`ResponseHeader`] into few bytes and back: names and values that are
//! common become one or two bytes, dates four, and what is left is compressed with a trained zstd
//! dictionary, the built-in one or your own ([`dict::train`], or the program `trainer`).
//!
//! ```text
//! 1 byte   how the rest is stored: as it is, or compressed with which dictionary
//! n bytes  the head in its wire form (wire.rs), compressed or not
//! 4 bytes  checksum over all before, begun with the fingerprint of the dictionary
//! ```
//!
//! What is stored stays readable: the first byte tells the forms apart, forms and built-in dictionaries are
//! only ever added. Heads stored by Pingora 0.9, which are plain zstd frames, are read as well.
//!
//! Read next: `wire.rs` (the head as tokens), `zstd.rs` (contexts and dictionaries), `text.rs` (heads as
//! HTTP/1 text), `dict.rs` (training).

#![forbid(unsafe_code)]

use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

pub mod dict;

mod text;
mod wire;
mod zstd;

use crate::wire::Encoded;
use crate::zstd::Dictionary;

/// The most bytes a head may have as HTTP/1 text, to be stored or to be restored.
///
/// It bounds what a forged record can make the reader allocate. The default limit of received heads
/// is a sixteenth of it.
pub const MAX_HEAD_BYTES: usize = 1 << 20;

/// Stores response heads in few bytes and restores them.
///
/// It is made once and shared by all threads; the contexts of zstd (some 200 KiB) are one for each
/// thread. Storing and restoring take time linear in the size of the head.
///
/// ```
/// use pingora_header_serde::HeaderSerde;
/// use pingora_http::ResponseHeader;
///
/// let mut head = ResponseHeader::build(200, None)?;
/// head.append_header("Content-Type", "text/html; charset=utf-8")?;
/// head.append_header("Date", "Sun, 06 Nov 1994 08:49:37 GMT")?;
/// head.append_header("x-CASE", "kept")?;
///
/// let serde = HeaderSerde::new(None);
/// let stored = serde.serialize(&head)?;
/// assert!(stored.len() < 32);
///
/// let restored = serde.deserialize(&stored)?;
/// assert_eq!(restored.status, 200);
/// assert_eq!(restored.headers["content-type"], "text/html; charset=utf-8");
/// let mut lines = Vec::new();
/// restored.header_to_h1_wire(&mut lines);
/// assert!(lines.ends_with(b"\r\nx-CASE: kept\r\n"));
/// # Ok::<(), pingora_error::BError>(())
/// ```
#[derive(Debug)]
pub struct HeaderSerde {
    given: Option<Dictionary>,
}

/// How a record is stored: its first byte. A value once used keeps its meaning for ever.
mod form {
    /// The wire form as it is.
    pub(crate) const PLAIN: u8 = 1;
    /// The wire form compressed with the first built-in dictionary.
    pub(crate) const BUILT_IN_1: u8 = 2;
    /// The wire form compressed with the dictionary given to `HeaderSerde::new`.
    pub(crate) const GIVEN: u8 = 3;
    /// A zstd frame of HTTP/1 text, as Pingora 0.9 stores it: the first byte of zstd's magic number.
    pub(crate) const TEXT: u8 = 0x28;
}

/// With fewer bytes that have no token a head is not compressed: that would save it little and take three
/// times as long as all the rest.
const MIN_LITERAL: usize = 48;

/// Bytes of the checksum.
const CHECKSUM: usize = 4;

// === impl HeaderSerde ===

impl HeaderSerde {
    /// Returns what stores heads with this dictionary, or with the built-in one.
    ///
    /// A dictionary comes from [`dict::train`]; any other bytes serve as text to find matches in.
    /// What was stored with the built-in dictionary stays readable when one is given later. What was
    /// stored with another dictionary is an error to read.
    ///
    /// # Panics
    /// If the bytes begin as a dictionary of zstd does and are not one.
    pub fn new(dict: Option<Vec<u8>>) -> Self {
        Self {
            given: dict.map(Dictionary::new),
        }
    }

    /// Returns the head in its stored form.
    ///
    /// Kept are status, reason phrase, version, and all fields with their order, their spelling
    /// and every byte of their values. Not kept are extensions and marks of sensitive values.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` if the head is larger than [`MAX_HEAD_BYTES`] or has more fields than
    /// [`MAX_FIELDS`](pingora_http::fields::MAX_FIELDS).
    pub fn serialize(&self, header: &ResponseHeader) -> Result<Vec<u8>> {
        let (form, dictionary) = match &self.given {
            Some(given) => (form::GIVEN, given),
            None => (form::BUILT_IN_1, dict::built_in()),
        };
        wire::with_encoded(
            header,
            |Encoded {
                 wire: plain,
                 literal,
             }| {
                if literal < MIN_LITERAL {
                    return record(form::PLAIN, plain, 0);
                }
                zstd::with_compressed(plain, dictionary, |compressed| match compressed {
                    Some(compressed) => record(form, compressed, dictionary.fingerprint()),
                    None => record(form::PLAIN, plain, 0),
                })
            },
        )
    }

    /// Returns the head that was stored.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` if the record was damaged, cut off or never was one, was stored with
    /// a dictionary this does not have, or would restore a head larger than [`MAX_HEAD_BYTES`].
    pub fn deserialize(&self, data: &[u8]) -> Result<ResponseHeader> {
        match *data.first().unwrap_or(&0) {
            form::PLAIN => wire::decode(contents(data, 0)?),
            form::BUILT_IN_1 => restore(data, dict::built_in()),
            form::GIVEN => match &self.given {
                Some(given) => restore(data, given),
                None => invalid("a stored head needs a dictionary that was not given"),
            },
            form::TEXT => text::parse(zstd::decompress_frame(data, self.given.as_ref())?.into()),
            _ => invalid("a stored head has an unknown form"),
        }
    }
}

fn restore(data: &[u8], dictionary: &Dictionary) -> Result<ResponseHeader> {
    let compressed = contents(data, dictionary.fingerprint())?;
    zstd::with_decompressed(compressed, dictionary, wire::decode)
}

/// Returns the record of these contents.
fn record(form: u8, contents: &[u8], fingerprint: u32) -> Vec<u8> {
    let mut record = Vec::with_capacity(1 + contents.len() + CHECKSUM);
    record.push(form);
    record.extend_from_slice(contents);
    let sum = checksum(&record, fingerprint);
    record.extend_from_slice(&sum.to_le_bytes());
    record
}

/// Returns the contents of a record whose checksum is right.
fn contents(record: &[u8], fingerprint: u32) -> Result<&[u8]> {
    match record.split_last_chunk::<CHECKSUM>() {
        Some((checked, sum)) if u32::from_le_bytes(*sum) == checksum(checked, fingerprint) => {
            // Not empty, for it was matched by its first byte and a sum of nothing ends before it.
            Ok(checked.get(1..).unwrap_or_default())
        }
        _ => invalid("a stored head is damaged or needs another dictionary"),
    }
}

fn checksum(bytes: &[u8], fingerprint: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(fingerprint);
    hasher.update(bytes);
    hasher.finalize()
}

/// Returns the error of a head that cannot be stored or restored.
#[cold]
fn invalid<T>(context: &'static str) -> Result<T> {
    Error::e_explain(ErrorType::InvalidHTTPHeader, context)
}

/// The README's example runs with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
