//! The time limit of every wait, and a gate to put events in order without sleeping.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How long anything in this crate waits before it panics: 10 seconds. Far above what loopback
/// needs on a loaded machine, far below what a person waits for a hanging test.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Returns what `future` returns; panics after [`LIMIT`], naming `what` it waited for.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let four = pingora_test_support::within("two and two", async { 2 + 2 }).await;
/// assert_eq!(four, 4);
/// # });
/// ```
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: nothing happened within {LIMIT:?}"),
    }
}

/// Runs a whole test on a fresh runtime with two threads, within [`LIMIT`].
///
/// For tests that cannot use `#[tokio::test]`, e.g. rows of a table that need a runtime each.
pub fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let output = runtime.block_on(within("the test", test));
    // A task that never ends must not hold the test.
    runtime.shutdown_background();
    output
}

/// Holds tasks back until a test opens it; clones are the same gate.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let gate = pingora_test_support::Gate::new();
/// let held = tokio::spawn({ let gate = gate.clone(); async move { gate.opened().await; "passed" } });
/// gate.open();
/// assert_eq!(held.await.unwrap(), "passed");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// Returns a closed gate.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Opens the gate for good.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Returns whether the gate is open.
    pub fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once the gate is open; panics after [`LIMIT`]. Cancel-safe.
    pub async fn opened(&self) {
        let mut state = self.0.subscribe();
        let open = within("a gate", state.wait_for(|open| *open)).await;
        open.expect("this gate holds the sender");
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
