//! A connection: a TCP, Unix or virtual socket with what a request needs to know about it.
//!
//! Idle connections are many, so the structure is small and owns no buffer while nothing is
//! buffered. Reads of `SMALL_READ` bytes or more and large writes go straight to the socket: one
//! system call, no copy. `departures` makes the small sends of a turn together, `raw` has the three
//! kinds of socket, `timing` the clocks.

mod departures;
mod raw;
mod timing;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr as InetAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{Buf, BufMut, BytesMut};
use once_cell::sync::OnceCell;
use pingora_error::{ErrorType, OrErr, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::ext::TcpKeepalive;
use super::virt::VirtualSocketStream;
use crate::protocols::raw_connect::ProxyDigest;
use crate::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use crate::upstreams::peer::Tracer;

use self::departures::Departing;
use self::raw::RawStream;
use self::timing::WaitTime;

/// How many bytes one small read takes from the socket, so that the next ones need no system call.
pub const DEFAULT_L4_READ_BUFFER_SIZE: usize = 64 * 1024;

/// How many bytes of small writes are gathered: what fits into one Ethernet segment.
pub const DEFAULT_L4_WRITE_BUFFER_SIZE: usize = 1460;

/// A read with room for this many bytes goes to the socket directly: filling a buffer first would
/// cost a copy to save less than one system call.
const SMALL_READ: usize = 1024;

/// How much a [`Stream`] buffers: reads into small buffers, and small writes until a flush.
///
/// ```
/// use pingora_core::listeners::L4BufferSettings;
///
/// assert_eq!(L4BufferSettings::default().read_capacity(), 65536);
/// assert_eq!(L4BufferSettings::default().write(0).write_capacity(), 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L4BufferSettings {
    /// Bytes of the read buffer: `None` for [`DEFAULT_L4_READ_BUFFER_SIZE`], 0 for no buffer.
    pub read: Option<usize>,
    /// Bytes of the write buffer: `None` for [`DEFAULT_L4_WRITE_BUFFER_SIZE`], 0 for no buffer.
    pub write: Option<usize>,
}

impl L4BufferSettings {
    /// Returns settings with both sizes in bytes.
    pub fn new(read: usize, write: usize) -> Self {
        L4BufferSettings {
            read: Some(read),
            write: Some(write),
        }
    }

    /// Returns settings under which every read and write is a system call.
    pub fn unbuffered() -> Self {
        L4BufferSettings::new(0, 0)
    }

    /// Sets the size of the read buffer in bytes.
    pub fn read(mut self, read: usize) -> Self {
        self.read = Some(read);
        self
    }

    /// Sets the size of the write buffer in bytes.
    pub fn write(mut self, write: usize) -> Self {
        self.write = Some(write);
        self
    }

    /// Returns the size of the read buffer in bytes, the default if none was set.
    pub fn read_capacity(&self) -> usize {
        self.read.unwrap_or(DEFAULT_L4_READ_BUFFER_SIZE)
    }

    /// Returns the size of the write buffer in bytes, the default if none was set.
    pub fn write_capacity(&self) -> usize {
        self.write.unwrap_or(DEFAULT_L4_WRITE_BUFFER_SIZE)
    }
}

/// A TCP, Unix or virtual connection.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use pingora_core::protocols::l4::stream::Stream;
/// use tokio::io::AsyncReadExt;
///
/// let (socket, _other_end) = tokio::net::UnixStream::pair()?;
/// let mut stream = Stream::from(socket);
/// stream.rewind(b"read me again");
/// let mut text = [0; 13];
/// stream.read_exact(&mut text).await?;
/// assert_eq!(&text, b"read me again");
/// # Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
pub struct Stream {
    /// Handed over to be sent; before `raw`, which it must not outlive.
    departing: Departing,
    raw: RawStream,
    /// Received bytes nobody has read yet; never empty.
    read_buffer: Option<Box<BytesMut>>,
    /// Written bytes not yet sent; never empty.
    write_buffer: Option<Box<BytesMut>>,
    read_capacity: u32,
    write_capacity: u32,
    /// Whether reads tell `rx_ts`.
    timestamps: bool,
    read_wait: WaitTime,
    write_wait: WaitTime,
    /// What `accept` told, kept because the system forgets it when the remote side resets.
    accepted_from: Option<InetAddr>,
    socket_digest: OnceCell<Arc<SocketDigest>>,
    proxy_digest: Option<Arc<ProxyDigest>>,
    /// Is told when the connection is dropped.
    pub tracer: Option<Tracer>,
    /// When the connection was accepted or made.
    pub established_ts: SystemTime,
    /// When the last bytes read came in from the network; `None` unless
    /// [`set_rx_timestamp`](Stream::set_rx_timestamp) was called.
    pub rx_ts: Option<SystemTime>,
}

impl Stream {
    fn new(raw: RawStream) -> Self {
        let mut stream = Stream {
            departing: Departing::default(),
            raw,
            read_buffer: None,
            write_buffer: None,
            read_capacity: 0,
            write_capacity: 0,
            timestamps: false,
            read_wait: WaitTime::default(),
            write_wait: WaitTime::default(),
            accepted_from: None,
            socket_digest: OnceCell::new(),
            proxy_digest: None,
            tracer: None,
            established_ts: SystemTime::now(),
            rx_ts: None,
        };
        stream.set_buffers(&L4BufferSettings::default());
        stream
    }

    /// Returns the stream of an accepted TCP connection.
    pub(crate) fn accepted(socket: TcpStream, peer: InetAddr) -> Self {
        let mut stream = Stream::from(socket);
        stream.accepted_from = Some(peer);
        stream
    }

    /// Returns the remote address of an accepted TCP connection.
    pub(crate) fn accepted_from(&self) -> Option<&InetAddr> {
        self.accepted_from.as_ref()
    }

    /// Returns whether dropping this ends the connection as shutting it down does: a TCP socket
    /// that is closed ends its side, and nothing gathered would be lost.
    pub(crate) fn ends_when_dropped(&self) -> bool {
        let is_tcp = matches!(self.raw, RawStream::Tcp(_));
        is_tcp && self.write_buffer.is_none() && self.departing.settle()
    }

    /// Changes how much is buffered from now on.
    pub(crate) fn set_buffers(&mut self, settings: &L4BufferSettings) {
        let clamp = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        self.read_capacity = clamp(settings.read_capacity());
        self.write_capacity = clamp(settings.write_capacity());
    }

    /// Sends what is written without waiting for more (TCP_NODELAY). Does nothing for Unix sockets.
    ///
    /// # Errors
    /// `SocketError` if the system or the virtual socket refuses.
    pub fn set_nodelay(&mut self) -> Result<()> {
        self.raw
            .set_nodelay()
            .or_err(ErrorType::SocketError, "failed to set nodelay")
    }

    /// Has the connection probed when nothing is sent on it. Does nothing for Unix sockets.
    ///
    /// # Errors
    /// `SocketError` if the system or the virtual socket refuses.
    pub fn set_keepalive(&mut self, ka: &TcpKeepalive) -> Result<()> {
        self.raw
            .set_keepalive(ka)
            .or_err(ErrorType::SocketError, "failed to set keepalive")
    }

    /// Has `rx_ts` updated by every read from the socket (Linux, TCP). Does nothing for other
    /// sockets.
    ///
    /// # Errors
    /// `SocketError` if the system refuses.
    pub fn set_rx_timestamp(&mut self) -> Result<()> {
        let enabled = self.raw.enable_rx_timestamp();
        self.timestamps = enabled.or_err(
            ErrorType::SocketError,
            "failed to enable receive timestamps",
        )?;
        Ok(())
    }

    /// Puts `data` back in front of what will be read next.
    pub fn rewind(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let unread = self.read_buffer.take();
        let unread = unread.as_deref().map_or(&[][..], |unread| &unread[..]);
        let mut all = BytesMut::with_capacity(data.len() + unread.len());
        all.extend_from_slice(data);
        all.extend_from_slice(unread);
        self.read_buffer = Some(Box::new(all));
    }

    /// Receives at least one byte more into the read buffer; 0 at the end of the stream.
    ///
    /// Nothing is allocated before the socket has something to say.
    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        ready!(self.raw.poll_read_ready(cx))?;
        let mut buffer = self.read_buffer.take().unwrap_or_default();
        buffer.reserve(room);
        // `read_buf` keeps no state, so that a new future for each poll is the same as one.
        let received = pin!(Unbuffered(self).read_buf(&mut (&mut *buffer).limit(room))).poll(cx);
        if !buffer.is_empty() {
            self.read_buffer = Some(buffer);
        }
        received
    }

    /// Reads from the socket, whatever is in the buffer.
    fn poll_read_socket(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.timestamps {
            return self.raw.poll_read_with_timestamp(cx, buf, &mut self.rx_ts);
        }
        Pin::new(&mut self.raw).poll_read(cx, buf)
    }

    /// Copies from the read buffer, and frees it once all is read.
    fn read_buffered(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Some(buffer) = &mut self.read_buffer else {
            return false;
        };
        let count = buffer.len().min(buf.remaining());
        buf.put_slice(&buffer[..count]);
        buffer.advance(count);
        if buffer.is_empty() {
            self.read_buffer = None;
        }
        true
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let capacity = self.read_capacity as usize;
        if buf.remaining() >= SMALL_READ || buf.remaining() >= capacity {
            return self.poll_read_socket(cx, buf);
        }
        ready!(self.poll_fill(cx, capacity))?;
        self.read_buffered(buf);
        Poll::Ready(Ok(()))
    }

    /// Sends to the socket, or hands over what is small, behind all that was sent before.
    fn poll_socket(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let ([whole], RawStream::Tcp(socket)) = (bufs, &self.raw)
            && self.departing.hand_over(socket.as_raw_fd(), whole)
        {
            return Poll::Ready(Ok(whole.len()));
        }
        ready!(self.poll_depart(cx))?;
        Pin::new(&mut self.raw).poll_write_vectored(cx, bufs)
    }

    /// Sends what was handed over.
    fn poll_depart(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let raw = &mut self.raw;
        self.departing
            .poll_rest(|bytes| Pin::new(&mut *raw).poll_write(cx, bytes))
    }

    /// Sends the gathered writes, and frees their buffer.
    fn poll_send_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(mut buffer) = self.write_buffer.take() {
            let sent = self.poll_socket(cx, &[IoSlice::new(&buffer)]);
            if let Poll::Ready(Ok(sent)) = sent {
                buffer.advance(sent);
            }
            if !buffer.is_empty() {
                self.write_buffer = Some(buffer);
            }
            if ready!(sent)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let capacity = self.write_capacity as usize;
        let gathered = self.write_buffer.as_ref().map_or(0, |buffer| buffer.len());
        if gathered + buf.len() > capacity {
            ready!(self.poll_send_gathered(cx))?;
        }
        if buf.len() >= capacity {
            return self.poll_socket(cx, &[IoSlice::new(buf)]);
        }
        if !buf.is_empty() {
            self.write_buffer
                .get_or_insert_with(|| Box::new(BytesMut::with_capacity(capacity)))
                .extend_from_slice(buf);
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_send_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send_gathered(cx))?;
        self.poll_socket(cx, bufs)
    }

    fn poll_send_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send_gathered(cx))?;
        Pin::new(&mut self.raw).poll_flush(cx)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send_gathered(cx))?;
        ready!(self.poll_depart(cx))?;
        Pin::new(&mut self.raw).poll_shutdown(cx)
    }

    fn digest_of_socket(&self) -> Option<Arc<SocketDigest>> {
        let digest = SocketDigest::from_raw_fd(self.raw.descriptor()?);
        if let Some(peer) = self.accepted_from {
            // The cell is new, so setting it cannot fail.
            let _ = digest.peer_addr.set(Some(peer.into()));
        }
        Some(Arc::new(digest))
    }
}

impl AsyncRead for Stream {
    /// Reads what was put back or buffered, else from the socket.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 || this.read_buffered(buf) {
            return Poll::Ready(Ok(()));
        }
        let received = this.poll_receive(cx, buf);
        this.read_wait.observe(&received);
        received
    }
}

/// The socket of a stream without its read buffer.
struct Unbuffered<'a>(&'a mut Stream);

impl AsyncRead for Unbuffered<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_read_socket(cx, buf)
    }
}

impl AsyncWrite for Stream {
    /// Gathers small writes until [`poll_flush`](AsyncWrite::poll_flush), sends large ones.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = this.poll_send(cx, buf);
        this.write_wait.observe(&sent);
        sent
    }

    /// Sends all parts at once, after what was gathered before.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = this.poll_send_vectored(cx, bufs);
        this.write_wait.observe(&sent);
        sent
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = this.poll_send_all(cx);
        this.write_wait.observe(&sent);
        sent
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = this.poll_end(cx);
        this.write_wait.observe(&ended);
        ended
    }
}

#[async_trait]
impl Peek for Stream {
    /// Fills `buf` with the next bytes and leaves them to be read; `false` if the stream ends
    /// before it is full.
    ///
    /// Cancel-safe: what was received stays in the stream.
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        loop {
            let received = self.read_buffer.as_ref().map_or(0, |buffer| buffer.len());
            if let Some(buffer) = &self.read_buffer
                && received >= buf.len()
            {
                buf.copy_from_slice(&buffer[..buf.len()]);
                return Ok(true);
            }
            if buf.is_empty() {
                return Ok(true);
            }
            let room = (self.read_capacity as usize).max(buf.len() - received);
            let more = poll_fn(|cx| {
                let more = self.poll_fill(cx, room);
                self.read_wait.observe(&more);
                more
            });
            if more.await? == 0 {
                return Ok(false);
            }
        }
    }
}

#[async_trait]
impl Shutdown for Stream {
    /// Sends what was gathered and ends the sending side.
    async fn shutdown(&mut self) {
        if let Err(e) = AsyncWriteExt::shutdown(self).await {
            log::debug!("failed to shut down connection {}: {e}", self.id());
        }
    }
}

impl UniqueID for Stream {
    /// Returns the descriptor, or a negative number for a virtual socket.
    fn id(&self) -> UniqueIDType {
        self.raw.id()
    }
}

impl AsRawFd for Stream {
    /// Returns the descriptor, or -1 for a virtual socket.
    fn as_raw_fd(&self) -> RawFd {
        self.raw.descriptor().unwrap_or(-1)
    }
}

impl Ssl for Stream {}

impl GetTimingDigest for Stream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest {
            established_ts: self.established_ts,
            ..Default::default()
        })]
    }

    fn get_read_pending_time(&self) -> Duration {
        self.read_wait.total()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.write_wait.total()
    }
}

impl GetProxyDigest for Stream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.proxy_digest.clone()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.proxy_digest = Some(Arc::new(digest));
    }
}

impl GetSocketDigest for Stream {
    /// Returns what was set, else a digest of the socket, made when first asked for.
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        if let Some(digest) = self.socket_digest.get() {
            return Some(digest.clone());
        }
        let digest = self.digest_of_socket()?;
        Some(self.socket_digest.get_or_init(|| digest).clone())
    }

    fn set_socket_digest(&mut self, socket_digest: SocketDigest) {
        self.socket_digest = OnceCell::with_value(Arc::new(socket_digest));
    }
}

impl From<TcpStream> for Stream {
    fn from(s: TcpStream) -> Self {
        Stream::new(RawStream::Tcp(s))
    }
}

impl From<UnixStream> for Stream {
    fn from(s: UnixStream) -> Self {
        Stream::new(RawStream::Unix(s))
    }
}

impl From<VirtualSocketStream> for Stream {
    fn from(s: VirtualSocketStream) -> Self {
        Stream::new(RawStream::Virtual(s))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("raw", &self.raw)
            .field("peer", &self.accepted_from)
            .field("tracer", &self.tracer)
            .finish_non_exhaustive()
    }
}

impl Drop for Stream {
    /// Tells the tracer. Gathered writes are not sent: a stream is flushed before it is dropped.
    fn drop(&mut self) {
        if let Some(tracer) = &self.tracer {
            tracer.0.on_disconnected();
        }
    }
}

#[cfg(test)]
mod tests;
