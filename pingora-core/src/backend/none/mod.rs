//! The backend without a TLS library: the same names as the others, none of which can be used.
//!
//! A value of these types would mean TLS without a library, so there is none: they are
//! uninhabited, and their methods have nothing to do. The two places a program reaches at run time,
//! [`listener::TlsSettings::intermediate`] and [`connector::connect`], answer with [`missing`].

pub mod cert;
pub mod connector;
pub mod listener;
pub mod stream;

use std::convert::Infallible;

use pingora_error::{Error, ErrorType};

/// What takes the place of the library: `pingora_core::tls`.
pub mod library {
    pub use super::{
        CaType, CertWrapper, TlsRef, cert as utils, connector as connectors, listener as listeners,
        stream,
    };
}

/// What `protocols::tls` shows of this backend.
pub(crate) mod protocol {
    pub use super::library as noop_tls;
    pub use super::library::{CaType, CertWrapper, TlsRef, connectors, listeners, stream, utils};
}

/// A TLS session; there is none without a TLS library.
#[derive(Debug)]
pub struct TlsRef {
    _never: Infallible,
}

/// A certificate authority's certificates: an empty slice is the only value.
pub type CaType = [CertWrapper];

/// A certificate; there is none without a TLS library.
#[derive(Debug, Clone)]
pub struct CertWrapper {
    never: Infallible,
}

impl CertWrapper {
    /// Returns the end of the validity. Cannot be called.
    pub fn not_after(&self) -> &str {
        match self.never {}
    }
}

/// The error for everything that needs a TLS library.
#[cold]
pub(crate) fn missing() -> Box<Error> {
    Error::explain(
        ErrorType::InternalError,
        "no TLS feature compiled in: enable one of openssl, boringssl, rustls, s2n",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_refused_by_name() {
        let Err(e) = listener::TlsSettings::intermediate("cert.pem", "key.pem") else {
            panic!("TLS settings without TLS");
        };
        for feature in ["openssl", "boringssl", "rustls", "s2n"] {
            assert!(e.to_string().contains(feature), "{e}");
        }
    }

    #[test]
    fn streams_cost_nothing() {
        assert_eq!(size_of::<Option<stream::SslStream<Vec<u8>>>>(), 0);
        assert_eq!(size_of::<Option<listener::TlsSettings>>(), 0);
    }
}
