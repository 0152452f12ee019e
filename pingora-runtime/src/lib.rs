//! Tokio runtimes: work-stealing, or one single-threaded runtime per thread.
//!
//! A work-stealing runtime balances uneven load; without stealing a task never changes its
//! thread, which saves the synchronisation and keeps caches warm when connections are many and
//! alike. The rest of the framework does not care which one it runs on: it spawns on
//! [`current_handle`].
//!
//! ```
//! use std::time::Duration;
//! use pingora_runtime::{Runtime, current_handle};
//!
//! let runtime = Runtime::new_no_steal(2, "proxy");
//! let (done, wait) = std::sync::mpsc::channel();
//! runtime.get_handle().spawn(async move {
//!     current_handle().spawn(async move { done.send(()) }); // on any of the two threads
//! });
//! wait.recv().unwrap();
//! runtime.shutdown_timeout(Duration::from_secs(5));
//! ```
//!
//! Reading order: this file (the enum), `builder` (what can be chosen), `no_steal` (the threads
//! of the second kind), `metrics` (options that need an unstable tokio).

#![forbid(unsafe_code)]

use std::time::Duration;

use tokio::runtime::Handle;

mod builder;

mod no_steal;

mod metrics;

pub use builder::{BlockingPoolOpts, RuntimeBuilder, RuntimeOpts};
pub use metrics::{RuntimeMetricsOpts, RuntimeMetricsPollTimeHistogramScale};
pub use no_steal::{NoStealRuntime, current_handle};

/// A runtime of either kind. Made by [`RuntimeBuilder`] or, with default options, by its own
/// constructors.
///
/// ```
/// use pingora_runtime::Runtime;
///
/// let runtime = Runtime::new_steal(2, "proxy");
/// runtime.get_handle().block_on(async { /* serve */ });
/// runtime.shutdown_timeout(std::time::Duration::from_secs(5));
/// ```
pub enum Runtime {
    /// Threads take tasks from each other.
    Steal {
        /// The runtime of tokio.
        runtime: tokio::runtime::Runtime,
    },
    /// Tasks stay on the thread they were spawned on.
    NoSteal(NoStealRuntime),
}

impl Runtime {
    /// Returns a work-stealing runtime whose threads, at least one, are called `name`. They run
    /// already. Panics if the system has no resources for them.
    pub fn new_steal(threads: usize, name: &str) -> Self {
        RuntimeBuilder::new(threads, name).build()
    }

    /// Returns a runtime without stealing whose threads, at least one, are called `name`. They
    /// start when it is first used.
    pub fn new_no_steal(threads: usize, name: &str) -> Self {
        RuntimeBuilder::new(threads, name).work_steal(false).build()
    }

    /// Returns where to spawn: the runtime, or a random one of those without stealing, which
    /// starts them if they do not run yet.
    pub fn get_handle(&self) -> &Handle {
        match self {
            Self::Steal { runtime } => runtime.handle(),
            Self::NoSteal(runtime) => runtime.get_runtime(),
        }
    }

    /// Ends the runtime: stops tasks at their next await and returns when blocking ones have
    /// finished, or after `timeout`; stopped tasks are dropped by then. Panics inside of a runtime, where blocking is not allowed.
    pub fn shutdown_timeout(self, timeout: Duration) {
        match self {
            Self::Steal { runtime } => runtime.shutdown_timeout(timeout),
            Self::NoSteal(runtime) => runtime.shutdown_timeout(timeout),
        }
    }
}

#[cfg(test)]
mod tests;
