//! How a service ends the whole server: a listening service whose address is taken must not leave
//! a process that looks alive.
//!
//! [`start_service`] returns nothing, so the error takes another way. The server runs each service
//! inside the scope of a [`ServiceContext`], which a task-local finds again. Inside
//! `start_service`, [`report`] is enough; a service that binds its sockets in tasks of its own
//! takes [`current`] along, since task-locals do not follow `tokio::spawn`. Outside of any server,
//! as in tests of a lone service, reporting just logs.
//!
//! Next: `run.rs`, which waits for a failure beside signals.
//!
//! [`start_service`]: crate::services::ServiceWithDependents::start_service

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora_error::{BError, ErrorType};
use tokio::sync::watch;

use super::report;

/// Ends the server of the current service because of `error`. The first error wins.
///
/// The program then prints it as one line: its context, its cause, and the name of the service.
/// So `cannot listen on 127.0.0.1:80`, caused by the I/O error, becomes
/// `cannot listen on 127.0.0.1:80: address already in use (set by service "x")`.
pub(crate) fn report(error: BError) {
    match current() {
        Some(service) => service.fail(error),
        None => report::fatal(&error),
    }
}

/// Returns the service that the current task runs, to take into the tasks it spawns.
pub(crate) fn current() -> Option<ServiceContext> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Counts one more address that is listened on.
pub(super) fn count_listener() {
    if let Some(service) = current() {
        service.startup.bound.send_modify(|n| *n += 1);
    }
}

tokio::task_local! {
    static CURRENT: ServiceContext;
}

/// A running service, as errors and reports name it.
#[derive(Clone)]
pub(crate) struct ServiceContext {
    service: Arc<str>,
    startup: Arc<Startup>,
}

impl ServiceContext {
    /// Returns the context of the service called `service`.
    pub(super) fn new(service: &str, startup: &Arc<Startup>) -> Self {
        ServiceContext {
            service: service.into(),
            startup: startup.clone(),
        }
    }

    /// Ends the server because of `error`, as [`report`] does.
    pub(crate) fn fail(&self, error: BError) {
        let line = report::describe(&error);
        let line = format!("{line} (set by service \"{}\")", self.service);
        // The kind stays for programs; the line is for people.
        let etype = error.etype.clone();
        self.startup
            .fail(pingora_error::Error::explain(etype, line));
    }

    /// Runs `future` as this service.
    pub(crate) async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }
}

/// What the services of one server have come to.
pub(super) struct Startup {
    first_error: Mutex<Option<BError>>,
    failed: watch::Sender<bool>,
    bound: watch::Sender<usize>,
}

impl Startup {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Startup {
            first_error: Mutex::new(None),
            failed: watch::Sender::new(false),
            bound: watch::Sender::new(0),
        })
    }

    /// Ends the server because of `error`.
    pub(super) fn fail(&self, error: BError) {
        self.first_error.lock().get_or_insert(error);
        self.failed.send_replace(true);
    }

    /// Waits for the first error. Cancel-safe.
    pub(super) async fn failure(&self) -> BError {
        let mut failed = self.failed.subscribe();
        // The sender is `self`, which outlives this.
        let _ = failed.wait_for(|failed| *failed).await;
        let error = self.first_error.lock().take();
        error.unwrap_or_else(|| pingora_error::Error::new(ErrorType::InternalError))
    }

    /// Waits until `count` addresses are listened on. Cancel-safe.
    pub(super) async fn listening(&self, count: usize) {
        let mut bound = self.bound.subscribe();
        let _ = bound.wait_for(|bound| *bound >= count).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_error::{Error, ErrorType};

    #[tokio::test]
    async fn the_first_error_wins_and_names_its_service() {
        let startup = Startup::new();
        let service = ServiceContext::new("x", &startup);
        service
            .scope(async {
                let cause = std::io::Error::from(std::io::ErrorKind::AddrInUse);
                report(Error::because(
                    ErrorType::BindError,
                    "cannot listen on a",
                    cause,
                ));
                // A spawned task needs to be given the context.
                let own = current().unwrap();
                let spawned = tokio::spawn(async move {
                    assert!(current().is_none());
                    own.fail(Error::new(ErrorType::BindError));
                });
                spawned.await.unwrap();
            })
            .await;
        let error = startup.failure().await;
        assert_eq!(error.etype, ErrorType::BindError);
        assert_eq!(
            report::describe(&error),
            "cannot listen on a: address in use (set by service \"x\")"
        );
        assert!(current().is_none());
        report(error);
    }

    #[tokio::test]
    async fn listeners_are_counted() {
        let startup = Startup::new();
        let service = ServiceContext::new("x", &startup);
        service
            .scope(async { crate::server::report::listening("x", "127.0.0.1:1", "tcp") })
            .await;
        startup.listening(1).await;
    }
}
