//! Socket options and connecting: the portable face of what `sys` asks of the system.
//!
//! Read [`connect`] first. Options a system does not have answer with an error; nothing here
//! waits except the two `connect` functions.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

use pingora_error::{Error, ErrorType, OrErr, Result};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::connectors::l4::BindTo;
use crate::sys;

/// How the kernel probes a connection on which nothing is sent (RFC 9293 3.8.4).
///
/// ```
/// use pingora_core::protocols::TcpKeepalive;
/// use std::time::Duration;
///
/// let keepalive = TcpKeepalive {
///     idle: Duration::from_secs(60),
///     interval: Duration::from_secs(5),
///     count: 5,
///     #[cfg(target_os = "linux")]
///     user_timeout: Duration::from_secs(85),
/// };
/// assert_eq!(keepalive.to_string(), "60s/5s/5/85s");
/// ```
#[derive(Clone, Debug)]
pub struct TcpKeepalive {
    /// How long nothing must happen before the first probe. Whole seconds are used.
    pub idle: Duration,
    /// The time between two probes. Whole seconds are used.
    pub interval: Duration,
    /// How many unanswered probes end the connection.
    pub count: usize,
    /// How long sent data may stay unacknowledged before the connection ends (RFC 5482); zero
    /// leaves it to the system.
    #[cfg(target_os = "linux")]
    pub user_timeout: Duration,
}

impl fmt::Display for TcpKeepalive {
    /// Prints `idle/interval/count` and, on Linux, `/user_timeout`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}/{}", self.idle, self.interval, self.count)?;
        #[cfg(target_os = "linux")]
        write!(f, "/{:?}", self.user_timeout)?;
        Ok(())
    }
}

/// Connects to `addr` over TCP, from the address and ports of `bind_to` if given.
///
/// If the ports of the range are exhausted and `bind_to` allows it, any port is used. There is no
/// timeout; dropping the future closes the socket.
///
/// # Errors
/// `BindError` for the local address, `ConnectRefused`, `ConnectTimedout`, `ConnectNoRoute`,
/// `InternalError` when no local port is left, else `ConnectError`.
pub async fn connect(addr: &SocketAddr, bind_to: Option<&BindTo>) -> Result<TcpStream> {
    connect_with(addr, bind_to, |_| Ok(())).await
}

/// Connects like [`connect`] after `prepare` has set options on the unconnected socket. It is
/// called again for the second attempt without a port range.
pub(crate) async fn connect_with<F>(
    addr: &SocketAddr,
    bind_to: Option<&BindTo>,
    prepare: F,
) -> Result<TcpStream>
where
    F: Fn(&TcpSocket) -> Result<()>,
{
    let local = bind_to.and_then(|bind_to| bind_to.addr);
    let range = bind_to.and_then(BindTo::port_range);
    match attempt(addr, local, range, &prepare).await {
        Err(e) if range.is_some() && is_port_shortage(&e) => {
            if !bind_to.is_some_and(BindTo::will_fallback) {
                return Err(e);
            }
            log::debug!("no port left in {range:?} to {addr}, using any");
            attempt(addr, local, None, &prepare).await
        }
        done => done,
    }
}

async fn attempt<F>(
    addr: &SocketAddr,
    local: Option<SocketAddr>,
    range: Option<(u16, u16)>,
    prepare: &F,
) -> Result<TcpStream>
where
    F: Fn(&TcpSocket) -> Result<()>,
{
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }
    .or_err(ErrorType::SocketError, "failed to create a socket")?;
    let unspecified = || SocketAddr::new(unspecified_ip(addr), 0);
    if let Some(local) = local.or_else(|| range.map(|_| unspecified())) {
        sys::bind_local(&socket, local, range).or_err_with(ErrorType::BindError, || {
            format!("failed to bind to {local}")
        })?;
    }
    prepare(&socket)?;
    socket
        .connect(*addr)
        .await
        .map_err(|e| connect_error(e, || format!("fail to connect to {addr}")))
}

fn unspecified_ip(addr: &SocketAddr) -> std::net::IpAddr {
    if addr.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    }
}

/// Whether no local port was left, which shows when binding or when connecting.
fn is_port_shortage(e: &Error) -> bool {
    let Some(cause) = e
        .cause
        .as_ref()
        .and_then(|cause| cause.downcast_ref::<io::Error>())
    else {
        return false;
    };
    matches!(
        cause.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse
    )
}

#[cold]
fn connect_error(e: io::Error, context: impl FnOnce() -> String) -> Box<Error> {
    let etype = match e.kind() {
        io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        // Out of local ports, or a local firewall: our fault and not the upstream's.
        io::ErrorKind::PermissionDenied | io::ErrorKind::AddrNotAvailable => {
            ErrorType::InternalError
        }
        _ if sys::is_no_route(&e) => ErrorType::ConnectNoRoute,
        _ => ErrorType::ConnectError,
    };
    Error::because(etype, context(), e)
}

/// Connects to the Unix socket at `path`.
///
/// # Errors
/// As [`connect`].
pub async fn connect_uds(path: &Path) -> Result<UnixStream> {
    UnixStream::connect(path)
        .await
        .map_err(|e| connect_error(e, || format!("fail to connect to {}", path.display())))
}

/// Has the kernel probe `stream` when nothing is sent on it.
///
/// # Errors
/// `SocketError` if the system refuses.
pub fn set_tcp_keepalive(stream: &TcpStream, ka: &TcpKeepalive) -> Result<()> {
    sys::set_keepalive(stream.as_raw_fd(), ka)
        .or_err(ErrorType::SocketError, "failed to set keepalive")
}

/// Sets the DSCP (0 to 63, RFC 2474) of all packets sent through the socket `fd`.
///
/// # Errors
/// `SocketError` if the value is too large or the system refuses.
pub fn set_dscp(fd: RawFd, value: u8) -> Result<()> {
    sys::set_dscp(fd, value).or_err_with(ErrorType::SocketError, || {
        format!("failed to set the DSCP to {value}")
    })
}

/// Sets the size in bytes of the receive buffer of the socket `fd`; the system may use another.
///
/// # Errors
/// `SocketError` if the system refuses.
pub fn set_recv_buf(fd: RawFd, val: usize) -> Result<()> {
    sys::set_recv_buf(fd, val).or_err_with(ErrorType::SocketError, || {
        format!("failed to set the receive buffer to {val}")
    })
}

/// Returns the size in bytes of the receive buffer of the socket `fd`.
pub fn get_recv_buf(fd: RawFd) -> io::Result<usize> {
    sys::recv_buf(fd)
}

/// Sets the size in bytes of the send buffer of the socket `fd`; the system may use another.
///
/// # Errors
/// `SocketError` if the system refuses.
pub fn set_snd_buf(fd: RawFd, val: usize) -> Result<()> {
    sys::set_snd_buf(fd, val).or_err_with(ErrorType::SocketError, || {
        format!("failed to set the send buffer to {val}")
    })
}

/// Returns the size in bytes of the send buffer of the socket `fd`.
pub fn get_snd_buf(fd: RawFd) -> io::Result<usize> {
    sys::snd_buf(fd)
}

/// Sends the first data of a connection with the SYN (RFC 7413) when the socket `fd` connects.
///
/// # Errors
/// `SocketError` if the system refuses.
pub fn set_tcp_fastopen_connect(fd: RawFd) -> Result<()> {
    sys::set_fastopen_connect(fd).or_err(
        ErrorType::SocketError,
        "failed to enable TCP fast open for connecting",
    )
}

/// Accepts data with the SYN (RFC 7413) on the listening socket `fd`, for at most `backlog`
/// connections whose handshake has not ended.
///
/// # Errors
/// `SocketError` if the system refuses.
pub fn set_tcp_fastopen_backlog(fd: RawFd, backlog: usize) -> Result<()> {
    sys::set_fastopen_backlog(fd, backlog).or_err_with(ErrorType::SocketError, || {
        format!("failed to set the TCP fast open backlog to {backlog}")
    })
}

/// Returns the number by which the kernel knows the socket `fd` in eBPF programs.
pub fn get_socket_cookie(fd: RawFd) -> io::Result<u64> {
    sys::socket_cookie(fd)
}

/// Returns the destination of the connection `fd` before a firewall rule redirected it here.
///
/// # Errors
/// `SocketError` if it was not redirected or the system cannot tell.
pub fn get_original_dest(fd: RawFd) -> Result<Option<SocketAddr>> {
    sys::original_dst(fd).or_err(
        ErrorType::SocketError,
        "failed to get the original destination",
    )
}

/// Returns the kernel's statistics of the connection `fd`.
pub fn get_tcp_info(fd: RawFd) -> io::Result<TCP_INFO> {
    sys::tcp_info(fd)
}

mod tcp_info;
pub use self::tcp_info::TCP_INFO;

#[cfg(test)]
mod tests;
