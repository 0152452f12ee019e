//! [`Connecting`]: one attempt at a time to open a connection that several requests can share.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Peers to which a connection is being opened, by their reuse hashes.
#[derive(Debug, Default)]
pub(super) struct Connecting {
    attempts: Mutex<HashMap<u64, watch::Receiver<()>>>,
}

/// The attempt of the first; dropping it lets the others go on.
#[derive(Debug)]
pub(super) struct Lead<'a> {
    connecting: &'a Connecting,
    key: u64,
    _ended: watch::Sender<()>,
}

impl Connecting {
    /// Returns the lead at once to the first; to others `None`, once its attempt has ended.
    ///
    /// They do not wait again: if the attempt failed, each makes its own.
    pub(super) async fn lead_or_follow(&self, key: u64) -> Option<Lead<'_>> {
        let mut attempt = {
            let mut attempts = self.attempts.lock();
            match attempts.get(&key) {
                Some(attempt) => attempt.clone(),
                None => {
                    let (ended, attempt) = watch::channel(());
                    attempts.insert(key, attempt);
                    return Some(Lead {
                        connecting: self,
                        key,
                        _ended: ended,
                    });
                }
            }
        };
        // Nothing is ever sent: it ends when the sender is dropped.
        let _ = attempt.changed().await;
        None
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.connecting.attempts.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn followers_wait_for_the_lead_and_no_longer() {
        let connecting = Connecting::default();
        let lead = connecting.lead_or_follow(1).await;
        assert!(lead.is_some() && connecting.lead_or_follow(2).await.is_some());
        let mut follower = Box::pin(connecting.lead_or_follow(1));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(follower.as_mut().poll(&mut cx).is_pending());
        drop(lead);
        assert!(follower.await.is_none());
        assert!(connecting.attempts.lock().is_empty());
        assert!(connecting.lead_or_follow(1).await.is_some());
    }
}
