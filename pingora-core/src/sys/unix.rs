//! What works the same on every Unix system. Read `linux` next.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use socket2::{Domain, SockRef, Socket};

use crate::protocols::l4::ext::TcpKeepalive;

/// A socket somebody else owns: used for a call, never closed.
///
/// The owner keeps the descriptor open while the call lasts. If it does not, the kernel answers
/// with an error or acts on another socket of this process, as for every call on a bare number.
pub(crate) fn borrow(fd: RawFd) -> io::Result<ManuallyDrop<Socket>> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the number is not negative, which is the only value the type excludes, and
    // `ManuallyDrop` keeps this function from closing a descriptor it does not own.
    Ok(ManuallyDrop::new(unsafe { Socket::from_raw_fd(fd) }))
}

/// Opens a file to append to it; one that is made now is for its owner only.
#[allow(dead_code)] // Without a TLS library there are no secrets to write.
pub(crate) fn append_to_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}

/// Returns whether the socket behind `fd` is an IPv6 one.
pub(crate) fn is_ipv6(socket: &Socket) -> io::Result<bool> {
    let address = socket.local_addr()?;
    Ok(Domain::from(i32::from(address.family())) == Domain::IPV6)
}

/// Sends what the socket has room for, without waiting and without a signal if nobody receives it.
pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    borrow(fd)?.send_with_flags(bytes, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
}

/// Sets the size of the receive buffer in bytes; the kernel may use another.
pub(crate) fn set_recv_buf(fd: RawFd, bytes: usize) -> io::Result<()> {
    borrow(fd)?.set_recv_buffer_size(bytes)
}

/// Returns the size of the receive buffer in bytes, bookkeeping included.
pub(crate) fn recv_buf(fd: RawFd) -> io::Result<usize> {
    borrow(fd)?.recv_buffer_size()
}

/// Sets the size of the send buffer in bytes; the kernel may use another.
pub(crate) fn set_snd_buf(fd: RawFd, bytes: usize) -> io::Result<()> {
    borrow(fd)?.set_send_buffer_size(bytes)
}

/// Returns the size of the send buffer in bytes, bookkeeping included.
pub(crate) fn snd_buf(fd: RawFd) -> io::Result<usize> {
    borrow(fd)?.send_buffer_size()
}

/// Sends segments as soon as they are written (RFC 9293 3.7.4 off).
pub(crate) fn set_nodelay(fd: RawFd) -> io::Result<()> {
    borrow(fd)?.set_tcp_nodelay(true)
}

/// Has closing the socket reset the connection (RFC 9293 3.10.4); other than TCP there is no such thing.
pub(crate) fn reset_on_close(fd: RawFd) -> io::Result<()> {
    borrow(fd)?.set_linger(Some(std::time::Duration::ZERO))
}

/// Has the kernel probe idle connections (RFC 9293 3.8.4).
pub(crate) fn set_keepalive(fd: RawFd, keepalive: &TcpKeepalive) -> io::Result<()> {
    let socket = borrow(fd)?;
    let count = u32::try_from(keepalive.count).unwrap_or(u32::MAX);
    let params = socket2::TcpKeepalive::new()
        .with_time(keepalive.idle)
        .with_interval(keepalive.interval)
        .with_retries(count);
    socket.set_tcp_keepalive(&params)?;
    super::set_user_timeout(&socket, keepalive)
}

/// Returns the remote (`peer`) or the local address of a socket.
pub(crate) fn address(fd: RawFd, peer: bool) -> io::Result<socket2::SockAddr> {
    let socket = borrow(fd)?;
    if peer {
        socket.peer_addr()
    } else {
        socket.local_addr()
    }
}

/// Lets several sockets share one address, the kernel spreading connections among them.
pub(crate) fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Binds without holding a port before the connection is made, so that ports are shared by
/// connections to different addresses.
pub(crate) fn bind_local(
    socket: &tokio::net::TcpSocket,
    local: SocketAddr,
    range: Option<(u16, u16)>,
) -> io::Result<()> {
    let borrowed = SockRef::from(socket);
    if local.port() == 0 {
        super::choose_port_late(&borrowed, range)?;
    }
    socket.bind(local)
}

/// Returns the error of binding to an address in use.
pub(crate) fn address_in_use() -> io::Error {
    io::Error::from_raw_os_error(libc::EADDRINUSE)
}

/// Returns whether an error says that the process or the system ran out of descriptors or memory
/// for sockets, which only time can mend.
pub(crate) fn is_exhausted(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Returns whether an error of `accept` is about the one connection that was to be accepted,
/// so that trying on at once makes progress.
pub(crate) fn is_of_one_connection(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ETIMEDOUT
        )
    )
}

/// Returns whether an error of `connect` says that there is no way to the destination.
pub(crate) fn is_no_route(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN)
    )
}
