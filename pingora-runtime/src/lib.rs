#![doc = include_str!("../README.md")]
//!
//! # Which one
//!
//! A work-stealing runtime balances uneven load; without stealing a task never changes its
//! thread, which saves the synchronisation and keeps caches warm when connections are many and
//! alike. The rest of the framework does not care which one it runs on: it spawns on
//! [`current_handle`].
//!
//! Reading order: this file (the enum, what can be chosen), `builder` (applies it), `no_steal` (the
//! threads of the second kind), `metrics` (options that need an unstable tokio).

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

mod builder;

mod no_steal;

mod metrics;

pub use builder::RuntimeBuilder;
pub use no_steal::{NoStealRuntime, current_handle};

thread_local! {
    static IS_OURS: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether the calling thread was started by a [`Runtime`]: tasks spawned here run while it
/// does, on this thread or others of the same runtime.
///
/// ```
/// let runtime = pingora_runtime::Runtime::new_steal(1, "test");
/// let there = runtime.get_handle().spawn(async { pingora_runtime::is_runtime_thread() });
/// assert!(runtime.get_handle().block_on(there).unwrap());
/// assert!(!pingora_runtime::is_runtime_thread());
/// # runtime.shutdown_timeout(std::time::Duration::from_secs(5));
/// ```
pub fn is_runtime_thread() -> bool {
    IS_OURS.get()
}

/// Marks the calling thread as one of a runtime.
fn enter_thread() {
    IS_OURS.set(true);
}

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

/// Limits of the threads that run blocking tasks, per runtime of tokio: without work stealing
/// each thread has its own.
///
/// ```
/// use pingora_runtime::BlockingPoolOpts;
///
/// let opts = BlockingPoolOpts { max_threads: Some(16), ..Default::default() };
/// assert_eq!(opts.thread_keep_alive, None);
/// ```
#[derive(Debug, Clone, Default)]
pub struct BlockingPoolOpts {
    /// How many threads there may be, at least one. By default tokio's 512.
    pub max_threads: Option<usize>,
    /// How long a thread waits for another task before it ends. By default tokio's 10 s.
    pub thread_keep_alive: Option<Duration>,
}

/// Options that change how tokio works inside. All need `--cfg tokio_unstable`; without it they
/// have no effect, which is logged once.
///
/// ```
/// use pingora_runtime::RuntimeOpts;
///
/// assert!(!RuntimeOpts::default().enable_alt_timer);
/// ```
#[derive(Debug, Clone, Default)]
pub struct RuntimeOpts {
    /// Whether to use tokio's alternative timer, which has less contention; only for
    /// work-stealing runtimes. By default not.
    pub enable_alt_timer: bool,
    /// What tokio measures. By default nothing more than usual.
    pub metrics: RuntimeMetricsOpts,
}

/// What a runtime measures; read with tokio's `RuntimeMetrics`.
///
/// ```
/// use pingora_runtime::RuntimeMetricsOpts;
///
/// let opts = RuntimeMetricsOpts { poll_time_histogram: true, ..Default::default() };
/// assert_eq!(opts.poll_time_histogram_buckets, None);
/// ```
#[derive(Debug, Clone, Default)]
pub struct RuntimeMetricsOpts {
    /// Whether to count how long polls take, which reads the clock twice per poll. By default
    /// not.
    pub poll_time_histogram: bool,
    /// How the buckets grow. By default linearly.
    pub poll_time_histogram_scale: Option<RuntimeMetricsPollTimeHistogramScale>,
    /// The width of the first bucket, at most 1 s. By default, and if zero, tokio's 100 µs.
    pub poll_time_histogram_resolution: Option<Duration>,
    /// How many buckets there are. By default, and if zero, tokio's 10.
    pub poll_time_histogram_buckets: Option<usize>,
}

/// How the buckets of the poll time histogram grow. In a configuration file `linear` or `log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeMetricsPollTimeHistogramScale {
    /// All buckets are as wide as the first.
    #[serde(alias = "Linear")]
    Linear,
    /// Each bucket is twice as wide as the one before.
    #[serde(alias = "Log")]
    Log,
}

#[cfg(test)]
mod tests;
