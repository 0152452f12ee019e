//! Stands in for `linux` on other Unix systems: the same names, in the same order.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::SystemTime;

use socket2::Socket;
use tokio::io::ReadBuf;

use crate::protocols::l4::ext::{TCP_INFO, TcpKeepalive};

/// Options must be set on each accepted socket.
pub(crate) const ACCEPTED_INHERIT: bool = false;

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Refuses: there is no such option here.
pub(crate) fn tcp_info(_fd: RawFd) -> io::Result<TCP_INFO> {
    unsupported()
}

/// Refuses: there is no such option here.
pub(crate) fn set_dscp(_fd: RawFd, _value: u8) -> io::Result<()> {
    unsupported()
}

/// Refuses: there is no such option here.
pub(crate) fn set_fastopen_connect(_fd: RawFd) -> io::Result<()> {
    unsupported()
}

/// Refuses: there is no such option here.
pub(crate) fn set_fastopen_backlog(_fd: RawFd, _backlog: usize) -> io::Result<()> {
    unsupported()
}

/// Refuses: there is nothing of the kind here.
pub(crate) fn drop_arriving(_fd: RawFd) -> io::Result<()> {
    unsupported()
}

/// Does nothing: [`TcpKeepalive`] has no user timeout here.
pub(crate) fn set_user_timeout(_socket: &Socket, _keepalive: &TcpKeepalive) -> io::Result<()> {
    Ok(())
}

/// Refuses: there is no such option here.
pub(crate) fn original_dst(_fd: RawFd) -> io::Result<Option<SocketAddr>> {
    unsupported()
}

/// Refuses: there is no such option here.
pub(crate) fn socket_cookie(_fd: RawFd) -> io::Result<u64> {
    unsupported()
}

/// Refuses a port range; without one the system chooses the port when binding.
pub(crate) fn choose_port_late(_socket: &Socket, range: Option<(u16, u16)>) -> io::Result<()> {
    if range.is_some() {
        unsupported()
    } else {
        Ok(())
    }
}

/// Refuses: there is no such option here.
pub(crate) fn enable_rx_timestamp(_fd: RawFd) -> io::Result<()> {
    unsupported()
}

/// Refuses; never called, since timestamps cannot be enabled.
pub(crate) fn recv_with_timestamp(
    _fd: RawFd,
    _buf: &mut ReadBuf<'_>,
) -> io::Result<Option<SystemTime>> {
    unsupported()
}
