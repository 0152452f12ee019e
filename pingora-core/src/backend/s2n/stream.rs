//! A TLS connection.

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::cert::Loaded;
use super::psk::PskConfig;
use crate::backend::library::library::enums::Version;
use crate::backend::library::{
    Config, Connection, ConnectionBuilder, Mode, S2NError, S2NPolicy, TlsStream as LibraryStream,
    hash_certificate,
};
use crate::backend::records::poll_write_gathered;
use crate::backend::stream_traits::stream_traits;
use crate::backend::x509::get_organization_serial_bytes;
use crate::protocols::layered::{pass_reads, pass_writes};
use crate::protocols::tls::SslDigest;
use crate::protocols::{ALPN, Peek, Shutdown, Ssl, TimingDigest};

/// What connections are made of: a configuration, and what is set on each of them.
#[derive(Clone, Debug)]
pub struct S2NConnectionBuilder {
    /// What connections share.
    pub config: Config,
    /// The pre-shared keys of each connection.
    pub psk_config: Option<Arc<PskConfig>>,
    /// The policy in place of that of the configuration.
    pub security_policy: Option<S2NPolicy>,
}

impl ConnectionBuilder for S2NConnectionBuilder {
    type Output = Connection;

    fn build_connection(&self, mode: Mode) -> Result<Self::Output, S2NError> {
        let mut connection = Connection::new(mode);
        connection.set_config(self.config.clone())?;
        // Records as large as may be: half as many for a large body as by default.
        connection.prefer_throughput()?;
        if let Some(policy) = &self.security_policy {
            connection.set_security_policy(policy)?;
        }
        if let Some(keys) = &self.psk_config {
            keys.append_to(&mut connection)?;
        }
        Ok(connection)
    }
}

/// What is known of a TLS session: the parts of it that callbacks and hooks may look at.
#[derive(Default)]
pub struct TlsRef {
    server_name: Option<String>,
    cipher: Option<String>,
    version: Option<&'static str>,
    peer_cert: Option<Vec<u8>>,
    alpn: Option<ALPN>,
    resumed: bool,
    /// What a callback chose.
    chosen: Option<Loaded>,
}

impl TlsRef {
    /// Returns the cipher suite; `None` before the handshake.
    pub fn current_cipher_name(&self) -> Option<&str> {
        self.cipher.as_deref()
    }

    /// Returns the certificate of the other side in DER form.
    pub fn peer_certificate_der(&self) -> Option<&[u8]> {
        self.peer_cert.as_deref()
    }

    /// Returns the server name the client asks for.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Returns the protocol version; `None` before the handshake.
    pub fn version(&self) -> Option<&'static str> {
        self.version
    }

    /// Returns what a ClientHello tells.
    pub(super) fn asked_for(server_name: Option<String>) -> Self {
        TlsRef {
            server_name,
            ..TlsRef::default()
        }
    }

    /// Keeps the certificate a callback chose.
    pub(super) fn choose(&mut self, certificate: Loaded) {
        self.chosen = Some(certificate);
    }

    /// Returns the certificate a callback chose.
    pub(super) fn take_certificate(&mut self) -> Option<Loaded> {
        self.chosen.take()
    }

    fn of(connection: &Connection) -> Self {
        let chain = connection.peer_cert_chain().ok();
        let leaf = chain.as_ref().and_then(|chain| chain.iter().next());
        let leaf = leaf.and_then(|leaf| Some(leaf.ok()?.der().ok()?.to_vec()));
        TlsRef {
            server_name: connection.server_name().map(str::to_owned),
            cipher: connection.cipher_suite().ok().map(str::to_owned),
            version: connection.actual_protocol_version().ok().map(version_text),
            peer_cert: leaf,
            alpn: connection
                .application_protocol()
                .and_then(ALPN::from_wire_selected),
            resumed: connection.resumed(),
            chosen: None,
        }
    }

    fn digest(&self) -> SslDigest {
        let leaf = self.peer_cert.as_deref();
        let (organization, serial) = leaf
            .and_then(|cert| get_organization_serial_bytes(cert).ok())
            .unzip();
        let mut digest = SslDigest::new(
            self.cipher.clone().unwrap_or_default(),
            self.version.unwrap_or_default().to_owned(),
            organization.flatten(),
            serial,
            leaf.map(hash_certificate).unwrap_or_default(),
        );
        digest.set_facts(self.server_name.clone(), self.alpn.clone(), self.resumed);
        digest
    }
}

impl fmt::Debug for TlsRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsRef")
            .field("server_name", &self.server_name)
            .field("version", &self.version)
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

/// Returns the name other libraries use for a version.
fn version_text(version: Version) -> &'static str {
    match version {
        Version::TLS13 => "TLSv1.3",
        Version::TLS12 => "TLSv1.2",
        Version::TLS11 => "TLSv1.1",
        Version::TLS10 => "TLSv1",
        _ => "SSLv3",
    }
}

/// The kinds of TLS records (RFC 8446, section 5.1), one of which each record begins with.
const RECORD_KINDS: std::ops::RangeInclusive<u8> = 20..=23;

/// A stream that is flushed after each write, as long as that is asked for.
///
/// The library does not say when the messages of a handshake are complete, and the stream below may
/// keep them in a buffer.
#[derive(Debug)]
pub struct AutoFlushableStream<T: AsyncRead + AsyncWrite + Unpin> {
    stream: T,
    auto_flush: bool,
    /// Whether a flush was begun and has to be gone on with.
    is_flushing: bool,
    /// Whether the first byte was received. The library waits for a whole record before it looks
    /// at it, which one who speaks no TLS will not send.
    has_begun: bool,
}

impl<T> AutoFlushableStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    /// Returns `stream`, flushed after each write if `auto_flush` is set.
    pub fn new(stream: T, auto_flush: bool) -> Self {
        AutoFlushableStream {
            stream,
            auto_flush,
            is_flushing: false,
            has_begun: false,
        }
    }

    /// Sets whether to flush after each write.
    pub fn set_auto_flush(&mut self, auto_flush: bool) {
        self.auto_flush = auto_flush;
    }

    /// Goes on with a flush; the task is woken when that is possible again.
    fn poll_begun(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_flushing
            && let Poll::Ready(done) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            self.is_flushing = false;
            return done;
        }
        Ok(())
    }

    fn written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.auto_flush && matches!(written, Poll::Ready(Ok(_))) {
            self.is_flushing = true;
            self.poll_begun(cx)?;
        }
        written
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Deref for AutoFlushableStream<T> {
    type Target = T;

    fn deref(&self) -> &Self::Target {
        &self.stream
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> DerefMut for AutoFlushableStream<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.stream
    }
}

impl<T> AsyncRead for AutoFlushableStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_begun(cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if !self.has_begun
            && let Some(first) = buf.filled().get(before)
        {
            self.has_begun = true;
            if !RECORD_KINDS.contains(first) {
                let e = io::Error::new(io::ErrorKind::InvalidData, "this is no TLS");
                return Poll::Ready(Err(e));
            }
        }
        read
    }
}

impl<T> AsyncWrite for AutoFlushableStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_begun(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_flushing = false;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_begun(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A TLS connection over `T`.
///
/// Made by listeners and connectors; it derefs to the stream of the library.
pub struct TlsStream<T: AsyncRead + AsyncWrite + Unpin> {
    stream: LibraryStream<AutoFlushableStream<T>>,
    tls: TlsRef,
    digest: Arc<SslDigest>,
    timing: TimingDigest,
}

impl<T> TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    /// Returns the connection `stream` whose handshake is done and took so long.
    pub fn from_s2n_stream(
        stream: LibraryStream<AutoFlushableStream<T>>,
        handshake_duration: Duration,
    ) -> TlsStream<T> {
        let timing = TimingDigest {
            established_ts: SystemTime::now(),
            establishment_duration: Some(handshake_duration),
            offload_wait_duration: None,
        };
        Self::new(stream, timing)
    }

    pub(super) fn new(
        mut stream: LibraryStream<AutoFlushableStream<T>>,
        timing: TimingDigest,
    ) -> Self {
        stream.get_mut().set_auto_flush(false);
        let tls = TlsRef::of(stream.as_ref());
        TlsStream {
            digest: Arc::new(tls.digest()),
            stream,
            tls,
            timing,
        }
    }

    /// Returns the facts of the handshake.
    pub fn ssl_digest(&self) -> Option<Arc<SslDigest>> {
        Some(self.digest.clone())
    }

    /// Changes what is known of the handshake.
    pub(super) fn digest_mut(&mut self) -> &mut SslDigest {
        Arc::make_mut(&mut self.digest)
    }

    pub(super) fn timing_mut(&mut self) -> &mut TimingDigest {
        &mut self.timing
    }

    pub(super) fn tls(&self) -> &TlsRef {
        &self.tls
    }

    fn transport(&self) -> &T {
        self.stream.get_ref()
    }

    fn transport_mut(&mut self) -> &mut T {
        self.stream.get_mut()
    }

    fn timing_ref(&self) -> &TimingDigest {
        &self.timing
    }
}

impl<T> fmt::Debug for TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin + fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("stream", self.transport())
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Deref for TlsStream<T> {
    type Target = LibraryStream<AutoFlushableStream<T>>;

    fn deref(&self) -> &Self::Target {
        &self.stream
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> DerefMut for TlsStream<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.stream
    }
}

impl<T> AsyncRead for TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    pass_reads!(stream);
}

impl<T> AsyncWrite for TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    pass_writes!(stream);

    /// Sends short parts in one record.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write_gathered(&mut self.stream, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[async_trait]
impl<S> Shutdown for TlsStream<S>
where
    S: Shutdown + AsyncRead + AsyncWrite + Unpin + Send,
{
    /// Tells the other side that nothing more comes, and ends the sending side below.
    async fn shutdown(&mut self) {
        if let Err(e) = AsyncWriteExt::shutdown(self).await {
            log::debug!("failed to shut down a TLS connection: {e}");
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Ssl for TlsStream<T> {
    fn get_ssl(&self) -> Option<&TlsRef> {
        Some(&self.tls)
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.tls.alpn.clone()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peek for TlsStream<S> {}

stream_traits!(TlsStream<S> where + AsyncRead + AsyncWrite + Unpin);
