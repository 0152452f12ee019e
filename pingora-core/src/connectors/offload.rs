//! Connecting on threads of its own.
//!
//! TLS handshakes take milliseconds of processor time, during which a worker thread serves no
//! other request. A server may give them threads of their own instead.

use std::time::Duration;

use pingora_runtime::Runtime;
use tokio::runtime::Handle;

/// A number of runtimes, of which each peer always uses the same.
pub(super) struct OffloadRuntime {
    pools: Vec<Runtime>,
}

impl OffloadRuntime {
    /// Returns `pools` runtimes of `threads` threads, `None` when one of them is zero.
    pub(super) fn new((pools, threads): (usize, usize)) -> Option<Self> {
        if pools == 0 || threads == 0 {
            return None;
        }
        let pools = (0..pools)
            .map(|_| Runtime::new_steal(threads, "connect offload"))
            .collect();
        Some(OffloadRuntime { pools })
    }

    /// Returns the runtime for the peer with the reuse hash `key`.
    pub(super) fn runtime_of(&self, key: u64) -> &Handle {
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
