//! Outgoing connections: made, pooled, taken again.
//!
//! [`TransportConnector`] gives a [`Stream`](crate::protocols::Stream) to a
//! [`Peer`](crate::upstreams::peer::Peer): an idle one from its pool (`idle.rs`), else a new one
//! ([`l4`], through a proxy or not, then TLS). [`http`] gives HTTP sessions on such streams.
//! Names are looked up in `resolve.rs` and their addresses raced in `race.rs`.

pub mod http;
pub mod l4;

// What a connector is made from.
mod options;
// Streams to peers: the pool, or a new connection.
mod transport;
// Unused connections.
mod idle;
// From host names to addresses.
mod resolve;
// Several addresses, the first to answer wins (RFC 8305).
mod race;
// Which peers do not speak what was hoped for.
mod preferred;
// Connecting on threads of its own; accepting too.
pub(crate) mod offload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use self::l4::Connect as L4Connect;
pub use self::options::PoolCallback;

/// Connects to peers and keeps unused connections.
///
/// ```
/// use pingora_core::connectors::TransportConnector;
/// use pingora_core::upstreams::peer::{BasicPeer, Peer};
///
/// # async fn example() -> pingora_core::Result<()> {
/// let connector = TransportConnector::new(None);
/// let peer = BasicPeer::new("127.0.0.1:6379");
/// let (stream, reused) = connector.get_stream(&peer).await?;
/// // ... talk ...
/// connector.release_stream(stream, peer.reuse_hash(), peer.idle_timeout());
/// # Ok(())
/// # }
/// ```
pub struct TransportConnector {
    idle: Arc<idle::IdleConnections>,
    layers: Arc<transport::Layers>,
    offload: Option<offload::OffloadRuntime>,
    preferred_http_version: preferred::PreferredHttpVersion,
    pool_callback: Option<PoolCallback>,
    unexpected_data: Arc<AtomicU64>,
}

/// What a [`TransportConnector`] is made from.
///
/// ```
/// use pingora_core::connectors::{ConnectorOptions, TransportConnector};
///
/// let mut options = ConnectorOptions::new(1024);
/// options.bind_to_v4.push("127.0.0.1:0".parse().unwrap());
/// let connector = TransportConnector::new(Some(options));
/// assert_eq!(connector.unexpected_data_connection_count(), 0);
/// ```
#[derive(Clone)]
pub struct ConnectorOptions {
    /// A PEM file of the certificate authorities to trust. Default: the system's.
    pub ca_file: Option<String>,
    /// PEM files of a certificate and its key, to present to servers. Default: none.
    pub cert_key_file: Option<(String, String)>,
    /// Whether to write TLS secrets to the file named by `SSLKEYLOGFILE`. Default: false.
    pub debug_ssl_keylog: bool,
    /// For how many peers s2n keeps TLS configurations, and the sessions in them. Default: none,
    /// which is 1024.
    #[cfg(feature = "s2n")]
    pub s2n_config_cache_size: Option<usize>,
    /// The most idle connections kept, over all peers.
    pub keepalive_pool_size: usize,
    /// Thread pools, and threads in each, on which connections are made. Default: they are made
    /// where they are asked for.
    pub offload_threadpool: Option<(usize, usize)>,
    /// Local IPv4 addresses to connect from, chosen at random. Default: the system's choice.
    pub bind_to_v4: Vec<SocketAddr>,
    /// Local IPv6 addresses to connect from, chosen at random. Default: the system's choice.
    pub bind_to_v6: Vec<SocketAddr>,
    /// Is called each time an idle connection is taken. Default: nobody.
    pub keepalive_pool_callback: Option<PoolCallback>,
}

#[cfg(test)]
mod tests;
