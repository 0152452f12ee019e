//! Refusing connections by address before anything is spent on them.

use std::fmt::Debug;
use std::net::SocketAddr;

use async_trait::async_trait;

/// Decides which connections are served.
///
/// It is asked right after a connection is accepted, before the pre-TLS callback, the TLS
/// handshake and the first read. A refused connection is closed without a word.
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::listeners::{ConnectionFilter, Listeners};
/// use std::{net::SocketAddr, sync::Arc};
///
/// #[derive(Debug)]
/// struct OnlyIpv4;
///
/// #[async_trait]
/// impl ConnectionFilter for OnlyIpv4 {
///     async fn should_accept(&self, addr: Option<&SocketAddr>) -> bool {
///         addr.is_some_and(SocketAddr::is_ipv4)
///     }
/// }
///
/// let mut listeners = Listeners::tcp("[::]:8080");
/// listeners.set_connection_filter(Arc::new(OnlyIpv4));
/// ```
#[async_trait]
pub trait ConnectionFilter: Debug + Send + Sync {
    /// Returns whether to serve the connection from `addr`, which is `None` for Unix sockets.
    ///
    /// Accepts by default. The time it takes counts towards the handshake timeout, at which the
    /// future is dropped and the connection closed.
    async fn should_accept(&self, _addr: Option<&SocketAddr>) -> bool {
        true
    }
}

/// Serves every connection, as if there were no filter.
#[derive(Clone, Debug)]
pub struct AcceptAllFilter;

#[async_trait]
impl ConnectionFilter for AcceptAllFilter {
    async fn should_accept(&self, _addr: Option<&SocketAddr>) -> bool {
        true
    }
}
