//! The stages of a server's life, as [`Server::watch_execution_phase`] reports them.
//!
//! ```text
//! Setup -> Bootstrap -> BootstrapComplete -> Running
//!   FastShutdown:       ShutdownStarted -> ShutdownRuntimes -> Terminated
//!   GracefulTerminate:  GracefulTerminate -> ShutdownStarted -> ShutdownGracePeriod
//!                       -> ShutdownRuntimes -> Terminated
//!   GracefulUpgrade:    GracefulUpgradeTransferringFds -> GracefulUpgradeCloseTimeout
//!                       -> ShutdownStarted -> ShutdownGracePeriod -> ShutdownRuntimes -> Terminated
//! ```
//!
//! Next: `run.rs`, which walks through them.
//!
//! [`Server::watch_execution_phase`]: super::Server::watch_execution_phase

/// A stage of a server's life. Each is reported when it begins.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ExecutionPhase {
    /// The server exists. Its services are being added. Not reported: it is the first.
    Setup,
    /// Inherited sockets are being received.
    Bootstrap,
    /// They have been.
    BootstrapComplete,
    /// The services are started and the handlers of signals are installed.
    Running,
    /// The listening sockets are being sent to the new process.
    GracefulUpgradeTransferringFds,
    /// They have been. The server still accepts connections while the new one starts to.
    GracefulUpgradeCloseTimeout,
    /// A graceful end was asked for.
    GracefulTerminate,
    /// Services are told to end.
    ShutdownStarted,
    /// Services finish the work in progress.
    ShutdownGracePeriod,
    /// The runtimes are being ended.
    ShutdownRuntimes,
    /// All is done.
    Terminated,
}
