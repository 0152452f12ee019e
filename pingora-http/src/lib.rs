#![doc = include_str!("../README.md")]
//!
//! # How a head is stored
//!
//! [`RequestHeader`] and [`ResponseHeader`] dereference to [`http::request::Parts`] and
//! [`http::response::Parts`] for reading; they are changed through their own methods only. That
//! lets the head be stored as it came: the received bytes plus a flat table of where each field
//! is ([`fields::Fields`]). The `Parts` with their `HeaderMap` are built the first time somebody
//! asks for them, and an unmodified head is written to the next hop by copying spans.
//!
//! Read next: `fields.rs` (the table), then `request.rs` and `response.rs`, which hold the methods of
//! the two structs defined here.

#![forbid(unsafe_code)]

use std::sync::OnceLock;

use http::Extensions;

pub mod authority;
pub mod fields;

mod case_header_name;
mod head;
mod request;
mod response;
mod value;

pub use case_header_name::{HeaderNameVariant, IntoCaseHeaderName};
pub use http::{HeaderMap as HMap, Method, StatusCode, Version};
pub use request::H2Target;
pub use value::{header_value_from_raw, header_value_from_slice};

/// The head of a request: method, target, version and fields.
///
/// It dereferences to [`http::request::Parts`] for reading (`req.uri`, `req.headers`), which are
/// built at the first such use; the methods of this type do without.
///
/// ```
/// use pingora_http::RequestHeader;
///
/// let mut req = RequestHeader::build("GET", b"/a/b.css?x", None)?;
/// req.insert_header("Host", "example.com")?;
/// assert_eq!(req.uri.path(), "/a/b.css");
/// assert_eq!(req.raw_path(), b"/a/b.css?x");
/// assert_eq!(req.uri_file_extension(), Some("css"));
/// assert_eq!(req.remove_header("host").unwrap(), "example.com");
/// # Ok::<(), pingora_error::BError>(())
/// ```
pub struct RequestHeader {
    line: request::RequestLine,
    fields: fields::Fields,
    parts: OnceLock<Box<http::request::Parts>>,
    /// The extensions until `Parts` are built, which then own them.
    user_data: Extensions,
    send_end_stream: bool,
}

/// The head of a response: status, reason phrase, version and fields.
///
/// It dereferences to [`http::response::Parts`] for reading (`resp.status`, `resp.headers`), which
/// are built at the first such use; the methods of this type do without.
///
/// ```
/// use pingora_http::ResponseHeader;
///
/// let mut resp = ResponseHeader::build(404, None)?;
/// resp.set_content_length(12)?;
/// assert_eq!(resp.status, 404);
/// assert_eq!(resp.get_reason_phrase(), Some("Not Found"));
/// assert_eq!(resp.headers["content-length"], "12");
/// # Ok::<(), pingora_error::BError>(())
/// ```
pub struct ResponseHeader {
    line: response::StatusLine,
    fields: fields::Fields,
    parts: OnceLock<Box<http::response::Parts>>,
    /// The extensions until `Parts` are built, which then own them.
    user_data: Extensions,
}

/// The two head types, for glob imports.
pub mod prelude {
    pub use crate::{RequestHeader, ResponseHeader};
}
