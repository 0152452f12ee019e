//! The tasks of a server's services: each waits for those it depends on, runs, and is waited for
//! at the end.
//!
//! Next: `run.rs`, which starts them.

use std::panic::AssertUnwindSafe;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use log::{error, info};
use pingora_error::{Error, ErrorType};
use pingora_runtime::Runtime;
use tokio::task::JoinHandle;

use super::failure::ServiceContext;
use super::{ShutdownWatch, report, signals};
use crate::services::ServiceEntry;
use crate::services::dependencies::Dependency;

/// The time between two lines that say which services the shutdown waits for.
const DRAIN_REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// The time after which a service that waits for others says so.
const DEPENDENCY_REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// A service that has been started.
pub(super) struct Running {
    pub(super) name: String,
    // `None` when it has ended.
    pub(super) task: Option<JoinHandle<()>>,
    pub(super) runtime: Runtime,
}

/// What a service needs to start.
pub(super) struct Start {
    pub(super) context: ServiceContext,
    pub(super) shutdown: ShutdownWatch,
    pub(super) listeners_per_fd: usize,
    #[cfg(unix)]
    pub(super) fds: super::ListenFds,
}

impl Start {
    /// Waits for the services this one depends on, then runs it to its end.
    pub(super) async fn run(self, entry: ServiceEntry) {
        let ServiceEntry {
            handle,
            mut service,
            ready,
        } = entry;
        let context = self.context.clone();
        let dependencies = handle.dependencies();
        if !dependencies.is_empty() {
            let begin = Instant::now();
            let shutdown = self.shutdown.clone();
            if !wait_for(handle.name(), dependencies, shutdown).await {
                return;
            }
            service.on_startup_delay(begin.elapsed());
        }
        let run = service.start_service(
            #[cfg(unix)]
            Some(self.fds),
            self.shutdown,
            self.listeners_per_fd,
            ready,
        );
        let ended = AssertUnwindSafe(context.clone().scope(run))
            .catch_unwind()
            .await;
        let name = handle.name();
        match ended {
            Ok(()) => info!("service has ended service={name}"),
            // Without its listeners a server only looks alive.
            Err(_) if service.listen_addresses().is_some_and(|a| !a.is_empty()) => {
                context.fail(Error::explain(ErrorType::InternalError, "service panicked"));
            }
            Err(_) => error!("service panicked service={name}"),
        }
    }
}

/// Returns when all of `dependencies` are ready: true, or the server shuts down: false.
async fn wait_for(name: &str, dependencies: Vec<Dependency>, mut shutdown: ShutdownWatch) -> bool {
    for mut dependency in dependencies {
        loop {
            tokio::select! {
                // cancel-safe
                _ = shutdown.wait_for(|down| *down) => return false,
                // cancel-safe; an error means that the service is gone, having marked itself ready
                _ = dependency.ready.wait_for(|ready| *ready) => break,
                // cancel-safe
                () = tokio::time::sleep(DEPENDENCY_REPORT_INTERVAL) => {}
            }
            report::warning(&format!(
                "service \"{name}\" still waits for service \"{}\" to be ready",
                dependency.name
            ));
        }
    }
    true
}

/// Whether an interrupt cuts a graceful shutdown short.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Escalation {
    Never,
    OnInterrupt,
}

/// Waits until all services have ended, at most `limit`.
pub(super) async fn drain(running: &mut [Running], limit: Duration, escalation: Escalation) {
    let deadline = tokio::time::Instant::now() + limit;
    let interrupted = async {
        match escalation {
            Escalation::OnInterrupt => signals::interrupted().await,
            Escalation::Never => std::future::pending().await,
        }
    };
    tokio::pin!(interrupted);
    loop {
        let report_at = tokio::time::Instant::now() + DRAIN_REPORT_INTERVAL;
        let out_of_time = tokio::select! {
            // cancel-safe: forgets a task only when it has ended
            () = all_ended(running) => return,
            // cancel-safe: polled again by reference
            () = &mut interrupted => return,
            // cancel-safe
            () = tokio::time::sleep_until(deadline.min(report_at)) => deadline <= report_at,
        };
        let names = running
            .iter()
            .filter(|r| r.task.is_some())
            .map(|r| r.name.as_str());
        let names: Vec<&str> = names.collect();
        info!("shutdown waits for services: {}", names.join(", "));
        if out_of_time {
            return;
        }
    }
}

async fn all_ended(running: &mut [Running]) {
    for service in running {
        if let Some(task) = &mut service.task {
            // A panic has been reported by the task.
            let _ = task.await;
            service.task = None;
        }
    }
}

/// Ends all runtimes at the same time, each within `timeout`.
pub(super) fn end_runtimes(running: Vec<Running>, timeout: Duration) {
    thread::scope(|scope| {
        for service in running {
            scope.spawn(move || service.runtime.shutdown_timeout(timeout));
        }
    });
}
