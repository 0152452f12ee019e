//! How a service tells those that depend on it that it is ready.
//!
//! Next: `dependencies.rs`, where the receiving ends are kept.

use tokio::sync::watch;

/// Becomes true when a service is ready.
pub type ServiceReadyWatch = watch::Receiver<bool>;

/// Tells the dependents of a service that it is ready: by [`notify_ready`], or by being dropped,
/// so that a service that ends early does not hold up others.
///
/// [`notify_ready`]: ServiceReadyNotifier::notify_ready
///
/// ```
/// use pingora_core::services::ServiceReadyNotifier;
///
/// let (sender, watch) = tokio::sync::watch::channel(false);
/// let ready = ServiceReadyNotifier::new(sender);
/// assert!(!*watch.borrow());
/// ready.notify_ready();
/// assert!(*watch.borrow());
/// ```
pub struct ServiceReadyNotifier {
    dependents: watch::Sender<bool>,
}

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
