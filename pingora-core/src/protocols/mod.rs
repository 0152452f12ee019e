//! Streams and the traits every stream implements; the protocols spoken on them.
//!
//! A [`Stream`] is whatever carries bytes: a TCP or Unix socket, TLS over one of them, a virtual
//! socket, or an in-memory pipe in a test. What a stream can tell about itself is a small trait
//! each ([`UniqueID`], [`Ssl`], [`Peek`] …); [`IO`] is all of them together. [`l4`] has the
//! sockets, [`tls`] what TLS adds, [`http`] the HTTP sessions.

mod digest;
pub mod ext_test;

pub mod http;
pub mod l4;
pub(crate) mod layered;
pub mod proxy_protocol;
pub mod raw_connect;
pub(crate) mod rewound;
pub mod tls;

use std::any::Any;
use std::fmt::Debug;
use std::io::Result as IoResult;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::digest::{Digest, ProtoDigest, SocketDigest, TimingDigest};
pub use self::l4::ext::TcpKeepalive;
pub use self::tls::ALPN;

use self::raw_connect::ProxyDigest;
use self::tls::{SslDigest, TlsRef};

/// Identifies an open connection; the descriptor number where there is one.
pub type UniqueIDType = i32;

/// A boxed, type-erased connection.
pub type Stream = Box<dyn IO>;

/// Ends a connection in the way its protocol asks for.
#[async_trait]
pub trait Shutdown {
    /// Shuts the connection down; errors are ignored, as there is nobody left to tell.
    async fn shutdown(&mut self);
}

/// Tells connections apart.
pub trait UniqueID {
    /// Returns an identifier unique among the connections open at this moment.
    fn id(&self) -> UniqueIDType;
}

/// What TLS knows about a connection; nothing, for one without TLS.
pub trait Ssl {
    /// Returns the TLS session of the library compiled in.
    fn get_ssl(&self) -> Option<&TlsRef> {
        None
    }

    /// Returns version, cipher and certificate facts of the handshake.
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        None
    }

    /// Returns the protocol chosen by ALPN.
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        None
    }
}

/// Looks at received bytes without consuming them.
#[async_trait]
pub trait Peek {
    /// Fills `buf` from the bytes that will be read next and leaves them in place.
    ///
    /// Returns `false` when this stream cannot peek. Waits until `buf` is full.
    async fn try_peek(&mut self, _buf: &mut [u8]) -> IoResult<bool> {
        Ok(false)
    }
}

/// Tells when a connection was made and how long it made its callers wait.
pub trait GetTimingDigest {
    /// Returns the timing of each layer, the lowest first.
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>>;

    /// Returns the total time reads spent waiting for bytes.
    fn get_read_pending_time(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns the total time writes spent waiting for space.
    fn get_write_pending_time(&self) -> Duration {
        Duration::ZERO
    }
}

/// What the CONNECT proxy on the way answered.
pub trait GetProxyDigest {
    /// Returns the answer of the CONNECT proxy, when one was used.
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>>;

    /// Remembers the answer of the CONNECT proxy.
    fn set_proxy_digest(&mut self, _digest: ProxyDigest) {}
}

/// Addresses and options of the socket beneath a connection.
pub trait GetSocketDigest {
    /// Returns the facts known of the socket.
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>>;

    /// Replaces the facts known of the socket.
    fn set_socket_digest(&mut self, _socket_digest: SocketDigest) {}
}

/// Everything a connection must be able to do; implemented for whatever can.
pub trait IO:
    AsyncRead
    + AsyncWrite
    + Shutdown
    + UniqueID
    + Ssl
    + GetTimingDigest
    + GetProxyDigest
    + GetSocketDigest
    + Peek
    + Unpin
    + Debug
    + Send
    + Sync
{
    /// Returns this connection for downcasting to its concrete type.
    fn as_any(&self) -> &dyn Any;

    /// Converts this connection for downcasting to its concrete type.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<T> IO for T
where
    T: 'static
        + AsyncRead
        + AsyncWrite
        + Shutdown
        + UniqueID
        + Ssl
        + GetTimingDigest
        + GetProxyDigest
        + GetSocketDigest
        + Peek
        + Unpin
        + Debug
        + Send
        + Sync,
{
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
