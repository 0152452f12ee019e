//! A TLS connection.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use pingora_error::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::{handshake_reason, library_error, verifier};
use crate::backend::handshake::timing;
use crate::backend::library::library::{HandshakeKind, ProtocolVersion};
use crate::backend::library::{
    CertificateDer, RusTlsError, ServerName, TlsConnector, TlsStream as LibraryStream,
    hash_certificate, sign,
};
use crate::backend::stream_traits::stream_traits;
use crate::backend::x509::get_organization_serial_bytes;
use crate::protocols::layered::{pass_reads, pass_vectored_writes, pass_writes};
use crate::protocols::tls::SslDigest;
use crate::protocols::{ALPN, Peek, Shutdown, Ssl, TimingDigest};

/// What is known of a TLS session: the parts of it that callbacks and hooks may look at.
#[derive(Debug, Default)]
pub struct TlsRef {
    server_name: Option<String>,
    cipher: Option<&'static str>,
    version: Option<&'static str>,
    peer_certs: Option<Vec<CertificateDer<'static>>>,
    alpn: Option<ALPN>,
    resumed: bool,
    /// What a callback chose.
    chosen: Option<sign::CertifiedKey>,
}

impl TlsRef {
    /// Returns the cipher suite; `None` before the handshake.
    pub fn current_cipher_name(&self) -> Option<&'static str> {
        self.cipher
    }

    /// Returns the certificate of the other side and its chain in DER form.
    pub fn peer_cert_chain_der(&self) -> Option<&[CertificateDer<'static>]> {
        self.peer_certs.as_deref()
    }

    /// Returns the certificate of the other side in DER form.
    pub fn peer_certificate_der(&self) -> Option<&[u8]> {
        Some(self.peer_certs.as_ref()?.first()?)
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
    pub(super) fn asked_for(server_name: Option<&str>) -> Self {
        TlsRef {
            server_name: server_name.map(str::to_owned),
            ..TlsRef::default()
        }
    }

    /// Keeps the certificate a callback chose.
    pub(super) fn choose(&mut self, certificate: sign::CertifiedKey) {
        self.chosen = Some(certificate);
    }

    /// Returns the certificate a callback chose.
    pub(super) fn take_certificate(&mut self) -> Option<sign::CertifiedKey> {
        self.chosen.take()
    }

    fn of<T>(stream: &LibraryStream<T>, server_name: Option<&str>) -> Self {
        let (_, session) = stream.get_ref();
        let server_name = match stream {
            LibraryStream::Server(server) => server.get_ref().1.server_name(),
            LibraryStream::Client(_) => server_name,
        };
        TlsRef {
            server_name: server_name.map(str::to_owned),
            cipher: session
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str()),
            version: session.protocol_version().and_then(version_text),
            peer_certs: session
                .peer_certificates()
                .map(|certs| certs.iter().map(|cert| cert.clone().into_owned()).collect()),
            alpn: session.alpn_protocol().and_then(ALPN::from_wire_selected),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            chosen: None,
        }
    }

    fn digest(&self) -> SslDigest {
        let leaf = self.peer_certs.as_ref().and_then(|certs| certs.first());
        let (organization, serial) = leaf
            .and_then(|cert| get_organization_serial_bytes(cert).ok())
            .unzip();
        let mut digest = SslDigest::new(
            self.cipher.unwrap_or_default(),
            self.version.unwrap_or_default(),
            organization.flatten(),
            serial,
            leaf.map(hash_certificate).unwrap_or_default(),
        );
        digest.set_facts(self.server_name.clone(), self.alpn.clone(), self.resumed);
        digest
    }
}

/// Returns the name other libraries use for a version.
fn version_text(version: ProtocolVersion) -> Option<&'static str> {
    match version {
        ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
        ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
        other => other.as_str(),
    }
}

/// A TLS connection over `T`, as the library has it.
#[derive(Debug)]
pub struct InnerStream<T> {
    stream: LibraryStream<T>,
    timing: TimingDigest,
}

impl<T> InnerStream<T> {
    fn transport(&self) -> &T {
        self.stream.get_ref().0
    }

    fn transport_mut(&mut self) -> &mut T {
        self.stream.get_mut().0
    }

    fn timing_ref(&self) -> &TimingDigest {
        &self.timing
    }
}

/// A TLS connection over `T`.
///
/// Made by listeners and connectors; it derefs to [`InnerStream`].
#[derive(Debug)]
pub struct TlsStream<T> {
    inner: InnerStream<T>,
    tls: TlsRef,
    digest: Arc<SslDigest>,
}

impl<T> TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    /// Does the handshake with the server called `domain` on `stream`.
    ///
    /// # Errors
    /// `InvalidCert` when its certificate is not valid, `TLSHandshakeFailure` for everything else.
    pub async fn from_connector(connector: &TlsConnector, domain: &str, stream: T) -> Result<Self> {
        let name = verifier::server_name(domain)
            .map_err(|e| Error::explain(ErrorType::TLSHandshakeFailure, e.to_string()))?;
        Self::connect(connector, name, stream).await
    }

    pub(super) async fn connect(
        connector: &TlsConnector,
        name: ServerName<'static>,
        stream: T,
    ) -> Result<Self> {
        let started = Instant::now();
        let asked_for = match &name {
            ServerName::DnsName(name) => Some(name.as_ref().to_owned()),
            _ => None,
        };
        let done = connector.connect(name, stream).await;
        let stream = done.map_err(|e| failed(&e, asked_for.as_deref()))?;
        let stream = LibraryStream::Client(stream);
        Ok(Self::new(
            stream,
            timing(Some(started)),
            asked_for.as_deref(),
        ))
    }
}

impl<T> TlsStream<T> {
    /// Returns the connection `stream` whose handshake is done.
    pub(super) fn new(
        stream: LibraryStream<T>,
        timing: TimingDigest,
        server_name: Option<&str>,
    ) -> Self {
        let tls = TlsRef::of(&stream, server_name);
        TlsStream {
            digest: Arc::new(tls.digest()),
            inner: InnerStream { stream, timing },
            tls,
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
        &mut self.inner.timing
    }

    pub(super) fn tls(&self) -> &TlsRef {
        &self.tls
    }

    fn transport(&self) -> &T {
        self.inner.transport()
    }

    fn transport_mut(&mut self) -> &mut T {
        self.inner.transport_mut()
    }

    fn timing_ref(&self) -> &TimingDigest {
        self.inner.timing_ref()
    }
}

#[cold]
fn failed(e: &io::Error, domain: Option<&str>) -> Box<Error> {
    let of = domain
        .map(|domain| format!(" of {domain}"))
        .unwrap_or_default();
    match library_error(e) {
        Some(RusTlsError::InvalidCertificate(why)) => {
            Error::explain(ErrorType::InvalidCert, format!("certificate{of}: {why}"))
        }
        _ => {
            let context = format!("TLS handshake: {}", handshake_reason(e));
            Error::explain(ErrorType::TLSHandshakeFailure, context)
        }
    }
}

impl<T> Deref for TlsStream<T> {
    type Target = InnerStream<T>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl<T> DerefMut for TlsStream<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

impl<T> AsyncRead for TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    pass_reads!(inner.stream);
}

impl<T> AsyncWrite for TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    pass_writes!(inner.stream);
    pass_vectored_writes!(inner.stream);
}

#[async_trait]
impl<S> Shutdown for TlsStream<S>
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

impl<T> Ssl for TlsStream<T> {
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

impl<S> Peek for TlsStream<S> {}

stream_traits!(TlsStream<S>);
stream_traits!(InnerStream<S>);
