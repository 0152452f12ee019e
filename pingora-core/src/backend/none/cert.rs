//! Certificates and keys, of which there are none.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hasher;

use super::{CaType, CertWrapper};

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

/// Adds what identifies a set of authorities, of which there is only the empty one.
pub(crate) fn hash_ca<H: Hasher>(ca: &CaType, _state: &mut H) {
    if let Some(cert) = ca.first() {
        match cert.never {}
    }
}
