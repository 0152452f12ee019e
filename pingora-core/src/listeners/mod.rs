//! Sockets that accept, and what happens to a connection before an application sees it.
//!
//! [`Listeners`] collects what to listen on. Once a service starts they are bound (`l4`) and each
//! becomes a `TransportStack` (`stack`): accept, ask the [`ConnectionFilter`], run the
//! [`PreTlsProcess`] callback, do the TLS handshake.

mod config;
pub mod connection_filter;
mod l4;
mod stack;
pub mod tls;
pub mod udp;

use std::any::Any;
use std::fs::Permissions;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_error::Result;

pub use self::config::{ListenerConfig, ServerAddress, TcpSocketOptions};
pub use self::connection_filter::{AcceptAllFilter, ConnectionFilter};
pub use crate::protocols::ALPN;
pub use crate::protocols::l4::stream::{
    DEFAULT_L4_READ_BUFFER_SIZE, DEFAULT_L4_WRITE_BUFFER_SIZE, L4BufferSettings,
};

pub(crate) use self::stack::{Preparation, TransportStack};
use self::tls::TlsSettings;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::tls::TlsRef;
use crate::server::ListenFds;

/// How long filter, pre-TLS callback and TLS handshake of a connection may take together. A client
/// that says nothing would otherwise hold its connection for ever; a slow but honest handshake
/// takes a few seconds.
pub(crate) const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Callbacks of the TLS handshake of accepted connections.
///
/// ```
/// use std::any::Any;
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use pingora_core::listeners::{TlsAccept, TlsAcceptCallbacks};
/// use pingora_core::protocols::tls::TlsRef;
///
/// /// Notes when the handshake was complete.
/// struct Note;
///
/// #[async_trait]
/// impl TlsAccept for Note {
///     async fn handshake_complete_callback(
///         &self,
///         _ssl: &TlsRef,
///     ) -> Option<Arc<dyn Any + Send + Sync>> {
///         Some(Arc::new(std::time::Instant::now()))
///     }
/// }
///
/// let callbacks: TlsAcceptCallbacks = Box::new(Note);
/// // TlsSettings::with_callbacks(callbacks)
/// ```
#[async_trait]
pub trait TlsAccept {
    /// Is called when the client has said what it wants, to choose a certificate. Does nothing by
    /// default.
    async fn certificate_callback(&self, _ssl: &mut TlsRef) {}

    /// Is called when the handshake is complete. What it returns is kept as the extension of the
    /// connection's [`SslDigest`](crate::protocols::tls::SslDigest). Keeps nothing by default.
    async fn handshake_complete_callback(
        &self,
        _ssl: &TlsRef,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

/// Boxed [`TlsAccept`] callbacks.
pub type TlsAcceptCallbacks = Box<dyn TlsAccept + Send + Sync>;

/// Works on a connection before TLS: reads a PROXY protocol header, for example.
///
/// ```
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use pingora_core::listeners::{Listeners, PreTlsProcess};
/// use pingora_core::protocols::l4::stream::Stream;
/// use pingora_error::{Error, ErrorType, OrErr, Result};
/// use tokio::io::AsyncReadExt;
///
/// /// Serves connections that begin with a word.
/// struct Word;
///
/// #[async_trait]
/// impl PreTlsProcess for Word {
///     async fn process(&self, stream: &mut Stream) -> Result<()> {
///         let mut word = [0; 6];
///         let read = stream.read_exact(&mut word).await;
///         read.or_err(ErrorType::ReadError, "while reading the word")?;
///         match &word {
///             b"sesame" => Ok(()),
///             _ => Error::e_explain(ErrorType::ReadError, "another word"),
///         }
///     }
/// }
///
/// let mut listeners = Listeners::tcp("127.0.0.1:8080");
/// listeners.set_pre_tls_callback(Arc::new(Word));
/// ```
#[async_trait]
pub trait PreTlsProcess: Send + Sync {
    /// Is called on each accepted connection before the TLS handshake, or before the first read
    /// without TLS. Bytes it reads are gone unless it [rewinds](L4Stream::rewind) them.
    ///
    /// # Errors
    /// Close the connection.
    async fn process(&self, stream: &mut L4Stream) -> Result<()>;
}

/// A shared [`PreTlsProcess`].
pub type PreTlsCallback = Arc<dyn PreTlsProcess>;

/// The addresses a service listens on.
///
/// Nothing is bound before the service starts.
///
/// ```
/// use pingora_core::listeners::Listeners;
///
/// let mut listeners = Listeners::tcp("127.0.0.1:8080");
/// listeners.add_uds("/run/app.sock", None);
/// assert_eq!(listeners.addresses(), ["127.0.0.1:8080", "/run/app.sock"]);
/// ```
pub struct Listeners {
    configs: Vec<ListenerConfig>,
    /// What `configs` were before they were bound.
    started: Vec<String>,
    connection_filter: Option<Arc<dyn ConnectionFilter>>,
    pre_tls: Option<PreTlsCallback>,
    handshake_timeout: Option<Duration>,
}

impl Listeners {
    /// Returns listeners without an address.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Listeners {
            configs: vec![],
            started: vec![],
            connection_filter: None,
            pre_tls: None,
            handshake_timeout: Some(DEFAULT_HANDSHAKE_TIMEOUT),
        }
    }

    /// Returns listeners with one plain TCP address, `host:port`.
    pub fn tcp(addr: &str) -> Self {
        let mut listeners = Self::new();
        listeners.add_tcp(addr);
        listeners
    }

    /// Returns listeners with one Unix socket at the path `addr`, as [`add_uds`](Self::add_uds) adds it.
    pub fn uds(addr: &str, perm: Option<Permissions>) -> Self {
        let mut listeners = Self::new();
        listeners.add_uds(addr, perm);
        listeners
    }

    /// Returns listeners with one TLS address that uses the PEM files given.
    ///
    /// # Errors
    /// If the files cannot be used, or no TLS feature is compiled in.
    pub fn tls(addr: &str, cert_path: &str, key_path: &str) -> Result<Self> {
        let mut listeners = Self::new();
        listeners.add_tls(addr, cert_path, key_path)?;
        Ok(listeners)
    }

    /// Adds a plain TCP address, `host:port`.
    pub fn add_tcp(&mut self, addr: &str) {
        self.add_address(ServerAddress::Tcp(addr.into(), None));
    }

    /// Adds a plain TCP address with socket options.
    pub fn add_tcp_with_settings(&mut self, addr: &str, sock_opt: TcpSocketOptions) {
        self.add_address(ServerAddress::Tcp(addr.into(), Some(sock_opt)));
    }

    /// Adds a Unix socket at the path `addr`. A stale socket file of a process that is gone is
    /// replaced. Everybody may connect unless `perm` says otherwise.
    pub fn add_uds(&mut self, addr: &str, perm: Option<Permissions>) {
        self.add_address(ServerAddress::Uds(addr.into(), perm));
    }

    /// Adds a TLS address that uses the PEM files given.
    ///
    /// # Errors
    /// If the files cannot be used, or no TLS feature is compiled in.
    pub fn add_tls(&mut self, addr: &str, cert_path: &str, key_path: &str) -> Result<()> {
        self.add_tls_with_settings(addr, None, TlsSettings::intermediate(cert_path, key_path)?);
        Ok(())
    }

    /// Adds a TLS address with settings and, optionally, socket options.
    pub fn add_tls_with_settings(
        &mut self,
        addr: &str,
        sock_opt: Option<TcpSocketOptions>,
        settings: TlsSettings,
    ) {
        self.add_endpoint(ServerAddress::Tcp(addr.into(), sock_opt), Some(settings));
    }

    /// Adds a plain address of either kind.
    pub fn add_address(&mut self, addr: ServerAddress) {
        self.add_endpoint(addr, None);
    }

    /// Adds an address of either kind, with or without TLS.
    pub fn add_endpoint(&mut self, l4: ServerAddress, tls: Option<TlsSettings>) {
        self.add_listener(ListenerConfig::new(l4, tls));
    }

    /// Adds an address with everything that belongs to it.
    pub fn add_listener(&mut self, endpoint: ListenerConfig) {
        self.configs.push(endpoint);
    }

    /// Has `filter` decide which connections of all these addresses are served.
    pub fn set_connection_filter(&mut self, filter: Arc<dyn ConnectionFilter>) {
        self.connection_filter = Some(filter);
    }

    /// Has `callback` work on the connections of all these addresses before TLS.
    pub fn set_pre_tls_callback(&mut self, callback: PreTlsCallback) {
        self.pre_tls = Some(callback);
    }

    /// Sets how long filter, pre-TLS callback and TLS handshake of a connection may take together,
    /// 60 seconds by default; `None` for no limit.
    pub fn set_handshake_timeout(&mut self, timeout: Option<Duration>) {
        self.handshake_timeout = timeout;
    }

    /// Returns the addresses as they were configured.
    pub fn addresses(&self) -> Vec<String> {
        let configured = self
            .configs
            .iter()
            .map(|config| config.address.as_ref().to_string());
        self.started.iter().cloned().chain(configured).collect()
    }

    /// Binds all addresses, or takes over their sockets from `fds`, where they are also left for
    /// the next process.
    ///
    /// # Errors
    /// `BindError` naming the address. If other sockets were inherited, an address in use is tried
    /// again for 30 seconds, else once.
    pub(crate) async fn build(&mut self, fds: Option<ListenFds>) -> Result<Vec<TransportStack>> {
        self.started = self.addresses();
        let configs = std::mem::take(&mut self.configs);
        // All at once, because one inherited socket shows that this is an upgrade.
        let mut plans: Vec<_> = configs
            .iter()
            .map(|config| l4::Plan::new(&config.address, fds.clone()))
            .collect();
        let in_upgrade = plans.iter().any(l4::Plan::is_inherited);
        let mut stacks = Vec::with_capacity(configs.len());
        for (plan, config) in plans.drain(..).zip(configs) {
            let socket = plan.listen(in_upgrade).await?;
            let preparation = Preparation {
                filter: self.connection_filter.clone(),
                pre_tls: self.pre_tls.clone(),
                tls: config.tls.map(TlsSettings::try_build).transpose()?,
                timeout: self.handshake_timeout,
            };
            stacks.push(TransportStack::new(socket, config.buffers, preparation));
        }
        Ok(stacks)
    }
}

#[cfg(test)]
mod tests;
