//! What makes a server shut down: [`ShutdownSignal`], and where it comes from.
//!
//! Next: `run.rs` for what each of them does.

use async_trait::async_trait;

/// How a server is asked to end.
#[derive(Debug)]
pub enum ShutdownSignal {
    /// Hand the listening sockets over to a new process, then end like `GracefulTerminate`.
    GracefulUpgrade,
    /// Stop accepting connections, finish the work in progress, then end.
    GracefulTerminate,
    /// End now.
    FastShutdown,
}

/// A source of the signal that ends a server.
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
///
/// struct AtOnce;
///
/// #[async_trait]
/// impl ShutdownSignalWatch for AtOnce {
///     async fn recv(&self) -> ShutdownSignal {
///         ShutdownSignal::FastShutdown
///     }
/// }
///
/// let mut server = Server::new(None).unwrap();
/// server.bootstrap();
/// server.run(RunArgs { shutdown_signal: Box::new(AtOnce) });
/// ```
#[async_trait]
pub trait ShutdownSignalWatch {
    /// Returns when the server is to end, and how. Called once, and again only after an upgrade that
    /// failed.
    async fn recv(&self) -> ShutdownSignal;
}

/// The signals of the process: SIGINT ends it at once, SIGTERM gracefully, SIGQUIT hands over to
/// a new process first.
#[cfg(unix)]
pub struct UnixShutdownSignalWatch;

#[cfg(unix)]
#[async_trait]
impl ShutdownSignalWatch for UnixShutdownSignalWatch {
    async fn recv(&self) -> ShutdownSignal {
        use tokio::signal::unix::{SignalKind, signal};

        // A handler that cannot be installed leaves the default action of its signal, which ends
        // the process.
        let install = |kind: SignalKind| {
            signal(kind)
                .inspect_err(|e| log::error!("cannot handle signal {}: {e}", kind.as_raw_value()))
                .ok()
        };
        let mut quit = install(SignalKind::quit());
        let mut terminate = install(SignalKind::terminate());
        let mut interrupt = install(SignalKind::interrupt());
        tokio::select! {
            // cancel-safe, all three
            () = next(&mut interrupt) => ShutdownSignal::FastShutdown,
            () = next(&mut terminate) => ShutdownSignal::GracefulTerminate,
            () = next(&mut quit) => ShutdownSignal::GracefulUpgrade,
        }
    }
}

#[cfg(unix)]
async fn next(signal: &mut Option<tokio::signal::unix::Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// Returns when the process is interrupted once more, while it shuts down gracefully.
#[cfg(unix)]
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    next(&mut signal(SignalKind::interrupt()).ok()).await;
}

/// The interrupt of the console, which ends the process at once.
#[cfg(not(unix))]
pub(super) struct ConsoleShutdownSignalWatch;

#[cfg(not(unix))]
#[async_trait]
impl ShutdownSignalWatch for ConsoleShutdownSignalWatch {
    async fn recv(&self) -> ShutdownSignal {
        interrupted().await;
        ShutdownSignal::FastShutdown
    }
}

/// Returns when the process is interrupted.
#[cfg(not(unix))]
pub(super) async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
