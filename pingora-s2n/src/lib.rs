#![doc = include_str!("../README.md")]
//!
//! ```
//! use pingora_s2n::{ConfigBuilder, DEFAULT_TLS13};
//!
//! let mut builder = ConfigBuilder::new();
//! builder.set_security_policy(&DEFAULT_TLS13)?;
//! let config = builder.build()?;
//! # Ok::<(), pingora_s2n::S2NError>(())
//! ```

#![forbid(unsafe_code)]

// What the other TLS crates have under this name.
pub mod ext;
// Reading the files of a configuration.
mod files;

pub use s2n_tls as library;
pub use s2n_tls::callbacks::VerifyHostNameCallback;
pub use s2n_tls::config::{Builder as ConfigBuilder, Config};
pub use s2n_tls::connection::{Builder as ConnectionBuilder, Connection};
pub use s2n_tls::enums::{ClientAuthType, Mode, PskHmac};
pub use s2n_tls::error::Error as S2NError;
pub use s2n_tls::psk::Psk;
pub use s2n_tls::security::{DEFAULT_TLS13, Policy as S2NPolicy};
pub use s2n_tls_tokio::{TlsAcceptor, TlsConnector, TlsStream};

pub use self::files::{load_certs_and_key_files, load_pem_file};

/// Accepts a certificate whatever names it is for.
///
/// ```
/// use pingora_s2n::{IgnoreVerifyHostnameCallback, VerifyHostNameCallback};
///
/// assert!(IgnoreVerifyHostnameCallback::new().verify_host_name("any.example"));
/// ```
pub struct IgnoreVerifyHostnameCallback {}

impl IgnoreVerifyHostnameCallback {
    /// Returns the callback.
    pub fn new() -> Self {
        IgnoreVerifyHostnameCallback {}
    }
}

impl Default for IgnoreVerifyHostnameCallback {
    fn default() -> Self {
        Self::new()
    }
}

impl VerifyHostNameCallback for IgnoreVerifyHostnameCallback {
    /// Returns true.
    fn verify_host_name(&self, _host_name: &str) -> bool {
        true
    }
}

/// Returns the SHA-256 digest of a certificate in DER form.
pub fn hash_certificate(cert: &[u8]) -> Vec<u8> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, cert);
    digest.as_ref().to_vec()
}

/// Fills `bytes` with random numbers for keys.
///
/// # Errors
/// When the system has none.
pub fn fill_random(bytes: &mut [u8]) -> Result<(), S2NError> {
    aws_lc_rs::rand::fill(bytes)
        .map_err(|_| S2NError::application("the system has no random numbers".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers() {
        let mut bytes = [[0; 16]; 2];
        bytes.iter_mut().for_each(|part| fill_random(part).unwrap());
        assert_ne!(bytes[0], bytes[1]);
    }

    #[test]
    fn digests() {
        let digest = hash_certificate(b"abc");
        assert_eq!(digest[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(digest.len(), 32);
    }
}
