//! [`UdpStats`]: what passed a UDP proxy, and what did not.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a datagram was not passed on, or a session not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dropped {
    /// [`datagram_filter`](super::ProxyUdp::datagram_filter) said no.
    Filtered,
    /// Longer than [`max_datagram_bytes`](super::UdpProxyOptions::max_datagram_bytes).
    TooLong,
    /// There are [`max_sessions`](super::UdpProxyOptions::max_sessions).
    TooManySessions,
    /// The client has
    /// [`max_sessions_per_client`](super::UdpProxyOptions::max_sessions_per_client).
    TooManyOfClient,
    /// The server shuts down, and the datagram would have begun a session.
    ShuttingDown,
    /// More than a session keeps while its server is chosen, or than all of them do.
    QueueFull,
    /// The session was refused by its filter, or ended before its server was known.
    NoUpstream,
    /// The system did not take it: a full send buffer, or no way to the server or the client.
    NotSent,
    /// More than [`max_amplification`](super::UdpProxyOptions::max_amplification) lets through.
    Amplified,
}

/// The number of reasons.
const REASONS: usize = Dropped::Amplified as usize + 1;

/// The counters of a UDP proxy, since it started.
///
/// ```
/// use pingora_proxy::udp::{Dropped, UdpStats};
///
/// let stats = UdpStats::default();
/// assert_eq!((stats.sessions(), stats.dropped(Dropped::TooLong)), (0, 0));
/// ```
#[derive(Debug, Default)]
pub struct UdpStats {
    sessions: AtomicU64,
    open: AtomicU64,
    to_upstream: AtomicU64,
    to_client: AtomicU64,
    dropped: [AtomicU64; REASONS],
}

impl UdpStats {
    /// Returns how many sessions began.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Relaxed)
    }

    /// Returns how many sessions there are at this moment.
    pub fn open_sessions(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// Returns how many datagrams of clients were passed on.
    pub fn datagrams_to_upstream(&self) -> u64 {
        self.to_upstream.load(Relaxed)
    }

    /// Returns how many datagrams of servers were passed on.
    pub fn datagrams_to_client(&self) -> u64 {
        self.to_client.load(Relaxed)
    }

    /// Returns how many datagrams were dropped for this reason.
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize].load(Relaxed)
    }

    /// Returns how many datagrams were dropped.
    pub fn dropped_in_total(&self) -> u64 {
        self.dropped.iter().map(|count| count.load(Relaxed)).sum()
    }

    pub(super) fn count_dropped(&self, reason: Dropped, datagrams: usize) {
        self.dropped[reason as usize].fetch_add(datagrams as u64, Relaxed);
    }

    pub(super) fn count_to_upstream(&self) {
        self.to_upstream.fetch_add(1, Relaxed);
    }

    pub(super) fn count_to_client(&self) {
        self.to_client.fetch_add(1, Relaxed);
    }

    pub(super) fn count_begin(&self) {
        self.sessions.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
    }

    pub(super) fn count_end(&self) {
        self.open.fetch_sub(1, Relaxed);
    }
}
