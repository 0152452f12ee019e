//! UDP proxies: datagrams pass as they are, sessions begin and end, and nothing grows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::proxy::udp::{
    Dropped, ProxyUdp, UdpPeer, UdpProxyOptions, UdpSession, UdpStats, udp_proxy_service,
};
use pingora::server::configuration::ServerConf;
use pingora_e2e::harness::{self, Running};
use pingora_test_support::{Gate, within};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// What the log is told: datagrams and bytes each way, and the error.
type Logged = ((u64, u64), (u64, u64), Option<ErrorType>);

/// Goes to the upstreams in turn. Does not look at datagrams that begin with `!`, and refuses
/// sessions that begin with `?`.
struct InTurn {
    upstreams: Vec<SocketAddr>,
    begun: AtomicUsize,
    gate: Option<Gate>,
    log: mpsc::UnboundedSender<Logged>,
}

#[async_trait]
impl ProxyUdp for InTurn {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut UdpSession, _ctx: &mut ()) -> Result<UdpPeer> {
        assert!(session.upstream_addr().is_none() && !session.first_datagram().is_empty());
        if let Some(gate) = &self.gate {
            gate.opened().await;
        }
        let turn = self.begun.fetch_add(1, Ordering::Relaxed);
        Ok(UdpPeer::new(self.upstreams[turn % self.upstreams.len()]))
    }

    fn datagram_filter(&self, _client: &SocketAddr, datagram: &[u8]) -> bool {
        assert!(datagram != b"panic", "a filter that panics");
        !datagram.starts_with(b"!")
    }

    async fn session_filter(&self, session: &mut UdpSession, _ctx: &mut ()) -> Result<bool> {
        Ok(!session.first_datagram().starts_with(b"?"))
    }

    async fn logging(&self, session: &mut UdpSession, e: Option<&Error>, _ctx: &mut ()) {
        let received = (session.datagrams_received(), session.bytes_received());
        let sent = (session.datagrams_sent(), session.bytes_sent());
        let etype = e.map(|e| e.etype().clone());
        // A test may have ended.
        let _ = self.log.send((received, sent, etype));
    }
}

struct Proxy {
    running: Running,
    stats: Arc<UdpStats>,
    log: mpsc::UnboundedReceiver<Logged>,
}

impl Proxy {
    async fn start(
        upstreams: Vec<SocketAddr>,
        gate: Option<Gate>,
        adjust: impl FnOnce(&mut UdpProxyOptions),
    ) -> Proxy {
        let server = Server::new_with_opt_and_conf(None, ServerConf::default());
        let (log, logged) = mpsc::unbounded_channel();
        let begun = AtomicUsize::new(0);
        let inner = InTurn {
            upstreams,
            begun,
            gate,
            log,
        };
        let mut service = udp_proxy_service(&server.configuration, inner);
        service.add_udp("127.0.0.1:0");
        let app = service.app_logic_mut().unwrap();
        adjust(&mut app.options);
        let stats = app.stats();
        let addresses = service.address_watch();
        Proxy {
            running: harness::run_service(server, service, addresses).await,
            stats,
            log: logged,
        }
    }

    async fn logged(&mut self) -> Logged {
        within("the session is logged", self.log.recv())
            .await
            .unwrap()
    }

    async fn client(&self) -> Peer {
        let client = Peer::bind().await;
        client.0.connect(self.running.addr()).await.unwrap();
        client
    }
}

/// One end of a session.
struct Peer(UdpSocket);

impl Peer {
    async fn bind() -> Peer {
        Peer(UdpSocket::bind("127.0.0.1:0").await.unwrap())
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    async fn send(&self, datagram: impl AsRef<[u8]>) {
        self.0.send(datagram.as_ref()).await.unwrap();
    }

    async fn reply(&self, datagram: impl AsRef<[u8]>, to: SocketAddr) {
        self.0.send_to(datagram.as_ref(), to).await.unwrap();
    }

    /// Returns who sent the next datagram, which must be `expected`.
    async fn expect(&self, expected: impl AsRef<[u8]>) -> SocketAddr {
        let mut datagram = vec![0; 1 << 16];
        let received = within("a datagram", self.0.recv_from(&mut datagram)).await;
        let (bytes, from) = received.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&datagram[..bytes]),
            String::from_utf8_lossy(expected.as_ref()),
        );
        from
    }

    /// Sends `question` and has `server` answer it.
    async fn ask(&self, server: &Peer, question: &str) -> SocketAddr {
        self.send(question).await;
        let from = server.expect(question).await;
        server.reply("answer", from).await;
        self.expect("answer").await;
        from
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    within(what, waiting).await;
}

#[test]
fn datagrams_pass_both_ways() {
    harness::run(async {
        let server = Peer::bind().await;
        let proxy = Proxy::start(vec![server.addr()], None, |_| ()).await;
        let (one, two) = (proxy.client().await, proxy.client().await);
        let from_one = one.ask(&server, "a").await;
        let from_two = two.ask(&server, "b").await;
        assert_ne!(from_one, from_two, "a session has its own socket");
        assert_eq!(one.ask(&server, "c").await, from_one, "and keeps it");
        // The server may go on, with empty datagrams too.
        for reply in ["1", "", "2"] {
            server.reply(reply, from_one).await;
            one.expect(reply).await;
        }
        let long = "x".repeat(60_000);
        one.send(&long).await;
        server.expect(&long).await;
        // Nobody else can answer in a session.
        let stranger = Peer::bind().await;
        stranger.reply("forged", from_one).await;
        server.reply("true", from_one).await;
        assert_eq!(one.expect("true").await, proxy.running.addr());
        let stats = &proxy.stats;
        assert_eq!((stats.sessions(), stats.open_sessions()), (2, 2));
        assert_eq!(stats.dropped_in_total(), 0);
        // They are counted once they are sent.
        let counted = || (stats.datagrams_to_upstream(), stats.datagrams_to_client());
        until("all are counted", || counted() == (4, 7)).await;
    });
}

/// A limit, what a client sends beyond it, and how that is counted.
#[test]
fn limits_hold_and_drops_are_counted() {
    type Adjust = fn(&mut UdpProxyOptions);
    let check = |adjust: Adjust, sent: &'static [&'static str], reason, count| {
        harness::run(async move {
            let server = Peer::bind().await;
            let proxy = Proxy::start(vec![server.addr()], None, adjust).await;
            let client = proxy.client().await;
            client.ask(&server, "first").await;
            let other = proxy.client().await;
            for datagram in sent {
                // Those that begin with `@` are another client's, in a session of its own.
                match datagram.strip_prefix('@') {
                    Some(datagram) => other.send(datagram).await,
                    None => client.send(datagram).await,
                }
            }
            // One socket receives in order: what was sent before is done with.
            client.ask(&server, "last").await;
            assert_eq!(proxy.stats.dropped(reason), count, "{reason:?} {sent:?}");
            assert_eq!(proxy.stats.dropped_in_total(), count, "{reason:?} {sent:?}");
        });
    };
    check(|_| (), &["!", "!x"], Dropped::Filtered, 2);
    check(|_| (), &["panic"], Dropped::Filtered, 1);
    let short: Adjust = |options| options.max_datagram_bytes = 6;
    check(short, &["1234567", "@1234567"], Dropped::TooLong, 2);
    let one: Adjust = |options| options.max_sessions = 1;
    check(one, &["@x", "@y"], Dropped::TooManySessions, 2);
    let own: Adjust = |options| options.max_sessions_per_client = 1;
    check(own, &["@x"], Dropped::TooManyOfClient, 1);
    let none: Adjust = |options| options.max_queued_bytes = 5;
    check(none, &["@123456"], Dropped::QueueFull, 1);
}

#[test]
fn a_new_session_waits_within_limits() {
    harness::run(async {
        let (server, gate) = (Peer::bind().await, Gate::new());
        let few = |options: &mut UdpProxyOptions| options.max_queued_datagrams = 3;
        let proxy = Proxy::start(vec![server.addr()], Some(gate.clone()), few).await;
        let (client, other) = (proxy.client().await, proxy.client().await);
        for datagram in ["1", "2", "3", "4"] {
            client.send(datagram).await;
        }
        // A filtered one of the same client shows that the others were received.
        client.send("!").await;
        let filtered = || proxy.stats.dropped(Dropped::Filtered) == 1;
        until("all are received", filtered).await;
        assert_eq!(proxy.stats.dropped(Dropped::QueueFull), 1);
        gate.open();
        for datagram in ["1", "2", "3"] {
            server.expect(datagram).await;
        }
        other.ask(&server, "x").await;
        let counted = || proxy.stats.datagrams_to_upstream() == 4;
        until("all are counted", counted).await;
    });
}

#[test]
fn one_datagram_is_no_lever() {
    harness::run(async {
        let server = Peer::bind().await;
        let thrice = |options: &mut UdpProxyOptions| options.max_amplification = Some(3);
        let proxy = Proxy::start(vec![server.addr()], None, thrice).await;
        let client = proxy.client().await;
        client.send("12").await;
        let session = server.expect("12").await;
        for reply in ["1234567", "123456", "x"] {
            server.reply(reply, session).await;
        }
        client.expect("123456").await;
        // Who has seen an answer gets all there are.
        client.send("more").await;
        server.expect("more").await;
        server.reply("1234567890".repeat(100), session).await;
        client.expect("1234567890".repeat(100)).await;
        assert_eq!(proxy.stats.dropped(Dropped::Amplified), 2);
    });
}

#[test]
fn sessions_end() {
    harness::run(async {
        let server = Peer::bind().await;
        let short = Duration::from_millis(50);

        let idle = |options: &mut UdpProxyOptions| options.idle_timeout = short;
        let mut proxy = Proxy::start(vec![server.addr()], None, idle).await;
        proxy.client().await.ask(&server, "one").await;
        assert_eq!(proxy.logged().await, ((1, 3), (1, 6), None));
        assert_eq!(proxy.stats.open_sessions(), 0);

        let unanswered = |options: &mut UdpProxyOptions| options.unconfirmed_timeout = short;
        let mut proxy = Proxy::start(vec![server.addr()], None, unanswered).await;
        let client = proxy.client().await;
        client.send("one").await;
        server.expect("one").await;
        assert_eq!(proxy.logged().await, ((1, 3), (0, 0), None));

        let once = |options: &mut UdpProxyOptions| options.replies_per_datagram = Some(1);
        let mut proxy = Proxy::start(vec![server.addr()], None, once).await;
        let client = proxy.client().await;
        let first = client.ask(&server, "one").await;
        assert_eq!(proxy.logged().await, ((1, 3), (1, 6), None));
        assert_ne!(client.ask(&server, "two").await, first);

        let select = |options: &mut UdpProxyOptions| options.select_timeout = short;
        let gate = Some(Gate::new());
        let mut proxy = Proxy::start(vec![server.addr()], gate, select).await;
        proxy.client().await.send("one").await;
        let end = Some(ErrorType::ConnectTimedout);
        assert_eq!(proxy.logged().await, ((1, 3), (0, 0), end));
        assert_eq!(proxy.stats.dropped(Dropped::NoUpstream), 1);

        let mut proxy = Proxy::start(vec![server.addr()], None, |_| ()).await;
        proxy.client().await.send("?").await;
        assert_eq!(proxy.logged().await, ((1, 1), (0, 0), None));
        assert_eq!(proxy.stats.dropped(Dropped::NoUpstream), 1);
    });
}

#[test]
fn a_server_that_is_not_there_ends_the_session() {
    harness::run(async {
        let (gone, server) = (Peer::bind().await, Peer::bind().await);
        let upstreams = vec![gone.addr(), server.addr()];
        drop(gone);
        let mut proxy = Proxy::start(upstreams, None, |_| ()).await;
        let client = proxy.client().await;
        client.send("one").await;
        let refused = Some(ErrorType::ConnectRefused);
        assert_eq!(proxy.logged().await, ((1, 3), (0, 0), refused));
        // Who asks again gets another server.
        client.ask(&server, "two").await;
    });
}

#[test]
fn a_shutdown_lets_sessions_end() {
    harness::run(async {
        let server = Peer::bind().await;
        let mut proxy = Proxy::start(vec![server.addr()], None, |_| ()).await;
        let client = proxy.client().await;
        client.ask(&server, "one").await;
        proxy.running.terminate();
        // No session begins any more.
        let late = async {
            while proxy.stats.dropped(Dropped::ShuttingDown) == 0 {
                proxy.client().await.send("?").await;
                tokio::task::yield_now().await;
            }
        };
        within("the server shuts down", late).await;
        // Those there are go on, both ways, until they are silent.
        client.ask(&server, "two").await;
        while proxy.logged().await != ((2, 6), (2, 12), None) {}
        assert_eq!(proxy.stats.open_sessions(), 0);
        proxy.running.ended().await;
    });
}
