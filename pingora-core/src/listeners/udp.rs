//! [`UdpListener`]: a UDP socket that serves an address, and is handed over to the next process
//! in an upgrade as listening TCP sockets are.
//!
//! Next: `services/datagram.rs`, which binds them.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use pingora_error::Result;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::l4::{ListenError, resolve};
use crate::server::ListenFds;
use crate::sys;

/// What comes before a UDP address where it may be taken for that of TCP.
pub(crate) const UDP_PREFIX: &str = "udp:";

/// Options of a UDP socket; `None` leaves each to the system.
///
/// ```
/// use pingora_core::listeners::udp::UdpSocketOptions;
///
/// let mut options = UdpSocketOptions::default();
/// options.recv_buf = Some(4 << 20);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct UdpSocketOptions {
    /// Whether an IPv6 socket takes IPv6 only. If not, `[::]` takes IPv4 too.
    pub ipv6_only: Option<bool>,
    /// The DSCP of what is sent, 0 to 63 (RFC 2474).
    pub dscp: Option<u8>,
    /// The size of the send buffer in bytes.
    pub snd_buf: Option<usize>,
    /// The size of the receive buffer in bytes. What arrives while it is full is lost: a busy
    /// server wants a large one (Linux: up to `net.core.rmem_max`).
    pub recv_buf: Option<usize>,
}

/// A UDP socket that serves an address.
///
/// ```
/// # tokio_test::block_on(async {
/// use pingora_core::listeners::udp::{UdpListener, UdpSocketOptions};
///
/// let listener = UdpListener::bind("127.0.0.1:0", &UdpSocketOptions::default(), None).await?;
/// assert_ne!(listener.local_addr().port(), 0);
/// # Ok::<(), Box<pingora_error::Error>>(())
/// # }).unwrap();
/// ```
pub struct UdpListener {
    socket: UdpSocket,
    address: SocketAddr,
    /// Where the socket is entered for the next process.
    fds: Option<ListenFds>,
}

impl UdpListener {
    /// Returns a socket on `addr`, `host:port`: that of the process before this one if `fds` has
    /// it, or a new one, which is left there for the next process.
    ///
    /// # Errors
    /// `BindError`, which names the address.
    pub async fn bind(
        addr: &str,
        options: &UdpSocketOptions,
        fds: Option<ListenFds>,
    ) -> Result<UdpListener> {
        let listening = Self::try_bind(addr, options, fds).await;
        listening.map_err(|e| e.describe(addr))
    }

    async fn try_bind(
        addr: &str,
        options: &UdpSocketOptions,
        fds: Option<ListenFds>,
    ) -> Result<UdpListener, ListenError> {
        let key = table_key(addr);
        let claimed = fds.as_ref().and_then(|fds| fds.lock().claim(&key));
        let socket = match claimed {
            // SAFETY: the table gives each inherited descriptor to one claimant, and does not
            // close those that were claimed.
            Some(fd) => Socket::from(unsafe { OwnedFd::from_raw_fd(fd) }),
            None => {
                let resolved = resolve(addr).await?;
                let socket = open(resolved, options)?;
                if let Some(fds) = &fds {
                    fds.lock().add(key, socket.as_raw_fd());
                }
                socket
            }
        };
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(UdpListener {
            address: socket.local_addr()?,
            socket,
            fds,
        })
    }

    /// Returns the socket.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Returns the address it serves, with the port the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns whether another process receives from this socket as well: the next one, after an
    /// upgrade. What arrives is then for either of the two, whoever reads it first.
    pub fn is_handed_over(&self) -> bool {
        let shared = |fds: &ListenFds| fds.lock().is_handed_over();
        self.fds.as_ref().is_some_and(shared)
    }
}

impl fmt::Debug for UdpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpListener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Returns the name under which the socket of `addr` is handed over.
pub(crate) fn table_key(addr: &str) -> String {
    format!("{UDP_PREFIX}{addr}")
}

fn open(addr: SocketAddr, options: &UdpSocketOptions) -> Result<Socket, ListenError> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    let fd = socket.as_raw_fd();
    if let Some(only) = options.ipv6_only.filter(|_| addr.is_ipv6()) {
        socket.set_only_v6(only)?;
    }
    if let Some(dscp) = options.dscp {
        sys::set_dscp(fd, dscp)?;
    }
    if let Some(bytes) = options.snd_buf {
        sys::set_snd_buf(fd, bytes)?;
    }
    if let Some(bytes) = options.recv_buf {
        sys::set_recv_buf(fd, bytes)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use pingora_error::ErrorType::BindError;

    use super::*;
    use crate::server::Fds;

    #[tokio::test]
    async fn an_inherited_socket_is_used() {
        let options = UdpSocketOptions::default();
        let fds: ListenFds = Arc::new(Mutex::new(Fds::new()));
        let listener = UdpListener::bind("127.0.0.1:0", &options, Some(fds.clone())).await;
        let listener = listener.unwrap();
        let (names, _) = fds.lock().serialize();
        assert_eq!(names, ["udp:127.0.0.1:0"]);
        assert!(!listener.is_handed_over());
        fds.lock().mark_handed_over();
        assert!(listener.is_handed_over());

        let copy = sys::borrow(listener.socket().as_raw_fd()).unwrap();
        let copy = copy.try_clone().unwrap();
        let next: ListenFds = Arc::new(Mutex::new(Fds::new()));
        let fd = std::os::fd::IntoRawFd::into_raw_fd(copy);
        next.lock().deserialize(names, vec![fd]);
        let inherited = UdpListener::bind("127.0.0.1:0", &options, Some(next)).await;
        assert_eq!(
            inherited.unwrap().local_addr(),
            listener.local_addr(),
            "the same socket"
        );
    }

    #[tokio::test]
    async fn wrong_addresses_are_errors() {
        let listener = UdpListener::bind("127.0.0.1:0", &UdpSocketOptions::default(), None).await;
        let taken = listener.as_ref().unwrap().local_addr().to_string();
        // 192.0.2.0/24 is for documentation: no machine has it.
        for wrong in [taken.as_str(), "192.0.2.1:80", "127.0.0.1", "x:99999", ""] {
            let e = UdpListener::bind(wrong, &UdpSocketOptions::default(), None).await;
            let e = e.unwrap_err();
            assert_eq!(e.etype(), &BindError, "{wrong}");
            assert!(e.to_string().contains(wrong), "{e}");
        }
    }

    #[tokio::test]
    async fn options_are_set() {
        let options = UdpSocketOptions {
            ipv6_only: Some(true),
            dscp: Some(46),
            snd_buf: Some(64 << 10),
            recv_buf: Some(64 << 10),
        };
        let listener = UdpListener::bind("127.0.0.1:0", &options, None)
            .await
            .unwrap();
        let socket = sys::borrow(listener.socket().as_raw_fd()).unwrap();
        assert!(socket.recv_buffer_size().unwrap() >= 64 << 10);
        assert!(socket.send_buffer_size().unwrap() >= 64 << 10);
        assert_eq!(socket.tos_v4().unwrap(), 46 << 2);
    }
}
