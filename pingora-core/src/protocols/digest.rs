//! What a connection tells about itself to the application: addresses, timing, TLS, proxy.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use once_cell::sync::OnceCell;

use super::UniqueIDType;
use super::l4::ext::{
    TCP_INFO, get_original_dest, get_recv_buf, get_snd_buf, get_socket_cookie, get_tcp_info,
};
use super::l4::socket::SocketAddr;
use super::raw_connect::ProxyDigest;
use super::tls::SslDigest;

/// The facts of one connection.
///
/// ```
/// let digest = pingora_core::protocols::Digest::default();
/// assert!(digest.ssl_digest.is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Digest {
    /// TLS facts, when the connection uses TLS.
    pub ssl_digest: Option<Arc<SslDigest>>,
    /// When each layer of the connection was established, the lowest first.
    pub timing_digest: Vec<Option<TimingDigest>>,
    /// The answer of the CONNECT proxy, when there was one.
    pub proxy_digest: Option<Arc<ProxyDigest>>,
    /// Addresses and options of the socket.
    pub socket_digest: Option<Arc<SocketDigest>>,
}

/// Sessions that can show the digest of their connection.
pub trait ProtoDigest {
    /// Returns the digest of the connection, `None` when there is none.
    fn get_digest(&self) -> Option<&Digest> {
        None
    }
}

/// When a layer of a connection was established and how long that took.
#[derive(Clone, Debug)]
pub struct TimingDigest {
    /// When the layer was ready for use.
    pub established_ts: SystemTime,
    /// How long establishing took; `None` for accepted connections.
    pub establishment_duration: Option<Duration>,
    /// How long the work waited for a thread of the offload pool, when one was used.
    pub offload_wait_duration: Option<Duration>,
}

impl Default for TimingDigest {
    fn default() -> Self {
        TimingDigest {
            established_ts: SystemTime::UNIX_EPOCH,
            establishment_duration: None,
            offload_wait_duration: None,
        }
    }
}

/// The addresses and options of a socket, asked of the system when first needed.
#[derive(Debug)]
pub struct SocketDigest {
    raw_fd: UniqueIDType,
    /// The remote address.
    pub peer_addr: OnceCell<Option<SocketAddr>>,
    /// The local address.
    pub local_addr: OnceCell<Option<SocketAddr>>,
    /// The address the client asked for before it was redirected to us (Linux `REDIRECT`/`TPROXY`).
    pub original_dst: OnceCell<Option<SocketAddr>>,
}

impl SocketDigest {
    /// Has the socket reset its connection when it is closed, instead of ending it.
    #[doc(hidden)]
    pub fn reset_on_close(&self) -> std::io::Result<()> {
        crate::sys::reset_on_close(self.raw_fd)
    }

    /// Returns a digest of the socket behind `raw_fd`, which must stay open while it is asked.
    pub fn from_raw_fd(raw_fd: std::os::fd::RawFd) -> SocketDigest {
        SocketDigest {
            raw_fd,
            peer_addr: OnceCell::new(),
            local_addr: OnceCell::new(),
            original_dst: OnceCell::new(),
        }
    }

    /// Returns the remote address.
    pub fn peer_addr(&self) -> Option<&SocketAddr> {
        self.peer_addr
            .get_or_init(|| SocketAddr::from_raw_fd(self.raw_fd, true))
            .as_ref()
    }

    /// Returns the local address.
    pub fn local_addr(&self) -> Option<&SocketAddr> {
        self.local_addr
            .get_or_init(|| SocketAddr::from_raw_fd(self.raw_fd, false))
            .as_ref()
    }

    /// Returns the destination before redirection, `None` when the connection was not redirected.
    pub fn original_dst(&self) -> Option<&SocketAddr> {
        self.original_dst
            .get_or_init(|| {
                get_original_dest(self.raw_fd)
                    .ok()
                    .flatten()
                    .map(SocketAddr::from)
            })
            .as_ref()
    }

    /// Returns the size of the receive buffer in bytes, `None` where it cannot be told.
    pub fn get_recv_buf(&self) -> Option<usize> {
        get_recv_buf(self.raw_fd).ok()
    }

    /// Returns the size of the send buffer in bytes, `None` where it cannot be told.
    pub fn get_snd_buf(&self) -> Option<usize> {
        get_snd_buf(self.raw_fd).ok()
    }

    /// Returns the kernel's statistics of the connection, `None` for anything but TCP.
    pub fn tcp_info(&self) -> Option<TCP_INFO> {
        get_tcp_info(self.raw_fd).ok()
    }

    /// Returns the cookie by which the kernel knows this socket (Linux `SO_COOKIE`).
    pub fn socket_cookie(&self) -> std::io::Result<u64> {
        get_socket_cookie(self.raw_fd)
    }
}
