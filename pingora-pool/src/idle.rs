//! The watchers of [`ConnectionPool`]: futures that wait with an idle connection and remove it from
//! the pool when it is of no use any more. Run one per connection put, or none.
//!
//! ```text
//!            ┌─ taken ───────────────► (taker has it)         false
//!  idle ─────┼─ evicted, replaced ───► (pool dropped it)      true
//!            ├─ readable or closed ──► removed here           true
//!            └─ timed out ───────────► removed here           true
//! ```

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{Notify, OwnedMutexGuard, oneshot, watch};
use tokio::time::sleep;

use crate::connection::{ConnectionMeta, ConnectionPool, Gate};
use crate::sync::Mutex;

/// What ended the wait with an idle connection.
enum Ended {
    /// `true`: somebody took it; `false`: it left the pool in another way.
    Left(bool),
    Evicted,
    TimedOut,
    /// Only of [`ConnectionPool::idle_timeout`].
    Closed,
    /// Only of [`ConnectionPool::idle_poll`].
    Read(ReadWhileIdle),
}

/// What a read of an idle connection came to, other than nothing.
enum ReadWhileIdle {
    Data,
    End,
    Failed(std::io::Error),
    /// Nothing was read: somebody has taken it.
    Taken,
}

impl<S> ConnectionPool<S> {
    /// Waits with the connection `meta` until it is taken, evicted, readable, closed, or has idled
    /// for `timeout` (`None`: no limit), and removes it from the pool in the last three cases.
    /// Returns whether it left the pool unused: `false` means that somebody took it.
    ///
    /// `connection` is the lock every taker has to get first; it is released when this returns.
    /// `notify_evicted` and `watch_use` are what [`put`](Self::put) returned. An idle connection
    /// has nothing to say: data that arrives makes it unusable. No byte is read from a connection
    /// that has been taken.
    ///
    /// Needs a tokio runtime with time if there is a timeout. When this future is dropped the
    /// connection stays in the pool, unwatched.
    pub async fn idle_poll<Stream>(
        &self,
        mut connection: OwnedMutexGuard<Stream>,
        meta: &ConnectionMeta,
        timeout: Option<Duration>,
        notify_evicted: Arc<Notify>,
        mut watch_use: oneshot::Receiver<bool>,
    ) -> bool
    where
        Stream: AsyncRead + Unpin + Send,
    {
        let Some(gate) = self.watch(meta, &notify_evicted) else {
            drop(connection);
            return !was_taken(watch_use.await);
        };
        // Each branch is cancel-safe: none keeps anything between polls but its place in a queue.
        let ended = tokio::select! {
            biased;
            left = &mut watch_use => Ended::Left(was_taken(left)),
            () = notify_evicted.notified() => Ended::Evicted,
            read = poll_fn(|cx| poll_idle(&gate, &mut *connection, cx)) => Ended::Read(read),
            () = sleep_if(timeout) => Ended::TimedOut,
        };
        drop(connection);
        self.end(meta, &notify_evicted, watch_use, ended).await
    }

    /// Waits with the connection `meta` until it is taken, evicted, closed, or has idled for
    /// `timeout` (`None`: no limit), and removes it from the pool in the last two cases. Returns
    /// whether it left the pool unused: `false` means that somebody took it.
    ///
    /// For connections that somebody else reads, such as HTTP/2: `notify_closed` holds `true`, or
    /// has lost its sender, once the connection is closed. `notify_evicted` and `watch_use` are
    /// what [`put`](Self::put) returned.
    ///
    /// Needs a tokio runtime with time if there is a timeout. When this future is dropped the
    /// connection stays in the pool, unwatched.
    pub async fn idle_timeout(
        &self,
        meta: &ConnectionMeta,
        timeout: Option<Duration>,
        notify_evicted: Arc<Notify>,
        mut notify_closed: watch::Receiver<bool>,
        mut watch_use: oneshot::Receiver<bool>,
    ) -> bool {
        // Each branch is cancel-safe: none keeps anything between polls but its place in a queue.
        let ended = tokio::select! {
            biased;
            left = &mut watch_use => Ended::Left(was_taken(left)),
            () = notify_evicted.notified() => Ended::Evicted,
            _ = notify_closed.wait_for(|closed| *closed) => Ended::Closed,
            () = sleep_if(timeout) => Ended::TimedOut,
        };
        self.end(meta, &notify_evicted, watch_use, ended).await
    }

    /// Does what the end of the wait asks for. Returns whether the connection left unused.
    async fn end(
        &self,
        meta: &ConnectionMeta,
        evicted: &Arc<Notify>,
        watch_use: oneshot::Receiver<bool>,
        ended: Ended,
    ) -> bool {
        let ConnectionMeta { key, id } = meta;
        match ended {
            Ended::Left(taken) => return !taken,
            Ended::Evicted => return true,
            Ended::Read(ReadWhileIdle::Taken) => return !was_taken(watch_use.await),
            Ended::TimedOut => log::debug!("idle connection timed out, key={key} id={id}"),
            Ended::Closed | Ended::Read(ReadWhileIdle::End) => {
                log::debug!("idle connection closed, key={key} id={id}");
            }
            Ended::Read(ReadWhileIdle::Data) => {
                log::debug!("idle connection got unexpected data, key={key} id={id}");
            }
            Ended::Read(ReadWhileIdle::Failed(error)) => {
                log::debug!("idle connection failed, key={key} id={id} error={error}");
            }
        }
        // Not in the pool any more: taken or evicted in between, and the receiver is about to say.
        self.discard(meta, evicted) || !was_taken(watch_use.await)
    }
}

/// Reads the connection unless somebody has taken it, and spoils it if anything comes.
fn poll_idle<Stream>(
    gate: &Mutex<Gate>,
    connection: &mut Stream,
    cx: &mut Context<'_>,
) -> Poll<ReadWhileIdle>
where
    Stream: AsyncRead + Unpin,
{
    let mut gate = gate.lock();
    if *gate == Gate::Taken {
        return Poll::Ready(ReadWhileIdle::Taken);
    }
    // One byte tells as much as many.
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    let read = match Pin::new(connection).poll_read(cx, &mut buffer) {
        Poll::Pending => return Poll::Pending,
        Poll::Ready(Err(error)) => ReadWhileIdle::Failed(error),
        Poll::Ready(Ok(())) if buffer.filled().is_empty() => ReadWhileIdle::End,
        Poll::Ready(Ok(())) => ReadWhileIdle::Data,
    };
    *gate = Gate::Spoilt;
    Poll::Ready(read)
}

/// Whether what a use receiver yields means that the connection was taken.
fn was_taken(left: Result<bool, oneshot::error::RecvError>) -> bool {
    left.unwrap_or(false)
}

async fn sleep_if(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => sleep(timeout).await,
        None => pending().await,
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
