//! Content codings on the way of a response: gzip, br, zstd, and the two with a dictionary
//! (RFC 9842), in both directions.
//!
//! [`ResponseCompressionCtx`] goes along with one request and decides; [`Encode`] is one body being
//! coded. Read next: `ctx.rs` (what happens when), `accept.rs` (what the client takes), `headers.rs` (which
//! responses are coded, and what their heads say then), `codec.rs` (what codecs share), then `gzip.rs`,
//! `brotli.rs` and `zstd.rs`, the only files that know their libraries.

mod accept;
mod brotli;
mod codec;
mod ctx;
mod gzip;
mod headers;
mod zstd;

use std::time::Duration;

use bytes::Bytes;
use pingora_error::{ErrorType, Result};
use strum::EnumCount;

pub use self::codec::DecompressionLimits;
pub use self::ctx::ResponseCompressionCtx;

/// The error of a body that cannot be coded or decoded.
pub const COMPRESSION_ERROR: ErrorType = ErrorType::new("CompressionError");

/// The first bytes of a dictionary-compressed Zstandard body (RFC 9842 section 5).
pub const DCZ_MAGIC: [u8; 8] = [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0x00, 0x00, 0x00];

/// What comes before the Zstandard frame of such a body: magic number and hash of the dictionary.
pub const DCZ_HEADER_SIZE: usize = DCZ_MAGIC.len() + 32;

/// A body that is being coded or decoded, piece by piece.
///
/// ```
/// use pingora_core::protocols::http::compression::Algorithm;
///
/// let mut packing = Algorithm::Zstd.compressor(3).expect("zstd compresses");
/// let mut packed = packing.encode(b"one piece, ", false)?.to_vec();
/// packed.extend(packing.encode(b"and the last", true)?);
///
/// let mut unpacking = Algorithm::Zstd.decompressor(true).expect("and decompresses");
/// assert_eq!(unpacking.encode(&packed, true)?, "one piece, and the last");
/// assert_eq!(unpacking.stat().1, packed.len());
/// # Ok::<(), pingora_error::BError>(())
/// ```
pub trait Encode {
    /// Returns what comes out when `input` goes in, which may be nothing; `end` is the end of the body.
    ///
    /// # Errors
    /// [`COMPRESSION_ERROR`] if the input is not what it should be, or becomes too large.
    fn encode(&mut self, input: &[u8], end: bool) -> Result<Bytes>;

    /// Returns the name of the coding, the bytes that went in and came out, and the time it took.
    fn stat(&self) -> (&'static str, usize, usize, Duration);
}

/// A content coding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// Whatever there is: `*`, or an empty list.
    Any,
    /// `gzip`
    Gzip,
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
    /// `dcb`: Brotli with a dictionary of the client.
    Dcb,
    /// `dcz`: Zstandard with a dictionary of the client.
    Dcz,
    /// A coding that is not known here.
    Other,
}

/// A dictionary a client may have.
#[derive(Clone, Debug)]
pub struct DictionaryData {
    /// Its content.
    pub bytes: Bytes,
    /// The SHA-256 of the content.
    pub hash: [u8; 32],
}

// === impl Algorithm ===

impl Algorithm {
    /// The codings a body can be given, best first where a client likes several the same.
    const PREFERRED: [Algorithm; 5] = [
        Algorithm::Dcz,
        Algorithm::Dcb,
        Algorithm::Zstd,
        Algorithm::Brotli,
        Algorithm::Gzip,
    ];

    /// Returns the name of the coding in HTTP.
    pub fn as_str(&self) -> &'static str {
        match self {
            Algorithm::Any => "*",
            Algorithm::Gzip => "gzip",
            Algorithm::Brotli => "br",
            Algorithm::Zstd => "zstd",
            Algorithm::Dcb => "dcb",
            Algorithm::Dcz => "dcz",
            Algorithm::Other => "other",
        }
    }

    /// Returns what codes a body with this level, `None` at level 0 and for what cannot.
    ///
    /// Levels are those of the coding (gzip 1-9, br 1-11, zstd 1-19); higher ones count as the highest.
    /// Every piece is flushed: the client can read all of it.
    pub fn compressor(&self, level: u32) -> Option<Box<dyn Encode + Send + Sync>> {
        self.compressor_of(level, true)
    }

    /// Returns what codes a body with this level and dictionary, `None` for codings that take none.
    pub fn maybe_compressor_with_dictionary(
        &self,
        level: u32,
        dictionary: &DictionaryData,
    ) -> Option<Box<dyn Encode + Send + Sync>> {
        self.compressor_with(level, true, dictionary)
    }

    /// Returns what decodes a body, `None` if not `enabled` and for what cannot.
    ///
    /// It gives up at the default [`DecompressionLimits`].
    pub fn decompressor(&self, enabled: bool) -> Option<Box<dyn Encode + Send + Sync>> {
        self.decompressor_within(DecompressionLimits::default())
            .filter(|_| enabled)
    }

    /// Returns whether bodies can be decoded.
    pub fn can_decompress(&self) -> bool {
        matches!(self, Algorithm::Gzip | Algorithm::Brotli | Algorithm::Zstd)
    }

    /// Returns the place of the coding in a table of [`COUNT`](EnumCount::COUNT) entries.
    pub fn index(&self) -> usize {
        *self as usize
    }

    fn compressor_of(self, level: u32, flush: bool) -> Option<Box<dyn Encode + Send + Sync>> {
        match self {
            _ if level == 0 => None,
            Algorithm::Gzip => Some(gzip::compressor(level, flush)),
            Algorithm::Brotli => Some(brotli::compressor(level, flush)),
            Algorithm::Zstd => Some(zstd::compressor(level, flush)),
            _ => None,
        }
    }

    fn compressor_with(
        self,
        level: u32,
        flush: bool,
        dictionary: &DictionaryData,
    ) -> Option<Box<dyn Encode + Send + Sync>> {
        match self {
            _ if level == 0 => None,
            Algorithm::Dcz => zstd::compressor_with(level, flush, dictionary),
            Algorithm::Dcb => brotli::compressor_with(level, flush, dictionary),
            _ => None,
        }
    }

    fn decompressor_within(
        self,
        limits: DecompressionLimits,
    ) -> Option<Box<dyn Encode + Send + Sync>> {
        match self {
            Algorithm::Gzip => Some(gzip::decompressor(limits)),
            Algorithm::Brotli => Some(brotli::decompressor(limits)),
            Algorithm::Zstd => Some(zstd::decompressor(limits)),
            _ => None,
        }
    }

    fn uses_dictionary(self) -> bool {
        matches!(self, Algorithm::Dcb | Algorithm::Dcz)
    }
}

/// Content codings are named without regard to case (RFC 9110 section 8.4.1).
impl From<&str> for Algorithm {
    fn from(s: &str) -> Self {
        let named = |name: &str| s.eq_ignore_ascii_case(name);
        match s {
            "" | "*" => Algorithm::Any,
            _ if named("gzip") || named("x-gzip") => Algorithm::Gzip,
            _ if named("br") => Algorithm::Brotli,
            _ if named("zstd") => Algorithm::Zstd,
            _ if named("dcb") => Algorithm::Dcb,
            _ if named("dcz") => Algorithm::Dcz,
            _ => Algorithm::Other,
        }
    }
}

impl EnumCount for Algorithm {
    const COUNT: usize = 7;
}

#[cfg(test)]
mod tests;
