//! Makes a runtime of what was chosen, see `lib.rs`. The options that depend on tokio's unstable features are
//! applied in `metrics`.

use tokio::runtime::Builder;

use crate::{BlockingPoolOpts, NoStealRuntime, Runtime, RuntimeMetricsOpts, RuntimeOpts, metrics};

/// Makes a [`Runtime`].
///
/// ```
/// use pingora_runtime::{BlockingPoolOpts, RuntimeBuilder};
///
/// let runtime = RuntimeBuilder::new(4, "proxy")
///     .work_steal(false)
///     .blocking_pool_opts(BlockingPoolOpts { max_threads: Some(16), ..Default::default() })
///     .build();
/// # drop(runtime);
/// ```
#[must_use = "call `build`"]
pub struct RuntimeBuilder {
    threads: usize,
    name: String,
    work_steal: bool,
    blocking: BlockingPoolOpts,
    opts: RuntimeOpts,
}

impl RuntimeBuilder {
    /// Returns a builder for a work-stealing runtime with default options whose threads are
    /// called `name`. 0 threads are taken as 1.
    pub fn new(threads: usize, name: &str) -> Self {
        Self {
            threads: threads.max(1),
            name: name.to_owned(),
            work_steal: true,
            blocking: BlockingPoolOpts::default(),
            opts: RuntimeOpts::default(),
        }
    }

    /// Chooses whether threads take tasks from each other.
    pub fn work_steal(mut self, enabled: bool) -> Self {
        self.work_steal = enabled;
        self
    }

    /// Sets the limits of the threads for blocking tasks.
    pub fn blocking_pool_opts(mut self, opts: BlockingPoolOpts) -> Self {
        self.blocking = opts;
        self
    }

    /// Sets all of [`RuntimeOpts`].
    pub fn runtime_opts(mut self, opts: RuntimeOpts) -> Self {
        self.opts = opts;
        self
    }

    /// Sets [`RuntimeOpts::metrics`].
    pub fn metrics_opts(mut self, opts: RuntimeMetricsOpts) -> Self {
        self.opts.metrics = opts;
        self
    }

    /// Sets [`RuntimeOpts::enable_alt_timer`].
    pub fn enable_alt_timer(mut self, enabled: bool) -> Self {
        self.opts.enable_alt_timer = enabled;
        self
    }

    /// Returns the runtime. Panics if the system has no threads or file descriptors for it; one
    /// without stealing is started later, and panics then.
    pub fn build(self) -> Runtime {
        if !self.work_steal {
            let Self {
                threads,
                name,
                blocking,
                opts,
                ..
            } = self;
            return Runtime::NoSteal(NoStealRuntime::new(threads, &name, blocking, opts));
        }
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(self.threads);
        configure(&mut builder, &self.name, &self.blocking, &self.opts);
        metrics::configure_alt_timer(&mut builder, &self.opts);
        let runtime = builder
            .build()
            .expect("the system has threads and descriptors for a runtime");
        Runtime::Steal { runtime }
    }
}

/// Applies what both kinds of runtime have.
pub(crate) fn configure(
    builder: &mut Builder,
    name: &str,
    blocking: &BlockingPoolOpts,
    opts: &RuntimeOpts,
) {
    builder
        .enable_all()
        .thread_name(name)
        .on_thread_start(crate::enter_thread);
    if let Some(max_threads) = blocking.max_threads {
        builder.max_blocking_threads(max_threads.max(1));
    }
    if let Some(keep_alive) = blocking.thread_keep_alive {
        builder.thread_keep_alive(keep_alive);
    }
    metrics::configure_metrics(builder, &opts.metrics);
}
