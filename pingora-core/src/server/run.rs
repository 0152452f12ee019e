//! The life of a server from start to end.
//!
//! ```text
//! try_run ── check (--test) ── daemon ── serve ┬─ start_services: a runtime and a task for each
//!                                              ├─ until_shutdown: a signal, or a failure
//!                                              ├─ drain: wait for the services' tasks
//!                                              └─ runtimes end
//! ```
//!
//! Services start in the order of their dependencies, each waiting inside its own task. The
//! server ends when all tasks have, or the grace period is over, whichever is first.
//!
//! Next: `tasks.rs` for what one service does, `phase.rs` for the stages, `signals.rs` for the
//! signals, `failure.rs` for failures.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use log::{error, info};
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_runtime::{Runtime, RuntimeBuilder};
use tokio::sync::watch;

use super::bootstrap::Meeting;
#[cfg(unix)]
use super::daemon;
use super::failure::{ServiceContext, Startup};
use super::tasks::{Escalation, Running, Start, drain, end_runtimes};
use super::{ExecutionPhase, Server, ShutdownSignal, ShutdownSignalWatch, report, signals};
use crate::services::ServiceEntry;

/// How long the old process of an upgrade still accepts connections after it has handed its
/// sockets over: the new one needs a moment before it does.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 5 });

/// How long a daemon that is ready waits for its addresses, which services bind right after that.
#[cfg(unix)]
const LISTEN_GRACE: Duration = Duration::from_secs(1);

/// What [`Server::run`] needs to know: where the signal to shut down comes from.
///
/// ```
/// use pingora_core::server::RunArgs;
///
/// // By default, from the signals of the process.
/// let args = RunArgs::default();
/// ```
pub struct RunArgs {
    /// The source of the signal that ends the server.
    pub shutdown_signal: Box<dyn ShutdownSignalWatch>,
}

impl Default for RunArgs {
    /// Returns arguments that watch the signals of the process: see
    /// [`UnixShutdownSignalWatch`](super::UnixShutdownSignalWatch).
    fn default() -> Self {
        #[cfg(unix)]
        let shutdown_signal = Box::new(signals::UnixShutdownSignalWatch);
        #[cfg(not(unix))]
        let shutdown_signal = Box::new(signals::ConsoleShutdownSignalWatch);
        RunArgs { shutdown_signal }
    }
}

impl Server {
    /// Runs until a signal of the process ends the server, then exits: with status 0, or with 1
    /// and one line on standard error (or in the log) that says why.
    ///
    /// SIGINT ends it at once, also during a graceful shutdown. SIGTERM ends it gracefully: stops
    /// accepting connections, then waits until all services are done, at most
    /// `grace_period_seconds`. SIGQUIT first hands the listening sockets over to a process started
    /// with `--upgrade`; if there is none, the server keeps running.
    ///
    /// Inside a runtime of tokio this blocks the thread it is called on.
    pub fn run_forever(self) -> ! {
        let status = match self.execute(RunArgs::default(), Escalation::OnInterrupt) {
            Ok(()) => 0,
            Err(e) => {
                report::fatal(&e);
                1
            }
        };
        std::process::exit(status)
    }

    /// Runs until `run_args` says that the server is to end, then returns.
    ///
    /// Why a server does not start, or ends by itself, is logged, or printed without a logger;
    /// [`try_run`](Server::try_run) returns it. Never exits the process, apart from the parent of
    /// a daemon. Inside a runtime of tokio this blocks the thread it is called on: call it with
    /// `spawn_blocking`.
    pub fn run(self, run_args: RunArgs) {
        if let Err(e) = self.try_run(run_args) {
            report::fatal(&e);
        }
    }

    /// Runs as [`run`](Server::run) does and returns why the server did not start or ended by
    /// itself.
    ///
    /// # Errors
    ///
    /// A value of the configuration is out of range, services depend on each other in a circle,
    /// sockets could not be inherited, the daemon could not be made, or a service failed, as one
    /// whose address is in use.
    pub fn try_run(self, run_args: RunArgs) -> Result<()> {
        self.execute(run_args, Escalation::Never)
    }

    fn execute(mut self, run_args: RunArgs, escalation: Escalation) -> Result<()> {
        self.configuration.check_ranges()?;
        if let Some(e) = self.startup_error.take() {
            return Err(e);
        }
        let order = self.graph.start_order()?;
        if self.is_test() {
            return self.check_listeners();
        }
        if let Some(addresses) = self.used_addresses() {
            self.inheritance.keep_only(addresses);
        }
        let notice = self.become_daemon()?;
        pingora_timeout::fast_timeout::set_fast_timeout_to_tokio_threshold(
            self.configuration
                .fast_timeout_to_tokio_threshold_seconds
                .map(Duration::from_secs),
        );
        report::started();
        info!(
            "services start in the order: {}",
            self.graph.describe(&order)
        );

        // Not before: a daemon would be left without its thread.
        #[cfg(feature = "sentry")]
        let _reporting = super::sentry::start(self.sentry.as_ref());
        let ended = self.serve_here(order, run_args, escalation, notice);
        #[cfg(feature = "sentry")]
        super::sentry::report(&ended);
        ended
    }

    /// Serves on this thread, or on another one when this belongs to a runtime.
    fn serve_here(
        self,
        order: Vec<usize>,
        run_args: RunArgs,
        escalation: Escalation,
        notice: Option<Notice>,
    ) -> Result<()> {
        let signal = run_args.shutdown_signal;
        if tokio::runtime::Handle::try_current().is_err() {
            return self.serve(order, &mut || Some(signal.recv()), escalation, notice);
        }
        // A runtime cannot be blocked on or dropped inside another one. The source of the signal
        // cannot move to the other thread, but a future of it can: one, so no second attempt
        // after a failed upgrade.
        let mut first = Some(signal.recv());
        let serve = || self.serve(order, &mut || first.take(), escalation, notice);
        thread::scope(|scope| match scope.spawn(serve).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Forks, if the configuration says so. Returns how to tell the parent that all is well.
    #[cfg(unix)]
    fn become_daemon(&self) -> Result<Option<daemon::ReadyNotice>> {
        if !self.configuration.daemon {
            return Ok(None);
        }
        if tokio::runtime::Handle::try_current().is_ok() {
            // The threads of the runtime would not survive.
            let context = "cannot become a daemon inside a tokio runtime";
            return Error::e_explain(ErrorType::InternalError, context);
        }
        pingora_timeout::fast_timeout::pause_for_fork();
        let upgrade = self.options.as_ref().is_some_and(|opt| opt.upgrade);
        let notice = daemon::daemonize(&self.configuration, upgrade);
        pingora_timeout::fast_timeout::unpause();
        notice
    }

    #[cfg(not(unix))]
    fn become_daemon(&self) -> Result<Option<std::convert::Infallible>> {
        if self.configuration.daemon {
            let context = "cannot become a daemon: this needs a Unix system";
            return Error::e_explain(ErrorType::InternalError, context);
        }
        Ok(None)
    }

    /// Returns all addresses services listen on, or `None` if a service does not say.
    fn used_addresses(&self) -> Option<HashSet<String>> {
        let addresses = self.services.iter().map(|e| e.service.listen_addresses());
        Some(
            addresses
                .collect::<Option<Vec<_>>>()?
                .concat()
                .into_iter()
                .collect(),
        )
    }

    fn serve(
        mut self,
        order: Vec<usize>,
        next_signal: NextSignal<'_, '_>,
        escalation: Escalation,
        #[cfg_attr(not(unix), allow(unused))] notice: Option<Notice>,
    ) -> Result<()> {
        let control = Runtime::new_steal(1, "Server");
        let handle = control.get_handle().clone();
        let startup = Startup::new();
        let shutdown = watch::Sender::new(false);
        #[cfg(unix)]
        let ready = notice.map(|notice| self.tell_parent(notice, &startup));
        let mut running = self.start_services(&order, &startup, &shutdown);
        #[cfg(unix)]
        if let Some(ready) = ready {
            handle.spawn(ready.boxed());
        }

        let end = handle.block_on(self.until_shutdown(next_signal, &startup));
        self.enter(ExecutionPhase::ShutdownStarted);
        shutdown.send_replace(true);
        let (timeout, result) = match end {
            End::Graceful => {
                self.enter(ExecutionPhase::ShutdownGracePeriod);
                let limit = self.configuration.grace_period();
                handle.block_on(drain(&mut running, limit, escalation));
                (self.configuration.graceful_shutdown_timeout(), Ok(()))
            }
            End::Fast => (Duration::ZERO, Ok(())),
            End::Failed(e) => (Duration::ZERO, Err(e)),
        };
        self.enter(ExecutionPhase::ShutdownRuntimes);
        end_runtimes(running, timeout);
        control.shutdown_timeout(Duration::ZERO);
        info!("server has ended");
        self.enter(ExecutionPhase::Terminated);
        result
    }

    /// Starts a task for each service, on a runtime of its own.
    fn start_services(
        &mut self,
        order: &[usize],
        startup: &Arc<Startup>,
        shutdown: &watch::Sender<bool>,
    ) -> Vec<Running> {
        let conf = &self.configuration;
        let global_opts = conf.runtime_opts();
        let mut entries: Vec<Option<ServiceEntry>> = self.services.drain(..).map(Some).collect();
        let mut running = Vec::with_capacity(entries.len());
        for entry in order.iter().filter_map(|index| entries[*index].take()) {
            let service = &entry.service;
            let name = service.name().to_string();
            let opts = service.runtime_opts_override(&global_opts);
            let runtime = RuntimeBuilder::new(service.threads().unwrap_or(conf.threads), &name)
                .work_steal(conf.work_stealing)
                .blocking_pool_opts(conf.blocking_pool_opts())
                .runtime_opts(opts.unwrap_or_else(|| global_opts.clone()))
                .build();
            let start = Start {
                context: ServiceContext::new(&name, startup),
                shutdown: shutdown.subscribe(),
                listeners_per_fd: conf.listener_tasks_per_fd,
                #[cfg(unix)]
                fds: self.inheritance.fds(),
            };
            let task = runtime.get_handle().spawn(start.run(entry).boxed());
            running.push(Running {
                name,
                task: Some(task),
                runtime,
            });
        }
        running
    }

    /// Says that the server runs, then waits for what ends it.
    async fn until_shutdown(&self, next_signal: NextSignal<'_, '_>, startup: &Startup) -> End {
        let Some(mut signal) = next_signal() else {
            return End::Graceful;
        };
        // The first poll installs the handlers. Who sees the phase may rely on them.
        let mut received = match poll_fn(|cx| Poll::Ready(signal.as_mut().poll(cx))).await {
            Poll::Ready(signal) => Some(signal),
            Poll::Pending => None,
        };
        self.enter(ExecutionPhase::Running);
        loop {
            let event = match received.take() {
                Some(signal) => Event::Signal(signal),
                None => tokio::select! {
                    // cancel-safe
                    e = startup.failure() => Event::Failure(e),
                    // cancel-safe: polled again by reference
                    signal = &mut signal => Event::Signal(signal),
                },
            };
            match event {
                Event::Failure(e) => return End::Failed(e),
                Event::Signal(ShutdownSignal::FastShutdown) => {
                    info!("server ends at once");
                    return End::Fast;
                }
                Event::Signal(ShutdownSignal::GracefulTerminate) => {
                    info!("server ends gracefully");
                    self.enter(ExecutionPhase::GracefulTerminate);
                    return End::Graceful;
                }
                Event::Signal(ShutdownSignal::GracefulUpgrade) => {
                    info!("server hands over to a new process");
                    let Err(e) = self.hand_over().await else {
                        return End::Graceful;
                    };
                    report::fatal(&e);
                    // Without another signal to wait for, the request to end stands.
                    let Some(next) = next_signal() else {
                        return End::Graceful;
                    };
                    report::warning("the server keeps running, as nobody took over");
                    signal = next;
                }
            }
        }
    }

    async fn hand_over(&self) -> Result<()> {
        self.enter(ExecutionPhase::GracefulUpgradeTransferringFds);
        let inheritance = self.inheritance.clone();
        let meeting = Meeting::new(&self.configuration);
        let sent = tokio::task::spawn_blocking(move || inheritance.send(&meeting)).await;
        sent.unwrap_or_else(|e| Error::e_because(ErrorType::InternalError, "cannot hand over", e))?;
        self.enter(ExecutionPhase::GracefulUpgradeCloseTimeout);
        tokio::time::sleep(CLOSE_TIMEOUT).await;
        Ok(())
    }

    /// Returns what tells the parent of a daemon, once all services are ready and listen.
    #[cfg(unix)]
    fn tell_parent(
        &self,
        notice: daemon::ReadyNotice,
        startup: &Arc<Startup>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let ready: Vec<_> = self.services.iter().map(|e| e.handle.ready()).collect();
        let addresses = self
            .services
            .iter()
            .filter_map(|e| e.service.listen_addresses());
        let addresses = addresses.map(|a| a.len()).sum();
        let startup = startup.clone();
        async move {
            for mut ready in ready {
                // A service that is gone has marked itself ready.
                let _ = ready.wait_for(|ready| *ready).await;
            }
            let _ = tokio::time::timeout(LISTEN_GRACE, startup.listening(addresses)).await;
            let sent = tokio::task::spawn_blocking(move || notice.send()).await;
            if let Ok(Err(e)) = sent {
                error!("cannot tell the parent process that the daemon is ready: {e}");
            }
        }
    }

    fn enter(&self, phase: ExecutionPhase) {
        // Nobody may be interested.
        let _ = self.phases.send(phase);
    }
}

#[cfg(unix)]
type Notice = daemon::ReadyNotice;
#[cfg(not(unix))]
type Notice = std::convert::Infallible;

/// Returns a future of the next signal, or `None` if there is no further one.
type NextSignal<'f, 's> =
    &'f mut dyn FnMut() -> Option<Pin<Box<dyn Future<Output = ShutdownSignal> + Send + 's>>>;

enum Event {
    Signal(ShutdownSignal),
    Failure(BError),
}

/// How the server ends.
enum End {
    Graceful,
    Fast,
    Failed(BError),
}

#[cfg(test)]
mod tests;
