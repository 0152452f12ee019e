//! [`Connecting`]: how many attempts at a time to open connections that several requests can share.
//!
//! As long as nobody knows how many streams the server allows, one connection is opened and the
//! others wait for it. When it turns out not to be enough for them, as many are opened at a time as
//! they need, up to a limit.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Connections being opened to a peer at a time, if others could share them.
const MAX_LEADS: usize = 16;

/// Peers to which connections are being opened, by their reuse hashes.
#[derive(Debug, Default)]
pub(super) struct Connecting {
    peers: Mutex<HashMap<u64, Attempts>>,
}

/// The attempts at a peer, and who waits for them.
#[derive(Debug)]
struct Attempts {
    leads: usize,
    waiting: usize,
    /// Streams a connection takes, once one has told.
    streams: Option<usize>,
    outcomes: watch::Sender<Outcomes>,
}

/// How many attempts have ended how.
#[derive(Clone, Copy, Debug, Default)]
struct Outcomes {
    successes: u64,
    failures: u64,
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

/// An attempt others wait for; dropping it lets them go on.
#[derive(Debug)]
pub(super) struct Lead<'a> {
    connecting: &'a Connecting,
    key: u64,
    /// Streams the connection takes, once there is one.
    streams: Option<usize>,
}

/// A request that waits for the attempts of others.
struct Waiting<'a> {
    connecting: &'a Connecting,
    key: u64,
}

impl Connecting {
    /// Returns the lead at once to the first, and to as many others as need connections of their
    /// own; what came of an attempt, once one has ended, to the rest.
    pub(super) async fn turn(&self, key: u64) -> Turn<'_> {
        let (mut outcomes, _waiting) = {
            let mut peers = self.peers.lock();
            let attempts = peers.entry(key).or_insert_with(|| Attempts {
                leads: 0,
                waiting: 0,
                streams: None,
                outcomes: watch::Sender::default(),
            });
            if attempts.wants_lead() {
                attempts.leads += 1;
                return Turn::Lead(Lead {
                    connecting: self,
                    key,
                    streams: None,
                });
            }
            attempts.waiting += 1;
            let waiting = Waiting {
                connecting: self,
                key,
            };
            (attempts.outcomes.subscribe(), waiting)
        };
        let before = *outcomes.borrow();
        let ended = outcomes.changed().await;
        let failures = outcomes.borrow().failures;
        match ended {
            Ok(()) if failures == before.failures => Turn::LookAgain,
            // The sender lives as long as somebody waits.
            Ok(()) | Err(_) => Turn::Alone,
        }
    }

    /// Changes the attempts at a peer; forgets them when they are over.
    fn update(&self, key: u64, change: impl FnOnce(&mut Attempts)) {
        let mut peers = self.peers.lock();
        if let Some(attempts) = peers.get_mut(&key) {
            change(attempts);
            if attempts.leads == 0 && attempts.waiting == 0 {
                peers.remove(&key);
            }
        }
    }
}

impl Attempts {
    /// Returns whether a request that has no connection should open one.
    fn wants_lead(&self) -> bool {
        let Some(streams) = self.streams else {
            return self.leads == 0;
        };
        // Who opens a connection takes a stream of it.
        let to_share = self.leads.saturating_mul(streams.saturating_sub(1));
        self.leads == 0 || (self.leads < MAX_LEADS && self.waiting >= to_share)
    }
}

impl Lead<'_> {
    /// A connection was opened that takes so many streams.
    pub(super) fn succeeded(mut self, streams: usize) {
        self.streams = Some(streams);
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.connecting.update(self.key, |attempts| {
            attempts.leads -= 1;
            attempts.streams = self.streams.or(attempts.streams);
            attempts
                .outcomes
                .send_modify(|outcomes| match self.streams {
                    Some(_) => outcomes.successes += 1,
                    None => outcomes.failures += 1,
                });
        });
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.connecting
            .update(self.key, |attempts| attempts.waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn others_wait_for_the_lead_and_no_longer() {
        for succeeds in [true, false] {
            let connecting = Connecting::default();
            let Turn::Lead(lead) = connecting.turn(1).await else {
                panic!("it is the first");
            };
            assert!(matches!(connecting.turn(2).await, Turn::Lead(_)));
            let mut other = Box::pin(connecting.turn(1));
            assert!(poll(&mut other).is_pending());
            match succeeds {
                true => lead.succeeded(10),
                false => drop(lead),
            }
            let turn = other.await;
            assert_eq!(matches!(turn, Turn::LookAgain), succeeds, "{turn:?}");
            assert_eq!(matches!(turn, Turn::Alone), !succeeds, "{turn:?}");
            assert!(connecting.peers.lock().is_empty());
            assert!(matches!(connecting.turn(1).await, Turn::Lead(_)));
        }
    }

    /// How many of those that wait open connections at once, when one is known to take so many.
    #[tokio::test]
    async fn as_many_lead_as_are_needed() {
        for (streams, waiting, expected) in [
            (1, 5, 5),
            (1, 100, MAX_LEADS),
            (0, 100, MAX_LEADS),
            (2, 6, 4),
            (3, 7, 3),
            (100, 50, 1),
            (usize::MAX, 50, 1),
        ] {
            let connecting = Connecting::default();
            let Turn::Lead(first) = connecting.turn(1).await else {
                panic!("it is the first");
            };
            // One stays behind, so that what was learned is not forgotten.
            let mut last = Box::pin(connecting.turn(1));
            assert!(poll(&mut last).is_pending());
            first.succeeded(streams);
            let mut turns: Vec<_> = (0..waiting).map(|_| Box::pin(connecting.turn(1))).collect();
            let polled: Vec<_> = turns.iter_mut().map(poll).collect();
            let leads = polled.iter().filter(|turn| turn.is_ready()).count();
            assert_eq!(leads, expected, "{streams} streams, {waiting} waiting");
            drop((polled, turns, last));
            assert!(connecting.peers.lock().is_empty());
        }
    }
}
