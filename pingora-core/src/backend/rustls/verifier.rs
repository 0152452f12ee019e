//! Whom a connection to a server trusts.
//!
//! rustls checks the chain and the one name it connects to; a peer may want the chain only, one of
//! several names, or nothing checked. Signatures of the handshake are checked in each case.

use std::sync::Arc;

use crate::backend::handshake::Identity;
use crate::backend::library::library::client::{
    verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use crate::backend::library::library::crypto::{verify_tls12_signature, verify_tls13_signature};
use crate::backend::library::library::server::ParsedCertificate;
use crate::backend::library::{
    CertificateDer, CertificateError, CryptoProvider, DigitallySignedStruct,
    HandshakeSignatureValid, RootCertStore, RusTlsError, ServerCertVerified, ServerCertVerifier,
    ServerName, SignatureScheme, UnixTime,
};

/// Checks the certificates of servers as a peer wants it.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    provider: Arc<CryptoProvider>,
    /// `None` to trust everybody.
    roots: Option<Arc<RootCertStore>>,
    /// One of these is enough; `None` for any.
    names: Option<Vec<ServerName<'static>>>,
}

impl PeerVerifier {
    /// Returns what trusts those who are one of `identity`, as `roots` say; everybody without roots.
    ///
    /// # Errors
    /// When one of the names cannot be a name.
    pub(super) fn new(
        provider: Arc<CryptoProvider>,
        roots: Option<Arc<RootCertStore>>,
        identity: &Identity<'_>,
    ) -> Result<Self, RusTlsError> {
        let names = match identity {
            Identity::Anybody => None,
            Identity::Address(address) => Some(vec![ServerName::IpAddress((*address).into())]),
            Identity::Names(names) => {
                let parsed = names.iter().map(|name| server_name(name));
                Some(parsed.collect::<Result<_, _>>()?)
            }
        };
        Ok(PeerVerifier {
            provider,
            roots,
            names,
        })
    }
}

/// Returns `name` as the library wants it.
pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, RusTlsError> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| RusTlsError::General(format!("{name:?} cannot be a server name")))
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RusTlsError> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        let cert = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&cert, roots, intermediates, now, algorithms)?;
        let Some(names) = &self.names else {
            return Ok(ServerCertVerified::assertion());
        };
        let mut failure = RusTlsError::InvalidCertificate(CertificateError::NotValidForName);
        for name in names {
            match verify_server_name(&cert, name) {
                Ok(()) => return Ok(ServerCertVerified::assertion()),
                Err(e) => failure = e,
            }
        }
        Err(failure)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RusTlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RusTlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
