//! The helpers against each other: the origin serves, the client and the raw peer ask.

use pingora_test_support::client::{self, Client};
use pingora_test_support::message::Framing;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::raw::{self, Step};
use pingora_test_support::{Gate, within};

#[tokio::test]
async fn keep_alive_and_counts() {
    let origin =
        Origin::start(|request| Reply::ok(format!("{}.{}", request.connection, request.index)))
            .await;
    let mut first = Client::connect(origin.addr()).await;
    assert_eq!(first.get("/").await.text(), "1.1");
    assert_eq!(first.get("/").await.text(), "1.2");
    assert_eq!(client::get(origin.addr(), "/").await.text(), "2.1");
    origin.wait_for_closed(1).await;
    assert_eq!(
        (
            origin.connections(),
            origin.open_connections(),
            origin.requests().len()
        ),
        (2, 1, 3)
    );
    assert_eq!(origin.received(2), b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(origin.errors().is_empty());
}

#[tokio::test]
async fn bodies_in_every_framing() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/close" => Reply::raw("HTTP/1.1 200 OK\r\n\r\nuntil the end").close(),
        "/chunked" => Reply::chunked(["a", "bc"]),
        "/head" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        "/204" => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        _ => Reply::ok(&request.body),
    })
    .await;
    let mut client = Client::connect(origin.addr()).await;
    let chunked = [("Transfer-Encoding", "chunked")];
    let response = client
        .request("POST", "/", &chunked, "3\r\nabc\r\n0\r\nT: x\r\n\r\n")
        .await;
    assert_eq!(
        (response.text(), response.framing),
        ("abc", Framing::Length(3))
    );
    assert_eq!(origin.requests()[0].trailers.get("t"), Some("x"));
    assert_eq!(client.request("POST", "/", &[], "xyz").await.text(), "xyz");
    assert_eq!(client.get("/chunked").await.text(), "abc");
    assert_eq!(
        client.request("HEAD", "/head", &[], "").await.framing,
        Framing::None
    );
    assert_eq!(client.get("/204").await.status, 204);
    assert_eq!(client.get("/close").await.text(), "until the end");
    client.expect_closed().await;
}

#[tokio::test]
async fn continue_early_reply_and_upgrade() {
    let origin = Origin::start_on_head(|request| match request.header("upgrade") {
        Some(_) => {
            Reply::raw("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n").echo()
        }
        None => Reply::ok("early"),
    })
    .await;
    let mut client = Client::connect(origin.addr()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert_eq!(client.response().await.text(), "early");
    client
        .send("bodyGET / HTTP/1.1\r\nHost: t\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello")
        .await;
    assert_eq!(client.response_to("GET").await.status, 101);
    assert_eq!(client.read_exactly(5).await, "hello");

    let origin = Origin::start(|_| {
        Reply::raw("HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n")
            .then("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    })
    .await;
    let mut client = Client::connect(origin.addr()).await;
    let response = client
        .request("POST", "/", &[("Expect", "100-continue")], "x")
        .await;
    let interim: Vec<u16> = response
        .informational
        .iter()
        .map(|interim| interim.status)
        .collect();
    assert_eq!((response.status, interim), (200, vec![100, 103]));
}

#[tokio::test]
async fn malformed_requests_are_recorded() {
    let origin = Origin::start(|_| Reply::ok("")).await;
    for request in [
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ] {
        let mut client = Client::connect(origin.addr()).await;
        client.send(request).await;
        assert_eq!(client.response().await.status, 400, "{request:?}");
        client.expect_closed().await;
    }
    assert_eq!(origin.errors().len(), 3);
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn scripts_wait_send_pieces_and_reset() {
    let gate = Gate::new();
    let server = raw::serve([
        vec![
            Step::expect("ping"),
            Step::Open(gate.clone()),
            Step::SendPieces("pong".into(), 1),
            Step::HalfClose,
            Step::ExpectEnd,
        ],
        vec![Step::expect_until("!"), Step::Reset],
    ])
    .await;
    let mut peer = raw::connect(server.addr()).await;
    peer.send_pieces("ping", 1).await;
    gate.opened().await;
    peer.expect("pong").await;
    peer.expect_end().await;
    peer.close();
    let mut peer = raw::connect(server.addr()).await;
    peer.send("bye!").await;
    assert_eq!(peer.read_to_end().await, "");
    assert_eq!(server.finish().await, [b"ping".to_vec(), b"bye!".to_vec()]);
}

#[tokio::test]
async fn a_failed_script_panics_in_finish() {
    let server = raw::serve([vec![Step::expect("this")]]).await;
    let mut peer = raw::connect(server.addr()).await;
    peer.send("that").await;
    let failed = within("the script", tokio::spawn(server.finish())).await;
    assert!(failed.unwrap_err().is_panic());
}

#[tokio::test]
async fn nothing_listens_on_a_refused_address() {
    let refused = tokio::net::TcpStream::connect(raw::refused_addr().await).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
}
