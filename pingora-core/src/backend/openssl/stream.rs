//! A TLS connection.

use std::io::{self, IoSlice};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use async_trait::async_trait;
use pingora_error::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::cert::{get_organization, get_serial, sha256};
use super::reasons;
use crate::backend::handshake::timing;
use crate::backend::library::ssl::{self, NameType, Ssl, SslRef, SslVerifyMode};
use crate::backend::library::tokio_ssl::SslStream as LibraryStream;
use crate::backend::records::poll_write_gathered;
use crate::backend::stream_traits::stream_traits;
use crate::protocols::layered::{pass_reads, pass_writes};
use crate::protocols::tls::SslDigest;
use crate::protocols::{ALPN, Peek, Shutdown, Ssl as TlsFacts, TimingDigest};

/// A TLS connection over `T`.
///
/// Made by listeners and connectors; it derefs to the stream of the library.
#[derive(Debug)]
pub struct SslStream<T> {
    ssl: LibraryStream<T>,
    digest: Option<Arc<SslDigest>>,
    timing: TimingDigest,
}

impl<T> SslStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    /// Returns the connection of `ssl` over `stream`, before its handshake.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` when the library has no memory.
    pub fn new(ssl: Ssl, stream: T) -> Result<Self> {
        let ssl = LibraryStream::new(ssl, stream)
            .map_err(|e| Error::explain(ErrorType::TLSHandshakeFailure, reasons(&e)))?;
        Ok(SslStream {
            ssl,
            digest: None,
            timing: TimingDigest::default(),
        })
    }

    /// Does the handshake of a client.
    ///
    /// # Errors
    /// Those of the library.
    pub async fn connect(&mut self) -> Result<(), ssl::Error> {
        let started = Instant::now();
        Pin::new(&mut self.ssl).connect().await?;
        self.handshake_done(timing(Some(started)));
        Ok(())
    }

    /// Does the handshake of a server.
    ///
    /// # Errors
    /// Those of the library.
    pub async fn accept(&mut self) -> Result<(), ssl::Error> {
        Pin::new(&mut self.ssl).accept().await?;
        self.handshake_done(timing(None));
        Ok(())
    }

    fn handshake_done(&mut self, timing: TimingDigest) {
        self.timing = timing;
        self.digest = Some(Arc::new(SslDigest::from_ssl(self.ssl.ssl())));
    }
}

impl<T> SslStream<T> {
    /// Returns the facts of the handshake, `None` before it is done.
    pub fn ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.digest.clone()
    }

    /// Changes what is known of the handshake.
    pub(super) fn digest_mut(&mut self) -> Option<&mut SslDigest> {
        self.digest.as_mut().map(Arc::make_mut)
    }

    pub(super) fn timing_mut(&mut self) -> &mut TimingDigest {
        &mut self.timing
    }

    fn transport(&self) -> &T {
        self.ssl.get_ref()
    }

    fn transport_mut(&mut self) -> &mut T {
        self.ssl.get_mut()
    }

    fn timing_ref(&self) -> &TimingDigest {
        &self.timing
    }
}

impl<T> Deref for SslStream<T> {
    type Target = LibraryStream<T>;

    fn deref(&self) -> &Self::Target {
        &self.ssl
    }
}

impl<T> DerefMut for SslStream<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.ssl
    }
}

impl<T> AsyncRead for SslStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    pass_reads!(ssl);
}

impl<T> AsyncWrite for SslStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    pass_writes!(ssl);

    /// Sends short parts in one record.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write_gathered(&mut self.ssl, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[async_trait]
impl<S> Shutdown for SslStream<S>
where
    S: AsyncRead + AsyncWrite + Sync + Unpin + Send,
{
    /// Tells the other side that nothing more comes, and ends the sending side below.
    async fn shutdown(&mut self) {
        if let Err(e) = AsyncWriteExt::shutdown(self).await {
            log::debug!("failed to shut down a TLS connection: {e}");
        }
    }
}

impl<T> TlsFacts for SslStream<T> {
    fn get_ssl(&self) -> Option<&SslRef> {
        Some(self.ssl.ssl())
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        let chosen = self.ssl.ssl().selected_alpn_protocol()?;
        ALPN::from_wire_selected(chosen)
    }
}

impl<T> Peek for SslStream<T> {}

stream_traits!(SslStream<S>);

impl SslDigest {
    /// Returns the facts of a handshake that is done.
    pub fn from_ssl(ssl: &SslRef) -> Self {
        let cipher = ssl.current_cipher().map_or("", |cipher| cipher.name());
        let peer = ssl.peer_certificate();
        let mut digest = SslDigest::new(
            cipher,
            ssl.version_str(),
            peer.as_ref().and_then(get_organization),
            peer.as_ref().and_then(|cert| get_serial(cert).ok()),
            peer.as_ref().map(|cert| sha256(cert)).unwrap_or_default(),
        );
        let name = ssl.servername(NameType::HOST_NAME);
        let alpn = ssl
            .selected_alpn_protocol()
            .and_then(ALPN::from_wire_selected);
        digest.set_facts(name.map(str::to_owned), alpn, ssl.session_reused());
        let asks = ssl.verify_mode().contains(SslVerifyMode::PEER);
        digest.set_verifies_client(ssl.is_server() && asks);
        digest
    }
}
