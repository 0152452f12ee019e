//! The start of a server's life: the listening sockets it inherits from the one before it.
//!
//! Next: `transfer_fd/` for the table and how it is handed over.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use log::info;
use pingora_error::{Error, ErrorType, Result};
use tokio::sync::broadcast;

use super::configuration::{Opt, ServerConf};
use super::{ExecutionPhase, ShutdownWatch, failure};
#[cfg(unix)]
use super::{Fds, ListenFds, daemon, transfer_fd::sock};
use crate::services::{ServiceReadyNotifier, ServiceWithDependents};

/// The number of seconds the processes of an upgrade try to reach each other, by default.
pub(super) const DEFAULT_ATTEMPTS: usize = 5;

/// Where and how a server meets the one before or after it: taken from the configuration when it
/// is used, as programs may change that until the server runs.
pub(super) struct Meeting {
    path: String,
    attempts: usize,
    user: Option<String>,
    group: Option<String>,
}

impl Meeting {
    pub(super) fn new(conf: &ServerConf) -> Self {
        let attempts = conf.upgrade_sock_connect_accept_max_retries;
        Meeting {
            path: conf.upgrade_sock.clone(),
            attempts: attempts.unwrap_or(DEFAULT_ATTEMPTS),
            user: conf.user.clone(),
            group: conf.group.clone(),
        }
    }
}

/// What one server inherits from another, and hands on. Clones share it.
#[derive(Clone)]
pub(super) struct Inheritance {
    wanted: bool,
    #[cfg(unix)]
    fds: ListenFds,
    // The addresses services listen on, if all are known: set when the server runs.
    used_addresses: Arc<OnceLock<HashSet<String>>>,
}

impl Inheritance {
    pub(super) fn new(opt: Option<&Opt>) -> Self {
        Inheritance {
            // A check of the configuration must not take sockets from the running server.
            wanted: opt.is_some_and(|opt| opt.upgrade && !opt.test),
            #[cfg(unix)]
            fds: ListenFds::default(),
            used_addresses: Arc::default(),
        }
    }

    /// Takes the sockets over, if the command line asks for that. Blocks.
    pub(super) fn bootstrap(
        &self,
        meeting: &Meeting,
        phases: &broadcast::Sender<ExecutionPhase>,
    ) -> Result<()> {
        let _ = phases.send(ExecutionPhase::Bootstrap);
        if self.wanted {
            self.receive(meeting)?;
        }
        let _ = phases.send(ExecutionPhase::BootstrapComplete);
        Ok(())
    }

    /// Closes inherited sockets that no service listens on, now or as soon as they arrive.
    pub(super) fn keep_only(&self, addresses: HashSet<String>) {
        let _ = self.used_addresses.set(addresses);
        #[cfg(unix)]
        self.close_unclaimed();
    }

    #[cfg(unix)]
    pub(super) fn fds(&self) -> ListenFds {
        self.fds.clone()
    }

    /// Sends the listening sockets to the process that takes over. Blocks.
    #[cfg(unix)]
    pub(super) fn send(&self, meeting: &Meeting) -> Result<()> {
        let path = meeting.path.as_str();
        let (binds, fds) = self.fds.lock().serialize();
        let mut copy = Fds::new();
        copy.deserialize(binds, fds);
        let sent = sock::send(&copy, path, meeting.attempts).map_err(|e| {
            let context = format!("cannot hand the listening sockets over at {path}");
            Error::because(ErrorType::SocketError, context, e)
        })?;
        self.fds.lock().mark_handed_over();
        info!("listening sockets are handed over count={sent} path={path}");
        Ok(())
    }

    /// Says that there is nothing to hand over with.
    #[cfg(not(unix))]
    pub(super) fn send(&self, _meeting: &Meeting) -> Result<()> {
        Error::e_explain(ErrorType::SocketError, "upgrades need a Unix system")
    }

    #[cfg(unix)]
    fn receive(&self, meeting: &Meeting) -> Result<()> {
        let path = meeting.path.as_str();
        let owner = daemon::owner(meeting.user.as_deref(), meeting.group.as_deref())?;
        let (binds, fds) = sock::receive(path, meeting.attempts, owner).map_err(|e| {
            let context = format!("cannot take over listening sockets at {path} (--upgrade)");
            Error::because(ErrorType::SocketError, context, e)
        })?;
        info!("listening sockets are taken over count={}", fds.len());
        self.fds.lock().deserialize(binds, fds);
        self.close_unclaimed();
        Ok(())
    }

    #[cfg(not(unix))]
    fn receive(&self, _meeting: &Meeting) -> Result<()> {
        Error::e_explain(ErrorType::SocketError, "--upgrade needs a Unix system")
    }

    #[cfg(unix)]
    fn close_unclaimed(&self) {
        let Some(keep) = self.used_addresses.get() else {
            return;
        };
        for address in self.fds.lock().close_unclaimed(keep) {
            info!("inherited socket is closed: no service listens on {address}");
        }
    }
}

/// Does the work of [`Server::bootstrap`](super::Server::bootstrap) while the server runs.
pub(super) struct BootstrapService {
    pub(super) inheritance: Inheritance,
    pub(super) meeting: Arc<Meeting>,
    pub(super) phases: broadcast::Sender<ExecutionPhase>,
}

#[async_trait]
impl ServiceWithDependents for BootstrapService {
    async fn start_service(
        &mut self,
        #[cfg(unix)] _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let (inheritance, meeting) = (self.inheritance.clone(), self.meeting.clone());
        let phases = self.phases.clone();
        let bootstrap = move || inheritance.bootstrap(&meeting, &phases);
        let bootstrap = tokio::task::spawn_blocking(bootstrap);
        match bootstrap.await {
            Ok(Ok(())) => ready.notify_ready(),
            Ok(Err(e)) => failure::report(e),
            // The runtime is being shut down.
            Err(_) => {}
        }
    }

    fn name(&self) -> &str {
        "Bootstrap"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}
