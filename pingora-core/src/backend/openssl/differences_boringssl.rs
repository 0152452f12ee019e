//! The few things OpenSSL and BoringSSL do not have under the same name: those of BoringSSL.
//! `differences` has the same items.

use std::time::Duration;

use crate::backend::library::asn1::Asn1StringRef;
use crate::backend::library::error::ErrorStack;
use crate::backend::library::ssl::{
    NameType, SelectCertError, SslAcceptor, SslAcceptorBuilder, SslContextBuilder, SslMethod,
    SslRef, SslSession, SslVersion,
};
use crate::backend::library::x509::X509VerifyError;

/// Has `look` called with the first ClientHello before anything else is done with it: the
/// connection and the server name the client asks for.
///
/// There may be a second one, after a HelloRetryRequest. The library looks at nothing in it but the
/// key share, so that the name stays that of the first.
pub(super) fn on_client_hello<F>(builder: &mut SslContextBuilder, look: F) -> Result<(), ErrorStack>
where
    F: Fn(&mut SslRef, Option<&str>) -> Result<(), ErrorStack> + Send + Sync + 'static,
{
    builder.set_select_certificate_callback(move |mut hello| {
        let name = hello.servername(NameType::HOST_NAME).map(str::to_owned);
        look(hello.ssl_mut(), name.as_deref()).map_err(|_| SelectCertError::ERROR)
    });
    Ok(())
}

/// Returns the text of a field of a certificate.
pub(super) fn text_of(field: &Asn1StringRef) -> Option<String> {
    Some(field.as_utf8().ok()?.to_string())
}

/// Returns how long the server says that a session may be resumed.
pub(super) fn lifetime(session: &SslSession) -> Duration {
    Duration::from_secs(session.timeout().into())
}

/// Returns the settings of the modern profile: TLS 1.3 only.
pub(super) fn modern(method: SslMethod) -> Result<SslAcceptorBuilder, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(method)?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    Ok(builder)
}

/// Sets the key exchange groups of all connections, separated by colons, the preferred one first.
pub(super) fn set_groups(builder: &mut SslContextBuilder, groups: &str) -> Result<(), ErrorStack> {
    builder.set_curves_list(groups)
}

/// Returns what is wrong with the certificate of the other side; `None` when nothing is.
pub(super) fn verify_failure(ssl: &SslRef) -> Option<&'static str> {
    // What the library says before it has looked at a certificate.
    let not_yet = X509VerifyError::INVALID_CALL;
    let failure = ssl.verify_result().err()?;
    (failure != not_yet).then(|| failure.error_string())
}

/// What the tests of the listener use that differs too.
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Whether a client that asks for another name after a HelloRetryRequest is refused.
    pub(crate) const REFUSES_ANOTHER_NAME: bool = false;

    /// Sets a callback that accepts every ClientHello.
    pub(crate) fn set_client_hello_callback(builder: &mut SslContextBuilder) {
        builder.set_select_certificate_callback(|_| Ok(()));
    }
}
