//! Certificates and keys.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::slice;
use std::sync::Arc;

use pingora_error::{Error, ErrorType, Result};
use x509_parser::pem::Pem;

use super::{CaType, reason};
use crate::backend::library::S2NError;
use crate::backend::library::library::cert_chain::{Builder, CertificateChain};
use crate::backend::settings::{bad_file, read_file};
use crate::backend::x509;
pub use crate::backend::x509::*;

/// The label of a certificate in a PEM file (RFC 7468, section 5).
const CERTIFICATE: &str = "CERTIFICATE";

/// Certificates in PEM form, with what is in them.
#[derive(Clone, Debug)]
pub struct X509Pem {
    /// The text.
    pub raw_pem: Vec<u8>,
    /// What is in it, in its order.
    pub certs: Vec<WrappedX509>,
}

impl X509Pem {
    /// Returns the certificates in a PEM text.
    ///
    /// # Panics
    /// When it is malformed, or a certificate in it is. [`load_ca`] reports that as an error.
    pub fn new(raw_pem: Vec<u8>) -> Self {
        Self::parse(raw_pem).expect("the caller has certificates in PEM form")
    }

    /// Returns the certificates, in their order.
    pub fn iter(&self) -> slice::Iter<'_, WrappedX509> {
        self.certs.iter()
    }

    fn parse(raw_pem: Vec<u8>) -> Result<Self> {
        let mut certs = Vec::new();
        for block in Pem::iter_from_buffer(&raw_pem) {
            let block = block.map_err(|e| Error::explain(ErrorType::InvalidCert, e.to_string()))?;
            if block.label == CERTIFICATE {
                certs.push(WrappedX509::from_der(block.contents)?);
            }
        }
        Ok(X509Pem { raw_pem, certs })
    }

    /// Returns the certificates of a PEM file, of which there is at least one.
    pub(super) fn load(path: &str) -> Result<Self> {
        let pem = read_file("certificate file", path)?;
        let pem = Self::parse(pem).map_err(|e| {
            let why = e.context.as_ref().map_or("", |context| context.as_str());
            bad_file("certificate file", path, why)
        })?;
        if pem.certs.is_empty() {
            return Err(bad_file("certificate file", path, "no certificate in it"));
        }
        Ok(pem)
    }
}

impl Hash for X509Pem {
    /// Adds the certificates, and not how the text is written.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.certs.hash(state);
    }
}

/// A client certificate with its chain and its private key.
///
/// ```no_run
/// use pingora_core::utils::tls::CertKey;
///
/// let cert_key = CertKey::from_files("client.pem", "client.key")?;
/// println!("{cert_key}");
/// # Ok::<(), Box<pingora_core::Error>>(())
/// ```
#[derive(Clone)]
pub struct CertKey {
    certificates: X509Pem,
    key: Vec<u8>,
}

impl CertKey {
    /// Returns the first certificate of `pem_bytes`, the rest being its chain, with its `key`; both
    /// in PEM form.
    ///
    /// # Panics
    /// Without a certificate, or with one that is none.
    pub fn new(pem_bytes: Vec<u8>, key: Vec<u8>) -> CertKey {
        let certificates = X509Pem::new(pem_bytes);
        assert!(
            !certificates.certs.is_empty(),
            "a certificate key needs a certificate"
        );
        CertKey { certificates, key }
    }

    /// Returns the certificate and key of two PEM files; the first may hold the whole chain.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file that cannot be used and why.
    pub fn from_files(cert_path: &str, key_path: &str) -> Result<CertKey> {
        let (certificates, key) = load_pair(cert_path, key_path)?;
        Ok(CertKey { certificates, key })
    }

    /// Returns the certificate.
    pub fn leaf(&self) -> &WrappedX509 {
        &self.certificates.certs[0]
    }

    /// Returns the private key of the certificate in PEM form.
    pub fn key(&self) -> &Vec<u8> {
        &self.key
    }

    /// Returns the certificate and its chain in PEM form.
    pub fn raw_pem(&self) -> &[u8] {
        &self.certificates.raw_pem
    }

    /// Returns the chain after the certificate.
    pub fn intermediates(&self) -> Vec<&WrappedX509> {
        self.certificates.certs[1..].iter().collect()
    }

    /// Returns the organization in the certificate.
    pub fn organization(&self) -> Option<String> {
        get_organization(self.leaf())
    }

    /// Returns the serial number of the certificate in hexadecimal.
    pub fn serial(&self) -> String {
        get_serial(self.leaf()).unwrap_or_default()
    }
}

impl Hash for CertKey {
    /// Adds the certificates.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.certificates.hash(state);
    }
}

impl fmt::Debug for CertKey {
    /// Writes what identifies the certificate, and nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertKey")
            .field("leaf", self.leaf())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for CertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        x509::describe(f, self.leaf())
    }
}

/// A certificate of a listener with its chain, its key and the OCSP response to staple.
pub(crate) struct Loaded(pub(super) CertificateChain<'static>);

impl Loaded {
    /// Returns what is in two PEM files, with this OCSP response.
    pub(crate) fn from_files(
        cert_path: &str,
        key_path: &str,
        ocsp: Option<Vec<u8>>,
    ) -> Result<Self> {
        let (certificates, key) = load_pair(cert_path, key_path)?;
        let chain = chain_of(&certificates.raw_pem, &key, ocsp.as_deref());
        let chain = chain.map_err(|e| bad_file("key file", key_path, reason(&e)))?;
        Ok(Loaded(chain))
    }
}

/// Adds what identifies a set of authorities.
pub(crate) fn hash_ca<H: Hasher>(ca: &CaType, state: &mut H) {
    ca.hash(state);
}

/// Returns the authorities in the PEM file `path`, for
/// [`PeerOptions::ca`](crate::upstreams::peer::PeerOptions).
///
/// # Errors
/// `TLSConfigError` naming the file and the reason.
pub fn load_ca(path: &str) -> Result<Arc<CaType>> {
    X509Pem::load(path).map(Arc::new)
}

/// Returns the certificates and the private key of two PEM files.
///
/// # Errors
/// `TLSConfigError` naming the file and the reason, also when the key is not that of the
/// certificate. A certificate that has expired is only warned of.
pub(super) fn load_pair(cert_path: &str, key_path: &str) -> Result<(X509Pem, Vec<u8>)> {
    let certificates = X509Pem::load(cert_path)?;
    let key = read_file("key file", key_path)?;
    chain_of(&certificates.raw_pem, &key, None).map_err(|e| match e.name() {
        "S2N_ERR_KEY_MISMATCH" => {
            let why = format!("it is not the key of the certificate in {cert_path}");
            bad_file("key file", key_path, why)
        }
        _ => bad_file("key file", key_path, reason(&e)),
    })?;
    warn_if_invalid(&certificates.certs[0], cert_path);
    Ok((certificates, key))
}

/// Returns a certificate with its chain and key, and an OCSP response to staple, as the library wants
/// them.
pub(super) fn chain_of(
    pem: &[u8],
    key: &[u8],
    ocsp: Option<&[u8]>,
) -> Result<CertificateChain<'static>, S2NError> {
    let mut builder = Builder::new()?;
    builder.load_pem(pem, key)?;
    if let Some(response) = ocsp {
        builder.set_ocsp_data(response)?;
    }
    builder.build()
}
