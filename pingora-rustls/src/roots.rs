//! Authorities to trust: of the system, or of a file.

use std::path::Path;

use pingora_error::{Error, ErrorType, OrErr, Result};
use rustls::RootCertStore;

use crate::pem::load_certs;

/// Adds the authorities of the system, or of the files and folders named by the environment
/// variables `SSL_CERT_FILE` and `SSL_CERT_DIR`.
///
/// Certificates that are malformed are left out: systems have some.
///
/// # Errors
/// `InvalidCert` when there are none at all.
pub fn load_platform_certs_incl_env_into_store(ca_certs: &mut RootCertStore) -> Result<()> {
    let found = rustls_native_certs::load_native_certs();
    for e in &found.errors {
        log::warn!("loading the authorities of the system: {e}");
    }
    let (added, ignored) = ca_certs.add_parsable_certificates(found.certs);
    if ignored > 0 {
        log::debug!("{ignored} malformed authorities of the system ignored");
    }
    if added == 0 {
        let context = "the system has no certificate authorities to trust";
        return Error::e_explain(ErrorType::InvalidCert, context);
    }
    Ok(())
}

/// Adds the authorities of a PEM file.
///
/// # Errors
/// `InvalidCert` naming the file that cannot be read, has a malformed certificate, or none.
pub fn load_ca_file_into_store<P>(path: P, cert_store: &mut RootCertStore) -> Result<()>
where
    P: AsRef<Path>,
{
    let path = path.as_ref();
    let certs = load_certs(path)?;
    if certs.is_empty() {
        let context = format!("no certificate in {}", path.display());
        return Error::e_explain(ErrorType::InvalidCert, context);
    }
    for cert in certs {
        cert_store
            .add(cert)
            .or_err_with(ErrorType::InvalidCert, || {
                format!("cannot trust a certificate of {}", path.display())
            })?;
    }
    Ok(())
}
