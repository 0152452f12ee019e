//! Certificates and keys from PEM files.

use std::path::Path;

use pingora_error::{Error, ErrorType, OrErr, Result};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Returns the certificates of one file and the first private key of another; `None` when there is
/// no certificate or no key.
///
/// # Errors
/// `InvalidCert` naming the file that cannot be read, or that is no PEM.
pub fn load_certs_and_key_files<'a>(
    cert: &str,
    key: &str,
) -> Result<Option<(Vec<CertificateDer<'a>>, PrivateKeyDer<'a>)>> {
    let certs = load_certs(cert)?;
    let key = match PrivateKeyDer::from_pem_file(key) {
        Ok(key) => Some(key),
        Err(pem::Error::NoItemsFound) => None,
        Err(e) => return Err(bad_file("key", key, e)),
    };
    Ok(key.filter(|_| !certs.is_empty()).map(|key| (certs, key)))
}

/// Returns the first certificate of a file in DER form; empty when there is none.
///
/// # Errors
/// `InvalidCert` naming the file that cannot be read, or that is no PEM.
// The argument is what level 0.9 of the API says.
#[allow(clippy::ptr_arg)]
pub fn load_pem_file_ca(path: &String) -> Result<Vec<u8>> {
    let first = load_certs(path)?.into_iter().next();
    Ok(first.map(|cert| cert.to_vec()).unwrap_or_default())
}

/// Returns the first private key of a file in DER form; empty when there is none.
///
/// # Errors
/// `InvalidCert` naming the file that cannot be read, or that is no PEM.
// The argument is what level 0.9 of the API says.
#[allow(clippy::ptr_arg)]
pub fn load_pem_file_private_key(path: &String) -> Result<Vec<u8>> {
    match PrivateKeyDer::from_pem_file(path) {
        Ok(key) => Ok(key.secret_der().to_vec()),
        Err(pem::Error::NoItemsFound) => Ok(Vec::new()),
        Err(e) => Err(bad_file("key", path, e)),
    }
}

/// Returns the certificates in a PEM text.
///
/// # Errors
/// When one of them is malformed.
pub fn pem_certificates(
    pem: &[u8],
) -> std::result::Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

/// Returns the first private key in a PEM text.
///
/// # Errors
/// When it is malformed.
pub fn pem_private_key(
    pem: &[u8],
) -> std::result::Result<Option<PrivateKeyDer<'static>>, pem::Error> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(Some(key)),
        Err(pem::Error::NoItemsFound) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Returns the certificates of a file.
pub(crate) fn load_certs(path: impl AsRef<Path>) -> Result<Vec<CertificateDer<'static>>> {
    let path = path.as_ref();
    let named = || format!("cannot read certificate file {}", path.display());
    CertificateDer::pem_file_iter(path)
        .map_err(flat)
        .or_err_with(ErrorType::InvalidCert, named)?
        .collect::<std::result::Result<_, _>>()
        .map_err(flat)
        .or_err_with(ErrorType::InvalidCert, named)
}

#[cold]
fn bad_file(what: &str, path: &str, e: pem::Error) -> Box<Error> {
    let context = format!("cannot read {what} file {path}");
    Error::because(ErrorType::InvalidCert, context, flat(e))
}

/// Returns the I/O error itself, so that it is not said twice that it is one.
fn flat(e: pem::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match e {
        pem::Error::Io(e) => e.into(),
        e => e.into(),
    }
}
