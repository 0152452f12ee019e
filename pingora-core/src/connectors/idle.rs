//! Unused connections.
//!
//! No task watches a connection: whether it is still open is looked at when it is taken, by one
//! read that does not wait. One task for all of a connector's connections closes those that
//! expired or that the server closed, once a second; it exists only while there is something to
//! sweep and a runtime to do it in.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pingora_pool::IdlePool;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::Handle;

use crate::protocols::Stream;

/// How often dead and expired connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How many sweeps of an empty pool end the sweeping task.
const EMPTY_SWEEPS: u32 = 10;

/// How many connections one call of the pool's `sweep` looks at.
const SWEEP_BATCH: usize = 1024;

/// What an idle connection looks like.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// Open, and nothing was received.
    Alive,
    /// Closed by the server, or broken.
    Closed,
    /// The server has sent something.
    UnexpectedData,
}

impl Probe {
    /// Reads once from `stream`, without waiting.
    ///
    /// Call it outside of tokio's cooperation budget (`tokio::task::unconstrained`), under which
    /// any socket looks idle as soon as the task has used its share.
    pub(super) fn of(stream: &mut Stream) -> Self {
        let mut buffer = [0; 16];
        let mut buffer = ReadBuf::new(&mut buffer);
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(stream).poll_read(&mut context, &mut buffer) {
            Poll::Pending => Probe::Alive,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => Probe::UnexpectedData,
            Poll::Ready(Ok(()) | Err(_)) => Probe::Closed,
        }
    }
}

/// The unused connections of one connector.
pub(super) struct IdleConnections {
    pool: IdlePool<Stream>,
    is_sweeping: AtomicBool,
}

impl IdleConnections {
    /// Returns an empty pool with room for `size` connections.
    pub(super) fn new(size: usize) -> Self {
        IdleConnections {
            pool: IdlePool::new(size),
            is_sweeping: AtomicBool::new(false),
        }
    }

    /// Keeps a connection, closing the one unused for longest when there is no room.
    pub(super) fn put(self: &Arc<Self>, key: u64, stream: Stream, idle_timeout: Option<Duration>) {
        if self.pool.put(key, stream, idle_timeout).is_some() {
            log::debug!("idle connection closed: the pool is full");
        }
        // Relaxed: a missed or a late sweep is made up for by the next put.
        if !self.is_sweeping.load(Ordering::Relaxed) {
            self.start_sweeping();
        }
    }

    /// Takes a connection and tells how long it was unused.
    pub(super) fn take(&self, key: u64) -> Option<(Stream, Duration)> {
        self.pool.get(key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.pool.len()
    }

    /// Spawns the sweeping task, unless there is one, nothing to sweep, or no runtime here.
    #[cold]
    fn start_sweeping(self: &Arc<Self>) {
        if self.pool.is_empty() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.is_sweeping.swap(true, Ordering::Relaxed) {
            return;
        }
        let lease = SweepLease(Arc::downgrade(self));
        runtime.spawn(tokio::task::unconstrained(sweep_while_used(lease)));
    }

    /// Closes expired and dead connections.
    async fn sweep(&self) {
        let now = Instant::now();
        let batches = self.pool.len().div_ceil(SWEEP_BATCH);
        for _ in 0..batches {
            let dead = self
                .pool
                .sweep(now, |stream| Probe::of(stream) == Probe::Alive);
            if !dead.is_empty() {
                log::debug!("{} idle connections closed", dead.len());
            }
            drop(dead);
            tokio::task::yield_now().await;
        }
    }
}

impl fmt::Debug for IdleConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleConnections")
            .field("len", &self.pool.len())
            .finish_non_exhaustive()
    }
}

/// Sweeps once a second until the connector is gone or its pool was empty for a while.
async fn sweep_while_used(lease: SweepLease) {
    let mut empty_sweeps = 0;
    while empty_sweeps < EMPTY_SWEEPS {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        let Some(connections) = lease.0.upgrade() else {
            return;
        };
        if connections.pool.is_empty() {
            empty_sweeps += 1;
        } else {
            empty_sweeps = 0;
            connections.sweep().await;
        }
    }
}

/// The right to sweep. Given back when the task ends, also with its runtime.
struct SweepLease(Weak<IdleConnections>);

impl Drop for SweepLease {
    fn drop(&mut self) {
        if let Some(connections) = self.0.upgrade() {
            connections.is_sweeping.store(false, Ordering::Relaxed);
        }
    }
}
