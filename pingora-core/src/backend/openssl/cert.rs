//! Certificates and keys.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pingora_error::{Error, ErrorType, OrErr, Result};

use super::differences::text_of;
use super::staple::Staple;
use super::{CaType, reasons};
use crate::backend::library::asn1::Asn1Time;
use crate::backend::library::error::ErrorStack;
use crate::backend::library::ext;
use crate::backend::library::hash::MessageDigest;
use crate::backend::library::nid::Nid;
use crate::backend::library::pkey::{PKey, Private};
use crate::backend::library::ssl::SslRef;
use crate::backend::library::x509::store::{X509Store, X509StoreBuilder};
use crate::backend::library::x509::{X509, X509Ref};
use crate::backend::settings::{TLS_CONF_ERR, bad_file, read_file};

/// A client certificate with its chain and its private key.
///
/// ```no_run
/// # use pingora_core::utils::tls::CertKey;
/// # use pingora_core::tls::{pkey::PKey, x509::X509};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let certificates = X509::stack_from_pem(&std::fs::read("client.pem")?)?;
/// let key = PKey::private_key_from_pem(&std::fs::read("client.key")?)?;
/// let cert_key = CertKey::new(certificates, key);
/// println!("{cert_key}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CertKey {
    certificates: Vec<X509>,
    key: PKey<Private>,
    /// Of the whole chain, so that equal ones share connections.
    fingerprint: Vec<u8>,
}

impl CertKey {
    /// Returns the certificate `certificates[0]`, the rest being its chain, with its `key`.
    ///
    /// # Panics
    /// Without a certificate.
    pub fn new(certificates: Vec<X509>, key: PKey<Private>) -> CertKey {
        assert!(
            !certificates.is_empty(),
            "a certificate key needs a certificate"
        );
        let fingerprint = certificates.iter().flat_map(|cert| sha256(cert)).collect();
        CertKey {
            certificates,
            key,
            fingerprint,
        }
    }

    /// Returns the certificate and key of two PEM files; the first may hold the whole chain.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file that cannot be used and why.
    pub fn from_files(cert_path: &str, key_path: &str) -> Result<CertKey> {
        let (certificates, key) = load_pair(cert_path, key_path)?;
        Ok(CertKey::new(certificates, key))
    }

    /// Returns the certificate.
    pub fn leaf(&self) -> &X509 {
        &self.certificates[0]
    }

    /// Returns the private key of the certificate.
    pub fn key(&self) -> &PKey<Private> {
        &self.key
    }

    /// Returns the chain after the certificate.
    pub fn intermediates(&self) -> &[X509] {
        &self.certificates[1..]
    }

    /// Returns the organization in the certificate.
    pub fn organization(&self) -> Option<String> {
        get_organization(self.leaf())
    }

    /// Returns the serial number of the certificate in hexadecimal.
    ///
    /// # Errors
    /// `InvalidCert` when the library cannot read it.
    pub fn serial(&self) -> Result<String> {
        get_serial(self.leaf())
    }
}

impl CertKey {
    /// Has a connection present this certificate and no other.
    pub(super) fn present(&self, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        ext::ssl_certs_clear(ssl);
        ext::ssl_use_certificate(ssl, self.leaf())?;
        ext::ssl_use_private_key(ssl, self.key())?;
        let mut chain = self.intermediates().iter();
        chain.try_for_each(|cert| ext::ssl_add_chain_cert(ssl, cert))
    }
}

impl Hash for CertKey {
    /// Adds the fingerprint of the certificates.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
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
        let leaf = self.leaf();
        if let Some(name) = get_common_name(leaf) {
            write!(f, "CN: {name}, ")?;
        } else if let Some(unit) = get_organization_unit(leaf) {
            write!(f, "OU: {unit}, ")?;
        }
        let serial = self.serial().unwrap_or_default();
        write!(f, "serial: {serial}, expires: {}", leaf.not_after())
    }
}

/// Returns the common name in `cert`.
pub fn get_common_name(cert: &X509) -> Option<String> {
    subject(cert, Nid::COMMONNAME)
}

/// Returns the organization in `cert`.
pub fn get_organization(cert: &X509) -> Option<String> {
    subject(cert, Nid::ORGANIZATIONNAME)
}

/// Returns the organizational unit in `cert`.
pub fn get_organization_unit(cert: &X509) -> Option<String> {
    subject(cert, Nid::ORGANIZATIONALUNITNAME)
}

/// Returns the serial number of `cert` in hexadecimal.
///
/// # Errors
/// `InvalidCert` when the library cannot read it.
pub fn get_serial(cert: &X509) -> Result<String> {
    let number = cert.serial_number().to_bn();
    let text = number.and_then(|number| Ok(number.to_hex_str()?.to_string()));
    text.or_err(
        ErrorType::InvalidCert,
        "cannot read the serial number of a certificate",
    )
}

fn subject(cert: &X509Ref, field: Nid) -> Option<String> {
    let entry = cert.subject_name().entries_by_nid(field).next()?;
    text_of(entry.data())
}

/// Returns the SHA-256 digest of `cert`; empty when the library fails, which it has no reason to.
pub(super) fn sha256(cert: &X509Ref) -> Vec<u8> {
    cert.digest(MessageDigest::sha256())
        .map(|digest| digest.to_vec())
        .unwrap_or_default()
}

/// Adds what identifies a set of authorities.
pub(crate) fn hash_ca<H: Hasher>(ca: &CaType, state: &mut H) {
    for cert in ca {
        sha256(cert).hash(state);
    }
}

/// Returns the authorities in the PEM file `path`, for
/// [`PeerOptions::ca`](crate::upstreams::peer::PeerOptions).
///
/// # Errors
/// `TLSConfigError` naming the file and the reason.
pub fn load_ca(path: &str) -> Result<Arc<CaType>> {
    Ok(Arc::new(load_certificates(path)?.into_boxed_slice()))
}

/// A certificate of a listener with its chain, its key and the OCSP response to staple.
pub(crate) struct Loaded {
    certificates: Vec<X509>,
    key: PKey<Private>,
    staple: Option<Staple>,
}

impl Loaded {
    /// Returns what is in two PEM files, with this OCSP response.
    pub(crate) fn from_files(
        cert_path: &str,
        key_path: &str,
        ocsp: Option<Vec<u8>>,
    ) -> Result<Self> {
        let (certificates, key) = load_pair(cert_path, key_path)?;
        Ok(Loaded {
            staple: ocsp.map(|response| Staple::new(&certificates[0], response)),
            certificates,
            key,
        })
    }

    /// Has a connection present this certificate.
    pub(super) fn present(&self, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        ext::ssl_use_certificate(ssl, &self.certificates[0])?;
        ext::ssl_use_private_key(ssl, &self.key)?;
        for cert in &self.certificates[1..] {
            ext::ssl_add_chain_cert(ssl, cert)?;
        }
        if let Some(staple) = &self.staple {
            staple.keep_for(ssl);
        }
        Ok(())
    }
}

/// Returns the certificates of the PEM file `path`, of which there is at least one.
///
/// # Errors
/// `TLSConfigError` naming the file and the reason.
pub(super) fn load_certificates(path: &str) -> Result<Vec<X509>> {
    let pem = read_file("certificate file", path)?;
    let certificates =
        X509::stack_from_pem(&pem).map_err(|e| bad_file("certificate file", path, reasons(&e)))?;
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
pub(super) fn load_pair(cert_path: &str, key_path: &str) -> Result<(Vec<X509>, PKey<Private>)> {
    let certificates = load_certificates(cert_path)?;
    let pem = read_file("key file", key_path)?;
    // The callback keeps the library from asking for the passphrase on the terminal.
    let key = PKey::private_key_from_pem_callback(&pem, |_| Ok(0))
        .map_err(|e| bad_file("key file", key_path, reasons(&e)))?;
    let leaf = &certificates[0];
    let public = leaf
        .public_key()
        .map_err(|e| bad_file("certificate file", cert_path, reasons(&e)))?;
    if !public.public_eq(&key) {
        let why = format!("it is not the key of the certificate in {cert_path}");
        return Err(bad_file("key file", key_path, why));
    }
    warn_if_invalid(leaf, cert_path);
    Ok((certificates, key))
}

fn warn_if_invalid(leaf: &X509, path: &str) {
    let Ok(now) = Asn1Time::days_from_now(0) else {
        return;
    };
    if leaf.not_after() < now {
        log::warn!(
            "the certificate in {path} has expired: {}",
            leaf.not_after()
        );
    } else if leaf.not_before() > now {
        log::warn!(
            "the certificate in {path} is not valid yet: {}",
            leaf.not_before()
        );
    }
}

/// Returns an error about settings with the reason the library gives.
#[cold]
pub(super) fn settings_error(what: &str, e: &ErrorStack) -> Box<Error> {
    Error::explain(TLS_CONF_ERR, format!("{what}: {}", reasons(e))).into_in()
}

/// Returns what trusts exactly these authorities.
pub(super) fn store_of(certificates: &[X509]) -> Result<X509Store, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for cert in certificates {
        store.add_cert(cert.clone())?;
    }
    Ok(store.build())
}
