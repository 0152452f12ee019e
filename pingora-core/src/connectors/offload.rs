//! Connecting, or accepting, on threads of its own.
//!
//! TLS handshakes take milliseconds of processor time, during which a worker thread serves no
//! other request. A server may give them threads of their own instead.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pingora_runtime::Runtime;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

/// A number of runtimes, of which each key always uses the same.
pub(crate) struct OffloadRuntime {
    pools: Vec<Runtime>,
}

impl OffloadRuntime {
    /// Returns pools of threads called `name`, `None` when the number of either is zero.
    pub(crate) fn named((pools, threads): (usize, usize), name: &str) -> Option<Self> {
        if pools == 0 || threads == 0 {
            return None;
        }
        let pools = (0..pools)
            .map(|_| Runtime::new_steal(threads, name))
            .collect();
        Some(OffloadRuntime { pools })
    }

    /// Returns the runtime for `key`, the same each time.
    pub(crate) fn runtime_of(&self, key: u64) -> &Handle {
        let index = key % self.pools.len() as u64;
        self.pools[index as usize].get_handle()
    }
}

impl Drop for OffloadRuntime {
    fn drop(&mut self) {
        // Waiting for the threads is not allowed in a task, where a connector may be dropped.
        for runtime in self.pools.drain(..) {
            runtime.shutdown_timeout(Duration::ZERO);
        }
    }
}

/// Aborts a task when nobody waits for it any more.
pub(crate) struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> AbortOnDrop<T> {
    /// Returns what waits for `task`, which outlives the future that waits unless it is told.
    pub(crate) fn new(task: JoinHandle<T>) -> Self {
        AbortOnDrop(task)
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
