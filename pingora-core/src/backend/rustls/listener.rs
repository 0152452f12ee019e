//! Accepting: settings of a listener, and the handshake of its connections.

use std::sync::Arc;

use pingora_error::{Error, Result};

use super::cert::{KeyError, load_certificates, load_pair, load_roots, signing_key};
use super::handshake_reason;
use super::stream::{TlsRef, TlsStream};
pub use crate::backend::callbacks::{server_name, set_certificate};
pub use crate::backend::certificates::CertificateSet;
use crate::backend::handshake::{Before, accept_error, timing};
pub use crate::backend::hello::{ClientHello, ClientHelloHook};
use crate::backend::keylog::KeyLog;
use crate::backend::library::library::server::NoClientAuth;
use crate::backend::library::library::sign::SingleCertAndKey;
use crate::backend::library::{
    CertificateDer, ClientCertVerifier, LazyConfigAcceptor, PrivateKeyDer, ResolvesServerCert,
    ServerConfig, TlsAcceptor, TlsStream as LibraryStream, WebPkiClientVerifier, crypto_provider,
    pem_private_key, sign, ticketer, version,
};
use crate::backend::ocsp::load_response;
pub use crate::backend::settings::{ClientAuth, TLS_CONF_ERR};
use crate::backend::settings::{bad_file, read_file};
use crate::listeners::TlsAcceptCallbacks;
use crate::protocols::{ALPN, IO};
use crate::server::configuration::ServerConf;

/// The TLS settings of a listener.
///
/// ```no_run
/// use pingora_core::listeners::Listeners;
/// use pingora_core::listeners::tls::TlsSettings;
///
/// let mut settings = TlsSettings::intermediate("cert.pem", "key.pem")?;
/// settings.enable_h2();
/// let mut listeners = Listeners::new();
/// listeners.add_tls_with_settings("0.0.0.0:443", None, settings);
/// # Ok::<(), Box<pingora_core::Error>>(())
/// ```
pub struct TlsSettings {
    certificates: Vec<CertificateDer<'static>>,
    key: Option<PrivateKeyDer<'static>>,
    ocsp: Option<Vec<u8>>,
    by_name: Option<CertificateSet>,
    resolver: Option<Arc<dyn ResolvesServerCert>>,
    client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    whole: Option<Arc<ServerConfig>>,
    alpn: Option<ALPN>,
    modern: bool,
    keylog: Option<KeyLog>,
    callbacks: Option<TlsAcceptCallbacks>,
    offload: Option<(usize, usize)>,
    hello_hook: Option<ClientHelloHook>,
}

impl TlsSettings {
    /// Returns settings for all but very old clients with a certificate chain and its key, two PEM
    /// files: TLS 1.2 and 1.3, as the intermediate profile of Mozilla's recommendations.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file that cannot be used and why.
    pub fn intermediate(cert_path: &str, key_path: &str) -> Result<Self>
    where
        Self: Sized,
    {
        let mut settings = Self::empty();
        let (certificates, key) = load_pair(cert_path, key_path)?;
        settings.certificates = certificates;
        settings.key = Some(key);
        Ok(settings)
    }

    /// Returns settings for current clients only: TLS 1.3, as the modern profile.
    ///
    /// # Errors
    /// Those of [`intermediate`](Self::intermediate).
    pub fn modern(cert_path: &str, key_path: &str) -> Result<Self> {
        let mut settings = Self::intermediate(cert_path, key_path)?;
        settings.modern = true;
        Ok(settings)
    }

    /// Returns settings of the intermediate profile whose `callbacks` choose the certificate of
    /// each connection, with [`TlsRef::set_certificate`].
    ///
    /// # Errors
    /// None; the signature is that of API level 0.9.
    pub fn with_callbacks(callbacks: TlsAcceptCallbacks) -> Result<Self>
    where
        Self: Sized,
    {
        let mut settings = Self::empty();
        settings.callbacks = Some(callbacks);
        Ok(settings)
    }

    /// Returns settings that are what `config` says. Of the methods here only those for callbacks
    /// and threads change anything.
    pub fn with_server_config(config: Arc<ServerConfig>) -> Self {
        let mut settings = Self::empty();
        settings.whole = Some(config);
        settings
    }

    /// Returns settings of the intermediate profile with several certificates, chosen by server name.
    ///
    /// # Errors
    /// None; other libraries have some.
    pub fn with_certificates(certificates: CertificateSet) -> Result<Self> {
        let mut settings = Self::empty();
        settings.by_name = Some(certificates);
        Ok(settings)
    }

    /// Staples the OCSP response in the DER file `path` to the certificate, of several to the default
    /// one ([`CertificateSet::set_ocsp_response`] is for each), for clients that ask for one.
    ///
    /// A certificate that a callback or a resolver chooses has its own.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file and the reason.
    pub fn set_ocsp_response(&mut self, path: &str) -> Result<()> {
        match &self.by_name {
            Some(certificates) => certificates.set_default_ocsp_response(path),
            None => {
                self.ocsp = Some(load_response(path)?);
                Ok(())
            }
        }
    }

    /// Has `hook` look at each ClientHello, before anything else is done with it.
    pub fn set_client_hello_hook(&mut self, hook: ClientHelloHook) {
        self.hello_hook = Some(hook);
    }

    /// Has `callbacks` called for each connection, besides the certificate set here, which they may
    /// replace.
    pub fn set_callbacks(&mut self, callbacks: TlsAcceptCallbacks) {
        self.callbacks = Some(callbacks);
    }

    /// Offers HTTP/2, and HTTP/1.1 to clients without it.
    pub fn enable_h2(&mut self) {
        self.set_alpn(ALPN::H2H1);
    }

    /// Sets the protocols to accept by ALPN, the preferred one first.
    ///
    /// Clients that offer others only are refused (RFC 7301, section 3.2); those that offer
    /// nothing are not.
    pub fn set_alpn(&mut self, alpn: ALPN) {
        self.alpn = Some(alpn);
    }

    /// Uses the certificate chain in a PEM file.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file and the reason.
    pub fn set_certificate_chain_file(&mut self, path: &str) -> Result<()> {
        self.certificates = load_certificates(path)?;
        Ok(())
    }

    /// Uses the first private key in a PEM file.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file and the reason.
    pub fn set_private_key_file(&mut self, path: &str) -> Result<()> {
        let pem = read_file("key file", path)?;
        let key = pem_private_key(&pem).map_err(|e| bad_file("key file", path, e))?;
        let key = key.ok_or_else(|| bad_file("key file", path, "no private key in it"))?;
        self.key = Some(key);
        Ok(())
    }

    /// Has `resolver` choose the certificate of each connection.
    pub fn set_cert_resolver(&mut self, resolver: Arc<dyn ResolvesServerCert>) {
        self.resolver = Some(resolver);
    }

    /// Has `verifier` ask for the certificates of clients and check them.
    pub fn set_client_cert_verifier(&mut self, verifier: Arc<dyn ClientCertVerifier>) {
        self.client_verifier = Some(verifier);
    }

    /// Has clients asked for a certificate of the authorities in the PEM file `ca_path`, and refuses
    /// those with another one.
    ///
    /// What the certificate says is in the [`SslDigest`](crate::protocols::tls::SslDigest) of the
    /// connection.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file and the reason.
    pub fn set_client_auth(&mut self, ca_path: &str, auth: ClientAuth) -> Result<()> {
        let roots = Arc::new(load_roots(ca_path)?);
        let builder = WebPkiClientVerifier::builder_with_provider(roots, crypto_provider());
        let builder = match auth {
            ClientAuth::Optional => builder.allow_unauthenticated(),
            ClientAuth::Required => builder,
        };
        let verifier = builder.build();
        let verifier = verifier.map_err(|e| bad_file("certificate file", ca_path, e))?;
        self.set_client_cert_verifier(verifier);
        Ok(())
    }

    /// Writes the secrets of connections to the file named by the environment variable
    /// `SSLKEYLOGFILE`, if there is one, for debugging.
    pub fn enable_debug_keylog(&mut self) {
        self.keylog = KeyLog::from_env();
    }

    /// Has handshakes done on threads of their own: `shards` pools of `threads_per_shard` each.
    ///
    /// A handshake takes milliseconds of processor time, during which a thread serves nobody else.
    pub fn set_offload_threadpool(&mut self, shards: usize, threads_per_shard: usize) {
        self.offload = Some((shards, threads_per_shard));
    }

    /// Has handshakes done on the threads that the configuration sets aside for them, if it does.
    pub fn set_offload_threadpool_from_server_conf(&mut self, server_conf: &ServerConf) {
        if let Some((shards, threads)) = server_conf.downstream_tls_offload_threadpool() {
            self.set_offload_threadpool(shards, threads);
        }
    }

    /// Returns what accepts connections.
    ///
    /// # Panics
    /// If the settings have neither a certificate nor something that chooses one, or if the key
    /// does not belong to the certificate. Listeners report that as an error when they start.
    pub fn build(self) -> Acceptor {
        self.try_build().unwrap_or_else(|e| panic!("{e}"))
    }

    /// Returns what accepts connections.
    pub(crate) fn try_build(mut self) -> Result<Acceptor> {
        let callbacks = self.callbacks.take();
        let verifies_client = self.client_verifier.is_some();
        let before = Before::new(self.offload, self.hello_hook.take());
        let config = match self.whole.take() {
            Some(config) => config,
            None => Arc::new(self.into_config(callbacks.is_some())?),
        };
        Ok(Acceptor {
            acceptor: TlsAcceptor::from(config),
            callbacks: callbacks.map(Arc::from),
            before,
            verifies_client,
        })
    }

    fn into_config(self, has_callbacks: bool) -> Result<ServerConfig> {
        let resolver = match (self.resolver, self.by_name, self.key) {
            (Some(resolver), ..) => resolver,
            (None, Some(set), _) => Arc::new(ByName(set)),
            (None, None, Some(key)) if !self.certificates.is_empty() => {
                let certified = signing_key(self.certificates, &key);
                let mut certified = certified.map_err(unusable_key)?;
                certified.ocsp = self.ocsp;
                Arc::new(SingleCertAndKey::from(certified))
            }
            _ if has_callbacks => Arc::new(Nothing),
            _ => return Err(unusable("there is no certificate with its key")),
        };
        let versions: &[_] = match self.modern {
            true => &[&version::TLS13],
            false => &[&version::TLS13, &version::TLS12],
        };
        let provider = crypto_provider();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|e| unusable(e.to_string()))?
            .with_client_cert_verifier(self.client_verifier.unwrap_or(Arc::new(NoClientAuth)))
            .with_cert_resolver(resolver);
        if let Some(alpn) = &self.alpn {
            config.alpn_protocols = alpn.to_wire_protocols();
        }
        if let Some(keylog) = self.keylog {
            config.key_log = Arc::new(keylog);
        }
        // Sessions are bound to the server name by the library.
        config.ticketer = ticketer().map_err(|e| unusable(e.to_string()))?;
        Ok(config)
    }

    fn empty() -> Self {
        TlsSettings {
            certificates: vec![],
            key: None,
            ocsp: None,
            by_name: None,
            resolver: None,
            client_verifier: None,
            whole: None,
            alpn: None,
            modern: false,
            keylog: None,
            callbacks: None,
            offload: None,
            hello_hook: None,
        }
    }
}

#[cold]
pub(super) fn unusable(why: impl Into<String>) -> Box<Error> {
    Error::explain(
        TLS_CONF_ERR,
        format!("cannot make TLS settings: {}", why.into()),
    )
    .into_in()
}

pub(super) fn unusable_key(e: KeyError) -> Box<Error> {
    match e {
        KeyError::Mismatch => unusable("the key is not that of the certificate"),
        KeyError::Unusable(e) => unusable(e.to_string()),
    }
}

/// Chooses no certificate: a callback has to.
#[derive(Debug)]
struct Nothing;

impl ResolvesServerCert for Nothing {
    fn resolve(
        &self,
        _hello: crate::backend::library::ClientHello<'_>,
    ) -> Option<Arc<sign::CertifiedKey>> {
        None
    }
}

/// Chooses among several certificates.
#[derive(Debug)]
struct ByName(CertificateSet);

impl ResolvesServerCert for ByName {
    fn resolve(
        &self,
        hello: crate::backend::library::ClientHello<'_>,
    ) -> Option<Arc<sign::CertifiedKey>> {
        Some(self.0.find(hello.server_name()).0.clone())
    }
}

/// Accepts the connections of a listener.
pub struct Acceptor {
    /// The library's acceptor.
    pub acceptor: TlsAcceptor,
    callbacks: Option<Arc<dyn crate::listeners::TlsAccept + Send + Sync>>,
    before: Before,
    /// Whether clients are asked for a certificate; not known of a configuration made elsewhere.
    verifies_client: bool,
}

impl Acceptor {
    /// Returns what accepts connections as `config` says.
    pub fn from_server_config(config: Arc<ServerConfig>) -> Self {
        Acceptor {
            acceptor: TlsAcceptor::from(config),
            callbacks: None,
            before: Before::new(None, None),
            verifies_client: false,
        }
    }

    /// Does the handshake of an accepted connection.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` with the reason.
    pub async fn tls_handshake<S: IO + 'static>(&self, mut stream: S) -> Result<TlsStream<S>> {
        self.before.client_hello(&mut stream).await?;
        let (id, acceptor, callbacks) =
            (stream.id(), self.acceptor.clone(), self.callbacks.clone());
        // Boxed: a client that has said nothing yet would hold room for it, 6 KiB.
        let handshake =
            Box::pin(async move { accept(&acceptor, stream, callbacks.as_deref()).await });
        let (mut stream, waited) = self.before.run(id, handshake).await?;
        stream.timing_mut().offload_wait_duration = waited;
        self.mark(&mut stream);
        Ok(stream)
    }

    /// Notes whether the client was asked for a certificate, or had one.
    fn mark<S>(&self, stream: &mut TlsStream<S>) {
        let verifies = self.verifies_client || stream.tls().peer_certificate_der().is_some();
        stream.digest_mut().set_verifies_client(verifies);
    }
}

type Callbacks<'a> = dyn crate::listeners::TlsAccept + Send + Sync + 'a;

async fn accept<S: IO>(
    acceptor: &TlsAcceptor,
    io: S,
    callbacks: Option<&Callbacks<'_>>,
) -> Result<TlsStream<S>> {
    let Some(callbacks) = callbacks else {
        let done = acceptor.accept(io).await;
        let stream = done.map_err(|e| refused(&e))?;
        return Ok(TlsStream::new(
            LibraryStream::Server(stream),
            timing(None),
            None,
        ));
    };
    let begun = LazyConfigAcceptor::new(Default::default(), io).await;
    let begun = begun.map_err(|e| refused(&e))?;
    let mut asked = TlsRef::asked_for(begun.client_hello().server_name());
    callbacks.certificate_callback(&mut asked).await;
    let config = match asked.take_certificate() {
        Some(chosen) => Arc::new(with_certificate(acceptor.config(), chosen)),
        None => acceptor.config().clone(),
    };
    let done = begun.into_stream(config).await;
    let stream = done.map_err(|e| refused(&e))?;
    let mut stream = TlsStream::new(LibraryStream::Server(stream), timing(None), None);
    if let Some(kept) = callbacks.handshake_complete_callback(stream.tls()).await {
        stream.digest_mut().extension.set(kept);
    }
    Ok(stream)
}

/// Returns `config` with another certificate; everything else, sessions too, stays shared.
fn with_certificate(config: &ServerConfig, chosen: sign::CertifiedKey) -> ServerConfig {
    let mut config = config.clone();
    config.cert_resolver = Arc::new(SingleCertAndKey::from(chosen));
    config
}

#[cold]
fn refused(e: &std::io::Error) -> Box<Error> {
    accept_error(handshake_reason(e))
}

/// Handshakes of accepted connections.
pub mod server {
    use super::*;

    /// Does the handshake of an accepted connection.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` with the reason.
    pub async fn handshake<S: IO>(acceptor: &Acceptor, io: S) -> Result<TlsStream<S>> {
        let mut stream = accept(&acceptor.acceptor, io, None).await?;
        acceptor.mark(&mut stream);
        Ok(stream)
    }

    /// Does the handshake of an accepted connection, asking `callbacks` for the certificate.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` with the reason.
    pub async fn handshake_with_callback<S: IO>(
        acceptor: &Acceptor,
        io: S,
        callbacks: &(dyn crate::listeners::TlsAccept + Send + Sync),
    ) -> Result<TlsStream<S>> {
        let mut stream = accept(&acceptor.acceptor, io, Some(callbacks)).await?;
        acceptor.mark(&mut stream);
        Ok(stream)
    }
}
