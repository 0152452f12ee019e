//! `Upgrade`: the tunnel after 101, and everything that must not become one.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::upstreams::peer::{H1UpgradePolicy, HttpUpstreamRequestPolicy};
use pingora_e2e::harness::{self, ask};
use pingora_test_support::client::Client;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::raw::{self, Step};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const AGREED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

async fn echo() -> Origin {
    Origin::start(|_| Reply::raw(AGREED).echo()).await
}

/// Bytes pass both ways, in any amount, until one side ends.
#[test]
fn a_tunnel() {
    harness::run(async {
        let origin = echo().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send(ASK).await;
        let head = client.read_head().await;
        let text = String::from_utf8(head.to_vec()).unwrap().to_lowercase();
        assert!(text.starts_with("http/1.1 101 "), "{text}");
        assert!(text.contains("\r\nupgrade: websocket\r\n"), "{text}");
        assert!(text.contains("\r\nconnection: upgrade\r\n"), "{text}");
        assert!(
            !text.contains("transfer-encoding") && !text.contains("content-length"),
            "{text}"
        );
        for message in [
            "ping",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "0\r\n\r\n",
            "\0\x7f",
        ] {
            client.send(message).await;
            client.expect(message).await;
        }
        let large: Vec<u8> = (0..100_000).map(|at| (at % 251) as u8).collect();
        for _ in 0..5 {
            client.send(&large).await;
            client.expect(&large).await;
        }
        client.half_close().await;
        client.expect_end().await;
        origin.wait_for_closed(1).await;
        let request = &origin.requests()[0];
        assert_eq!(request.header("upgrade"), Some("websocket"));
        assert_eq!(request.header("sec-websocket-version"), Some("13"));
    });
}

/// What the origin says right behind its 101 belongs to the tunnel.
#[test]
fn bytes_right_after_101() {
    harness::run(async {
        let server = raw::serve([vec![
            Step::expect_head(),
            Step::send(format!("{AGREED}hello at once")),
            Step::expect("and back"),
            Step::send("bye"),
            Step::Close,
        ]])
        .await;
        let proxy = harness::forward(server.addr()).await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send(ASK).await;
        client.read_head().await;
        client.expect("hello at once").await;
        client.send("and back").await;
        client.expect("bye").await;
        client.expect_end().await;
        server.finish().await;
    });
}

/// What the client says before it has its 101 waits for it, then belongs to the tunnel.
#[test]
fn bytes_before_101() {
    harness::run(async {
        let origin = echo().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send(format!("{ASK}too early")).await;
        client.read_head().await;
        client.expect("too early").await;
        client.send("later").await;
        client.expect("later").await;
    });
}

/// Answered at once, a thousand times: the tunnel never ends by itself.
#[test]
fn at_once_a_thousand_times() {
    harness::run(async {
        let origin = Origin::start_on_head(|_| Reply::raw(AGREED).echo()).await;
        let proxy = harness::forward(origin.addr()).await;
        for round in 0..1000 {
            let mut client = raw::connect(proxy.addr()).await;
            client.send(ASK).await;
            let head = client.read_head().await;
            assert!(
                head.starts_with(b"HTTP/1.1 101 "),
                "round {round}: {head:?}"
            );
            client.send("ping").await;
            client.expect("ping").await;
        }
    });
}

/// Refused: an ordinary response; what followed the request is the next request.
#[test]
fn a_premature_upgrade() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(&request.target)).await;
        let proxy = harness::forward(origin.addr()).await;
        let bytes = format!("{ASK}GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        for piece in [1, usize::MAX] {
            let seen = origin.requests().len();
            let answer = ask(proxy.addr(), bytes.as_bytes(), piece).await;
            let text = String::from_utf8(answer.bytes.clone()).unwrap();
            assert!(
                text.starts_with("HTTP/1.1 200 ") && text.contains("/chat"),
                "{text}"
            );
            assert!(answer.closed);
            // The second may be refused with the connection, but it never reaches the origin as
            // part of the first.
            let requests = origin.requests().split_off(seen);
            assert_eq!(requests[0].body, "");
            assert_eq!(requests.len(), answer.responses(), "{text}");
        }
        assert_eq!(origin.errors(), Vec::<String>::new());
    });
}

/// A second request behind an upgrade that succeeds is payload, never a request of its own.
#[test]
fn a_request_behind_an_upgrade() {
    harness::run(async {
        let origin = echo().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = raw::connect(proxy.addr()).await;
        let second = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(format!("{ASK}{second}")).await;
        client.read_head().await;
        client.expect(second).await;
        assert_eq!(origin.requests().len(), 1);
    });
}

/// Only HTTP/1.1 with `Connection: upgrade` asks for anything.
#[test]
fn no_upgrade_asked() {
    harness::run(async {
        let origin = Origin::start(|request| {
            let asked = request.fields.has("upgrade");
            Reply::ok(if asked { "asked" } else { "not asked" })
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        for head in [
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: TLS/1.0\r\nConnection: upgrade\r\n\r\n",
        ] {
            let mut client = Client::connect(proxy.addr()).await;
            client.send(head).await;
            let response = client.response().await;
            assert_eq!(
                (response.status, response.text()),
                (200, "not asked"),
                "{head}"
            );
            let request = origin.requests().pop().unwrap();
            assert!(!request.fields.has("http2-settings"), "{head}");
        }
    });
}

/// A 101 to such a request is an error of the origin.
#[test]
fn an_answer_nobody_asked_for() {
    harness::run(async {
        let origin = echo().await;
        let proxy = harness::forward(origin.addr()).await;
        for head in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        ] {
            let answer = ask(proxy.addr(), head.as_bytes(), usize::MAX).await;
            assert_eq!(
                (answer.status(), answer.responses()),
                (Some(502), 1),
                "{head}: {answer:?}"
            );
        }
    });
}

/// The policy of the peer decides what may be asked for.
#[test]
fn policies() {
    struct Policy(SocketAddr, H1UpgradePolicy);

    #[async_trait]
    impl ProxyHttp for Policy {
        type CTX = ();
        fn new_ctx(&self) {}
        async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
            let mut peer = harness::peer(self.0);
            let mut policy = HttpUpstreamRequestPolicy::standard();
            policy.h1_upgrade = self.1;
            peer.options.http_upstream_request_policy = policy;
            Ok(peer)
        }
    }

    harness::run(async {
        use H1UpgradePolicy::{Deny, Preserve, WebSocketOnly};
        for (policy, protocol, asked) in [
            (WebSocketOnly, "websocket", true),
            (WebSocketOnly, "WebSocket", true),
            (WebSocketOnly, "x", false),
            (Preserve, "websocket", true),
            (Preserve, "x", true),
            (Deny, "websocket", false),
            (Deny, "x", false),
        ] {
            let origin = Origin::start(|request| match request.header("upgrade") {
                Some(protocol) => Reply::raw(format!(
                    "HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"
                ))
                .echo(),
                None => Reply::ok("no"),
            })
            .await;
            let proxy = harness::proxy(Policy(origin.addr(), policy)).await;
            let mut client = raw::connect(proxy.addr()).await;
            client
                .send(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"))
                .await;
            let head = client.read_head().await;
            assert_eq!(
                head.starts_with(b"HTTP/1.1 101 "),
                asked,
                "{policy:?} {protocol}: {head:?}"
            );
            if asked {
                client.send("ping").await;
                client.expect("ping").await;
            }
        }
    });
}

/// Whichever side resets, the other learns of it.
#[test]
fn resets_pass_through() {
    harness::run(async {
        let origin = echo().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send(ASK).await;
        client.read_head().await;
        client.reset();
        origin.wait_for_closed(1).await;

        let server = raw::serve([vec![
            Step::expect_head(),
            Step::send(AGREED),
            Step::expect("x"),
            Step::Reset,
        ]])
        .await;
        let proxy = harness::forward(server.addr()).await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send(ASK).await;
        client.read_head().await;
        client.send("x").await;
        assert_eq!(client.read_to_end().await, "");
        server.finish().await;
    });
}
