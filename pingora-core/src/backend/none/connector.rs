//! Connecting with TLS, which fails.

use std::convert::Infallible;

use pingora_error::{Error, ErrorType, Result};

use super::missing;
use super::stream::SslStream;
use crate::connectors::ConnectorOptions;
use crate::protocols::{ALPN, IO};
use crate::upstreams::peer::Peer;

/// What a transport connector keeps for TLS: nothing.
#[derive(Debug)]
pub struct Connector {
    /// The settings every connection shares.
    pub ctx: TlsConnector,
}

impl Connector {
    /// Returns a connector whose connections fail; those without TLS do not use it.
    pub fn new(_options: Option<ConnectorOptions>) -> Self {
        Connector {
            ctx: TlsConnector { _private: () },
        }
    }
}

/// The shared settings of TLS connections: empty.
#[derive(Debug)]
pub struct TlsConnector {
    _private: (),
}

/// The settings of one TLS connection; there are none without a TLS library.
#[derive(Debug)]
pub struct TlsSettings {
    _never: Infallible,
}

/// Fails when `peer` wants TLS, before anything is sent to it.
pub(crate) fn ensure_supported<P: Peer>(peer: &P) -> Result<()> {
    if peer.tls() {
        Err(unsupported(peer))
    } else {
        Ok(())
    }
}

#[cold]
fn unsupported<P: Peer>(peer: &P) -> Box<Error> {
    let context = format!(
        "peer {} wants TLS but no TLS feature is compiled in: enable openssl, boringssl, rustls \
         or s2n, Peer: {peer}",
        peer.address()
    );
    // the fault is in how this program was built
    Error::explain(ErrorType::TLSHandshakeFailure, context).into_in()
}

/// Fails and drops the stream.
///
/// # Errors
/// Always `InternalError`, naming the TLS features.
pub async fn connect<T, P>(
    _stream: T,
    _peer: &P,
    _alpn_override: Option<ALPN>,
    _tls_ctx: &TlsConnector,
) -> Result<SslStream<T>>
where
    T: IO,
    P: Peer + Send + Sync,
{
    Err(missing())
}
