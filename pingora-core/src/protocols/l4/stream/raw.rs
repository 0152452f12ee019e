//! The three kinds of socket behind one interface, without buffers or clocks.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::protocols::UniqueIDType;
use crate::protocols::l4::ext::TcpKeepalive;
use crate::protocols::l4::virt::{VirtualSockOpt, VirtualSocketStream};
use crate::sys;

/// A socket of one of the three kinds. All of them are `Unpin`.
#[derive(Debug)]
pub(super) enum RawStream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Virtual(VirtualSocketStream),
}

/// Calls the same function on whatever socket it is.
macro_rules! each {
    ($raw:expr, $socket:ident => $call:expr) => {
        match $raw {
            RawStream::Tcp($socket) => $call,
            RawStream::Unix($socket) => $call,
            RawStream::Virtual($socket) => $call,
        }
    };
}

impl RawStream {
    /// Waits until there is something to read, without reading. Virtual sockets cannot tell, so
    /// they are always ready for an attempt.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            RawStream::Tcp(socket) => socket.poll_read_ready(cx),
            RawStream::Unix(socket) => socket.poll_read_ready(cx),
            RawStream::Virtual(_) => Poll::Ready(Ok(())),
        }
    }

    /// Reads from a TCP socket and tells when the bytes came in. Other sockets cannot tell.
    pub(super) fn poll_read_with_timestamp(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        rx_ts: &mut Option<SystemTime>,
    ) -> Poll<io::Result<()>> {
        match self {
            RawStream::Tcp(socket) => poll_read_with_timestamp(socket, cx, buf, rx_ts),
            other => Pin::new(other).poll_read(cx, buf),
        }
    }

    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            RawStream::Tcp(socket) => socket.set_nodelay(true),
            RawStream::Unix(_) => Ok(()),
            RawStream::Virtual(socket) => socket.set_socket_option(VirtualSockOpt::NoDelay),
        }
    }

    pub(super) fn set_keepalive(&self, keepalive: &TcpKeepalive) -> io::Result<()> {
        match self {
            RawStream::Tcp(socket) => sys::set_keepalive(socket.as_raw_fd(), keepalive),
            RawStream::Unix(_) => Ok(()),
            RawStream::Virtual(socket) => {
                socket.set_socket_option(VirtualSockOpt::KeepAlive(keepalive.clone()))
            }
        }
    }

    /// Returns whether timestamps will be told.
    pub(super) fn enable_rx_timestamp(&self) -> io::Result<bool> {
        let RawStream::Tcp(socket) = self else {
            return Ok(false);
        };
        sys::enable_rx_timestamp(socket.as_raw_fd())?;
        Ok(true)
    }

    /// Returns the number of the socket in this process; virtual sockets have none.
    pub(super) fn descriptor(&self) -> Option<RawFd> {
        match self {
            RawStream::Tcp(socket) => Some(socket.as_raw_fd()),
            RawStream::Unix(socket) => Some(socket.as_raw_fd()),
            RawStream::Virtual(_) => None,
        }
    }

    pub(super) fn id(&self) -> UniqueIDType {
        match self {
            RawStream::Tcp(socket) => socket.as_raw_fd(),
            RawStream::Unix(socket) => socket.as_raw_fd(),
            RawStream::Virtual(socket) => socket.id(),
        }
    }
}

fn poll_read_with_timestamp(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    rx_ts: &mut Option<SystemTime>,
) -> Poll<io::Result<()>> {
    // Ends: a receive that would block clears the readiness, so the next round is pending.
    loop {
        ready!(socket.poll_read_ready(cx))?;
        let received = socket.try_io(Interest::READABLE, || {
            sys::recv_with_timestamp(socket.as_raw_fd(), buf)
        });
        match received {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Poll::Ready(Err(e)),
            Ok(time) => {
                *rx_ts = time.or(*rx_ts);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for RawStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for RawStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // What goes in one piece, most heads and small messages, goes by the cheaper system call.
        if let [whole] = bufs {
            return self.poll_write(cx, whole);
        }
        each!(self.get_mut(), socket => Pin::new(socket).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, socket => socket.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_shutdown(cx))
    }
}
