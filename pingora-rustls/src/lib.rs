#![doc = include_str!("../README.md")]
//!
//! ```
//! use pingora_rustls::{RootCertStore, load_platform_certs_incl_env_into_store};
//!
//! let mut roots = RootCertStore::empty();
//! load_platform_certs_incl_env_into_store(&mut roots)?;
//! # Ok::<(), Box<pingora_error::Error>>(())
//! ```
#![forbid(unsafe_code)]

// Which cryptography.
mod provider;
// PEM files.
mod pem;
// Authorities to trust.
mod roots;

pub use no_debug::{Ellipses, NoDebug, WithTypeInfo};
pub use rustls::client::WebPkiServerVerifier;
pub use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
pub use rustls::crypto::CryptoProvider;
pub use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
pub use rustls::server::{
    ClientCertVerifierBuilder, ClientHello, ResolvesServerCert, WebPkiClientVerifier,
};
pub use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as RusTlsError, KeyLogFile,
    RootCertStore, ServerConfig, SignatureScheme, Stream, sign, version,
};
pub use rustls_native_certs::load_native_certs;
pub use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
pub use tokio_rustls::client::TlsStream as ClientTlsStream;
pub use tokio_rustls::server::TlsStream as ServerTlsStream;
pub use tokio_rustls::{Accept, Connect, LazyConfigAcceptor, TlsAcceptor, TlsConnector, TlsStream};

/// The whole library, for what is not at the root.
pub use rustls as library;

pub use self::pem::{
    load_certs_and_key_files, load_pem_file_ca, load_pem_file_private_key, pem_certificates,
    pem_private_key,
};
pub use self::provider::{
    crypto_provider, hash_certificate, install_default_crypto_provider, ticketer,
};
pub use self::roots::{load_ca_file_into_store, load_platform_certs_incl_env_into_store};

#[cfg(test)]
mod tests;
