//! Accepting: settings of a listener, and the handshake of its connections.

use std::sync::Arc;

use pingora_error::{Error, Result};

use super::cert::X509Pem;
use super::chooser::{Callbacks, Chooser, Common, OnClientHello};
use super::psk::PskConfig;
use super::stream::{AutoFlushableStream, S2NConnectionBuilder, TlsStream};
use super::{CaType, INTERMEDIATE, MODERN, reason, unusable};
pub use crate::backend::callbacks::{server_name, set_certificate};
pub use crate::backend::certificates::CertificateSet;
use crate::backend::handshake::{Before, accept_error, timing};
pub use crate::backend::hello::{ClientHello, ClientHelloHook};
use crate::backend::keylog::KeyLog;
use crate::backend::library::{ClientAuthType, S2NPolicy, TlsAcceptor};
use crate::backend::ocsp::load_response;
pub use crate::backend::settings::{ClientAuth, TLS_CONF_ERR};
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
    files: Option<(String, String)>,
    certificates: Option<CertificateSet>,
    /// The OCSP response for the certificate in `files`.
    ocsp_path: Option<String>,
    common: Common,
    psk: Option<PskConfig>,
    callbacks: Option<TlsAcceptCallbacks>,
    offload: Option<(usize, usize)>,
    hello_hook: Option<ClientHelloHook>,
}

impl TlsSettings {
    /// Returns settings without a certificate: TLS 1.2 and 1.3, as the intermediate profile of
    /// Mozilla's recommendations.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        TlsSettings {
            files: None,
            certificates: None,
            ocsp_path: None,
            common: Common {
                policy: None,
                profile: INTERMEDIATE,
                max_blinding_delay: None,
                alpn: None,
                client_auth: ClientAuthType::None,
                client_ca: None,
                verify_client_hostname: false,
                keylog: None,
            },
            psk: None,
            callbacks: None,
            offload: None,
            hello_hook: None,
        }
    }

    /// Returns settings for all but very old clients with a certificate chain and its key, two PEM
    /// files: TLS 1.2 and 1.3, as the intermediate profile of Mozilla's recommendations.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file that cannot be used and why.
    pub fn intermediate(cert_path: &str, key_path: &str) -> Result<Self>
    where
        Self: Sized,
    {
        Self::with_certificates(CertificateSet::new(cert_path, key_path)?)
    }

    /// Returns settings for current clients only: TLS 1.3, as the modern profile.
    ///
    /// # Errors
    /// Those of [`intermediate`](Self::intermediate).
    pub fn modern(cert_path: &str, key_path: &str) -> Result<Self> {
        let mut settings = Self::intermediate(cert_path, key_path)?;
        settings.common.profile = MODERN;
        Ok(settings)
    }

    /// Returns settings of the intermediate profile whose `callbacks` choose the certificate of
    /// each connection, with [`TlsRef::set_certificate`].
    ///
    /// # Errors
    /// None; other libraries have some.
    pub fn with_callbacks(callbacks: TlsAcceptCallbacks) -> Result<Self> {
        let mut settings = Self::new();
        settings.set_callbacks(callbacks);
        Ok(settings)
    }

    /// Returns settings of the intermediate profile with several certificates, chosen by server name.
    ///
    /// # Errors
    /// None; other libraries have some.
    pub fn with_certificates(certificates: CertificateSet) -> Result<Self> {
        let mut settings = Self::new();
        settings.certificates = Some(certificates);
        Ok(settings)
    }

    /// Staples the OCSP response in the DER file `path` to the certificate, of several to the default
    /// one ([`CertificateSet::set_ocsp_response`] is for each), for clients that ask for one.
    ///
    /// A certificate that a callback chooses has none.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file and the reason.
    pub fn set_ocsp_response(&mut self, path: &str) -> Result<()> {
        load_response(path)?;
        self.ocsp_path = Some(path.to_owned());
        match &self.certificates {
            Some(certificates) => certificates.set_default_ocsp_response(path),
            None => Ok(()),
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
        self.common.alpn = Some(alpn);
    }

    /// Uses a certificate chain and its key, two PEM files that are read when the listener starts.
    pub fn set_cert(&mut self, cert_path: &str, key_path: &str) {
        self.files = Some((cert_path.to_owned(), key_path.to_owned()));
    }

    /// Trusts these authorities of client certificates.
    pub fn set_ca(&mut self, ca: CaType) {
        self.common.client_ca = Some(ca.raw_pem);
    }

    /// Sets whether clients must have a certificate of the authorities given to
    /// [`set_ca`](Self::set_ca). They are not asked for one by default.
    pub fn set_client_auth_required(&mut self, required: bool) {
        self.common.client_auth = match required {
            true => ClientAuthType::Required,
            false => ClientAuthType::None,
        };
    }

    /// Sets whether the library checks the names in client certificates, of which it accepts the
    /// server name the client asks for. They are not checked by default.
    pub fn set_verify_client_hostname(&mut self, verify: bool) {
        self.common.verify_client_hostname = verify;
    }

    /// Has clients asked for a certificate of the authorities in the PEM file `ca_path`, and refuses
    /// those with another one. Sessions are not resumed then: they would be without the certificate.
    ///
    /// What the certificate says is in the [`SslDigest`](crate::protocols::tls::SslDigest) of the
    /// connection.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file and the reason.
    pub fn set_client_auth(&mut self, ca_path: &str, auth: ClientAuth) -> Result<()> {
        self.set_ca(X509Pem::load(ca_path)?);
        self.common.client_auth = match auth {
            ClientAuth::Optional => ClientAuthType::Optional,
            ClientAuth::Required => ClientAuthType::Required,
        };
        Ok(())
    }

    /// Sets versions, cipher suites, groups and signatures: a security policy of the library.
    pub fn set_policy(&mut self, policy: S2NPolicy) {
        self.common.policy = Some(policy);
    }

    /// Accepts clients that know one of these keys, with a certificate or without. Sessions are not
    /// resumed then.
    pub fn set_psk_config(&mut self, psk_config: PskConfig) {
        self.psk = Some(psk_config);
    }

    /// Sets for how many seconds at most an error is kept from the client, so that how long it took
    /// to find tells nothing.
    ///
    /// The library's delay is 10 to 30 seconds. With the policies of [`intermediate`] and [`modern`],
    /// whose ciphers need none, there is none by default.
    ///
    /// [`intermediate`]: Self::intermediate
    /// [`modern`]: Self::modern
    pub fn set_max_blinding_delay(&mut self, delay: u32) {
        self.common.max_blinding_delay = Some(delay);
    }

    /// Writes the secrets of connections to the file named by the environment variable
    /// `SSLKEYLOGFILE`, if there is one, for debugging.
    pub fn enable_debug_keylog(&mut self) {
        self.common.keylog = KeyLog::from_env().map(|log| &*Box::leak(Box::new(log)));
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
    /// If the settings have neither a certificate nor something that chooses one nor a key, or if a
    /// file cannot be used. Listeners report that as an error when they start.
    pub fn build(self) -> Acceptor {
        self.try_build().unwrap_or_else(|e| panic!("{e}"))
    }

    /// Returns what accepts connections.
    pub(crate) fn try_build(self) -> Result<Acceptor> {
        let certificates = match &self.files {
            Some((cert_path, key_path)) => {
                let set = CertificateSet::new(cert_path, key_path)?;
                if let Some(path) = &self.ocsp_path {
                    set.set_default_ocsp_response(path)?;
                }
                Some(set)
            }
            None => self.certificates,
        };
        if certificates.is_none() && self.callbacks.is_none() && self.psk.is_none() {
            let context = "cannot make TLS settings: there is no certificate with its key";
            return Err(Error::explain(TLS_CONF_ERR, context).into_in());
        }
        let failed = |e| unusable("cannot make TLS settings", &e);
        let callbacks: Option<Callbacks> = self.callbacks.map(Callbacks::from);
        let mut base = self.common.builder().map_err(failed)?;
        let verifies_client = self.common.client_auth != ClientAuthType::None;
        let has_keys = self.psk.is_some();
        let chooser = Chooser::new(self.common, certificates, callbacks.clone(), has_keys);
        // What cannot be made is told now rather than to the first client.
        chooser.find(None).map_err(failed)?;
        let on_client_hello = OnClientHello(Arc::new(chooser));
        base.set_client_hello_callback(on_client_hello)
            .map_err(failed)?;
        let builder = S2NConnectionBuilder {
            config: base.build().map_err(failed)?,
            psk_config: self.psk.map(Arc::new),
            security_policy: None,
        };
        Ok(Acceptor {
            acceptor: TlsAcceptor::new(builder),
            callbacks,
            before: Before::new(self.offload, self.hello_hook),
            verifies_client,
        })
    }
}

/// Accepts the connections of a listener.
pub struct Acceptor {
    /// The library's acceptor.
    pub acceptor: TlsAcceptor<S2NConnectionBuilder>,
    callbacks: Option<Callbacks>,
    before: Before,
    verifies_client: bool,
}

impl Acceptor {
    /// Does the handshake of an accepted connection.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` with the reason.
    pub async fn tls_handshake<S: IO + 'static>(&self, mut stream: S) -> Result<TlsStream<S>> {
        self.before.client_hello(&mut stream).await?;
        let (id, acceptor, callbacks) =
            (stream.id(), self.acceptor.clone(), self.callbacks.clone());
        let handshake = async move { accept(&acceptor, stream, callbacks.as_ref()).await };
        let (mut stream, waited) = self.before.run(id, handshake).await?;
        stream.timing_mut().offload_wait_duration = waited;
        let verifies = self.verifies_client;
        stream.digest_mut().set_verifies_client(verifies);
        Ok(stream)
    }
}

async fn accept<S: IO>(
    acceptor: &TlsAcceptor<S2NConnectionBuilder>,
    io: S,
    callbacks: Option<&Callbacks>,
) -> Result<TlsStream<S>> {
    let done = acceptor.accept(AutoFlushableStream::new(io, true)).await;
    let stream = done.map_err(|e| accept_error(reason(&e)))?;
    let mut stream = TlsStream::new(stream, timing(None));
    if let Some(callbacks) = callbacks
        && let Some(kept) = callbacks.handshake_complete_callback(stream.tls()).await
    {
        stream.digest_mut().extension.set(kept);
    }
    Ok(stream)
}

/// Handshakes of accepted connections.
pub mod server {
    use super::*;

    /// Does the handshake of an accepted connection.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` with the reason.
    pub async fn handshake<S: IO>(acceptor: &Acceptor, stream: S) -> Result<TlsStream<S>> {
        let callbacks = acceptor.callbacks.as_ref();
        let mut stream = accept(&acceptor.acceptor, stream, callbacks).await?;
        let verifies = acceptor.verifies_client;
        stream.digest_mut().set_verifies_client(verifies);
        Ok(stream)
    }
}
