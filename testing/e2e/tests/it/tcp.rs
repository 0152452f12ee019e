//! TCP proxies: bytes pass as they are, and go where the first of them say.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::proxy::tcp::{ProxyTcp, TcpProxyOptions, TcpSession, tcp_proxy_service};
use pingora::server::configuration::ServerConf;
use pingora_e2e::harness::{self, Running, peer};
use pingora_test_support::raw::{self, Listener};
use pingora_test_support::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What the log is told at the end of a connection.
type Logged = (u64, u64, Option<ErrorType>);

/// Goes by the server name of TLS, if it is `a.example` to the first upstream, else to the second.
struct Router {
    upstreams: Vec<SocketAddr>,
    looks: bool,
    log: mpsc::UnboundedSender<Logged>,
}

#[async_trait]
impl ProxyTcp for Router {
    /// The tries so far.
    type CTX = usize;

    fn new_ctx(&self) -> usize {
        0
    }

    async fn upstream_peer(
        &self,
        session: &mut TcpSession,
        tries: &mut usize,
    ) -> Result<Box<HttpPeer>> {
        *tries += 1;
        if !self.looks {
            return Ok(peer(self.upstreams[*tries - 1]));
        }
        let hello = session.client_hello().await?;
        let name = hello.and_then(|hello| hello.server_name.as_deref());
        Ok(peer(self.upstreams[usize::from(name != Some("a.example"))]))
    }

    fn fail_to_connect(
        &self,
        _: &mut TcpSession,
        _: &HttpPeer,
        tries: &mut usize,
        mut e: Box<Error>,
    ) -> Box<Error> {
        e.set_retry(*tries < self.upstreams.len());
        e
    }

    async fn logging(&self, session: &mut TcpSession, e: Option<&Error>, _: &mut usize) {
        let etype = e.map(|e| e.etype().clone());
        let line = (session.bytes_received(), session.bytes_sent(), etype);
        self.log.send(line).unwrap();
    }
}

struct Proxy {
    running: Running,
    log: mpsc::UnboundedReceiver<Logged>,
}

impl Proxy {
    async fn start(upstreams: Vec<SocketAddr>, looks: bool) -> Proxy {
        Proxy::with_options(upstreams, looks, |_| ()).await
    }

    async fn with_options(
        upstreams: Vec<SocketAddr>,
        looks: bool,
        adjust: impl FnOnce(&mut TcpProxyOptions),
    ) -> Proxy {
        let server = Server::new_with_opt_and_conf(None, ServerConf::default());
        let (log, logged) = mpsc::unbounded_channel();
        let router = Router {
            upstreams,
            looks,
            log,
        };
        let mut service = tcp_proxy_service(&server.configuration, router);
        adjust(&mut service.app_logic_mut().unwrap().options);
        Proxy {
            running: harness::start(server, service).await,
            log: logged,
        }
    }

    fn addr(&self) -> SocketAddr {
        self.running.addr()
    }

    async fn logged(&mut self) -> Logged {
        within("the connection is logged", self.log.recv())
            .await
            .unwrap()
    }
}

#[test]
fn bytes_pass_both_ways_and_each_way_ends_alone() {
    harness::run(async {
        let origin = Listener::bind().await;
        let mut proxy = Proxy::start(vec![origin.addr()], false).await;
        let mut client = raw::connect(proxy.addr()).await;
        let mut server = origin.accept().await;
        // The server may speak first.
        server.send("220 ready\r\n").await;
        client.expect("220 ready\r\n").await;
        client.send("HELO\r\n").await;
        server.expect("HELO\r\n").await;
        client.half_close().await;
        server.expect_end().await;
        server.send("221 bye\r\n").await;
        client.expect("221 bye\r\n").await;
        server.half_close().await;
        client.expect_end().await;
        assert_eq!(proxy.logged().await, (6, 20, None));
    });
}

/// Megabytes each way at once, in a proxy that holds a few buffers: all arrive, in order.
#[test]
fn both_ways_are_full_at_once() {
    harness::run(async {
        let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstreams = vec![origin.local_addr().unwrap()];
        let mut proxy = Proxy::start(upstreams, false).await;
        let pattern = |seed: u32| -> Vec<u8> {
            (0..8_000_000u32)
                .map(|i| (i.wrapping_mul(2_654_435_761) ^ seed) as u8)
                .collect()
        };
        let (up, down) = (pattern(1), pattern(2));
        let client = TcpStream::connect(proxy.addr()).await.unwrap();
        let (server, _) = within("a connection", origin.accept()).await.unwrap();
        let (sent_up, sent_down) = (up.clone(), down.clone());
        let exchange = |mut side: TcpStream, sends: Vec<u8>, expects: Vec<u8>| async move {
            let (mut receive, mut send) = side.split();
            let sending = async {
                send.write_all(&sends).await.unwrap();
                send.shutdown().await.unwrap();
            };
            let receiving = async {
                let mut all = vec![];
                receive.read_to_end(&mut all).await.unwrap();
                assert!(all == expects, "{} bytes", all.len());
            };
            tokio::join!(sending, receiving);
        };
        let client = tokio::spawn(exchange(client, sent_up, down));
        let server = tokio::spawn(exchange(server, sent_down, up));
        client.await.unwrap();
        server.await.unwrap();
        assert_eq!(proxy.logged().await, (8_000_000, 8_000_000, None));
    });
}

/// The first message of a TLS 1.2 client that asks for `name`.
fn hello(name: &str) -> Vec<u8> {
    let list = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let names = list(&[&[0][..], &list(name.as_bytes())].concat());
    let extensions = list(&[&[0, 0][..], &list(&names)].concat());
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &list(&[0x13, 1]),
        &[1, 0],
        &extensions,
    ]
    .concat();
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1][..], &list(&message)].concat()
}

#[test]
fn tls_is_routed_by_name_and_passed_on_whole() {
    harness::run(async {
        let (a, b) = (Listener::bind().await, Listener::bind().await);
        let proxy = Proxy::start(vec![a.addr(), b.addr()], true).await;
        let cases: [(Vec<u8>, &Listener); 4] = [
            (hello("A.example"), &a),
            (hello("b.example"), &b),
            (b"SSH-2.0-x\r\n".to_vec(), &b),
            (b"\x16".to_vec(), &b),
        ];
        for (bytes, upstream) in cases {
            for piece in [1, 1000] {
                let mut client = raw::connect(proxy.addr()).await;
                client.send_pieces(&bytes, piece).await;
                client.half_close().await;
                let mut server = upstream.accept().await;
                assert_eq!(server.read_to_end().await, bytes);
                server.send("done").await;
                server.half_close().await;
                client.expect("done").await;
            }
        }
    });
}

#[test]
fn another_upstream_is_tried() {
    harness::run(async {
        let dead = raw::refused_addr().await;
        let origin = Listener::bind().await;
        let mut proxy = Proxy::start(vec![dead, origin.addr()], false).await;
        let mut client = raw::connect(proxy.addr()).await;
        let mut server = origin.accept().await;
        client.send("x").await;
        server.expect("x").await;
        drop((client, server));
        assert_eq!(proxy.logged().await, (1, 0, None));

        let mut proxy = Proxy::start(vec![dead], false).await;
        // The reset may come before the client looks at its connection.
        if let Ok(client) = TcpStream::connect(proxy.addr()).await {
            raw::Raw::new(client).expect_reset().await;
        }
        assert_eq!(proxy.logged().await, (0, 0, Some(ConnectRefused)));
    });
}

#[test]
fn silence_ends_a_connection() {
    harness::run(async {
        let origin = Listener::bind().await;
        let short = Duration::from_millis(50);
        let idle = |options: &mut TcpProxyOptions| options.idle_timeout = Some(short);
        let mut proxy = Proxy::with_options(vec![origin.addr()], false, idle).await;
        let mut client = raw::connect(proxy.addr()).await;
        let _server = origin.accept().await;
        client.expect_reset().await;
        assert_eq!(proxy.logged().await, (0, 0, Some(ReadTimedout)));

        let peek = |options: &mut TcpProxyOptions| options.peek_timeout = short;
        let mut proxy = Proxy::with_options(vec![origin.addr()], true, peek).await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send(&hello("a.example")[..10]).await;
        client.expect_reset().await;
        assert_eq!(proxy.logged().await, (0, 0, Some(ReadTimedout)));
    });
}

#[test]
fn malformed_tls_goes_nowhere() {
    harness::run(async {
        let origin = Listener::bind().await;
        let mut proxy = Proxy::start(vec![origin.addr(); 2], true).await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send([22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]).await;
        client.expect_reset().await;
        assert_eq!(proxy.logged().await.2, Some(ReadError));
    });
}

#[test]
fn a_broken_upstream_is_an_error() {
    harness::run(async {
        let origin = Listener::bind().await;
        let mut proxy = Proxy::start(vec![origin.addr()], false).await;
        let mut client = raw::connect(proxy.addr()).await;
        let mut server = origin.accept().await;
        client.send("x").await;
        server.expect("x").await;
        server.reset();
        // The client is not told that this was the end.
        client.expect_reset().await;
        assert_eq!(proxy.logged().await, (1, 0, Some(ConnectionClosed)));
    });
}
