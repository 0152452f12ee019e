//! Bodies on the wire: [`BodyDecoder`] takes them apart, [`BodyEncoder`] puts them together. Pure.

mod chunked;
mod decoder;
mod encoder;

pub use self::decoder::{BodyDecoder, Decoded};
pub(super) use self::encoder::BodyEncoder;
