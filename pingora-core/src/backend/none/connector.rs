//! Connecting with TLS, which fails.

use std::convert::Infallible;

use pingora_error::Result;

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
