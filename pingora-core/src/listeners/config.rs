//! What to listen on: addresses, socket options, and the builder that joins them.

use std::fs::Permissions;

use super::tls::TlsSettings;
use crate::protocols::l4::ext::TcpKeepalive;
use crate::protocols::l4::stream::L4BufferSettings;

/// Options of a listening TCP socket and of the connections it accepts; `None` leaves each to the
/// system.
///
/// ```
/// use pingora_core::listeners::{Listeners, TcpSocketOptions};
///
/// let mut options = TcpSocketOptions::default();
/// options.so_reuseport = Some(true);
/// let mut listeners = Listeners::new();
/// listeners.add_tcp_with_settings("127.0.0.1:8080", options);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct TcpSocketOptions {
    /// Whether an IPv6 socket takes IPv6 connections only. If not, `[::]` takes IPv4 too.
    pub ipv6_only: Option<bool>,
    /// Accepts data with the SYN (RFC 7413), for at most this many unfinished handshakes.
    pub tcp_fastopen: Option<usize>,
    /// Probes connections on which nothing is sent.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// The DSCP of what is sent, 0 to 63 (RFC 2474).
    pub dscp: Option<u8>,
    /// Lets other sockets, also of other processes of the same user, listen on the same address.
    pub so_reuseport: Option<bool>,
    /// The size of the send buffer in bytes.
    pub tcp_snd_buf: Option<usize>,
    /// The size of the receive buffer in bytes.
    pub tcp_recv_buf: Option<usize>,
}

/// Where to listen.
///
/// ```
/// use pingora_core::listeners::ServerAddress;
///
/// let address = ServerAddress::Tcp("127.0.0.1:8080".to_string(), None);
/// assert_eq!(address.as_ref(), "127.0.0.1:8080");
/// ```
#[derive(Clone, Debug)]
pub enum ServerAddress {
    /// `host:port`, where port 0 lets the system choose one.
    Tcp(String, Option<TcpSocketOptions>),
    /// The path of a Unix socket and the permissions of its file; by default everybody may
    /// connect (mode 0666).
    Uds(String, Option<Permissions>),
}

impl AsRef<str> for ServerAddress {
    /// Returns the address as configured.
    fn as_ref(&self) -> &str {
        match self {
            ServerAddress::Tcp(addr, _) => addr,
            ServerAddress::Uds(path, _) => path,
        }
    }
}

/// One address to listen on with everything that belongs to it.
///
/// ```
/// use pingora_core::listeners::{L4BufferSettings, ListenerConfig, Listeners};
///
/// let mut listeners = Listeners::new();
/// listeners.add_listener(
///     ListenerConfig::tcp("127.0.0.1:8080").l4_buffer(L4BufferSettings::unbuffered()),
/// );
/// assert_eq!(listeners.addresses(), ["127.0.0.1:8080"]);
/// ```
pub struct ListenerConfig {
    pub(super) address: ServerAddress,
    pub(super) tls: Option<TlsSettings>,
    pub(super) buffers: L4BufferSettings,
}

impl ListenerConfig {
    /// Returns a plain TCP listener.
    pub fn tcp(addr: impl Into<String>) -> Self {
        ListenerConfig::new(ServerAddress::Tcp(addr.into(), None), None)
    }

    /// Returns a Unix socket listener.
    pub fn uds(addr: impl Into<String>) -> Self {
        ListenerConfig::new(ServerAddress::Uds(addr.into(), None), None)
    }

    pub(super) fn new(address: ServerAddress, tls: Option<TlsSettings>) -> Self {
        ListenerConfig {
            address,
            tls,
            buffers: L4BufferSettings::default(),
        }
    }

    /// Speaks TLS on accepted connections.
    pub fn tls(mut self, settings: TlsSettings) -> Self {
        self.tls = Some(settings);
        self
    }

    /// Sets the options of the TCP socket.
    ///
    /// # Panics
    /// If this is a Unix socket.
    pub fn tcp_socket_options(mut self, options: TcpSocketOptions) -> Self {
        match &mut self.address {
            ServerAddress::Tcp(_, current) => *current = Some(options),
            ServerAddress::Uds(path, _) => panic!("TCP options for the Unix socket {path}"),
        }
        self
    }

    /// Sets the permissions of the socket file.
    ///
    /// # Panics
    /// If this is a TCP socket.
    pub fn permissions(mut self, permissions: Permissions) -> Self {
        match &mut self.address {
            ServerAddress::Uds(_, current) => *current = Some(permissions),
            ServerAddress::Tcp(addr, _) => panic!("file permissions for the TCP address {addr}"),
        }
        self
    }

    /// Sets how much each accepted connection buffers.
    pub fn l4_buffer(mut self, settings: L4BufferSettings) -> Self {
        self.buffers = settings;
        self
    }
}
