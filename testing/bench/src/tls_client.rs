//! The TLS side of the load generator. It offers one version, one cipher suite and one group, so that
//! every proxy does the same work, and believes any certificate: it is the proxy that is measured.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientConfig, ClientConnection, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    DigitallySignedStruct, HandshakeKind, NamedGroup, SignatureScheme, StreamOwned, version,
};

use crate::Result;

/// Ciphertext is read in pieces of this size: rustls alone asks for 4 KiB at a time.
const READ_BUFFER: usize = 64 * 1024;
/// Tickets kept for later connections; more than any load has connections at once.
const TICKETS: usize = 256;

/// A client of TLS 1.3 and the sessions it remembers.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    tickets: Arc<Tickets>,
}

impl Client {
    /// Returns a client that resumes sessions, or never does.
    pub fn new(resumes: bool) -> Result<Self> {
        let tickets = Arc::new(Tickets {
            resumes,
            received: AtomicU64::new(0),
            kept: Mutex::default(),
        });
        let provider = CryptoProvider {
            cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![ring::kx_group::X25519],
            ..ring::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believer))
            .with_no_client_auth();
        config.resumption = Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>);
        let config = Arc::new(config);
        Ok(Self { config, tickets })
    }

    /// Returns the same client, asking for HTTP/2.
    pub fn for_h2(mut self) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![b"h2".to_vec()];
        self
    }

    /// Returns the TLS connection over a TCP connection; its handshake begins with the first write.
    pub fn connect(&self, stream: TcpStream) -> Result<Stream> {
        let name = ServerName::try_from("bench.example").map_err(|error| error.to_string())?;
        let session = ClientConnection::new(Arc::clone(&self.config), name);
        let session = session.map_err(|error| error.to_string())?;
        let buffered = Buffered(BufReader::with_capacity(READ_BUFFER, stream));
        Ok(Stream::Tls(Box::new(Tls(StreamOwned::new(
            session, buffered,
        )))))
    }

    /// Returns how many session tickets came so far.
    pub fn tickets(&self) -> u64 {
        self.tickets.received.load(Ordering::Relaxed)
    }
}

/// A connection of the load generator.
#[derive(Debug)]
pub enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<Tls>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.0.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.0.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection with TLS.
#[derive(Debug)]
pub struct Tls(StreamOwned<ClientConnection, Buffered>);

impl Tls {
    /// Returns whether the handshake resumed an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// Reads through a buffer and writes without.
#[derive(Debug)]
struct Buffered(BufReader<TcpStream>);

impl Read for Buffered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The sessions of a client, all of one server: each is used once.
#[derive(Debug)]
struct Tickets {
    resumes: bool,
    received: AtomicU64,
    kept: Mutex<VecDeque<Tls13ClientSessionValue>>,
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _server: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _server: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _server: ServerName<'static>, _value: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _server: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.received.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if self.resumes {
            kept.push_back(value);
        }
        if kept.len() > TICKETS {
            kept.pop_front();
        }
    }

    fn take_tls13_ticket(&self, _server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // The newest: a server that keeps sessions itself forgets the oldest.
        kept.pop_back()
    }
}

/// Verifies nothing.
#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
