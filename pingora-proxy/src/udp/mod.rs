//! UDP proxies: datagrams are passed on as they are, both ways, for as long as a client and a
//! server talk.
//!
//! UDP has no connections, so the proxy makes sessions: all datagrams from one address of a client
//! are one session, which has a socket of its own towards the server [`ProxyUdp`] chose, and ends
//! when nobody has said anything for a while. `table.rs` has the sessions and how many there may
//! be, `flow.rs` one session's accounts, `receive.rs` what comes from clients, `exchange.rs` the
//! life of a session, `stats.rs` counts what passed and what did not.
//!
//! # Whom to trust
//!
//! The source address of a datagram proves nothing: anybody can send one in the name of a victim,
//! have the server answer to it, and use servers that answer with much to little as an amplifier.
//! A proxy adds to that what it lets through, and sessions cost memory and a descriptor each. So:
//!
//! - a client that has not said anything since it was answered first gets at most
//!   [`max_amplification`](UdpProxyOptions::max_amplification) times the bytes it sent; and its
//!   session ends early ([`unconfirmed_timeout`](UdpProxyOptions::unconfirmed_timeout)). That makes
//!   one datagram worth little. It does not stop who sends many: that takes a protocol that checks
//!   addresses, as QUIC or DNS cookies do, or [`ProxyUdp::datagram_filter`];
//! - sessions are counted, together and by network of the client; when there are too many, new ones
//!   are refused and those that exist go on;
//! - only the server of a session can answer in it: its socket takes from nobody else. For each
//!   session the system chooses a port that others cannot know, as resolvers of DNS need;
//! - nothing waits but the first datagrams of a session, within a limit; what cannot be sent at once
//!   is dropped, as networks do, and counted ([`UdpStats`]).
//!
//! Answers leave from the address the socket is bound to: on a machine with several addresses,
//! listen on each and not on `0.0.0.0`, or the system may choose another than the client asked.

mod exchange;
mod flow;
mod receive;
mod stats;
mod table;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::datagram::Service;
use pingora_error::{Error, Result};

pub use self::exchange::UdpSession;
pub use self::stats::{Dropped, UdpStats};

use self::flow::Flow;
use self::table::Table;

/// The table of sessions, for fuzzing.
#[cfg(fuzzing)]
#[doc(hidden)]
pub use self::table::fuzzing;

/// A UDP proxy's decisions, one session at a time.
///
/// ```
/// # use async_trait::async_trait;
/// # use pingora_core::prelude::*;
/// # use pingora_proxy::udp::{ProxyUdp, UdpPeer, UdpSession};
/// struct ToResolver;
///
/// #[async_trait]
/// impl ProxyUdp for ToResolver {
///     type CTX = ();
///     fn new_ctx(&self) {}
///
///     async fn upstream_peer(&self, _session: &mut UdpSession, _ctx: &mut ()) -> Result<UdpPeer> {
///         Ok(UdpPeer::new(([127, 0, 0, 1], 5353)))
///     }
/// }
/// ```
#[async_trait]
pub trait ProxyUdp: Send + Sync {
    /// What the hooks of one session share.
    type CTX: Send + Sync;

    /// Returns the context of a new session.
    fn new_ctx(&self) -> Self::CTX;

    /// Returns the server of a session, whose first datagram is there; asked again for every try.
    async fn upstream_peer(&self, session: &mut UdpSession, ctx: &mut Self::CTX)
    -> Result<UdpPeer>;

    /// Returns whether to look at a client's datagram at all; true by default. Is asked for each,
    /// before anything else, so it should be quick: a list of addresses, a rate, a first byte.
    fn datagram_filter(&self, _client: &SocketAddr, _datagram: &[u8]) -> bool {
        true
    }

    /// Returns whether to serve a session; true by default. What comes of one that is refused is
    /// dropped, and the next datagram asks again.
    async fn session_filter(
        &self,
        _session: &mut UdpSession,
        _ctx: &mut Self::CTX,
    ) -> Result<bool> {
        Ok(true)
    }

    /// Decides whether another server is worth a try: mark `e` retryable.
    ///
    /// Only what the system knows at once fails here, as a network without a route. A server that
    /// is not there shows when it is sent something, which ends the session with `ConnectRefused`:
    /// the client's next datagram begins another one. By default nothing is tried again.
    fn fail_to_connect(
        &self,
        _session: &mut UdpSession,
        _peer: &UdpPeer,
        _ctx: &mut Self::CTX,
        e: Box<Error>,
    ) -> Box<Error> {
        e
    }

    /// Runs last, with the error that ended the session, if one did; silence is none.
    async fn logging(&self, _session: &mut UdpSession, _e: Option<&Error>, _ctx: &mut Self::CTX) {}
}

/// The server of a session.
///
/// It is an address and not a name: who sends one datagram with a false source must not cause a
/// lookup. With load balancing, `backend.addr.as_inet()` is it.
///
/// ```
/// use pingora_proxy::udp::UdpPeer;
///
/// let mut peer = UdpPeer::new(([192, 0, 2, 1], 53));
/// peer.bind_to = Some(([192, 0, 2, 9], 0).into());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UdpPeer {
    /// Where the datagrams go.
    pub address: SocketAddr,
    /// Where they are sent from; with port 0, which is best, the system chooses one.
    pub bind_to: Option<SocketAddr>,
}

impl UdpPeer {
    /// Returns the server at `address`.
    pub fn new(address: impl Into<SocketAddr>) -> Self {
        UdpPeer {
            address: address.into(),
            bind_to: None,
        }
    }
}

/// How much there may be of everything in a UDP proxy. The defaults suit servers on the internet;
/// see [the module](self) for what they protect from.
///
/// ```
/// use pingora_proxy::udp::UdpProxyOptions;
///
/// let mut options = UdpProxyOptions::default();
/// options.replies_per_datagram = Some(1);
/// // service.app_logic_mut().expect("not started yet").options = options;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UdpProxyOptions {
    /// How many sessions there may be; each has a descriptor, of which the process may have
    /// `ulimit -n`. Default: 16,384.
    pub max_sessions: usize,
    /// How many of them one client may have: an IPv4 address or an IPv6 network of 64 bits.
    /// Default: 1,024.
    pub max_sessions_per_client: usize,
    /// How long neither side may send anything before a session ends. Default: 60 s.
    pub idle_timeout: Duration,
    /// The same, while the client has not sent anything since it was answered first. Default: 10 s.
    pub unconfirmed_timeout: Duration,
    /// How many times the bytes it sent a client may get before it has sent something after the
    /// first answer; `None`: as many as come. Default: 64.
    pub max_amplification: Option<u32>,
    /// Ends a session once each datagram of the client has had so many answers, which frees its
    /// place early; 1 for protocols of question and answer, as DNS. Default: `None`, only silence
    /// ends sessions.
    pub replies_per_datagram: Option<u32>,
    /// The longest datagram that is passed on, either way. Default: 65,507 bytes, the longest of
    /// IPv4.
    pub max_datagram_bytes: usize,
    /// How many datagrams a new session keeps until its server is chosen. Default: 16.
    pub max_queued_datagrams: usize,
    /// How many bytes all new sessions keep together. Default: 8 MiB.
    pub max_queued_bytes: usize,
    /// How long choosing a server may take. Default: 10 s.
    pub select_timeout: Duration,
    /// How long neither side may send anything while the server shuts down; no session begins then.
    /// Default: 1 s.
    pub drain_timeout: Duration,
}

impl Default for UdpProxyOptions {
    fn default() -> Self {
        UdpProxyOptions {
            max_sessions: 16_384,
            max_sessions_per_client: 1_024,
            idle_timeout: Duration::from_secs(60),
            unconfirmed_timeout: Duration::from_secs(10),
            max_amplification: Some(64),
            replies_per_datagram: None,
            max_datagram_bytes: 65_507,
            max_queued_datagrams: 16,
            max_queued_bytes: 8 << 20,
            select_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(1),
        }
    }
}

/// A [`ProxyUdp`] as an application that serves UDP sockets.
pub struct UdpProxy<SV> {
    inner: SV,
    max_retries: usize,
    table: Mutex<Table<Arc<Flow>>>,
    /// Bytes that wait in new sessions.
    queued: AtomicUsize,
    stats: Arc<UdpStats>,
    /// How much there may be of everything.
    pub options: UdpProxyOptions,
}

impl<SV> UdpProxy<SV> {
    /// Returns the counters, to keep: they stay valid when the service is given to a server.
    pub fn stats(&self) -> Arc<UdpStats> {
        self.stats.clone()
    }

    /// Takes so much of what may be queued, if it is there.
    fn reserve(&self, bytes: usize) -> bool {
        let room = self.options.max_queued_bytes;
        let taken = |queued: usize| queued.checked_add(bytes).filter(|sum| *sum <= room);
        self.queued.fetch_update(Relaxed, Relaxed, taken).is_ok()
    }

    /// Gives it back.
    fn release(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Relaxed);
    }
}

/// Returns a service of the proxy; add addresses and give it to a server.
///
/// ```
/// # use async_trait::async_trait;
/// # use pingora_core::prelude::*;
/// # use pingora_proxy::udp::{ProxyUdp, UdpPeer, UdpSession, udp_proxy_service};
/// # struct ToResolver;
/// # #[async_trait]
/// # impl ProxyUdp for ToResolver {
/// #     type CTX = ();
/// #     fn new_ctx(&self) {}
/// #     async fn upstream_peer(&self, _: &mut UdpSession, _: &mut ()) -> Result<UdpPeer> {
/// #         Ok(UdpPeer::new(([127, 0, 0, 1], 5353)))
/// #     }
/// # }
/// let mut server = Server::new(None).unwrap();
/// let mut proxy = udp_proxy_service(&server.configuration, ToResolver);
/// proxy.add_udp("127.0.0.1:53");
/// server.add_service(proxy);
/// ```
pub fn udp_proxy_service<SV>(conf: &Arc<ServerConf>, inner: SV) -> Service<UdpProxy<SV>>
where
    SV: ProxyUdp + 'static,
{
    let proxy = UdpProxy {
        inner,
        max_retries: conf.max_retries,
        table: Mutex::new(Table::new()),
        queued: AtomicUsize::new(0),
        stats: Arc::new(UdpStats::default()),
        options: UdpProxyOptions::default(),
    };
    Service::new("Pingora UDP Proxy Service".to_string(), proxy)
}
