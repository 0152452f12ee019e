//! What a [`certificate_callback`](crate::listeners::TlsAccept::certificate_callback) does in the same
//! way with every library.

use pingora_error::Result;

use super::cert::{CertKey, Loaded, chain_of};
use super::stream::TlsRef;
use super::unusable;

/// Returns the server name the client asks for, in a
/// [`certificate_callback`](crate::listeners::TlsAccept::certificate_callback).
pub fn server_name(ssl: &TlsRef) -> Option<&str> {
    ssl.server_name()
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
    ssl.set_certificate(cert_key)
}

impl TlsRef {
    /// Presents this certificate on the connection; for a
    /// [`certificate_callback`](crate::listeners::TlsAccept::certificate_callback).
    ///
    /// # Errors
    /// `TLSConfigError` when the key cannot be used with the certificate.
    pub fn set_certificate(&mut self, cert_key: &CertKey) -> Result<()> {
        let chain = chain_of(cert_key.raw_pem(), cert_key.key(), None);
        let chain = chain.map_err(|e| unusable("cannot use the certificate", &e))?;
        self.choose(Loaded(chain));
        Ok(())
    }
}
