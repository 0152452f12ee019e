//! How to connect to a peer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pingora_error::Result;
use tokio::net::TcpSocket;

use super::{HttpUpstreamRequestPolicy, ProxyDigestUserDataHook, Tracer, Unresolved};
use crate::backend::{PskType, SecurityPolicy};
use crate::connectors::l4::{BindTo, Connect};
use crate::protocols::TcpKeepalive;
use crate::protocols::proxy_protocol::SendProxyHeader;
use crate::protocols::tls::{ALPN, CaType, HandshakeCompleteHook};

/// Changes a TCP socket before it connects.
type TcpSocketTweakHook = Arc<dyn Fn(&TcpSocket) -> Result<()> + Send + Sync + 'static>;

/// How to connect to a peer, and how to use the connection.
///
/// ```
/// use std::time::Duration;
/// use pingora_core::upstreams::peer::PeerOptions;
///
/// let mut options = PeerOptions::new();
/// options.connection_timeout = Some(Duration::from_secs(1));
/// options.idle_timeout = Some(Duration::from_secs(60));
/// assert!(options.verify_cert && options.verify_hostname);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct PeerOptions {
    /// The local address to connect from. Default: the system's choice.
    pub bind_to: Option<BindTo>,
    /// How long a name lookup and a TCP connection may take together. Default: 60 s when
    /// `total_connection_timeout` is not set either.
    pub connection_timeout: Option<Duration>,
    /// How long name lookup, TCP, proxy and TLS may take together. Default: no limit of its own.
    pub total_connection_timeout: Option<Duration>,
    /// How long to wait for bytes from the peer. Default: no limit.
    pub read_timeout: Option<Duration>,
    /// How long an unused connection is kept for reuse. Default: no limit.
    pub idle_timeout: Option<Duration>,
    /// How long to wait for the peer to take bytes. Default: no limit.
    pub write_timeout: Option<Duration>,
    /// Whether the certificate of the server is checked. Default: true.
    pub verify_cert: bool,
    /// Whether the certificate must be valid for the server name. Default: true.
    pub verify_hostname: bool,
    /// A second name the certificate may be valid for.
    pub alternative_cn: Option<String>,
    /// The protocols to offer by ALPN (RFC 7301). Default: HTTP/1.1.
    pub alpn: ALPN,
    /// The certificate authorities to trust instead of the system's. Connections are shared only
    /// by peers with the same certificates.
    pub ca: Option<Arc<CaType>>,
    /// TCP keep-alive. Default: off.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// The size of the socket's receive buffer in bytes. Default: the system's.
    pub tcp_recv_buf: Option<usize>,
    /// The DSCP mark of outgoing packets (RFC 2474), 0 to 63. Default: none.
    pub dscp: Option<u8>,
    /// How often to send an HTTP/2 PING. Default: never.
    pub h2_ping_interval: Option<Duration>,
    /// The most HTTP/2 streams on one connection. Default: 1.
    pub max_h2_streams: usize,
    /// The HTTP/2 flow-control window of a stream in bytes: what a server can make us hold for a
    /// client that takes nothing. Default: 1 MiB, less where many streams share a connection.
    pub h2_stream_window_size: Option<u32>,
    /// The HTTP/2 flow-control window of a connection in bytes. Default: 8 MiB, or more if its
    /// streams need that so that none stops another.
    pub h2_connection_window_size: Option<u32>,
    /// Whether to accept a `Content-Length` that is no number, as if it were not there. Default:
    /// false, the response is refused.
    pub allow_h1_response_invalid_content_length: bool,
    /// What a proxy does to request headers. Default:
    /// [`standard`](HttpUpstreamRequestPolicy::standard).
    pub http_upstream_request_policy: HttpUpstreamRequestPolicy,
    /// Headers of the CONNECT request besides those of the proxy. They do not keep connections
    /// apart: what must belongs into [`Proxy::headers`](super::Proxy).
    pub extra_proxy_headers: BTreeMap<String, Vec<u8>>,
    /// The key exchange groups to offer in TLS, in the notation of the TLS library. Default: the
    /// library's.
    pub curves: Option<Cow<'static, str>>,
    /// Whether to send a second key share in TLS 1.3. Default: true.
    pub second_keyshare: bool,
    /// Keys known to both sides, in place of certificates; s2n only. Default: none.
    pub psk: Option<Arc<PskType>>,
    /// Versions, cipher suites, groups and signatures of TLS; s2n only. Default: TLS 1.2 and 1.3
    /// with authenticated encryption and post-quantum key exchange.
    pub s2n_security_policy: Option<SecurityPolicy>,
    /// For how many seconds at most a TLS error is kept from the server, so that how long it took
    /// to find tells nothing; s2n only. Default: none with the default policy, which needs none, and
    /// that of the library, 30, with another.
    pub max_blinding_delay: Option<u32>,
    /// Whether the system's authorities are trusted besides `ca`; s2n only. Without `ca` they
    /// always are. Default: false.
    pub use_system_certs: bool,
    /// Whether to use TCP Fast Open (RFC 7413). Default: false.
    pub tcp_fast_open: bool,
    /// Is told when the connection opens and closes. Default: nobody.
    pub tracer: Option<Tracer>,
    /// Makes the transport connection in place of TCP. Connections made by different functions
    /// for the same address need different [`HttpPeer::group_key`](super::HttpPeer)s.
    pub custom_l4: Option<Arc<dyn Connect + Send + Sync>>,
    /// The PROXY protocol header a connection starts with. Default: none. Connections are shared
    /// only by peers with the same one.
    pub proxy_protocol: Option<Arc<SendProxyHeader>>,
    /// Changes the TCP socket before it connects.
    pub upstream_tcp_sock_tweak_hook: Option<TcpSocketTweakHook>,
    /// Makes the user data kept with the answer of a CONNECT proxy.
    pub proxy_digest_user_data_hook: Option<ProxyDigestUserDataHook>,
    /// Is called when a TLS handshake is complete; what it returns is kept as the extension of the
    /// connection's [`SslDigest`](crate::protocols::tls::SslDigest).
    pub upstream_tls_handshake_complete_hook: Option<HandshakeCompleteHook>,
    /// The host name to look up when a connection is made, set by the constructors of the peers.
    /// `None` for a peer with an address.
    pub unresolved: Option<Unresolved>,
}

impl PeerOptions {
    /// Returns the defaults.
    pub fn new() -> Self {
        PeerOptions {
            bind_to: None,
            connection_timeout: None,
            total_connection_timeout: None,
            read_timeout: None,
            idle_timeout: None,
            write_timeout: None,
            verify_cert: true,
            verify_hostname: true,
            alternative_cn: None,
            alpn: ALPN::H1,
            ca: None,
            tcp_keepalive: None,
            tcp_recv_buf: None,
            dscp: None,
            h2_ping_interval: None,
            max_h2_streams: 1,
            h2_stream_window_size: None,
            h2_connection_window_size: None,
            allow_h1_response_invalid_content_length: false,
            http_upstream_request_policy: HttpUpstreamRequestPolicy::standard(),
            extra_proxy_headers: BTreeMap::new(),
            curves: None,
            second_keyshare: true,
            psk: None,
            s2n_security_policy: None,
            max_blinding_delay: None,
            use_system_certs: false,
            tcp_fast_open: false,
            tracer: None,
            custom_l4: None,
            upstream_tcp_sock_tweak_hook: None,
            proxy_digest_user_data_hook: None,
            upstream_tls_handshake_complete_hook: None,
            proxy_protocol: None,
            unresolved: None,
        }
    }

    /// Sets the HTTP versions to offer: 1 or 2, where `max` is preferred and `min` acceptable.
    pub fn set_http_version(&mut self, max: u8, min: u8) {
        self.alpn = ALPN::new(max, min);
    }
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for PeerOptions {
    /// Writes what is not the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bind_to) = &self.bind_to {
            write!(f, "bind_to: {bind_to:?}, ")?;
        }
        if let Some(timeout) = self.connection_timeout {
            write!(f, "conn_timeout: {timeout:?}, ")?;
        }
        if let Some(timeout) = self.total_connection_timeout {
            write!(f, "total_conn_timeout: {timeout:?}, ")?;
        }
        if !self.verify_cert {
            f.write_str("verify_cert: false, ")?;
        }
        if !self.verify_hostname {
            f.write_str("verify_hostname: false, ")?;
        }
        if let Some(name) = &self.alternative_cn {
            write!(f, "alt_cn: {name}, ")?;
        }
        if self.ca.is_some() {
            f.write_str("own CA, ")?;
        }
        if self.custom_l4.is_some() {
            f.write_str("custom L4, ")?;
        }
        write!(f, "alpn: {}", self.alpn)
    }
}

impl fmt::Debug for PeerOptions {
    /// Writes everything but functions, certificates and the values of proxy headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("PeerOptions");
        out.field("bind_to", &self.bind_to)
            .field("connection_timeout", &self.connection_timeout)
            .field("total_connection_timeout", &self.total_connection_timeout)
            .field("read_timeout", &self.read_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("verify_cert", &self.verify_cert)
            .field("verify_hostname", &self.verify_hostname)
            .field("alternative_cn", &self.alternative_cn)
            .field("alpn", &self.alpn)
            .field("ca", &self.ca.is_some())
            .field("tcp_keepalive", &self.tcp_keepalive)
            .field("tcp_recv_buf", &self.tcp_recv_buf)
            .field("dscp", &self.dscp)
            .field("h2_ping_interval", &self.h2_ping_interval)
            .field("max_h2_streams", &self.max_h2_streams)
            .field("h2_stream_window_size", &self.h2_stream_window_size)
            .field("h2_connection_window_size", &self.h2_connection_window_size)
            .field(
                "allow_h1_response_invalid_content_length",
                &self.allow_h1_response_invalid_content_length,
            )
            .field(
                "http_upstream_request_policy",
                &self.http_upstream_request_policy,
            )
            .field("extra_proxy_headers", &self.extra_proxy_headers.keys())
            .field("curves", &self.curves)
            .field("second_keyshare", &self.second_keyshare)
            .field("psk", &self.psk.is_some())
            .field("s2n_security_policy", &self.s2n_security_policy)
            .field("max_blinding_delay", &self.max_blinding_delay)
            .field("use_system_certs", &self.use_system_certs)
            .field("tcp_fast_open", &self.tcp_fast_open)
            .field("tracer", &self.tracer)
            .field("custom_l4", &self.custom_l4)
            .field("unresolved", &self.unresolved)
            .finish_non_exhaustive()
    }
}
