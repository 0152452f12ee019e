//! HPACK (RFC 7541): how HTTP/2 compresses fields. Pure: bytes to fields and back; no frames and no limits on
//! lists of fields, which are the caller's.
//!
//! ```text
//! kind.rs      what a field is: its name known or not, name and value valid or not
//! decoder.rs   header blocks to fields
//! encoder.rs   fields to header blocks, and what is worth an entry
//! table.rs     the dynamic table of both
//! statics.rs   the static table, and what the encoder knows of its names
//! huffman.rs   the code of strings
//! ```

mod decoder;
mod encoder;
mod huffman;
mod kind;
mod statics;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use self::decoder::{Decoder, ENDLESS, FIELD_OVERHEAD, Malformed};
pub(crate) use self::encoder::Encoder;
pub(crate) use self::kind::{Field, Kind, Pseudo};

/// What both sides start with (RFC 9113 6.5.2): the size of the dynamic table before any SETTINGS.
const DEFAULT_TABLE_SIZE: usize = 4096;

/// The first bits of a representation (RFC 7541 6); a literal without indexing has none.
const INDEXED: u8 = 0x80;
const INCREMENTAL: u8 = 0x40;
const SIZE_UPDATE: u8 = 0x20;
const NEVER_INDEXED: u8 = 0x10;

/// The first bit of a string in the Huffman code (RFC 7541 5.2).
const HUFFMAN: u8 = 0x80;
