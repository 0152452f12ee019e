//! Certificates and keys, of which there are none.

use std::convert::Infallible;
use std::fmt;

use super::CertWrapper;

/// A client certificate with its key; there is none without a TLS library.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertKey {
    never: Infallible,
}

impl fmt::Display for CertKey {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.never {}
    }
}

/// Returns the organizational unit of a certificate. Cannot be called.
pub fn get_organization_unit(cert: &CertWrapper) -> Option<String> {
    match cert.never {}
}
