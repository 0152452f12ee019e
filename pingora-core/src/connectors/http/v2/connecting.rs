//! [`Connecting`]: one attempt at a time to open a connection that several requests can share.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Peers to which a connection is being opened, by their reuse hashes.
#[derive(Debug, Default)]
pub(super) struct Connecting {
    attempts: Mutex<HashMap<u64, watch::Receiver<bool>>>,
}

/// What a request that found no connection is to do.
#[derive(Debug)]
pub(super) enum Turn<'a> {
    /// Open one: others wait.
    Lead(Lead<'a>),
    /// Another request's attempt has succeeded: look again.
    LookAgain,
    /// Another request's attempt has failed: do not wait for the next.
    Alone,
}

/// The attempt of the first; dropping it lets the others go on.
#[derive(Debug)]
pub(super) struct Lead<'a> {
    connecting: &'a Connecting,
    key: u64,
    outcome: watch::Sender<bool>,
}

impl Connecting {
    /// Returns the lead at once to the first; what came of it, once it has ended, to others.
    pub(super) async fn turn(&self, key: u64) -> Turn<'_> {
        let mut attempt = {
            let mut attempts = self.attempts.lock();
            match attempts.get(&key) {
                Some(attempt) => attempt.clone(),
                None => {
                    let (outcome, attempt) = watch::channel(false);
                    attempts.insert(key, attempt);
                    return Turn::Lead(Lead {
                        connecting: self,
                        key,
                        outcome,
                    });
                }
            }
        };
        // An error: it was dropped without success.
        match attempt.wait_for(|succeeded| *succeeded).await {
            Ok(_) => Turn::LookAgain,
            Err(_) => Turn::Alone,
        }
    }
}

impl Lead<'_> {
    /// A connection was opened.
    pub(super) fn succeeded(self) {
        self.outcome.send_replace(true);
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
    async fn others_wait_for_the_lead_and_no_longer() {
        for succeeds in [true, false] {
            let connecting = Connecting::default();
            let Turn::Lead(lead) = connecting.turn(1).await else {
                panic!("it is the first");
            };
            assert!(matches!(connecting.turn(2).await, Turn::Lead(_)));
            let mut other = Box::pin(connecting.turn(1));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(other.as_mut().poll(&mut cx).is_pending());
            match succeeds {
                true => lead.succeeded(),
                false => drop(lead),
            }
            let turn = other.await;
            assert_eq!(matches!(turn, Turn::LookAgain), succeeds, "{turn:?}");
            assert_eq!(matches!(turn, Turn::Alone), !succeeds, "{turn:?}");
            assert!(connecting.attempts.lock().is_empty());
            assert!(matches!(connecting.turn(1).await, Turn::Lead(_)));
        }
    }
}
