//! TLS on a new connection.
//!
//! Without a TLS library compiled in there is none, and a peer that wants it is refused before
//! anything is sent to it.

use pingora_error::{Error, ErrorType, Result};

use crate::upstreams::peer::Peer;

/// Fails when `peer` wants TLS.
pub(super) fn ensure_supported<P: Peer>(peer: &P) -> Result<()> {
    if peer.tls() {
        Err(unsupported(peer))
    } else {
        Ok(())
    }
}

#[cold]
fn unsupported<P: Peer>(peer: &P) -> Box<Error> {
    let mut e = Error::explain(
        ErrorType::TLSHandshakeFailure,
        format!(
            "peer {} wants TLS but no TLS feature is compiled in: enable openssl, boringssl, \
             rustls or s2n, Peer: {peer}",
            peer.address()
        ),
    );
    // the fault is in how this program was built
    e.as_in();
    e
}
