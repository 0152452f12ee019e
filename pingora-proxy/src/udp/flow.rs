//! [`Flow`]: one session as the two tasks that move its datagrams share it, and its [`Account`].

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::table::Key;

pub(super) struct Flow {
    pub(super) key: Key,
    /// The socket towards the server, once that is chosen.
    pub(super) upstream: OnceLock<UdpSocket>,
    pub(super) state: Mutex<State>,
    /// Wakes the task of the session to look at its state.
    pub(super) wake: Notify,
}

pub(super) struct State {
    /// What the client sent until the server is chosen; `None` from then on.
    pub(super) queue: Option<VecDeque<Bytes>>,
    pub(super) account: Account,
    /// When either side was heard last.
    pub(super) last: Instant,
    /// The server is not there: sending to it failed.
    pub(super) refused: bool,
}

impl Flow {
    /// Returns the session that a first datagram begins.
    pub(super) fn new(key: Key, first: &[u8], now: Instant) -> Self {
        let mut state = State {
            queue: Some(VecDeque::from([Bytes::copy_from_slice(first)])),
            account: Account::default(),
            last: now,
            refused: false,
        };
        state.hear_client(first.len(), now);
        Flow {
            key,
            upstream: OnceLock::new(),
            state: Mutex::new(state),
            wake: Notify::new(),
        }
    }
}

impl State {
    /// The client sent a datagram.
    pub(super) fn hear_client(&mut self, bytes: usize, now: Instant) {
        self.account.ask(bytes);
        self.last = now;
    }
}

/// What was sent each way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// Datagrams and bytes of the client.
    pub(super) asked: u64,
    pub(super) asked_bytes: u64,
    /// Datagrams and bytes to the client.
    pub(super) replied: u64,
    pub(super) replied_bytes: u64,
    /// The client has sent something since it was answered.
    pub(super) confirmed: bool,
}

impl Account {
    /// The client sent a datagram.
    pub(super) fn ask(&mut self, bytes: usize) {
        self.asked += 1;
        self.asked_bytes += bytes as u64;
        self.confirmed |= self.replied > 0;
    }

    /// The client was sent a datagram.
    pub(super) fn reply(&mut self, bytes: usize) {
        self.replied += 1;
        self.replied_bytes += bytes as u64;
    }

    /// Returns whether so many bytes more may go to the client.
    pub(super) fn may_reply(&self, bytes: usize, max_amplification: Option<u32>) -> bool {
        let Some(factor) = max_amplification else {
            return true;
        };
        let allowed = self.asked_bytes.saturating_mul(u64::from(factor));
        self.confirmed || self.replied_bytes.saturating_add(bytes as u64) <= allowed
    }

    /// Returns whether every datagram of the client has had its answers.
    pub(super) fn is_answered(&self, replies_per_datagram: Option<u32>) -> bool {
        let expected = |replies: u32| self.asked.saturating_mul(u64::from(replies));
        replies_per_datagram.is_some_and(|replies| self.replied >= expected(replies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_datagram_is_worth_little() {
        let mut account = Account::default();
        account.ask(10);
        let check = |account: &Account, bytes, factor, expected| {
            assert_eq!(account.may_reply(bytes, factor), expected, "{account:?}");
        };
        check(&account, 30, Some(3), true);
        check(&account, 31, Some(3), false);
        check(&account, 31, None, true);
        check(&account, 1, Some(0), false);
        account.reply(30);
        check(&account, 1, Some(3), false);
        // More questions without an answer in between allow no more than their own share.
        let mut silent = Account::default();
        silent.ask(10);
        silent.ask(10);
        check(&silent, 61, Some(3), false);
        // Who has seen an answer is there.
        account.ask(1);
        check(&account, 1 << 20, Some(3), true);
    }

    #[test]
    fn answers_are_counted() {
        let check = |asked: u64, replied: u64, replies, expected| {
            let account = Account {
                asked,
                replied,
                ..Account::default()
            };
            assert_eq!(account.is_answered(replies), expected, "{account:?}");
        };
        check(1, 1, None, false);
        check(1, 0, Some(1), false);
        check(1, 1, Some(1), true);
        check(2, 1, Some(1), false);
        check(2, 4, Some(2), true);
        check(1, 0, Some(0), true);
    }
}
