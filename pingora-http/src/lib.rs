//! HTTP request and response heads that keep header case, raw paths and the received bytes.
//!
//! [`RequestHeader`] and [`ResponseHeader`] dereference to [`http::request::Parts`] and
//! [`http::response::Parts`] for reading; they are changed through their own methods only. That
//! lets the head be stored as it came: the received bytes plus a flat table of where each field
//! is ([`fields::Fields`]). The `Parts` with their `HeaderMap` are built the first time somebody
//! asks for them, and an unmodified head is written to the next hop by copying spans.
//!
//! ```
//! use pingora_http::RequestHeader;
//!
//! let mut req = RequestHeader::build("GET", b"/index.html", None)?;
//! req.insert_header("hOsT", "example.com")?;
//! req.append_header("Accept", "text/html")?;
//! assert_eq!(req.headers["host"], "example.com");
//!
//! let mut wire = Vec::new();
//! req.header_to_h1_wire(&mut wire);
//! assert_eq!(wire, b"hOsT: example.com\r\nAccept: text/html\r\n");
//! # Ok::<(), pingora_error::BError>(())
//! ```
//!
//! Read next: `fields.rs` (the table), `request.rs`, `response.rs`.

#![forbid(unsafe_code)]

pub mod authority;
pub mod fields;

mod case_header_name;
mod head;
mod request;
mod response;
mod value;

pub use case_header_name::{HeaderNameVariant, IntoCaseHeaderName};
pub use http::{HeaderMap as HMap, Method, StatusCode, Version};
pub use request::RequestHeader;
pub use response::ResponseHeader;
pub use value::{header_value_from_raw, header_value_from_slice};

/// The two head types, for glob imports.
pub mod prelude {
    pub use crate::{RequestHeader, ResponseHeader};
}

/// The README's example runs with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
