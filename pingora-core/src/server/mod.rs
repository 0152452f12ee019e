//! The server: reads the configuration, runs services, ends them in order.
//!
//! Read in this order: [`Server`] here, `run.rs` and `tasks.rs` for its life from start to end,
//! `phase.rs` for the stages of that, `signals.rs` for what ends it, `bootstrap.rs` and
//! `transfer_fd/` for the sockets inherited from the process before it, `failure.rs` and
//! `report.rs` for how it says what goes wrong, `check.rs` for `--test`, `daemon.rs` for
//! `--daemon`, and [`configuration`].

use std::sync::Arc;

#[cfg(unix)]
use parking_lot::Mutex;
use pingora_error::{BError, Result};
use tokio::sync::{broadcast, watch};

use crate::services::dependencies::Graph;
use crate::services::{ServiceEntry, ServiceHandle, ServiceWithDependents};

mod bootstrap;
mod check;
pub mod configuration;
#[cfg(unix)]
mod daemon;
pub(crate) mod failure;
mod phase;
pub(crate) mod report;
mod run;
#[cfg(feature = "sentry")]
mod sentry;
mod signals;
mod tasks;
#[cfg(unix)]
mod transfer_fd;

use configuration::{Opt, ServerConf};
pub use phase::ExecutionPhase;
pub use pingora_runtime::{RuntimeMetricsOpts, RuntimeOpts};
pub use run::RunArgs;
#[cfg(unix)]
pub use signals::UnixShutdownSignalWatch;
pub use signals::{ShutdownSignal, ShutdownSignalWatch};
#[cfg(unix)]
pub use transfer_fd::Fds;

/// Becomes true when the server shuts down. Services then finish and end.
pub type ShutdownWatch = watch::Receiver<bool>;

/// The listening sockets of a process, shared by its services.
#[cfg(unix)]
pub type ListenFds = Arc<Mutex<Fds>>;

/// Runs services, each with threads of its own, until a signal ends it.
///
/// ```no_run
/// use pingora_core::server::Server;
/// use pingora_core::server::configuration::Opt;
///
/// let mut server = match Server::new(Opt::parse_args()) {
///     Ok(server) => server,
///     Err(e) => {
///         eprintln!("{e}");
///         std::process::exit(1);
///     }
/// };
/// server.bootstrap();
/// // server.add_service(...);
/// server.run_forever();
/// ```
pub struct Server {
    /// The configuration, with what the command line changes.
    pub configuration: Arc<ServerConf>,
    /// The command line, if it was given.
    pub options: Option<Opt>,
    services: Vec<ServiceEntry>,
    graph: Arc<Graph>,
    phases: broadcast::Sender<ExecutionPhase>,
    inheritance: bootstrap::Inheritance,
    #[cfg(feature = "sentry")]
    sentry: Option<::sentry::ClientOptions>,
    // Why the server will not run: kept until `run`, as `bootstrap` cannot return it.
    startup_error: Option<BError>,
}

/// The number of phases a receiver may be behind: more than one run has.
const PHASE_BACKLOG: usize = 32;

impl Server {
    /// Returns a server with the configuration that the command line names, or the defaults.
    ///
    /// With `--test`, a configuration that is wrong ends the program: prints the error and exits
    /// with status 1.
    ///
    /// # Errors
    ///
    /// The configuration file cannot be read or is wrong. The error displays as one line, as
    /// `conf.yaml:3:10: threads: expected a number, found "many"`.
    pub fn new(opt: impl Into<Option<Opt>>) -> Result<Server> {
        let opt = opt.into();
        let conf = match &opt {
            Some(opt) => ServerConf::load_yaml_with_opt_override(opt),
            None => Ok(ServerConf {
                version: 1,
                ..Default::default()
            }),
        };
        match conf {
            Ok(conf) => Ok(Self::with(opt, conf)),
            Err(e) if opt.is_some_and(|opt| opt.test) => check::refuse_configuration(&e),
            Err(e) => Err(e),
        }
    }

    /// Returns a server with this configuration, in which the command line changes what it can.
    /// A value out of range is reported when the server runs.
    pub fn new_with_opt_and_conf(raw_opt: impl Into<Option<Opt>>, mut conf: ServerConf) -> Server {
        let opt = raw_opt.into();
        if let Some(opt) = &opt {
            conf.merge_with_opt(opt);
        }
        Self::with(opt, conf)
    }

    /// Adds a service. The handle lets it wait for other services.
    pub fn add_service(&mut self, service: impl ServiceWithDependents + 'static) -> ServiceHandle {
        self.add_boxed_service(Box::new(service))
    }

    /// Adds a service of a type that is not known.
    pub fn add_boxed_service(
        &mut self,
        service_box: Box<dyn ServiceWithDependents>,
    ) -> ServiceHandle {
        let entry = ServiceEntry::new(service_box, &self.graph);
        let handle = entry.handle.clone();
        self.services.push(entry);
        handle
    }

    /// Adds services. Returns their handles in the same order.
    pub fn add_services(
        &mut self,
        services: Vec<Box<dyn ServiceWithDependents>>,
    ) -> Vec<ServiceHandle> {
        services
            .into_iter()
            .map(|service| self.add_boxed_service(service))
            .collect()
    }

    /// Sets where panics, and errors that end the server, are reported to while it runs.
    ///
    /// Release builds only: others do not report.
    #[cfg(feature = "sentry")]
    pub fn set_sentry_config(&mut self, sentry_config: ::sentry::ClientOptions) {
        self.sentry = Some(sentry_config);
    }

    /// Prepares to run: with `--upgrade`, takes over the listening sockets of the running server,
    /// which blocks until that sends them.
    ///
    /// When that fails, [`run`](Server::run) ends with the error.
    pub fn bootstrap(&mut self) {
        let meeting = bootstrap::Meeting::new(&self.configuration);
        if let Err(e) = self.inheritance.bootstrap(&meeting, &self.phases) {
            self.startup_error.get_or_insert(e);
        }
    }

    /// Adds a service that does what [`bootstrap`](Server::bootstrap) does, once the server runs.
    /// It is ready when that is done; let services that listen depend on it.
    pub fn bootstrap_as_a_service(&mut self) -> ServiceHandle {
        let service = bootstrap::BootstrapService {
            inheritance: self.inheritance.clone(),
            meeting: Arc::new(bootstrap::Meeting::new(&self.configuration)),
            phases: self.phases.clone(),
        };
        self.add_service(service)
    }

    /// Returns a receiver of the phases the server enters from now on.
    pub fn watch_execution_phase(&self) -> broadcast::Receiver<ExecutionPhase> {
        self.phases.subscribe()
    }

    fn with(options: Option<Opt>, conf: ServerConf) -> Server {
        let inheritance = bootstrap::Inheritance::new(options.as_ref());
        Server {
            configuration: Arc::new(conf),
            options,
            services: Vec::new(),
            graph: Arc::default(),
            phases: broadcast::Sender::new(PHASE_BACKLOG),
            inheritance,
            #[cfg(feature = "sentry")]
            sentry: None,
            startup_error: None,
        }
    }

    fn is_test(&self) -> bool {
        self.options.as_ref().is_some_and(|opt| opt.test)
    }
}
