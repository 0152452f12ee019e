//! The remote server of an outgoing connection, and how to connect to it.
//!
//! [`HttpPeer`] is what proxies use, [`BasicPeer`] is enough for plain TCP; both carry
//! [`PeerOptions`]. A type of your own implements [`Peer`]. Host names are kept as names and
//! looked up when a connection is made, never here: read `target.rs` for that, `reuse.rs` for
//! what keeps two peers from sharing a connection.

mod any;
mod basic;
mod http;
mod names;
mod options;
mod policy;
mod proxy;
mod reuse;
mod target;
mod tracing;
// The only unsafe code of this folder.
mod typed;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use pingora_error::Result;
use tokio::net::TcpSocket;

pub use self::http::Scheme;
pub use self::options::PeerOptions;
pub use self::policy::{H1UpgradePolicy, HttpUpstreamRequestPolicy};
pub use self::proxy::{Proxy, ProxyDigestUserDataHook};
pub use self::target::Unresolved;
pub use self::tracing::{Tracer, Tracing};
pub use crate::protocols::tls::ALPN;

pub(crate) use self::any::AnyPeer;
pub(crate) use self::target::{placeholder_port, unresolved_of};

use crate::backend::{PskType, SecurityPolicy};
use crate::connectors::l4::BindTo;
use crate::protocols::TcpKeepalive;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::tls::{CaType, HandshakeCompleteHook};
use crate::utils::tls::CertKey;

/// A remote server and how to connect to it.
///
/// The methods with a default read the [`PeerOptions`], so an implementation usually has the four
/// required ones and [`get_peer_options`](Peer::get_peer_options). What `None` means is said there.
///
/// ```
/// use std::fmt;
/// use pingora_core::protocols::l4::socket::SocketAddr;
/// use pingora_core::upstreams::peer::Peer;
///
/// #[derive(Clone)]
/// struct Cache(SocketAddr);
///
/// impl fmt::Display for Cache {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         write!(f, "cache {}", self.0)
///     }
/// }
///
/// impl Peer for Cache {
///     fn address(&self) -> &SocketAddr {
///         &self.0
///     }
///     fn tls(&self) -> bool {
///         false
///     }
///     fn sni(&self) -> &str {
///         ""
///     }
///     fn reuse_hash(&self) -> u64 {
///         11211
///     }
/// }
///
/// let peer = Cache("127.0.0.1:11211".parse().unwrap());
/// assert!(peer.verify_cert());
/// assert_eq!(peer.connection_timeout(), None);
/// ```
pub trait Peer: Display + Clone {
    /// Returns the address to connect to.
    ///
    /// A peer made from a host name has a placeholder here; see [`Unresolved`].
    fn address(&self) -> &SocketAddr;

    /// Returns whether to speak TLS.
    fn tls(&self) -> bool;

    /// Returns the server name to ask for in the TLS handshake, empty for none.
    fn sni(&self) -> &str;

    /// Returns the key under which idle connections are kept: connections of peers with equal
    /// hashes are interchangeable.
    fn reuse_hash(&self) -> u64;

    /// Returns the CONNECT proxy to go through; `None` by default.
    fn get_proxy(&self) -> Option<&Proxy> {
        None
    }

    /// Returns the options; `None` by default.
    fn get_peer_options(&self) -> Option<&PeerOptions> {
        None
    }

    /// Returns the options for changing; `None` by default.
    fn get_mut_peer_options(&mut self) -> Option<&mut PeerOptions> {
        None
    }

    /// Returns whether to check the certificate of the server; `true` without options.
    fn verify_cert(&self) -> bool {
        self.get_peer_options().is_none_or(|o| o.verify_cert)
    }

    /// Returns whether the certificate must be valid for the server name; `true` without options.
    fn verify_hostname(&self) -> bool {
        self.get_peer_options().is_none_or(|o| o.verify_hostname)
    }

    /// Returns a second name the certificate may be valid for.
    fn alternative_cn(&self) -> Option<&String> {
        self.get_peer_options()?.alternative_cn.as_ref()
    }

    /// Returns the local address to connect from.
    fn bind_to(&self) -> Option<&BindTo> {
        self.get_peer_options()?.bind_to.as_ref()
    }

    /// Returns how long a name lookup and a connection may take to open together, not counting TLS.
    fn connection_timeout(&self) -> Option<Duration> {
        self.get_peer_options()?.connection_timeout
    }

    /// Returns how long all that may take, counting a proxy and TLS.
    fn total_connection_timeout(&self) -> Option<Duration> {
        self.get_peer_options()?.total_connection_timeout
    }

    /// Returns how long an idle connection is kept for reuse.
    fn idle_timeout(&self) -> Option<Duration> {
        self.get_peer_options()?.idle_timeout
    }

    /// Returns the protocols to offer by ALPN.
    fn get_alpn(&self) -> Option<&ALPN> {
        self.get_peer_options().map(|o| &o.alpn)
    }

    /// Returns the certificate authorities to trust instead of the system's.
    fn get_ca(&self) -> Option<&Arc<CaType>> {
        self.get_peer_options()?.ca.as_ref()
    }

    /// Returns the keys known to both sides, which only s2n takes.
    fn get_psk(&self) -> Option<&Arc<PskType>> {
        self.get_peer_options()?.psk.as_ref()
    }

    /// Returns the security policy, which only s2n has.
    fn get_s2n_security_policy(&self) -> Option<&SecurityPolicy> {
        self.get_peer_options()?.s2n_security_policy.as_ref()
    }

    /// Returns for how many seconds at most a TLS error is kept from the server; s2n only.
    fn get_max_blinding_delay(&self) -> Option<u32> {
        self.get_peer_options()?.max_blinding_delay
    }

    /// Returns whether the system's authorities are trusted besides those of
    /// [`get_ca`](Self::get_ca); s2n only.
    fn use_system_certs(&self) -> bool {
        self.get_peer_options().is_some_and(|o| o.use_system_certs)
    }

    /// Returns the certificate to present to the server; `None` by default.
    fn get_client_cert_key(&self) -> Option<&Arc<CertKey>> {
        None
    }

    /// Returns the TCP keep-alive settings.
    fn tcp_keepalive(&self) -> Option<&TcpKeepalive> {
        self.get_peer_options()?.tcp_keepalive.as_ref()
    }

    /// Returns how often to send an HTTP/2 PING.
    fn h2_ping_interval(&self) -> Option<Duration> {
        self.get_peer_options()?.h2_ping_interval
    }

    /// Returns the size of the socket's receive buffer in bytes.
    fn tcp_recv_buf(&self) -> Option<usize> {
        self.get_peer_options()?.tcp_recv_buf
    }

    /// Returns the DSCP mark of outgoing packets (RFC 2474).
    fn dscp(&self) -> Option<u8> {
        self.get_peer_options()?.dscp
    }

    /// Returns whether to use TCP Fast Open (RFC 7413).
    fn tcp_fast_open(&self) -> bool {
        self.get_peer_options().is_some_and(|o| o.tcp_fast_open)
    }

    /// Returns whether the connection behind the descriptor `fd` leads to this peer.
    ///
    /// True for a peer that is a host name: its addresses are not known here.
    #[cfg(unix)]
    fn matches_fd<V: std::os::fd::AsRawFd>(&self, fd: V) -> bool {
        target::leads_to(fd.as_raw_fd(), self.address(), self.get_proxy())
    }

    /// Returns the observer of this connection's life; `None` by default.
    fn get_tracer(&self) -> Option<Tracer> {
        None
    }

    /// Returns the function that changes a TCP socket before it connects.
    fn upstream_tcp_sock_tweak_hook(
        &self,
    ) -> Option<&Arc<dyn Fn(&TcpSocket) -> Result<()> + Send + Sync + 'static>> {
        self.get_peer_options()?
            .upstream_tcp_sock_tweak_hook
            .as_ref()
    }

    /// Returns the function that makes the user data of a CONNECT proxy's answer.
    fn proxy_digest_user_data_hook(&self) -> Option<&ProxyDigestUserDataHook> {
        self.get_peer_options()?
            .proxy_digest_user_data_hook
            .as_ref()
    }

    /// Returns the function that is called when a TLS handshake is complete.
    fn upstream_tls_handshake_complete_hook(&self) -> Option<&HandshakeCompleteHook> {
        self.get_peer_options()?
            .upstream_tls_handshake_complete_hook
            .as_ref()
    }
}

/// A remote HTTP server.
///
/// ```
/// use std::time::Duration;
/// use pingora_core::upstreams::peer::HttpPeer;
///
/// // Plain HTTP to an address.
/// let mut peer = HttpPeer::new(("127.0.0.1", 8080), false, String::new());
/// peer.options.connection_timeout = Some(Duration::from_millis(300));
///
/// // HTTPS to a name; it is looked up when a connection is made.
/// let peer = HttpPeer::new("example.com:443", true, "example.com".into());
/// assert!(peer.is_tls());
/// assert!(peer.to_string().starts_with("addr: example.com:443, scheme: HTTPS"));
/// ```
#[derive(Clone, Debug)]
pub struct HttpPeer {
    /// The address to connect to; a placeholder when [`PeerOptions::unresolved`] has a name.
    pub _address: SocketAddr,
    /// Whether to use TLS.
    pub scheme: Scheme,
    /// The server name to ask for in TLS, which the certificate must be valid for. Empty: none is asked
    /// for, and the certificate must be valid for the host name or the address that is connected to.
    pub sni: String,
    /// The CONNECT proxy to go through.
    pub proxy: Option<Proxy>,
    /// The certificate to present to the server.
    pub client_cert_key: Option<Arc<CertKey>>,
    /// Peers with different keys do not share connections. 0 unless set.
    pub group_key: u64,
    /// How to connect.
    pub options: PeerOptions,
}

/// A remote server that need not speak HTTP.
///
/// ```
/// use pingora_core::upstreams::peer::{BasicPeer, Peer};
///
/// let mut peer = BasicPeer::new("127.0.0.1:853");
/// assert!(!peer.tls());
/// peer.sni = "dns.example".into();
/// assert!(peer.tls());
/// ```
#[derive(Clone, Debug)]
pub struct BasicPeer {
    /// The address to connect to; a placeholder when [`PeerOptions::unresolved`] has a name.
    pub _address: SocketAddr,
    /// The server name for TLS; empty for no TLS.
    pub sni: String,
    /// How to connect.
    pub options: PeerOptions,
}

#[cfg(test)]
mod tests;
