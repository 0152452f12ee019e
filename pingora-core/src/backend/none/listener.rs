//! Accepting with TLS, which cannot be set up.

use std::convert::Infallible;

use pingora_error::Result;
use tokio::io::{AsyncRead, AsyncWrite};

use super::missing;
use super::stream::SslStream;
use crate::server::configuration::ServerConf;

/// The TLS settings of a listener; there are none without a TLS library.
#[derive(Debug)]
pub struct TlsSettings {
    never: Infallible,
}

impl TlsSettings {
    /// Fails: there is no library to read certificates.
    ///
    /// # Errors
    /// Always `InternalError`, naming the TLS features.
    pub fn intermediate(_cert_path: &str, _key_path: &str) -> Result<Self> {
        Err(missing())
    }

    /// Returns what accepts connections. Cannot be called.
    pub fn build(&self) -> Acceptor {
        match self.never {}
    }

    /// Returns what accepts connections. Cannot be called.
    pub(crate) fn try_build(self) -> Result<Acceptor> {
        match self.never {}
    }

    /// Offers HTTP/2. Cannot be called.
    pub fn enable_h2(&mut self) {
        match self.never {}
    }

    /// Moves handshakes to threads of their own. Cannot be called.
    pub fn set_offload_threadpool(&mut self, _shards: usize, _threads_per_shard: usize) {
        match self.never {}
    }

    /// Moves handshakes to threads of their own. Cannot be called.
    pub fn set_offload_threadpool_from_server_conf(&mut self, _server_conf: &ServerConf) {
        match self.never {}
    }
}

/// Accepts TLS connections; there is none without a TLS library.
#[derive(Debug)]
pub struct Acceptor {
    never: Infallible,
}

impl Acceptor {
    /// Does the handshake of an accepted connection. Cannot be called.
    pub async fn tls_handshake<S: AsyncRead + AsyncWrite>(&self, _: S) -> Result<SslStream<S>> {
        match self.never {}
    }
}
