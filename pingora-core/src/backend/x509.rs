//! Certificates in DER form, for the libraries that do not show what is in them.

use std::fmt;
use std::hash::{Hash, Hasher};

use pingora_error::{Error, ErrorType, OrErr, Result};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

pub use self::wrapped::*;

/// [`WrappedX509`] and the many items that its macro makes for it, which cannot be documented.
#[allow(missing_docs)]
mod wrapped {
    use ouroboros::self_referencing;
    use x509_parser::certificate::X509Certificate;

    /// A certificate with what is in it.
    ///
    /// ```no_run
    /// # use pingora_core::utils::tls::{WrappedX509, get_common_name, parse_x509};
    /// let der = std::fs::read("cert.der")?;
    /// let cert = WrappedX509::new(der, parse_x509);
    /// println!("{:?} until {}", get_common_name(&cert), cert.not_after());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[self_referencing(pub_extras)]
    #[derive(Debug)]
    pub struct WrappedX509 {
        /// The certificate in DER form.
        pub raw_cert: Vec<u8>,
        /// What is in it.
        #[borrows(raw_cert)]
        #[covariant]
        pub cert: X509Certificate<'this>,
    }
}

impl WrappedX509 {
    /// Returns the end of the validity.
    pub fn not_after(&self) -> String {
        self.borrow_cert().validity().not_after.to_string()
    }

    /// Returns a certificate that was checked to be one.
    pub(super) fn from_der(der: Vec<u8>) -> Result<Self> {
        WrappedX509::try_new(der, |der| parse(der))
    }
}

impl Clone for WrappedX509 {
    fn clone(&self) -> Self {
        WrappedX509::new(self.borrow_raw_cert().clone(), parse_x509)
    }
}

impl Hash for WrappedX509 {
    /// Adds the whole certificate.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrow_raw_cert().hash(state);
    }
}

/// Returns what is in a certificate.
///
/// # Panics
/// If it is none.
pub fn parse_x509<C>(raw_cert: &C) -> X509Certificate<'_>
where
    C: AsRef<[u8]>,
{
    parse(raw_cert.as_ref()).expect("the caller has a certificate in DER form")
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>> {
    let (_, cert) = X509Certificate::from_der(der)
        .map_err(|e| Error::explain(ErrorType::InvalidCert, e.to_string()))?;
    Ok(cert)
}

/// Returns the common name in a certificate.
pub fn get_common_name(x509cert: &WrappedX509) -> Option<String> {
    first(x509cert.borrow_cert().subject().iter_common_name())
}

/// Returns the end of the validity of a certificate.
pub fn get_not_after(x509cert: &WrappedX509) -> String {
    x509cert.not_after()
}

/// Returns the organization in a certificate.
pub fn get_organization(x509cert: &WrappedX509) -> Option<String> {
    get_organization_x509(x509cert.borrow_cert())
}

/// Returns the organization in a certificate.
pub fn get_organization_x509(x509cert: &X509Certificate<'_>) -> Option<String> {
    first(x509cert.subject().iter_organization())
}

/// Returns the organizational unit in a certificate.
pub fn get_organization_unit(x509cert: &WrappedX509) -> Option<String> {
    first(x509cert.borrow_cert().subject().iter_organizational_unit())
}

/// Returns the organization in a certificate and its serial number in hexadecimal.
///
/// # Errors
/// None; the signature is that of API level 0.9.
pub fn get_organization_serial(x509cert: &WrappedX509) -> Result<(Option<String>, String)> {
    Ok((get_organization(x509cert), serial(x509cert.borrow_cert())))
}

/// Returns the organization in a certificate in DER form and its serial number in hexadecimal.
///
/// # Errors
/// `InvalidCert` when it is no certificate.
pub fn get_organization_serial_bytes(cert: &[u8]) -> Result<(Option<String>, String)> {
    let cert = parse(cert).or_err(ErrorType::InvalidCert, "cannot read a certificate")?;
    Ok((get_organization_x509(&cert), serial(&cert)))
}

/// Returns the serial number of a certificate in hexadecimal.
///
/// # Errors
/// None; the signature is that of API level 0.9.
pub fn get_serial(x509cert: &WrappedX509) -> Result<String> {
    Ok(serial(x509cert.borrow_cert()))
}

fn serial(cert: &X509Certificate<'_>) -> String {
    use fmt::Write;
    // A positive number has a leading zero byte when its first bit is set.
    let bytes = cert.raw_serial();
    let bytes = bytes
        .strip_prefix(&[0])
        .filter(|rest| !rest.is_empty())
        .unwrap_or(bytes);
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

fn first<'a>(
    mut fields: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>,
) -> Option<String> {
    Some(fields.next()?.as_str().ok()?.to_string())
}

/// Writes what identifies a certificate.
pub(super) fn describe(f: &mut fmt::Formatter<'_>, cert: &WrappedX509) -> fmt::Result {
    if let Some(name) = get_common_name(cert) {
        write!(f, "CN: {name}, ")?;
    } else if let Some(unit) = get_organization_unit(cert) {
        write!(f, "OU: {unit}, ")?;
    }
    write!(
        f,
        "serial: {}, expires: {}",
        serial(cert.borrow_cert()),
        cert.not_after()
    )
}

/// Logs that the certificate in a file is not valid now, if it is not.
pub(super) fn warn_if_invalid(cert: &WrappedX509, path: &str) {
    let validity = cert.borrow_cert().validity();
    let now = x509_parser::time::ASN1Time::now();
    if now > validity.not_after {
        log::warn!(
            "the certificate in {path} has expired: {}",
            validity.not_after
        );
    } else if now < validity.not_before {
        log::warn!(
            "the certificate in {path} is not valid yet: {}",
            validity.not_before
        );
    }
}
