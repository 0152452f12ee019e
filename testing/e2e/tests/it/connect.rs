//! `CONNECT`: a tunnel when it is allowed and granted, and nothing left behind when it is not.

use pingora_e2e::harness::{self, Forward, Running, ask};
use pingora_test_support::raw::{self, Listener, Raw};

const ASK: &str = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

async fn tunnels(origin: &Listener) -> Running {
    harness::proxy_with(Forward(origin.addr()), |_, options| {
        options.allow_connect_method_proxying = true;
    })
    .await
}

/// A client whose tunnel was granted, and the origin behind it.
async fn granted(client_says: &str, origin_says: &str) -> (Raw, Raw, Running) {
    let origin = Listener::bind().await;
    let proxy = tunnels(&origin).await;
    let mut client = raw::connect(proxy.addr()).await;
    client.send([ASK, client_says].concat()).await;
    let mut upstream = origin.accept().await;
    let head = String::from_utf8(upstream.read_head().await.to_vec()).unwrap();
    assert!(
        head.starts_with("CONNECT a.example:443 HTTP/1.1\r\n"),
        "{head}"
    );
    upstream
        .send(["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", origin_says].concat())
        .await;
    let head = String::from_utf8(client.read_head().await.to_vec()).unwrap();
    let lower = head.to_lowercase();
    assert!(lower.starts_with("http/1.1 200 "), "{head}");
    for field in ["content-length", "transfer-encoding", "connection: close"] {
        assert!(!lower.contains(field), "{head}");
    }
    (client, upstream, proxy)
}

/// After a 2xx both sides are raw bytes, those that came with the heads included.
#[test]
fn bytes_pass_both_ways() {
    harness::run(async {
        let (mut client, mut upstream, _proxy) = granted("early", "hello").await;
        client.expect("hello").await;
        upstream.expect("early").await;
        for message in [SMUGGLED, "0\r\n\r\n", "\0\x7f"] {
            client.send(message).await;
            upstream.expect(message).await;
            upstream.send(message).await;
            client.expect(message).await;
        }
        client.half_close().await;
        upstream.expect_end().await;
        upstream.send("last words").await;
        upstream.half_close().await;
        client.expect("last words").await;
        client.expect_end().await;
    });
}

/// The origin's end is the tunnel's, and its connection never carries a request of others.
#[test]
fn the_origin_ends_the_tunnel() {
    harness::run(async {
        let (mut client, mut upstream, _proxy) = granted("", "").await;
        upstream.send("bye").await;
        upstream.half_close().await;
        client.expect("bye").await;
        client.expect_end().await;
        upstream.expect_end().await;
    });
}

/// What a client sent for a tunnel it did not get is no request.
#[test]
fn a_refused_tunnel_ends_the_connection() {
    harness::run(async {
        let origin = Listener::bind().await;
        let proxy = tunnels(&origin).await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send([ASK, SMUGGLED].concat()).await;
        let mut upstream = origin.accept().await;
        upstream.read_head().await;
        upstream
            .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            .await;
        let answer = String::from_utf8(client.read_to_end().await.to_vec()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(answer.contains("Connection: close"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nno"), "{answer}");
    });
}

/// A `CONNECT` has no body: whoever announces one wants it read in two ways.
#[test]
fn a_body_is_refused() {
    harness::run(async {
        let origin = Listener::bind().await;
        let proxy = tunnels(&origin).await;
        for field in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let request =
                format!("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n{field}\r\n\r\n{SMUGGLED}");
            let answer = ask(proxy.addr(), request.as_bytes(), usize::MAX).await;
            assert_eq!(
                (answer.status(), answer.closed),
                (Some(400), true),
                "{field}"
            );
        }
    });
}
