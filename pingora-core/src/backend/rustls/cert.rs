//! Certificates and keys.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pingora_error::Result;

use super::CaType;
use crate::backend::library::{
    CertificateDer, PrivateKeyDer, RootCertStore, crypto_provider, pem_certificates,
    pem_private_key, sign,
};
use crate::backend::settings::{bad_file, read_file};
use crate::backend::x509;
pub use crate::backend::x509::*;

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
    certificates: Vec<WrappedX509>,
    key: Vec<u8>,
}

impl CertKey {
    /// Returns the certificate `certificates[0]`, the rest being its chain, with its `key`; all in
    /// DER form.
    ///
    /// # Panics
    /// Without a certificate, or with one that is none.
    pub fn new(certificates: Vec<Vec<u8>>, key: Vec<u8>) -> CertKey {
        assert!(
            !certificates.is_empty(),
            "a certificate key needs a certificate"
        );
        let certificates = certificates
            .into_iter()
            .map(|der| WrappedX509::new(der, parse_x509))
            .collect();
        CertKey { certificates, key }
    }

    /// Returns the certificate and key of two PEM files; the first may hold the whole chain.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file that cannot be used and why.
    pub fn from_files(cert_path: &str, key_path: &str) -> Result<CertKey> {
        let (certificates, key) = load_pair(cert_path, key_path)?;
        let certificates = certificates.into_iter().map(|der| der.to_vec()).collect();
        Ok(CertKey::new(certificates, key.secret_der().to_vec()))
    }

    /// Returns the certificate.
    pub fn leaf(&self) -> &WrappedX509 {
        &self.certificates[0]
    }

    /// Returns the private key of the certificate in DER form.
    pub fn key(&self) -> &Vec<u8> {
        &self.key
    }

    /// Returns the chain after the certificate.
    pub fn intermediates(&self) -> Vec<&WrappedX509> {
        self.certificates[1..].iter().collect()
    }

    /// Returns the organization in the certificate.
    pub fn organization(&self) -> Option<String> {
        get_organization(self.leaf())
    }

    /// Returns the serial number of the certificate in hexadecimal.
    pub fn serial(&self) -> String {
        get_serial(self.leaf()).unwrap_or_default()
    }

    /// Returns the chain and the key as the library wants them.
    pub(super) fn to_library(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), &'static str> {
        let chain = self.certificates.iter().map(CertificateDer::from).collect();
        Ok((chain, PrivateKeyDer::try_from(self.key.clone())?))
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

impl<'a> From<&'a WrappedX509> for CertificateDer<'static> {
    fn from(value: &'a WrappedX509) -> Self {
        CertificateDer::from(value.borrow_raw_cert().clone())
    }
}

/// A certificate of a listener with its chain, its key and the OCSP response to staple.
pub(crate) struct Loaded(pub(super) Arc<sign::CertifiedKey>);

impl Loaded {
    /// Returns what is in two PEM files, with this OCSP response.
    pub(crate) fn from_files(
        cert_path: &str,
        key_path: &str,
        ocsp: Option<Vec<u8>>,
    ) -> Result<Self> {
        let (certificates, key) = load_pair(cert_path, key_path)?;
        let mut certified = signing_key(certificates, &key)
            .map_err(|_| bad_file("key file", key_path, "the library cannot use it"))?;
        certified.ocsp = ocsp;
        Ok(Loaded(Arc::new(certified)))
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
    let certificates = load_certificates(path)?;
    let parsed: Result<Vec<_>> = certificates
        .into_iter()
        .map(|der| WrappedX509::from_der(der.to_vec()))
        .collect();
    Ok(parsed
        .map_err(|e| bad_file("certificate file", path, e))?
        .into())
}

/// Returns what trusts exactly the authorities in the PEM file `path`.
pub(super) fn load_roots(path: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for cert in load_certificates(path)? {
        roots
            .add(cert)
            .map_err(|e| bad_file("certificate file", path, e))?;
    }
    Ok(roots)
}

/// Returns the certificates of the PEM file `path`, of which there is at least one.
pub(super) fn load_certificates(path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read_file("certificate file", path)?;
    let certificates = pem_certificates(&pem).map_err(|e| bad_file("certificate file", path, e))?;
    if certificates.is_empty() {
        return Err(bad_file("certificate file", path, "no certificate in it"));
    }
    Ok(certificates)
}

/// Returns the certificates and the private key of two PEM files.
///
/// # Errors
/// `TLSConfigError` naming the file and the reason, also when the key is not that of the
/// certificate. A certificate that has expired is only warned of.
pub(super) fn load_pair(
    cert_path: &str,
    key_path: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let certificates = load_certificates(cert_path)?;
    let pem = read_file("key file", key_path)?;
    let key = pem_private_key(&pem).map_err(|e| bad_file("key file", key_path, e))?;
    let key = key.ok_or_else(|| bad_file("key file", key_path, "no private key in it"))?;
    signing_key(certificates.clone(), &key).map_err(|e| match e {
        KeyError::Mismatch => {
            let why = format!("it is not the key of the certificate in {cert_path}");
            bad_file("key file", key_path, why)
        }
        KeyError::Unusable(e) => bad_file("key file", key_path, e),
    })?;
    let leaf = WrappedX509::from_der(certificates[0].to_vec())
        .map_err(|e| bad_file("certificate file", cert_path, e))?;
    warn_if_invalid(&leaf, cert_path);
    Ok((certificates, key))
}

/// Why a key cannot sign for a certificate.
pub(super) enum KeyError {
    Mismatch,
    Unusable(crate::backend::library::RusTlsError),
}

/// Returns the key that signs for `certificates`.
pub(super) fn signing_key(
    certificates: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Result<sign::CertifiedKey, KeyError> {
    use crate::backend::library::library::{Error, InconsistentKeys};
    let signer = crypto_provider()
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(KeyError::Unusable)?;
    let certified = sign::CertifiedKey::new(certificates, signer);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(KeyError::Mismatch),
        Err(e) => Err(KeyError::Unusable(e)),
    }
}
