//! Streams that behave badly on purpose: small pieces, stalls, an early end.
//!
//! All are deterministic: a stall is a `Pending` with an immediate wake, not a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Returns the two ends of a connection in memory; `near` behaves as `shape` says, `far` is plain.
///
/// ```
/// use pingora_test_support::io::{Shape, pair};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (mut near, mut far) = pair(Shape { read: 1, ..Shape::default() });
/// far.write_all(b"abc").await.unwrap();
/// let mut buffer = [0; 8];
/// assert_eq!(near.read(&mut buffer).await.unwrap(), 1);
/// # });
/// ```
pub fn pair(shape: Shape) -> (Shaped<DuplexStream>, DuplexStream) {
    let (near, far) = tokio::io::duplex(CAPACITY);
    (Shaped::new(near, shape), far)
}

/// Bytes that fit into a [`pair`] before a writer waits.
const CAPACITY: usize = 64 * 1024;

/// How a [`Shaped`] stream behaves; the default changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The most bytes one read returns.
    pub read: usize,
    /// The most bytes one write takes.
    pub write: usize,
    /// Whether every other poll is `Pending`, waking at once.
    pub stall: bool,
    /// After how many bytes reading sees the end of the stream; writing goes on (a half-close).
    pub end_after: Option<u64>,
    /// After how many bytes writing fails with `BrokenPipe`.
    pub break_after: Option<u64>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            read: usize::MAX,
            write: usize::MAX,
            stall: false,
            end_after: None,
            break_after: None,
        }
    }
}

/// A stream that behaves as its [`Shape`] says.
#[derive(Debug)]
pub struct Shaped<S> {
    stream: S,
    shape: Shape,
    read: u64,
    written: u64,
    stalled_read: bool,
    stalled_write: bool,
}

impl<S> Shaped<S> {
    /// Wraps `stream`.
    pub fn new(stream: S, shape: Shape) -> Self {
        Self {
            stream,
            shape,
            read: 0,
            written: 0,
            stalled_read: false,
            stalled_write: false,
        }
    }

    /// Returns the bytes (read, written) so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.read, self.written)
    }

    /// Returns the wrapped stream.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

/// Returns whether this poll stalls, and flips for the next one.
fn stalls(enabled: bool, stalled: &mut bool, cx: &Context<'_>) -> bool {
    *stalled = enabled && !*stalled;
    if *stalled {
        cx.waker().wake_by_ref();
    }
    *stalled
}

/// Returns how much of `wanted` a limit leaves, given what is done.
fn left(limit: Option<u64>, done: u64, wanted: usize) -> usize {
    let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(done));
    wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
}

impl<S: AsyncRead + Unpin> AsyncRead for Shaped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if stalls(this.shape.stall, &mut this.stalled_read, cx) {
            return Poll::Pending;
        }
        let most = left(
            this.shape.end_after,
            this.read,
            buf.remaining().min(this.shape.read),
        );
        if most == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        this.read += read as u64;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Shaped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if stalls(this.shape.stall, &mut this.stalled_write, cx) {
            return Poll::Pending;
        }
        let most = left(
            this.shape.break_after,
            this.written,
            buf.len().min(this.shape.write),
        );
        if most == 0 && !buf.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &buf[..most]))?;
        this.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{Shape, pair};

    #[tokio::test]
    async fn pieces_and_stalls_lose_nothing() {
        let (mut near, mut far) = pair(Shape {
            read: 3,
            write: 2,
            stall: true,
            ..Shape::default()
        });
        far.write_all(b"0123456789").await.unwrap();
        far.shutdown().await.unwrap();
        let mut all = Vec::new();
        near.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"0123456789");
        near.write_all(b"answer").await.unwrap();
        drop(near);
        all.clear();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"answer");
    }

    #[tokio::test]
    async fn an_early_end_and_a_broken_pipe() {
        let shape = Shape {
            end_after: Some(4),
            break_after: Some(2),
            ..Shape::default()
        };
        let (mut near, mut far) = pair(shape);
        far.write_all(b"0123456789").await.unwrap();
        let mut all = Vec::new();
        near.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"0123");
        near.write_all(b"ok").await.unwrap();
        let error = near.write_all(b"x").await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(near.counts(), (4, 2));
    }
}
