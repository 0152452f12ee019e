//! Accepting: settings of a listener, and the handshake of its connections.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_error::{ErrorType, OrErr, Result};
use tokio::io::{AsyncRead, AsyncWrite};

use super::cert::{load_certificates, load_pair, settings_error, store_of};
use super::differences::{modern, on_client_hello, set_groups, verify_failure};
use super::staple;
use super::stream::SslStream;
use super::{handshake_reason, reasons};
pub use crate::backend::callbacks::{server_name, set_certificate};
pub use crate::backend::certificates::CertificateSet;
use crate::backend::handshake::{Before, accept_error};
pub use crate::backend::hello::{ClientHello, ClientHelloHook};
use crate::backend::keylog::KeyLog;
use crate::backend::library::error::ErrorStack;
use crate::backend::library::ext;
use crate::backend::library::hash::{MessageDigest, hash};
use crate::backend::library::ssl::{
    AlpnError, SslAcceptor, SslAcceptorBuilder, SslMethod, SslRef, SslVerifyMode,
};
use crate::backend::ocsp::load_response;
pub use crate::backend::settings::{ClientAuth, TLS_CONF_ERR};
use crate::listeners::TlsAcceptCallbacks;
use crate::protocols::{ALPN, IO};
use crate::server::configuration::ServerConf;

/// The TLS settings of a listener.
///
/// They deref to the library's builder, for everything that has no method here. A callback for the
/// ClientHello that is set on it is replaced when the listener starts: the settings have their own,
/// which binds sessions to server names. Look at the ClientHello with
/// [`set_client_hello_hook`](Self::set_client_hello_hook), or make the settings
/// [from a builder](#impl-From<SslAcceptorBuilder>-for-TlsSettings) that has the callback.
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
    builder: SslAcceptorBuilder,
    callbacks: Option<TlsAcceptCallbacks>,
    offload: Option<(usize, usize)>,
    hello_hook: Option<ClientHelloHook>,
    by_name: Option<ByName>,
}

/// The key exchange groups of both profiles: the first list of which the library has all.
///
/// OpenSSL alone would take finite-field ones too, of which a client can ask for an exchange that costs the
/// server a hundred times what it costs the client (CVE-2002-20001).
const GROUPS: [&str; 3] = [
    "X25519MLKEM768:X25519:P-256:P-384",
    "X25519:P-256:P-384",
    // What FIPS modules have.
    "P-256:P-384",
];

/// What depends on the server name a client asks for.
#[derive(Default)]
struct ByName {
    certificates: Option<CertificateSet>,
}

impl TlsSettings {
    /// Returns settings for all but very old clients with a certificate chain and its key, two PEM
    /// files: the intermediate profile of Mozilla's recommendations, TLS 1.2 and 1.3, with key exchange
    /// by X25519MLKEM768 where the library has it, X25519, P-256 and P-384.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file that cannot be used and why.
    pub fn intermediate(cert_path: &str, key_path: &str) -> Result<Self> {
        let mut settings = Self::without_certificate(SslAcceptor::mozilla_intermediate_v5)?;
        settings.use_files(cert_path, key_path)?;
        Ok(settings)
    }

    /// Returns settings for current clients only: the modern profile, TLS 1.3.
    ///
    /// # Errors
    /// Those of [`intermediate`](Self::intermediate).
    pub fn modern(cert_path: &str, key_path: &str) -> Result<Self> {
        let mut settings = Self::without_certificate(modern)?;
        settings.use_files(cert_path, key_path)?;
        Ok(settings)
    }

    /// Returns settings of the intermediate profile whose `callbacks` choose the certificate of
    /// each connection.
    ///
    /// # Errors
    /// `TLSConfigError` when the library has no memory.
    pub fn with_callbacks(callbacks: TlsAcceptCallbacks) -> Result<Self> {
        let mut settings = Self::without_certificate(SslAcceptor::mozilla_intermediate_v5)?;
        settings.callbacks = Some(callbacks);
        Ok(settings)
    }

    /// Returns settings of the intermediate profile with several certificates, chosen by server name.
    ///
    /// # Errors
    /// `TLSConfigError` when the library has no memory.
    pub fn with_certificates(certificates: CertificateSet) -> Result<Self> {
        let mut settings = Self::without_certificate(SslAcceptor::mozilla_intermediate_v5)?;
        staple::send_kept(&mut settings.builder)
            .map_err(|e| settings_error("cannot staple OCSP responses", &e))?;
        settings.by_name = Some(ByName {
            certificates: Some(certificates),
        });
        Ok(settings)
    }

    /// Staples the OCSP response in the DER file `path` to the certificate, of several to the default
    /// one ([`CertificateSet::set_ocsp_response`] is for each), for clients that ask for one.
    ///
    /// A certificate that a callback chooses needs one of its own
    /// ([`SslRef::set_ocsp_status`](crate::tls::ssl::SslRef::set_ocsp_status)).
    ///
    /// # Errors
    /// `TLSConfigError` naming the file and the reason.
    pub fn set_ocsp_response(&mut self, path: &str) -> Result<()> {
        if let Some(certificates) = self
            .by_name
            .as_ref()
            .and_then(|by_name| by_name.certificates.as_ref())
        {
            return certificates.set_default_ocsp_response(path);
        }
        let response = load_response(path)?;
        staple::send_with_certificate(&mut self.builder, response)
            .map_err(|e| settings_error("cannot staple OCSP responses", &e))
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
        self.builder.set_alpn_select_callback(move |_, offered| {
            choose_protocol(alpn.to_wire_preference(), offered).ok_or(AlpnError::ALERT_FATAL)
        });
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
        let authorities = load_certificates(ca_path)?;
        let mut trust = || {
            for ca in &authorities {
                self.builder.add_client_ca(ca)?;
            }
            let store = store_of(&authorities)?;
            self.builder.set_verify_cert_store(store)
        };
        trust().map_err(|e| settings_error(&format!("cannot use {ca_path}"), &e))?;
        self.builder.set_verify(match auth {
            ClientAuth::Optional => SslVerifyMode::PEER,
            ClientAuth::Required => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
        });
        Ok(())
    }

    /// Writes the secrets of connections to the file named by the environment variable
    /// `SSLKEYLOGFILE`, if there is one, for debugging.
    pub fn enable_debug_keylog(&mut self) {
        if let Some(log) = KeyLog::from_env() {
            self.builder
                .set_keylog_callback(move |_, line| log.write(line));
        }
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
    /// # Errors
    /// `TLSConfigError` when the library has no memory.
    pub(crate) fn try_build(mut self) -> Result<Acceptor> {
        // Last, so that nothing set on the builder undoes it.
        if let Some(by_name) = self.by_name {
            bind_sessions(&mut self.builder, by_name)
                .map_err(|e| settings_error("cannot make TLS settings", &e))?;
        }
        Ok(Acceptor {
            shared: Arc::new(Shared {
                acceptor: self.builder.build(),
                callbacks: self.callbacks,
            }),
            before: Before::new(self.offload, self.hello_hook),
        })
    }

    fn without_certificate(
        profile: fn(SslMethod) -> Result<SslAcceptorBuilder, ErrorStack>,
    ) -> Result<Self> {
        let builder = profile(SslMethod::tls()).and_then(|mut builder| {
            let taken = GROUPS
                .iter()
                .find(|groups| set_groups(&mut builder, groups).is_ok());
            taken.ok_or_else(ErrorStack::get)?;
            Ok(builder)
        });
        let builder = builder.map_err(|e| settings_error("cannot make TLS settings", &e))?;
        let mut settings = Self::from(builder);
        // OpenSSL keeps a name that was accepted with the session, and in TLS 1.2 a resumed one has no
        // other.
        settings.builder.set_servername_callback(|_, _| Ok(()));
        settings.by_name = Some(ByName::default());
        Ok(settings)
    }

    fn use_files(&mut self, cert_path: &str, key_path: &str) -> Result<()> {
        let (certificates, key) = load_pair(cert_path, key_path)?;
        let mut chain = certificates.into_iter();
        let leaf = chain
            .next()
            .expect("load_pair returns at least one certificate");
        let mut set = || {
            self.builder.set_certificate(&leaf)?;
            self.builder.set_private_key(&key)?;
            chain.try_for_each(|cert| self.builder.add_extra_chain_cert(cert))
        };
        set().map_err(|e| settings_error(&format!("cannot use {cert_path} with {key_path}"), &e))
    }
}

impl From<SslAcceptorBuilder> for TlsSettings {
    /// Returns settings that are what the builder says, and nothing else: no callbacks, and
    /// sessions that may be resumed under any server name unless the builder prevents it.
    ///
    /// Nor is a client kept from asking for another name after a HelloRetryRequest: a callback of
    /// the builder that decides by name must compare the names of both ClientHellos.
    fn from(settings: SslAcceptorBuilder) -> Self {
        TlsSettings {
            builder: settings,
            callbacks: None,
            offload: None,
            hello_hook: None,
            by_name: None,
        }
    }
}

impl Deref for TlsSettings {
    type Target = SslAcceptorBuilder;

    fn deref(&self) -> &Self::Target {
        &self.builder
    }
}

impl DerefMut for TlsSettings {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.builder
    }
}

/// Returns the first of `accepted` that is among `offered`, both lists of names with their lengths.
fn choose_protocol<'a>(accepted: &[u8], offered: &'a [u8]) -> Option<&'a [u8]> {
    protocols(accepted).find_map(|wanted| protocols(offered).find(|name| *name == wanted))
}

/// Returns the names in a list in which each has its length before it; ends where it is malformed.
fn protocols(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = list.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        list = rest;
        Some(name)
    })
}

/// Binds sessions to the server name they were made under.
///
/// What a callback demands of clients may depend on the name (a client certificate, for example),
/// and none is called when a session is resumed. A session of another name is then no session: the
/// handshake is a full one.
///
/// The certificate for the name is chosen at the same time, if there are several.
fn bind_sessions(builder: &mut SslAcceptorBuilder, by_name: ByName) -> Result<(), ErrorStack> {
    builder.set_session_id_context(b"no name")?;
    on_client_hello(builder, move |ssl, asked_for| {
        if let Some(certificates) = &by_name.certificates {
            certificates.find(asked_for).present(ssl)?;
        }
        let name = asked_for.unwrap_or_default().to_ascii_lowercase();
        let digest = hash(MessageDigest::sha256(), name.as_bytes())?;
        ext::ssl_set_session_id_context(ssl, &digest)
    })
}

/// Accepts the connections of a listener.
pub(crate) struct Acceptor {
    shared: Arc<Shared>,
    before: Before,
}

struct Shared {
    acceptor: SslAcceptor,
    callbacks: Option<TlsAcceptCallbacks>,
}

impl Acceptor {
    /// Does the handshake of an accepted connection.
    pub(crate) async fn tls_handshake<S: IO + 'static>(
        &self,
        mut stream: S,
    ) -> Result<SslStream<S>> {
        self.before.client_hello(&mut stream).await?;
        let (id, shared) = (stream.id(), self.shared.clone());
        let handshake = async move { shared.handshake(stream).await };
        let (mut stream, waited) = self.before.run(id, handshake).await?;
        stream.timing_mut().offload_wait_duration = waited;
        Ok(stream)
    }
}

impl Shared {
    async fn handshake<S: IO>(&self, stream: S) -> Result<SslStream<S>> {
        match &self.callbacks {
            Some(callbacks) => {
                server::handshake_with_callback(&self.acceptor, stream, &**callbacks).await
            }
            None => server::handshake(&self.acceptor, stream).await,
        }
    }
}

/// Handshakes of accepted connections.
pub mod server {
    use super::*;
    use crate::backend::library::ssl::Error as SslError;
    use crate::listeners::TlsAccept;

    /// Does the handshake of an accepted connection.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` with the reason.
    pub async fn handshake<S: IO>(ssl_acceptor: &SslAcceptor, io: S) -> Result<SslStream<S>> {
        let mut stream = prepare_tls_stream(ssl_acceptor, io)?;
        stream.accept().await.map_err(|e| refused(&stream, &e))?;
        Ok(stream)
    }

    /// Does the handshake of an accepted connection, asking `callbacks` for the certificate.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` with the reason.
    pub async fn handshake_with_callback<S: IO>(
        ssl_acceptor: &SslAcceptor,
        io: S,
        callbacks: &(dyn TlsAccept + Send + Sync),
    ) -> Result<SslStream<S>> {
        let mut stream = prepare_tls_stream(ssl_acceptor, io)?;
        let suspended = Pin::new(&mut stream).start_accept().await;
        if suspended.map_err(|e| refused(&stream, &e))? {
            // SAFETY: the stream is owned here and not used until the callback returns.
            let ssl = unsafe { ext::ssl_mut(stream.ssl()) };
            callbacks.certificate_callback(ssl).await;
            let resumed = Pin::new(&mut stream).resume_accept().await;
            resumed.map_err(|e| refused(&stream, &e))?;
        }
        let kept = callbacks.handshake_complete_callback(stream.ssl()).await;
        keep(&mut stream, kept);
        Ok(stream)
    }

    /// Returns a connection to be accepted, before its handshake.
    ///
    /// # Errors
    /// `TLSHandshakeFailure` when the library has no memory.
    pub fn prepare_tls_stream<S: IO>(ssl_acceptor: &SslAcceptor, io: S) -> Result<SslStream<S>> {
        let ssl = ext::ssl_from_acceptor(ssl_acceptor)
            .map_err(|e| accept_error(reasons(&e)))
            .or_err(
                ErrorType::TLSHandshakeFailure,
                "cannot start a TLS connection",
            )?;
        SslStream::new(ssl, io)
    }

    /// Handshakes that stop when they need a certificate, and go on when there is one.
    #[async_trait]
    pub trait ResumableAccept {
        /// Begins; `true` when the handshake stopped for want of a certificate, `false` when it is
        /// done.
        ///
        /// # Errors
        /// Those of the library.
        async fn start_accept(self: Pin<&mut Self>) -> Result<bool, SslError>;

        /// Goes on with the certificate that is set now.
        ///
        /// # Errors
        /// Those of the library.
        async fn resume_accept(self: Pin<&mut Self>) -> Result<(), SslError>;
    }

    #[async_trait]
    impl<S: AsyncRead + AsyncWrite + Send + Unpin> ResumableAccept for SslStream<S> {
        async fn start_accept(mut self: Pin<&mut Self>) -> Result<bool, SslError> {
            // SAFETY: the stream is borrowed for changing and not used during the call.
            ext::suspend_when_need_ssl_cert(unsafe { ext::ssl_mut(self.ssl()) });
            match self.accept().await {
                Ok(()) => Ok(false),
                Err(e) if ext::is_suspended_for_cert(&e) => Ok(true),
                Err(e) => Err(e),
            }
        }

        async fn resume_accept(mut self: Pin<&mut Self>) -> Result<(), SslError> {
            // SAFETY: the stream is borrowed for changing and not used during the call.
            ext::unblock_ssl_cert(unsafe { ext::ssl_mut(self.ssl()) });
            self.accept().await
        }
    }

    fn keep<S>(stream: &mut SslStream<S>, kept: Option<Arc<dyn Any + Send + Sync>>) {
        if let (Some(digest), Some(kept)) = (stream.digest_mut(), kept) {
            digest.extension.set(kept);
        }
    }

    #[cold]
    fn refused<S>(stream: &SslStream<S>, e: &SslError) -> Box<pingora_error::Error> {
        accept_error(describe(stream.ssl(), e))
    }

    /// Returns why the handshake failed; for a client certificate, what is wrong with it.
    fn describe(ssl: &SslRef, e: &SslError) -> String {
        let reason = handshake_reason(e);
        match verify_failure(ssl) {
            Some(failure) => format!("{reason}: client certificate: {failure}"),
            None => reason,
        }
    }
}

#[cfg(test)]
mod tests;
