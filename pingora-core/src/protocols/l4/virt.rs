//! Sockets that are not the system's: a transport of your own beneath HTTP or TLS.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ext::TcpKeepalive;
use crate::protocols::UniqueIDType;

/// A socket option as a virtual socket is told of it.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum VirtualSockOpt {
    /// Send what is written at once.
    NoDelay,
    /// Probe the connection when nothing is sent on it.
    KeepAlive(TcpKeepalive),
}

/// A transport that takes the place of a socket.
pub trait VirtualSocket: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug {
    /// Applies an option, or returns `Ok` for one that means nothing to this transport.
    fn set_socket_option(&self, opt: VirtualSockOpt) -> io::Result<()>;
}

/// A boxed [`VirtualSocket`]; [`Stream`](super::stream::Stream) is made from one.
///
/// ```
/// use pingora_core::protocols::l4::{stream::Stream, virt::{VirtualSocketStream, VirtualSockOpt}};
/// # use pingora_core::protocols::l4::virt::VirtualSocket;
/// # use std::{io, pin::Pin, task::{Context, Poll}};
/// # use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
/// # #[derive(Debug)]
/// # struct Pipe(DuplexStream);
/// # impl VirtualSocket for Pipe {
/// #     fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> { Ok(()) }
/// # }
/// # impl AsyncRead for Pipe {
/// #     fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
/// #         Pin::new(&mut self.0).poll_read(cx, buf)
/// #     }
/// # }
/// # impl AsyncWrite for Pipe {
/// #     fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
/// #         Pin::new(&mut self.0).poll_write(cx, buf)
/// #     }
/// #     fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> { Poll::Ready(Ok(())) }
/// #     fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> { Poll::Ready(Ok(())) }
/// # }
/// // `Pipe` implements `VirtualSocket` over one half of an in-memory pipe.
/// let socket = VirtualSocketStream::new(Box::new(Pipe(tokio::io::duplex(64).0)));
/// socket.set_socket_option(VirtualSockOpt::NoDelay)?;
/// let stream: Stream = socket.into();
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Debug)]
pub struct VirtualSocketStream {
    socket: Box<dyn VirtualSocket>,
    id: UniqueIDType,
}

impl VirtualSocketStream {
    /// Returns a stream over `socket`.
    pub fn new(socket: Box<dyn VirtualSocket>) -> Self {
        VirtualSocketStream {
            socket,
            id: next_id(),
        }
    }

    /// Passes an option on to the transport.
    pub fn set_socket_option(&self, opt: VirtualSockOpt) -> io::Result<()> {
        self.socket.set_socket_option(opt)
    }

    /// Returns a negative number, distinct from all descriptors and from other virtual sockets.
    pub(crate) fn id(&self) -> UniqueIDType {
        self.id
    }
}

/// Counts from -2 downwards: -1 is what system calls return for no descriptor.
fn next_id() -> UniqueIDType {
    static NEXT: AtomicI32 = AtomicI32::new(0);
    // Relaxed: only the numbers must differ, nothing is published with them.
    let n = NEXT.fetch_add(1, Ordering::Relaxed) & 0x3fff_ffff;
    -2 - n
}

impl AsyncRead for VirtualSocketStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for VirtualSocketStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
