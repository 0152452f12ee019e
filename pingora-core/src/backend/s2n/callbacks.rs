//! What `backend/callbacks.rs` offers, with this library.

use pingora_error::Result;

use super::cert::{CertKey, Loaded, chain_of};
use super::stream::TlsRef;
use super::unusable;

/// Returns the server name the client asks for.
pub(in crate::backend) fn server_name(ssl: &TlsRef) -> Option<&str> {
    ssl.server_name()
}

/// Presents this certificate on the connection.
pub(in crate::backend) fn set_certificate(ssl: &mut TlsRef, cert_key: &CertKey) -> Result<()> {
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
