//! Peers that are slow or silent: every wait has an end, on both sides.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora_e2e::harness;
use pingora_test_support::client::{self, Client};
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::{Gate, raw, within};

const SHORT: Duration = Duration::from_millis(200);

/// Which wait is made short.
#[derive(Clone, Copy, Default)]
struct Short {
    client_read: bool,
    client_write: bool,
    client_rate: bool,
    origin_read: bool,
    origin_write: bool,
    connect: bool,
}

struct Impatient(SocketAddr, Short);

#[async_trait]
impl ProxyHttp for Impatient {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        if self.1.client_read {
            session.set_read_timeout(Some(SHORT));
        }
        if self.1.client_write {
            session.set_write_timeout(Some(SHORT));
        }
        if self.1.client_rate {
            session.set_min_send_rate(Some(1 << 30));
        }
        Ok(())
    }
    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = harness::peer(self.0);
        peer.options.read_timeout = self.1.origin_read.then_some(SHORT);
        peer.options.write_timeout = self.1.origin_write.then_some(SHORT);
        peer.options.connection_timeout = self.1.connect.then_some(SHORT);
        Ok(peer)
    }
}

/// An origin that says nothing is an error of the origin.
#[test]
fn a_silent_origin() {
    harness::run(async {
        for begun in ["", "HTTP/1.1 200 OK\r\nContent-"] {
            let origin = Origin::start(move |_| Reply::raw(begun)).await;
            let short = Short {
                origin_read: true,
                ..Short::default()
            };
            let proxy = harness::proxy(Impatient(origin.addr(), short)).await;
            let response = client::get(proxy.addr(), "/").await;
            assert!(matches!(response.status, 502 | 504), "{}", response.status);
            // Its connection is of no use to anybody.
            origin.wait_for_closed(1).await;
        }
    });
}

/// One that stops in its body cuts the response, visibly.
#[test]
fn an_origin_that_stops() {
    harness::run(async {
        for begun in [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ] {
            let origin = Origin::start(move |_| Reply::raw(begun)).await;
            let short = Short {
                origin_read: true,
                ..Short::default()
            };
            let proxy = harness::proxy(Impatient(origin.addr(), short)).await;
            let mut client = Client::connect(proxy.addr()).await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let response = client.try_response().await;
            assert!(response.is_err(), "{response:?}");
            origin.wait_for_closed(1).await;
        }
    });
}

/// A client that stops in its body is told so or dropped, and the origin's connection ends.
#[test]
fn a_client_that_stops() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let short = Short {
            client_read: true,
            ..Short::default()
        };
        let proxy = harness::proxy(Impatient(origin.addr(), short)).await;
        for bytes in [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ] {
            let mut client = raw::connect(proxy.addr()).await;
            client.send(bytes).await;
            let answer = client.read_to_end().await;
            let told = answer.starts_with(b"HTTP/1.1 4");
            assert!(answer.is_empty() || told, "{answer:?}");
        }
        origin.wait_for_closed(2).await;
        assert_eq!(origin.requests().len(), 0);
    });
}

/// A client that does not read its response does not hold it for ever.
#[test]
fn a_client_that_does_not_read() {
    harness::run(async {
        let body = vec![b'x'; 64 << 20];
        let origin = Origin::start(move |_| Reply::ok(&body)).await;
        for short in [
            Short {
                client_write: true,
                ..Short::default()
            },
            Short {
                client_rate: true,
                ..Short::default()
            },
        ] {
            let closed = origin.connections();
            let proxy = harness::proxy(Impatient(origin.addr(), short)).await;
            let mut client = raw::connect(proxy.addr()).await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            client.read_head().await;
            // The proxy gives up, and with it the connection to the origin.
            origin.wait_for_closed(closed + 1).await;
        }
    });
}

/// A full queue of the listener: connecting waits, then is given up.
#[test]
fn an_origin_that_does_not_accept() {
    harness::run(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let addr = listener.local_addr().unwrap();
        // Nobody accepts, so a few connections fill the queue and the next one hangs.
        let mut queued = vec![];
        while let Ok(connected) =
            tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(addr)).await
        {
            queued.push(connected.unwrap());
        }
        let short = Short {
            connect: true,
            ..Short::default()
        };
        let proxy = harness::proxy(Impatient(addr, short)).await;
        let response = client::get(proxy.addr(), "/").await;
        assert!(matches!(response.status, 502 | 504), "{}", response.status);
    });
}

/// The clock of the origin does not run while the client is the slow one.
#[test]
fn a_slow_client_is_not_the_origins_fault() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(&request.body)).await;
        let short = Short {
            origin_read: true,
            ..Short::default()
        };
        let proxy = harness::proxy(Impatient(origin.addr(), short)).await;
        let mut client = Client::connect(proxy.addr()).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
            .await;
        // Longer than the origin may take; that it has nothing to say yet is right.
        tokio::time::sleep(SHORT * 3).await;
        client.send("world").await;
        let response = client.response().await;
        assert_eq!((response.status, response.text()), (200, "helloworld"));
    });
}

/// An origin that does not read does not hold the client for ever.
#[test]
fn an_origin_that_does_not_read() {
    harness::run(async {
        let listener = raw::Listener::bind().await;
        let short = Short {
            origin_write: true,
            ..Short::default()
        };
        let proxy = harness::proxy(Impatient(listener.addr(), short)).await;
        let done = Gate::new();
        let origin = tokio::spawn({
            let done = done.clone();
            async move {
                let connection = listener.accept().await;
                done.opened().await;
                drop(connection);
            }
        });
        let mut bytes = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 67108864\r\n\r\n".to_vec();
        bytes.resize(bytes.len() + (64 << 20), b'x');
        let answer = within("an answer", harness::ask(proxy.addr(), &bytes, usize::MAX)).await;
        assert!(matches!(answer.status(), Some(502 | 504)), "{answer:?}");
        done.open();
        origin.await.unwrap();
    });
}

/// In a tunnel nobody owes anybody anything: it may be silent for as long as it likes.
#[test]
fn a_silent_tunnel() {
    harness::run(async {
        let agreed =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let origin = Origin::start(move |_| Reply::raw(agreed).echo()).await;
        let short = Short {
            client_read: true,
            client_write: true,
            origin_read: true,
            origin_write: true,
            ..Short::default()
        };
        let proxy = harness::proxy(Impatient(origin.addr(), short)).await;
        let mut client = raw::connect(proxy.addr()).await;
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        client.read_head().await;
        for _ in 0..2 {
            client.send("ping").await;
            client.expect("ping").await;
            // Longer than anybody may be silent elsewhere.
            tokio::time::sleep(SHORT * 3).await;
        }
        client.send("still there").await;
        client.expect("still there").await;
    });
}
