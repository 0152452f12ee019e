//! BoringSSL over an asynchronous stream.
//!
//! The library reads and writes through `std::io`. While one of its functions runs, the stream
//! below has the context of the task at hand and answers `WouldBlock` where it would have to wait;
//! whoever called then returns `Pending`, and the task is woken by the stream below.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use boring::error::ErrorStack;
use boring::ssl::{self, ErrorCode, ShutdownResult, Ssl, SslRef};
use futures_util::ready;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A TLS connection over `S`.
pub struct SslStream<S>(ssl::SslStream<Blocking<S>>);

impl<S: AsyncRead + AsyncWrite> SslStream<S> {
    /// Returns the connection of `ssl` over `stream`, before its handshake.
    ///
    /// # Errors
    /// When the library has no memory.
    pub fn new(ssl: Ssl, stream: S) -> Result<Self, ErrorStack> {
        let blocking = Blocking {
            stream,
            waker: None,
        };
        ssl::SslStream::new(ssl, blocking).map(SslStream)
    }

    /// Does the handshake of a client.
    pub fn poll_connect(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ssl::Error>> {
        self.with_context(cx, |ssl| unless_blocked(ssl.connect()))
    }

    /// Does the handshake of a client.
    ///
    /// # Errors
    /// Those of the library.
    pub async fn connect(mut self: Pin<&mut Self>) -> Result<(), ssl::Error> {
        poll_fn(|cx| self.as_mut().poll_connect(cx)).await
    }

    /// Does the handshake of a server.
    pub fn poll_accept(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ssl::Error>> {
        self.with_context(cx, |ssl| unless_blocked(ssl.accept()))
    }

    /// Does the handshake of a server.
    ///
    /// # Errors
    /// Those of the library.
    pub async fn accept(mut self: Pin<&mut Self>) -> Result<(), ssl::Error> {
        poll_fn(|cx| self.as_mut().poll_accept(cx)).await
    }

    /// Does the handshake of the side that was set before.
    pub fn poll_do_handshake(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ssl::Error>> {
        self.with_context(cx, |ssl| unless_blocked(ssl.do_handshake()))
    }

    /// Does the handshake of the side that was set before.
    ///
    /// # Errors
    /// Those of the library.
    pub async fn do_handshake(mut self: Pin<&mut Self>) -> Result<(), ssl::Error> {
        poll_fn(|cx| self.as_mut().poll_do_handshake(cx)).await
    }
}

impl<S> SslStream<S> {
    /// Returns the session.
    pub fn ssl(&self) -> &SslRef {
        self.0.ssl()
    }

    /// Returns the stream below.
    pub fn get_ref(&self) -> &S {
        &self.0.get_ref().stream
    }

    /// Returns the stream below; what is read or written there confuses the session.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.0.get_mut().stream
    }

    /// Returns the stream below; what is read or written there confuses the session.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut S> {
        // SAFETY: the stream below is pinned with this one: it is never moved out.
        unsafe { self.map_unchecked_mut(|this| this.get_mut()) }
    }

    /// Calls the library while the stream below has the context.
    fn with_context<R>(
        self: Pin<&mut Self>,
        cx: &Context<'_>,
        call: impl FnOnce(&mut ssl::SslStream<Blocking<S>>) -> R,
    ) -> R {
        // SAFETY: nothing is moved: the call gets a reference, and the stream below stays where
        // the library keeps it.
        let ssl = &mut unsafe { self.get_unchecked_mut() }.0;
        ssl.get_mut().waker = Some(NonNull::from(cx.waker()));
        let lent = Lent(ssl);
        call(lent.0)
    }
}

/// A connection that has a context, until this is dropped, also by a panic below.
struct Lent<'a, S>(&'a mut ssl::SslStream<Blocking<S>>);

impl<S> Drop for Lent<'_, S> {
    fn drop(&mut self) {
        self.0.get_mut().waker = None;
    }
}

impl<S> fmt::Debug for SslStream<S>
where
    S: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SslStream").field(self.get_ref()).finish()
    }
}

impl<S> AsyncRead for SslStream<S>
where
    S: AsyncRead + AsyncWrite,
{
    fn poll_read(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with_context(ctx, |ssl| {
            // SAFETY: the library writes to this place and makes nothing of it uninitialised.
            let read = ssl.read_uninit(unsafe { buf.unfilled_mut() });
            let count = ready!(unless_would_block(read))?;
            // SAFETY: so many bytes were written.
            unsafe { buf.assume_init(count) };
            buf.advance(count);
            Poll::Ready(Ok(()))
        })
    }
}

impl<S> AsyncWrite for SslStream<S>
where
    S: AsyncRead + AsyncWrite,
{
    fn poll_write(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with_context(ctx, |ssl| unless_would_block(ssl.write(buf)))
    }

    fn poll_flush(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_context(ctx, |ssl| unless_would_block(ssl.flush()))
    }

    /// Tells the other side that nothing more comes, and shuts the stream below down.
    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.as_mut().with_context(ctx, |ssl| ssl.shutdown()) {
            Ok(ShutdownResult::Sent | ShutdownResult::Received) => {}
            Err(e) if e.code() == ErrorCode::ZERO_RETURN => {}
            Err(e) if is_blocked(&e) => return Poll::Pending,
            Err(e) => {
                let e = e.into_io_error().unwrap_or_else(io::Error::other);
                return Poll::Ready(Err(e));
            }
        }
        self.get_pin_mut().poll_shutdown(ctx)
    }
}

fn is_blocked(e: &ssl::Error) -> bool {
    matches!(e.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE)
}

fn unless_blocked(result: Result<(), ssl::Error>) -> Poll<Result<(), ssl::Error>> {
    match result {
        Err(e) if is_blocked(&e) => Poll::Pending,
        other => Poll::Ready(other),
    }
}

fn unless_would_block<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        other => Poll::Ready(other),
    }
}

/// The stream below as the library wants it.
struct Blocking<S> {
    stream: S,
    /// Of the task at hand, while a function of the library runs.
    waker: Option<NonNull<Waker>>,
}

// SAFETY: the pointer is set only while a function of the library runs, on one thread that has
// the stream for itself; what is sent or shared between threads is the stream.
unsafe impl<S: Send> Send for Blocking<S> {}
// SAFETY: a shared reference gives no access to the pointer.
unsafe impl<S: Sync> Sync for Blocking<S> {}

impl<S> Blocking<S> {
    fn poll<T>(
        &mut self,
        call: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let Some(waker) = self.waker else {
            return Err(io::Error::other("the library was called without a context"));
        };
        // SAFETY: `with_context` sets it from a reference that outlives the call in progress, and
        // has it cleared afterwards.
        let mut cx = Context::from_waker(unsafe { waker.as_ref() });
        // SAFETY: the library keeps this structure in one place on the heap until it drops it.
        let stream = unsafe { Pin::new_unchecked(&mut self.stream) };
        match call(stream, &mut cx) {
            Poll::Ready(done) => done,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S: AsyncRead> Read for Blocking<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.poll(|stream, cx| {
            let mut buf = ReadBuf::new(buf);
            ready!(stream.poll_read(cx, &mut buf))?;
            Poll::Ready(Ok(buf.filled().len()))
        })
    }
}

impl<S: AsyncWrite> Write for Blocking<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.poll(|stream, cx| stream.poll_write(cx, buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.poll(|stream, cx| stream.poll_flush(cx))
    }
}
