//! Which connections are shared, which never are, and what hooks learn about them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora_core::protocols::Digest;
use pingora_e2e::harness;
use pingora_test_support::client::{self, Client};
use pingora_test_support::origin::{Origin, Reply};

/// Changes the peer by what the path says; notes what `connected_to_upstream` is told.
struct ByPath {
    upstream: SocketAddr,
    seen: Arc<Mutex<Vec<(bool, SocketAddr, SocketAddr)>>>,
}

#[async_trait]
impl ProxyHttp for ByPath {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = harness::peer(self.upstream);
        match session.req_header().uri.path() {
            "/group" => peer.group_key = 1,
            "/sni" => peer.sni = "other".to_string(),
            "/alternative" => peer.options.alternative_cn = Some("other".to_string()),
            "/verify" => peer.options.verify_cert = false,
            "/once" => peer.options.idle_timeout = Some(Duration::ZERO),
            "/soon" => peer.options.idle_timeout = Some(Duration::from_millis(100)),
            _ => {}
        }
        Ok(peer)
    }
    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        _: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        _: &mut (),
    ) -> Result<()> {
        let socket = digest
            .and_then(|digest| digest.socket_digest.as_ref())
            .expect("a digest");
        let at = socket
            .peer_addr()
            .and_then(|addr| addr.as_inet())
            .expect("a peer");
        assert!(peer.to_string().contains(&at.to_string()), "{peer}");
        let client = session
            .client_addr()
            .and_then(|addr| addr.as_inet())
            .expect("a client");
        self.seen.lock().unwrap().push((reused, *at, *client));
        Ok(())
    }
}

async fn start() -> (
    Origin,
    harness::Running,
    Arc<Mutex<Vec<(bool, SocketAddr, SocketAddr)>>>,
) {
    let origin = Origin::start(|request| Reply::ok(request.connection.to_string())).await;
    let seen = Arc::default();
    let inner = ByPath {
        upstream: origin.addr(),
        seen: Arc::clone(&seen),
    };
    (origin, harness::proxy(inner).await, seen)
}

/// Peers that differ in anything that matters never share a connection.
#[test]
fn what_is_not_shared() {
    harness::run(async {
        let (origin, proxy, _) = start().await;
        let paths = ["/", "/group", "/sni", "/alternative", "/verify"];
        let mut numbers = vec![];
        for path in paths {
            numbers.push(client::get(proxy.addr(), path).await.text().to_string());
        }
        assert_eq!(numbers, ["1", "2", "3", "4", "5"]);
        for (path, number) in paths.iter().zip(numbers) {
            assert_eq!(
                client::get(proxy.addr(), path).await.text(),
                number,
                "{path}"
            );
        }
        assert_eq!(origin.connections(), 5);
    });
}

/// An idle time of zero keeps nothing.
#[test]
fn connections_for_one_request() {
    harness::run(async {
        let (origin, proxy, _) = start().await;
        let mut client = Client::connect(proxy.addr()).await;
        for number in 1..=3 {
            assert_eq!(client.get("/once").await.text(), number.to_string());
            origin.wait_for_closed(number).await;
        }
    });
}

/// An idle connection is closed when its time is over, without another request.
#[test]
fn idle_connections_end() {
    harness::run(async {
        let (origin, proxy, _) = start().await;
        assert_eq!(client::get(proxy.addr(), "/soon").await.text(), "1");
        origin.wait_for_closed(1).await;
        assert_eq!(client::get(proxy.addr(), "/soon").await.text(), "2");
    });
}

/// The pool keeps as many as the configuration says.
#[test]
fn a_full_pool() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let seen = Arc::default();
        let inner = ByPath {
            upstream: origin.addr(),
            seen,
        };
        let proxy =
            harness::proxy_with(inner, |conf, _| conf.upstream_keepalive_pool_size = 2).await;
        for path in ["/", "/group", "/sni", "/verify"] {
            client::get(proxy.addr(), path).await;
        }
        // The two that have waited longest made room.
        origin.wait_for_closed(2).await;
        assert_eq!(origin.open_connections(), 2);
        client::get(proxy.addr(), "/verify").await;
        assert_eq!(origin.connections(), 4);
    });
}

/// Hooks learn whether a connection was kept, where it goes and who asks.
#[test]
fn what_hooks_learn() {
    harness::run(async {
        let (origin, proxy, seen) = start().await;
        let mut first = Client::connect(proxy.addr()).await;
        first.get("/").await;
        first.get("/").await;
        let mut second = Client::connect(proxy.addr()).await;
        second.get("/").await;
        let expected = [
            (false, origin.addr(), first.local_addr()),
            (true, origin.addr(), first.local_addr()),
            (true, origin.addr(), second.local_addr()),
        ];
        assert_eq!(*seen.lock().unwrap(), expected);
    });
}

/// Over a Unix socket on both sides.
#[test]
fn unix_sockets() {
    harness::run(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        use tokio::net::{UnixListener, UnixStream};

        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let [up, down] =
            ["up", "down"].map(|name| folder.join(format!("{name}-{}", std::process::id())));
        let listener = UnixListener::bind(&up).unwrap();
        let origin = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 20];
            stream.read_exact(&mut request).await.unwrap();
            assert!(request.starts_with(b"GET /socket HTTP/1.1"));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                .await
                .unwrap();
            stream
        });
        let server = Server::new_with_opt_and_conf(None, Default::default());
        let inner = harness::ForwardUds(up.to_str().unwrap().to_string());
        let mut service = http_proxy_service(&server.configuration, inner);
        service.add_uds(down.to_str().unwrap(), None);
        let proxy = harness::start(server, service).await;
        let mut client = UnixStream::connect(&down).await.unwrap();
        client
            .write_all(b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
        origin.await.unwrap();
        proxy.terminate();
        proxy.ended().await;
        for path in [up, down] {
            let _ = std::fs::remove_file(path);
        }
    });
}
