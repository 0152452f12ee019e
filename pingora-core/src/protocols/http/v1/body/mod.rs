//! Bodies on the wire: [`BodyDecoder`] takes them apart, [`BodyEncoder`] puts them together. Pure.

mod chunked;
mod decoder;
mod encoder;

pub(in crate::protocols::http) use self::chunked::{MAX_TRAILERS, is_forbidden_trailer};
pub use self::decoder::{BodyDecoder, Decoded};
pub(super) use self::encoder::BodyEncoder;
