//! [`AnyPeer`]: a peer of a type that does not matter any more.
//!
//! Making a connection is much code: sockets, proxies, TLS, HTTP/2. Were it generic over the peer, each
//! program would compile it again, once for each type of peer it has.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pingora_error::Result;
use tokio::net::TcpSocket;

use super::{ALPN, Peer, PeerOptions, Proxy, ProxyDigestUserDataHook, Tracer};
use crate::backend::{PskType, SecurityPolicy};
use crate::connectors::l4::BindTo;
use crate::protocols::TcpKeepalive;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::tls::{CaType, HandshakeCompleteHook};
use crate::utils::tls::CertKey;

/// A peer that was lent by reference.
#[derive(Clone, Copy)]
pub(crate) struct AnyPeer<'a>(&'a dyn DynPeer);

impl<'a> AnyPeer<'a> {
    /// Returns `peer` without its type.
    pub(crate) fn of<P: Peer + Send + Sync + 'static>(peer: &'a P) -> Self {
        AnyPeer(peer)
    }

    /// Returns a copy that outlives what was lent.
    pub(crate) fn to_owned(self) -> OwnedPeer {
        OwnedPeer(self.0.boxed())
    }
}

impl fmt::Display for AnyPeer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A peer of its own.
pub(crate) struct OwnedPeer(Box<dyn DynPeer>);

impl OwnedPeer {
    /// Lends it.
    pub(crate) fn lend(&self) -> AnyPeer<'_> {
        AnyPeer(&*self.0)
    }
}

/// Has [`AnyPeer`] answer to these methods of [`Peer`] as the peer behind it does.
macro_rules! pass_on {
    ($(fn $method:ident -> $answer:ty;)*) => {
        trait DynPeer: fmt::Display + Send + Sync {
            fn boxed(&self) -> Box<dyn DynPeer>;
            $(fn $method(&self) -> $answer;)*
        }

        impl<P: Peer + Send + Sync + 'static> DynPeer for P {
            fn boxed(&self) -> Box<dyn DynPeer> {
                Box::new(self.clone())
            }
            $(fn $method(&self) -> $answer {
                Peer::$method(self)
            })*
        }

        impl Peer for AnyPeer<'_> {
            $(fn $method(&self) -> $answer {
                self.0.$method()
            })*
        }
    };
}

// All but two: nobody changes the options of a peer that is being connected to, and the default of
// `matches_fd` asks for nothing else.
pass_on! {
    fn address -> &SocketAddr;
    fn tls -> bool;
    fn sni -> &str;
    fn reuse_hash -> u64;
    fn get_proxy -> Option<&Proxy>;
    fn get_peer_options -> Option<&PeerOptions>;
    fn verify_cert -> bool;
    fn verify_hostname -> bool;
    fn alternative_cn -> Option<&String>;
    fn bind_to -> Option<&BindTo>;
    fn connection_timeout -> Option<Duration>;
    fn total_connection_timeout -> Option<Duration>;
    fn idle_timeout -> Option<Duration>;
    fn get_alpn -> Option<&ALPN>;
    fn get_ca -> Option<&Arc<CaType>>;
    fn get_psk -> Option<&Arc<PskType>>;
    fn get_s2n_security_policy -> Option<&SecurityPolicy>;
    fn get_max_blinding_delay -> Option<u32>;
    fn use_system_certs -> bool;
    fn get_client_cert_key -> Option<&Arc<CertKey>>;
    fn tcp_keepalive -> Option<&TcpKeepalive>;
    fn h2_ping_interval -> Option<Duration>;
    fn tcp_recv_buf -> Option<usize>;
    fn dscp -> Option<u8>;
    fn tcp_fast_open -> bool;
    fn get_tracer -> Option<Tracer>;
    fn upstream_tcp_sock_tweak_hook
        -> Option<&Arc<dyn Fn(&TcpSocket) -> Result<()> + Send + Sync + 'static>>;
    fn proxy_digest_user_data_hook -> Option<&ProxyDigestUserDataHook>;
    fn upstream_tls_handshake_complete_hook -> Option<&HandshakeCompleteHook>;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{AnyPeer, HttpPeer, Peer};

    #[test]
    fn it_answers_as_the_peer_does() {
        let mut peer = HttpPeer::new("example.com:443", true, "example.com".into());
        peer.group_key = 7;
        peer.options.dscp = Some(3);
        peer.options.idle_timeout = Some(Duration::from_secs(9));
        peer.options.verify_cert = false;
        let copy = AnyPeer::of(&peer).to_owned();
        for any in [AnyPeer::of(&peer), copy.lend()] {
            assert_eq!(any.to_string(), peer.to_string());
            assert_eq!(any.address(), peer.address());
            assert_eq!((any.tls(), any.sni()), (true, "example.com"));
            assert_eq!(any.reuse_hash(), peer.reuse_hash());
            assert_eq!(any.dscp(), Some(3));
            assert_eq!(any.idle_timeout(), Some(Duration::from_secs(9)));
            assert!(!any.verify_cert() && any.verify_hostname());
        }
    }
}
