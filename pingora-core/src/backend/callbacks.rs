//! What a [`certificate_callback`](crate::listeners::TlsAccept::certificate_callback) does in the same
//! way with every library; `callbacks.rs` of each does it.

use pingora_error::Result;

use super::imp::callbacks;
use crate::protocols::tls::TlsRef;
use crate::utils::tls::CertKey;

/// Returns the server name the client asks for, in a
/// [`certificate_callback`](crate::listeners::TlsAccept::certificate_callback).
pub fn server_name(ssl: &TlsRef) -> Option<&str> {
    callbacks::server_name(ssl)
}

/// Presents this certificate on the connection, in a
/// [`certificate_callback`](crate::listeners::TlsAccept::certificate_callback).
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::listeners::TlsAccept;
/// use pingora_core::listeners::tls::{server_name, set_certificate};
/// use pingora_core::protocols::tls::TlsRef;
/// use pingora_core::utils::tls::CertKey;
///
/// struct Chooser {
///     internal: CertKey,
///     public: CertKey,
/// }
///
/// #[async_trait]
/// impl TlsAccept for Chooser {
///     async fn certificate_callback(&self, ssl: &mut TlsRef) {
///         let chosen = match server_name(ssl) {
///             Some(name) if name.ends_with(".internal") => &self.internal,
///             _ => &self.public,
///         };
///         if let Err(e) = set_certificate(ssl, chosen) {
///             eprintln!("no certificate for the client: {e}");
///         }
///     }
/// }
/// ```
///
/// # Errors
/// `TLSConfigError` when the key cannot be used with the certificate.
pub fn set_certificate(ssl: &mut TlsRef, cert_key: &CertKey) -> Result<()> {
    callbacks::set_certificate(ssl, cert_key)
}
