//! The three kinds of socket behind one interface, without buffers or clocks.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::protocols::UniqueIDType;
use crate::protocols::l4::ext::TcpKeepalive;
use crate::protocols::l4::virt::{VirtualSockOpt, VirtualSocketStream};
use crate::sys;

/// A socket of one of the three kinds. All of them are `Unpin`.
#[derive(Debug)]
pub(super) enum RawStream {
    Tcp { socket: TcpStream, timestamps: bool },
    Unix(UnixStream),
    Virtual(VirtualSocketStream),
}

/// Calls the same function on whatever socket it is.
macro_rules! each {
    ($raw:expr, $socket:ident => $call:expr) => {
        match $raw {
            RawStream::Tcp {
                socket: $socket, ..
            } => $call,
            RawStream::Unix($socket) => $call,
            RawStream::Virtual($socket) => $call,
        }
    };
}

impl RawStream {
    pub(super) fn tcp(socket: TcpStream) -> Self {
        RawStream::Tcp {
            socket,
            timestamps: false,
        }
    }

    /// Waits until there is something to read, without reading. Virtual sockets cannot tell, so
    /// they are always ready for an attempt.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            RawStream::Tcp { socket, .. } => socket.poll_read_ready(cx),
            RawStream::Unix(socket) => socket.poll_read_ready(cx),
            RawStream::Virtual(_) => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        rx_ts: &mut Option<SystemTime>,
    ) -> Poll<io::Result<()>> {
        if let RawStream::Tcp {
            socket,
            timestamps: true,
        } = self
        {
            return poll_read_with_timestamp(socket, cx, buf, rx_ts);
        }
        each!(self, socket => Pin::new(socket).poll_read(cx, buf))
    }

    /// Appends at most `room` bytes to `buffer`; 0 at the end of the stream.
    pub(super) fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        room: usize,
        rx_ts: &mut Option<SystemTime>,
    ) -> Poll<io::Result<usize>> {
        // `read_buf` keeps no state, so that a new future for each poll is the same as one.
        let mut reader = Timestamping { raw: self, rx_ts };
        buffer.reserve(room);
        let mut limited = buffer.limit(room);
        pin!(reader.read_buf(&mut limited)).poll(cx)
    }

    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            RawStream::Tcp { socket, .. } => socket.set_nodelay(true),
            RawStream::Unix(_) => Ok(()),
            RawStream::Virtual(socket) => socket.set_socket_option(VirtualSockOpt::NoDelay),
        }
    }

    pub(super) fn set_keepalive(&self, keepalive: &TcpKeepalive) -> io::Result<()> {
        match self {
            RawStream::Tcp { socket, .. } => sys::set_keepalive(socket.as_raw_fd(), keepalive),
            RawStream::Unix(_) => Ok(()),
            RawStream::Virtual(socket) => {
                socket.set_socket_option(VirtualSockOpt::KeepAlive(keepalive.clone()))
            }
        }
    }

    pub(super) fn enable_rx_timestamp(&mut self) -> io::Result<()> {
        if let RawStream::Tcp { socket, timestamps } = self {
            sys::enable_rx_timestamp(socket.as_raw_fd())?;
            *timestamps = true;
        }
        Ok(())
    }

    /// Returns the number of the socket in this process; virtual sockets have none.
    pub(super) fn descriptor(&self) -> Option<RawFd> {
        match self {
            RawStream::Tcp { socket, .. } => Some(socket.as_raw_fd()),
            RawStream::Unix(socket) => Some(socket.as_raw_fd()),
            RawStream::Virtual(_) => None,
        }
    }

    pub(super) fn id(&self) -> UniqueIDType {
        match self {
            RawStream::Tcp { socket, .. } => socket.as_raw_fd(),
            RawStream::Unix(socket) => socket.as_raw_fd(),
            RawStream::Virtual(socket) => socket.id(),
        }
    }
}

/// A view of a socket that keeps the timestamp of what it reads.
struct Timestamping<'a> {
    raw: &'a mut RawStream,
    rx_ts: &'a mut Option<SystemTime>,
}

impl AsyncRead for Timestamping<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.raw.poll_read(cx, buf, this.rx_ts)
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
