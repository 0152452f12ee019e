//! Errors with a type, a source (upstream, downstream, internal), a retry decision and a chain of
//! contexts.
//!
//! Everything in the framework returns [`Result`], whose error is a [`BError`]: one boxed
//! [`Error`], so that the happy path moves a pointer. An error says *what* failed
//! ([`ErrorType`]), *whose* fault it is ([`ErrorSource`]), whether the request may be tried again
//! ([`RetryType`]), what was attempted (`context`) and why it failed (`cause`).
//!
//! ```
//! use pingora_error::{Error, ErrorType, OrErr, Result};
//!
//! fn content_length(value: &str) -> Result<u64> {
//!     value.parse().or_err(ErrorType::InvalidHTTPHeader, "parse content-length")
//! }
//!
//! let e = content_length("12x").unwrap_err().into_down();
//! assert_eq!(e.etype(), &ErrorType::InvalidHTTPHeader);
//! assert_eq!(
//!     e.to_string(),
//!     "Downstream InvalidHTTPHeader context: parse content-length \
//!      cause: invalid digit found in string",
//! );
//! ```
//!
//! Reading order: `kind` (the vocabulary), `error` (the struct, its constructors and how it is
//! printed), `context` (turning other results into ours), `immut_str` (the context's text).

#![forbid(unsafe_code)]

mod kind;

mod error;

mod context;

mod immut_str;

pub use std::error::Error as ErrorTrait;

pub use context::{Context, OkOrErr, OrErr};
pub use error::{BError, Error, Result};
pub use immut_str::ImmutStr;
pub use kind::{ErrorSource, ErrorType, RetryType};
