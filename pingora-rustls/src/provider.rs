//! Which cryptography rustls uses: what the program installed, else what is compiled in.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;
use rustls::{Error, SupportedCipherSuite};
use rustls_pki_types::CertificateDer;

#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as compiled;
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
use rustls::crypto::ring as compiled;

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("rustls needs cryptography: enable the feature `aws-lc-rs` or `ring`");

/// Makes the cryptography that is compiled in the default of the process, unless one is set.
pub fn install_default_crypto_provider() {
    // An error: somebody was first, and that is respected.
    let _ = compiled::default_provider().install_default();
}

/// Returns the default of the process, else what is compiled in.
///
/// ```
/// let provider = pingora_rustls::crypto_provider();
/// assert!(!provider.cipher_suites.is_empty());
/// ```
pub fn crypto_provider() -> Arc<CryptoProvider> {
    match CryptoProvider::get_default() {
        Some(installed) => installed.clone(),
        None => Arc::new(compiled::default_provider()),
    }
}

/// Returns what encrypts session tickets, with keys that change every few hours.
///
/// # Errors
/// When there is no randomness.
pub fn ticketer() -> Result<Arc<dyn ProducesTickets>, Error> {
    compiled::Ticketer::new()
}

/// Returns the SHA-256 digest of a certificate.
pub fn hash_certificate(cert: &CertificateDer<'_>) -> Vec<u8> {
    let suite = match compiled::cipher_suite::TLS13_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls13(suite) => suite,
        // The constant is of the kind its name says.
        _ => return Vec::new(),
    };
    suite.common.hash_provider.hash(cert).as_ref().to_vec()
}
