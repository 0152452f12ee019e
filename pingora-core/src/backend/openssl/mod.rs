//! The backend on OpenSSL and on BoringSSL, whose crates have the same names.
//!
//! Reading order: `listener` (settings, accepting), `connector` (connecting, sessions to resume),
//! `stream` (the connection both give), `cert`. What differs between the two libraries is in
//! `differences`.

pub(crate) mod callbacks;
pub(crate) mod cert;
pub(crate) mod connector;
pub(crate) mod listener;
mod stream;

#[cfg(feature = "boringssl")]
#[path = "differences_boringssl.rs"]
mod differences;
#[cfg(not(feature = "boringssl"))]
mod differences;
mod sessions;
mod staple;

use super::library::error::ErrorStack;
use super::library::ssl::{Error, SslRef};
use super::library::x509::X509;

/// A TLS connection of the library.
pub type TlsRef = SslRef;

/// The certificates of the authorities to trust.
pub type CaType = Box<[X509]>;

/// What `protocols::tls` shows of this backend.
pub(crate) mod protocol {
    pub use super::connector::client;
    pub use super::listener::server;
    pub use super::stream::SslStream;
    pub use super::{CaType, TlsRef};
}

/// Returns why a call failed, in one line.
fn reasons(stack: &ErrorStack) -> String {
    let reasons: Vec<_> = stack.errors().iter().filter_map(|e| e.reason()).collect();
    match reasons.as_slice() {
        [] => "the library does not say why".to_string(),
        reasons => reasons.join(", "),
    }
}

/// Returns why a handshake failed, in one line.
fn handshake_reason(e: &Error) -> String {
    match (e.ssl_error(), e.io_error()) {
        (Some(stack), _) => reasons(stack),
        (None, Some(e)) => e.to_string(),
        (None, None) => "the connection was closed".to_string(),
    }
}
