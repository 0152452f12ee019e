//! The runtime without work stealing: a single-threaded runtime of tokio on each of N threads.
//!
//! ```text
//! new ── first use ──> N runtimes built, then N threads, each blocked on its own runtime
//!                        │ shutdown_timeout: the time left is sent to all, then all are awaited
//!                        │ drop: the channels close and the threads end by themselves
//! ```

use std::{
    cell::OnceCell,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use crate::{BlockingPoolOpts, RuntimeOpts, builder, metrics};

thread_local! {
    /// All runtimes of the pool this thread belongs to.
    static POOL: OnceCell<Arc<[Handle]>> = const { OnceCell::new() };
}

/// Returns where a task that may run anywhere is spawned: on a thread of a [`NoStealRuntime`] a
/// random one of all its runtimes, else the current runtime. Panics outside of a runtime.
///
/// ```
/// let runtime = pingora_runtime::Runtime::new_steal(1, "test");
/// let sum = async { pingora_runtime::current_handle().spawn(async { 1 + 1 }).await };
/// assert_eq!(runtime.get_handle().block_on(sum).unwrap(), 2);
/// # runtime.shutdown_timeout(std::time::Duration::from_secs(5));
/// ```
pub fn current_handle() -> Handle {
    POOL.with(|pool| match pool.get() {
        Some(handles) => random(handles).clone(),
        None => Handle::current(),
    })
}

/// N single-threaded runtimes, each with its own thread, started when first used: not before a
/// daemon has forked.
///
/// ```
/// use pingora_runtime::{BlockingPoolOpts, NoStealRuntime, RuntimeOpts};
///
/// let runtime = NoStealRuntime::new(2, "proxy", BlockingPoolOpts::default(), RuntimeOpts::default());
/// let first = runtime.get_runtime_at(0).spawn(async { std::thread::current().id() });
/// let id = runtime.get_runtime_at(1).block_on(first).unwrap();
/// assert_ne!(id, std::thread::current().id());
/// runtime.shutdown_timeout(std::time::Duration::from_secs(5));
/// ```
pub struct NoStealRuntime {
    threads: usize,
    name: String,
    blocking: BlockingPoolOpts,
    opts: RuntimeOpts,
    running: OnceLock<Running>,
}

struct Running {
    handles: Arc<[Handle]>,
    threads: Vec<PoolThread>,
    /// Disconnected when all threads have ended.
    ///
    /// In a mutex, as a runtime is shared between threads; nobody ever waits for it.
    ended: Mutex<mpsc::Receiver<()>>,
}

struct PoolThread {
    /// Ends the thread: by the instant it must have ended, or at once if dropped.
    end: oneshot::Sender<Instant>,
    join: JoinHandle<()>,
}

impl NoStealRuntime {
    /// Returns runtimes that are not started yet. 0 threads are taken as 1.
    pub fn new(
        threads: usize,
        name: &str,
        blocking_opts: BlockingPoolOpts,
        runtime_opts: RuntimeOpts,
    ) -> Self {
        Self {
            threads: threads.max(1),
            name: name.to_owned(),
            blocking: blocking_opts,
            opts: runtime_opts,
            running: OnceLock::new(),
        }
    }

    /// Returns a random one of the runtimes; starts them first if this is the first use, and
    /// panics if the system has no resources for that.
    pub fn get_runtime(&self) -> &Handle {
        random(&self.running().handles)
    }

    /// Returns the runtime of number `index`, counted from 0; beyond the last it starts over.
    /// Starts them as [`NoStealRuntime::get_runtime`] does.
    pub fn get_runtime_at(&self, index: usize) -> &Handle {
        &self.running().handles[index % self.threads]
    }

    /// Returns how many threads, which is how many runtimes, there are.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Ends all runtimes at the same time: stops tasks at their next await, waits until the blocking
    /// ones of all have finished, or for `timeout`, and then drops the stopped ones. A thread that is still busy then is
    /// left alone. Panics inside of a runtime, where blocking is not allowed.
    pub fn shutdown_timeout(self, timeout: Duration) {
        let Some(running) = self.running.into_inner() else {
            return;
        };
        let now = Instant::now();
        let end_by = now.checked_add(timeout).unwrap_or(now + FOR_EVER);
        let joins: Vec<_> = running
            .threads
            .into_iter()
            .map(|thread| {
                // Fails if the thread has ended, which is what it asks for.
                let _ = thread.end.send(end_by);
                thread.join
            })
            .collect();
        let left = end_by.saturating_duration_since(Instant::now());
        if running
            .ended
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .recv_timeout(left)
            == Err(mpsc::RecvTimeoutError::Timeout)
        {
            log::warn!("runtime threads still busy at shutdown name={}", self.name);
            return;
        }
        for join in joins {
            if join.join().is_err() {
                log::error!("runtime thread panicked name={}", self.name);
            }
        }
    }

    fn running(&self) -> &Running {
        self.running.get_or_init(|| self.start())
    }

    fn start(&self) -> Running {
        metrics::warn_no_alt_timer(&self.opts);
        // All are built before the first runs, as each knows all the others.
        let runtimes: Vec<_> = (0..self.threads).map(|_| self.build()).collect();
        let handles: Arc<[Handle]> = runtimes.iter().map(|rt| rt.handle().clone()).collect();
        let (ends, ended) = mpsc::channel();
        let threads = runtimes
            .into_iter()
            .map(|runtime| self.spawn(runtime, handles.clone(), ends.clone()))
            .collect();
        Running {
            handles,
            threads,
            ended: Mutex::new(ended),
        }
    }

    fn build(&self) -> tokio::runtime::Runtime {
        let mut builder = Builder::new_current_thread();
        builder::configure(&mut builder, &self.name, &self.blocking, &self.opts);
        builder
            .build()
            .expect("the system has file descriptors for a runtime")
    }

    fn spawn(
        &self,
        runtime: tokio::runtime::Runtime,
        pool: Arc<[Handle]>,
        ended: mpsc::Sender<()>,
    ) -> PoolThread {
        let (end, until) = oneshot::channel::<Instant>();
        let run = move || {
            POOL.with(|cell| cell.get_or_init(|| pool).len());
            crate::enter_thread();
            match runtime.block_on(until) {
                Ok(by) => runtime.shutdown_timeout(by.saturating_duration_since(Instant::now())),
                Err(_dropped) => runtime.shutdown_background(),
            }
            drop(ended);
        };
        let join = thread::Builder::new()
            .name(self.name.clone())
            .spawn(run)
            .expect("the system has threads for a runtime");
        PoolThread { end, join }
    }
}

/// A century: what a timeout too large for the clock is taken as.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn random(handles: &[Handle]) -> &Handle {
    &handles[fastrand::usize(..handles.len())]
}
