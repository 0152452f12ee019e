//! The backend on rustls.
//!
//! Reading order: `listener` (settings, accepting), `connector` (connecting), `verifier` (whom to
//! trust), `stream` (the connection both give), `cert`.

pub(crate) mod callbacks;
pub(crate) mod cert;
pub(crate) mod connector;
pub(crate) mod listener;
mod stream;

mod verifier;

use super::keylog::KeyLog;
use super::library::RusTlsError;
use super::library::library::KeyLog as KeyLogs;
use crate::backend::x509::WrappedX509;

/// The certificates of the authorities to trust.
pub type CaType = [WrappedX509];

/// What `protocols::tls` shows of this backend.
pub(crate) mod protocol {
    pub use super::CaType;
    pub use super::connector::client;
    pub use super::listener::server;
    pub use super::stream::{InnerStream, TlsRef, TlsStream};
}

impl KeyLogs for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.write_secret(label, client_random, secret);
    }
}

/// Returns what the library says about a failed read, write or handshake.
fn library_error(e: &std::io::Error) -> Option<&RusTlsError> {
    e.get_ref()?.downcast_ref()
}

/// Returns why a handshake failed, in one line.
fn handshake_reason(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::UnexpectedEof => "the connection was closed".to_string(),
        _ => e.to_string(),
    }
}
