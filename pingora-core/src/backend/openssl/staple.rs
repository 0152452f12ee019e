//! OCSP responses of connections: each goes with one certificate, and with no other that a callback
//! chooses. The library asks for it when the certificate is decided on.

use std::sync::{Arc, OnceLock};

use super::cert::sha256;
use crate::backend::library::error::ErrorStack;
use crate::backend::library::ex_data::Index;
use crate::backend::library::ssl::{Ssl, SslContextBuilder, SslRef};
use crate::backend::library::x509::X509Ref;

/// An OCSP response and the certificate it is for.
#[derive(Clone)]
pub(super) struct Staple(Arc<(Vec<u8>, Vec<u8>)>);

impl Staple {
    pub(super) fn new(cert: &X509Ref, response: Vec<u8>) -> Self {
        Staple(Arc::new((sha256(cert), response)))
    }

    /// Has the response sent on a connection whose builder was told to [send it](send_kept).
    pub(super) fn keep_for(&self, ssl: &mut SslRef) {
        if let Some(index) = index() {
            ssl.set_ex_data(index, self.clone());
        }
    }
}

/// Has connections send the responses that are kept for them.
pub(super) fn send_kept(builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    builder.set_status_callback(|ssl| {
        let kept = index().and_then(|index| ssl.ex_data(index)).cloned();
        if let Some(Staple(staple)) = kept {
            send(ssl, &staple.0, &staple.1)?;
        }
        Ok(true)
    })
}

/// Has connections send `response` with the certificate of the builder.
pub(super) fn send_with_certificate(
    builder: &mut SslContextBuilder,
    response: Vec<u8>,
) -> Result<(), ErrorStack> {
    builder.set_status_callback(move |ssl| {
        let own = ssl.ssl_context().certificate().map(sha256);
        send(ssl, &own.unwrap_or_default(), &response)?;
        Ok(true)
    })
}

/// Sends `response` if the certificate is the one with this digest; else what a callback has set.
fn send(ssl: &mut SslRef, digest: &[u8], response: &[u8]) -> Result<(), ErrorStack> {
    match ssl.certificate() {
        Some(cert) if sha256(cert) == digest => ssl.set_ocsp_status(response),
        _ => Ok(()),
    }
}

/// Returns where the response for a connection is kept with it.
fn index() -> Option<Index<Ssl, Staple>> {
    static INDEX: OnceLock<Option<Index<Ssl, Staple>>> = OnceLock::new();
    *INDEX.get_or_init(|| Ssl::new_ex_index().ok())
}
