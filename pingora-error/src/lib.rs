#![doc = include_str!("../README.md")]
//!
//! # What an error says
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
//! Reading order: this file (the struct and the table of types), `kind` (the rest of the
//! vocabulary), `error` (constructors and how an error is printed), `context` (turning other
//! results into ours), `immut_str` (the context's text).

#![forbid(unsafe_code)]

use std::result;

mod kind;

mod error;

mod context;

mod immut_str;

pub use std::error::Error as ErrorTrait;

pub use context::{Context, OkOrErr, OrErr};
pub use immut_str::ImmutStr;
pub use kind::{ErrorSource, RetryType};

/// A boxed [`Error`], which is how errors travel.
pub type BError = Box<Error>;

/// A result whose error is a [`BError`] unless said otherwise.
pub type Result<T, E = BError> = result::Result<T, E>;

/// An error with its type, source, retry decision, context and cause.
///
/// It prints as one line for operators: source, type, then the chain of contexts and causes.
/// Because that line holds the causes already, [`std::error::Error::source`] is `None`; look at
/// the `cause` field or [`Error::root_cause`] instead.
///
/// ```
/// use pingora_error::{Error, ErrorType};
/// use std::io;
///
/// let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "refused");
/// let mut e = Error::because(ErrorType::ConnectRefused, "Peer: 1.2.3.4:80", refused);
/// e.as_up();
/// e.set_retry(true);
/// assert_eq!(
///     e.to_string(),
///     "Upstream ConnectRefused context: Peer: 1.2.3.4:80 cause: refused",
/// );
/// ```
pub struct Error {
    /// What failed.
    pub etype: ErrorType,
    /// Whose fault it is; [`ErrorSource::Unset`] until somebody knows.
    pub esource: ErrorSource,
    /// Whether the request may be tried again; by default not.
    pub retry: RetryType,
    /// Why it failed.
    pub cause: Option<error::Cause>,
    /// What was attempted.
    pub context: Option<ImmutStr>,
}

kind::error_types! {
    /// A connection was not established in time.
    ConnectTimedout,
    /// The peer refused the connection.
    ConnectRefused,
    /// There is no route to the peer.
    ConnectNoRoute,
    /// The TLS handshake did not start: the library wants a certificate that is not there yet.
    TLSWantX509Lookup,
    /// The TLS handshake failed.
    TLSHandshakeFailure,
    /// The TLS handshake did not finish in time.
    TLSHandshakeTimedout,
    /// The certificate of the peer is not acceptable.
    InvalidCert,
    /// A handshake other than TLS failed, for example that of HTTP/2.
    HandshakeError,
    /// A connection was not established for a reason none of the others name.
    ConnectError,
    /// An address could not be bound or listened on.
    BindError,
    /// A connection could not be accepted.
    AcceptError,
    /// A socket operation such as setting an option failed.
    SocketError,
    /// The proxy between us and the upstream refused its CONNECT, or answered something invalid.
    ConnectProxyFailure,
    /// A header or the head of a message is not valid HTTP.
    InvalidHTTPHeader,
    /// The peer violated HTTP/1.
    H1Error,
    /// The peer, or a stream, failed with an error of HTTP/2.
    H2Error,
    /// The peer asks for HTTP/1 instead of HTTP/2.
    H2Downgrade,
    /// The peer agreed on HTTP/2 but does not speak it.
    InvalidH2,
    /// Reading failed.
    ReadError,
    /// Writing failed.
    WriteError,
    /// Nothing could be read in time.
    ReadTimedout,
    /// Nothing could be written in time.
    WriteTimedout,
    /// The peer closed the connection too early.
    ConnectionClosed,
    /// A file could not be opened.
    FileOpenError,
    /// A file could not be created.
    FileCreateError,
    /// A file could not be read.
    FileReadError,
    /// A file could not be written.
    FileWriteError,
    /// The program itself is at fault.
    InternalError,
    /// Nothing better is known.
    UnknownError,
}
