//! The facts of a TLS handshake.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use super::ALPN;

/// What a log or an application wants to know of a TLS connection.
///
/// ```
/// use pingora_core::protocols::tls::SslDigest;
///
/// let digest = SslDigest::new("TLS_AES_128_GCM_SHA256", "TLSv1.3", None, None, vec![]);
/// assert_eq!(digest.version, "TLSv1.3");
/// ```
#[derive(Clone, Debug)]
pub struct SslDigest {
    /// The cipher suite.
    pub cipher: Cow<'static, str>,
    /// The protocol version, for example `TLSv1.3`.
    pub version: Cow<'static, str>,
    /// The organization in the certificate of the remote side.
    pub organization: Option<String>,
    /// The serial number of the certificate of the remote side, in hexadecimal.
    pub serial_number: Option<String>,
    /// The SHA-256 digest of the certificate of the remote side; empty without a certificate.
    pub cert_digest: Vec<u8>,
    /// What the application keeps with the connection.
    pub extension: SslDigestExtension,
}

/// What digests made by others do not know.
#[derive(Clone, Debug, Default)]
struct Facts {
    server_name: Option<String>,
    alpn: Option<ALPN>,
    resumed: bool,
    verifies_client: bool,
}

impl SslDigest {
    /// Returns a digest without an extension.
    pub fn new<S>(
        cipher: S,
        version: S,
        organization: Option<String>,
        serial_number: Option<String>,
        cert_digest: Vec<u8>,
    ) -> Self
    where
        S: Into<Cow<'static, str>>,
    {
        SslDigest {
            cipher: cipher.into(),
            version: version.into(),
            organization,
            serial_number,
            cert_digest,
            extension: SslDigestExtension::default(),
        }
    }

    /// Returns the server name that was asked for.
    pub fn server_name(&self) -> Option<&str> {
        self.extension.facts.server_name.as_deref()
    }

    /// Returns the protocol chosen by ALPN.
    pub fn alpn(&self) -> Option<&ALPN> {
        self.extension.facts.alpn.as_ref()
    }

    /// Returns whether the session was one made before: then no certificate was checked again.
    pub fn is_resumed(&self) -> bool {
        self.extension.facts.resumed
    }

    /// Returns whether this is the side of a server that asked its client for a certificate, whether
    /// or not there was one.
    ///
    /// Then the server name is part of what was agreed on: requests for another host are answered
    /// with 421 (Misdirected Request).
    pub fn verifies_client(&self) -> bool {
        self.extension.facts.verifies_client
    }

    // Only backends with a TLS library have such facts.
    #[allow(dead_code)]
    pub(crate) fn set_verifies_client(&mut self, verifies: bool) {
        self.extension.facts.verifies_client = verifies;
    }

    // Only backends with a TLS library have such facts.
    #[allow(dead_code)]
    pub(crate) fn set_facts(
        &mut self,
        server_name: Option<String>,
        alpn: Option<ALPN>,
        resumed: bool,
    ) {
        self.extension.facts = Facts {
            server_name,
            alpn,
            resumed,
            verifies_client: false,
        };
    }
}

/// A value the application attached to a TLS connection in its handshake callback.
///
/// ```
/// use pingora_core::protocols::tls::SslDigestExtension;
///
/// assert!(SslDigestExtension::default().get::<String>().is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct SslDigestExtension {
    value: Option<Arc<dyn Any + Send + Sync>>,
    // Here, as all fields of a digest are public: programs write one out.
    facts: Facts,
}

impl SslDigestExtension {
    /// Returns the value if it is a `T`.
    pub fn get<T>(&self) -> Option<&T>
    where
        T: Send + Sync + 'static,
    {
        self.value.as_deref()?.downcast_ref()
    }

    /// Keeps `value` instead of what was kept before.
    // Only backends with a TLS library have callbacks that set it.
    #[allow(dead_code)]
    pub(crate) fn set(&mut self, value: Arc<dyn Any + Send + Sync>) {
        self.value = Some(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_is_found_by_its_type() {
        let mut digest = SslDigest::new("c", "v", None, None, vec![]);
        digest.extension.set(Arc::new(7_u32));
        assert_eq!(digest.extension.get::<u32>(), Some(&7));
        assert_eq!(digest.clone().extension.get::<u32>(), Some(&7));
        assert_eq!(digest.extension.get::<u64>(), None);
    }
}
