//! What `backend/callbacks.rs` offers, with this library.

use pingora_error::Result;

use super::TlsRef;
use super::cert::{CertKey, settings_error};
use crate::backend::library::ssl::NameType;

/// Returns the server name the client asks for.
pub(in crate::backend) fn server_name(ssl: &TlsRef) -> Option<&str> {
    ssl.servername(NameType::HOST_NAME)
}

/// Presents this certificate on the connection.
pub(in crate::backend) fn set_certificate(ssl: &mut TlsRef, cert_key: &CertKey) -> Result<()> {
    let presented = cert_key.present(ssl);
    presented.map_err(|e| settings_error("cannot use the certificate", &e))
}
