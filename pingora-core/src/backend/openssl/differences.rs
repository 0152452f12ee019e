//! The few things OpenSSL and BoringSSL do not have under the same name: those of OpenSSL.
//! `differences_boringssl` has the same items.

use std::sync::OnceLock;
use std::time::Duration;

use crate::backend::library::asn1::Asn1StringRef;
use crate::backend::library::error::ErrorStack;
use crate::backend::library::ex_data::Index;
use crate::backend::library::ext;
use crate::backend::library::ssl::{
    ClientHelloResponse, Ssl, SslAcceptor, SslAcceptorBuilder, SslAlert, SslContextBuilder,
    SslMethod, SslRef, SslSession,
};
use crate::backend::library::x509::X509VerifyResult;

/// The number of the extension with the server name (RFC 6066, section 3).
const SERVER_NAME: u16 = 0;

/// The server name extension of a connection's first ClientHello, as it was sent.
struct FirstAsked(Option<Vec<u8>>);

/// Has `look` called with the first ClientHello before anything else is done with it: the
/// connection and the server name the client asks for.
///
/// There may be a second one, after a HelloRetryRequest. It must ask for the same name (RFC 8446,
/// section 4.1.2), or the handshake fails: everything was decided by the first.
pub(super) fn on_client_hello<F>(builder: &mut SslContextBuilder, look: F) -> Result<(), ErrorStack>
where
    F: Fn(&mut SslRef, Option<&str>) -> Result<(), ErrorStack> + Send + Sync + 'static,
{
    let first_asked = first_asked_index()?;
    builder.set_client_hello_callback(move |ssl, alert| {
        let asked = ext::ssl_client_hello_extension(ssl, SERVER_NAME).map(<[u8]>::to_vec);
        if let Some(FirstAsked(first)) = ssl.ex_data(first_asked) {
            if *first == asked {
                return Ok(ClientHelloResponse::SUCCESS);
            }
            *alert = SslAlert::ILLEGAL_PARAMETER;
            return Err(ErrorStack::get());
        }
        look(ssl, asked.as_deref().and_then(server_name))
            .inspect_err(|_| *alert = SslAlert::INTERNAL_ERROR)?;
        ssl.set_ex_data(first_asked, FirstAsked(asked));
        Ok(ClientHelloResponse::SUCCESS)
    });
    Ok(())
}

/// Returns where the first server name of a connection is kept with it.
fn first_asked_index() -> Result<Index<Ssl, FirstAsked>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, FirstAsked>> = OnceLock::new();
    match INDEX.get() {
        Some(index) => Ok(*index),
        None => {
            let index = Ssl::new_ex_index()?;
            Ok(*INDEX.get_or_init(|| index))
        }
    }
}

/// Returns the text of a field of a certificate.
pub(super) fn text_of(field: &Asn1StringRef) -> Option<String> {
    field.to_string().ok()
}

/// Returns how long the server says that a session may be resumed.
pub(super) fn lifetime(session: &SslSession) -> Duration {
    Duration::from_secs(u64::try_from(session.timeout()).unwrap_or(0))
}

/// Returns the settings of the modern profile: TLS 1.3 only.
pub(super) fn modern(method: SslMethod) -> Result<SslAcceptorBuilder, ErrorStack> {
    SslAcceptor::mozilla_modern_v5(method)
}

/// Sets the key exchange groups of all connections, separated by colons, the preferred one first.
pub(super) fn set_groups(builder: &mut SslContextBuilder, groups: &str) -> Result<(), ErrorStack> {
    builder.set_groups_list(groups)
}

/// Returns what is wrong with the certificate of the other side; `None` when nothing is.
pub(super) fn verify_failure(ssl: &SslRef) -> Option<&'static str> {
    let result = ssl.verify_result();
    (result != X509VerifyResult::OK).then(|| result.error_string())
}

/// Returns the host name in the body of a server name extension, `None` when it is malformed.
fn server_name(body: &[u8]) -> Option<&str> {
    // struct { ServerName list<1..2^16-1> }, ServerName: type (0 is host_name), opaque<1..2^16-1>
    let (length, list) = body.split_first_chunk::<2>()?;
    if usize::from(u16::from_be_bytes(*length)) != list.len() {
        return None;
    }
    let (&[kind, high, low], name) = list.split_first_chunk::<3>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    (kind == 0 && name.len() == length)
        .then(|| std::str::from_utf8(name).ok())
        .flatten()
}

/// What the tests of the listener use that differs too.
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Whether a client that asks for another name after a HelloRetryRequest is refused.
    pub(crate) const REFUSES_ANOTHER_NAME: bool = true;

    /// Sets a callback that accepts every ClientHello.
    pub(crate) fn set_client_hello_callback(builder: &mut SslContextBuilder) {
        builder.set_client_hello_callback(|_, _| Ok(ClientHelloResponse::SUCCESS));
    }
}
