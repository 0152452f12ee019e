//! HTTP/1.0 and HTTP/1.1 (RFC 9112): sessions for both roles and the pure parts beneath them.
//!
//! ```text
//! head.rs      bytes -> RequestHeader / ResponseHeader          pure
//! tokens.rs    bytes -> the words of a head                     pure
//! framing.rs   head  -> how long the body is, what comes after  pure
//! body/        bytes <-> body, chunked or not                   pure
//! ../wire.rs   a stream with its input and output queue
//! server/      the downstream session      client/  the upstream session
//! ```

pub mod client;
pub mod common;
pub mod server;

#[allow(unreachable_pub, reason = "fuzz targets reach it")]
mod body;
#[allow(unreachable_pub, reason = "fuzz targets reach it")]
mod framing;
#[allow(unreachable_pub, reason = "fuzz targets reach it")]
mod head;
mod tokens;

pub(in crate::protocols::http) use self::body::{MAX_TRAILERS, is_forbidden_trailer};
pub(in crate::protocols::http) use self::framing::parse_length;
#[cfg(test)]
pub(in crate::protocols::http) use self::head::parse_request;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
