//! How a service tells those that depend on it that it is ready.
//!
//! Next: `dependencies.rs`, where the receiving ends are kept.

use tokio::sync::watch;

use super::ServiceReadyNotifier;

/// Becomes true when a service is ready.
pub type ServiceReadyWatch = watch::Receiver<bool>;

impl ServiceReadyNotifier {
    /// Returns a notifier that sends `true` once.
    pub fn new(sender: watch::Sender<bool>) -> Self {
        ServiceReadyNotifier { dependents: sender }
    }

    /// Lets the dependents start.
    pub fn notify_ready(self) {
        // Dropping does it.
    }
}

impl Drop for ServiceReadyNotifier {
    fn drop(&mut self) {
        // `send_replace`, unlike `send`, keeps the value for those who subscribe later.
        self.dependents.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_notifies() {
        let (sender, watch) = watch::channel(false);
        let notifier = ServiceReadyNotifier::new(sender);
        assert!(!*watch.borrow());
        drop(notifier);
        assert!(*watch.borrow());
    }
}
