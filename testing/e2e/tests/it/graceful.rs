//! Stopping: what was begun is finished, what idles is closed, nothing waits without a reason.

use std::net::SocketAddr;

use pingora_e2e::harness::{self, Running};
use pingora_test_support::client::Client;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::{Gate, raw, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An origin that answers `/held` only when the gate is open.
async fn held(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request| match &*request.target {
        "/held" => Reply::nothing()
            .wait(&gate)
            .then("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nheld"),
        "/begun" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")
            .wait(&gate)
            .then("ended"),
        _ => Reply::ok("hello"),
    })
    .await
}

/// A gate, an origin held back by it, and a proxy before that.
async fn behind_a_gate() -> (Gate, Origin, Running) {
    let gate = Gate::new();
    let origin = held(&gate).await;
    let proxy = harness::forward(origin.addr()).await;
    (gate, origin, proxy)
}

/// A client whose first request was answered, and its connection kept.
async fn kept(proxy: &Running) -> Client {
    let mut client = Client::connect(proxy.addr()).await;
    assert_eq!(client.get("/").await.text(), "hello");
    client
}

/// A request the gate holds back.
const HELD: &str = "GET /held HTTP/1.1\r\nHost: a\r\n\r\n";

/// Nothing to wait for: the end comes at once, not after the grace period of 300 s.
#[test]
fn an_idle_server() {
    harness::run(async {
        let proxy = harness::forward(raw::refused_addr().await).await;
        let addr = proxy.addr();
        proxy.terminate();
        proxy.ended().await;
        assert!(TcpStream::connect(addr).await.is_err());
    });
}

/// Kept connections are closed at once, also those that never said anything.
#[test]
fn idle_connections() {
    harness::run(async {
        let (_gate, _origin, proxy) = behind_a_gate().await;
        let mut once = kept(&proxy).await;
        let mut twice = kept(&proxy).await;
        assert_eq!(twice.get("/").await.text(), "hello");
        let mut silent = Client::connect(proxy.addr()).await;
        // Answered after `silent` was accepted, so the server knows of it.
        drop(kept(&proxy).await);
        proxy.terminate();
        once.expect_closed().await;
        twice.expect_closed().await;
        silent.expect_closed().await;
        proxy.ended().await;
    });
}

/// A request in the middle is answered, told that the connection ends, and then it does.
#[test]
fn a_request_in_the_middle() {
    harness::run(async {
        let (gate, origin, proxy) = behind_a_gate().await;
        let mut idle = kept(&proxy).await;
        let mut client = Client::connect(proxy.addr()).await;
        client.send(HELD).await;
        origin.wait_for_requests(2).await;
        proxy.terminate();
        // The server has begun to stop once the idle one is closed.
        idle.expect_closed().await;
        gate.open();
        let response = client.response().await;
        assert_eq!(response.text(), "held");
        assert_eq!(response.header("connection"), Some("close"));
        client.expect_closed().await;
        proxy.ended().await;
    });
}

/// So is a response whose head is long gone.
#[test]
fn a_response_in_the_middle() {
    harness::run(async {
        let (gate, _origin, proxy) = behind_a_gate().await;
        let mut idle = kept(&proxy).await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send("GET /begun HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.read_head().await;
        client.expect("begun").await;
        proxy.terminate();
        idle.expect_closed().await;
        gate.open();
        client.expect("ended").await;
        client.expect_end().await;
        proxy.ended().await;
    });
}

/// And an upload that has only begun.
#[test]
fn an_upload_in_the_middle() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(&request.body)).await;
        let proxy = harness::forward(origin.addr()).await;
        let mut idle = Client::connect(proxy.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nbegun")
            .await;
        origin.wait_for_connections(1).await;
        proxy.terminate();
        idle.expect_closed().await;
        client.send("ended").await;
        assert_eq!(client.response().await.text(), "begunended");
        client.expect_closed().await;
        proxy.ended().await;
    });
}

/// While one request is being finished, nobody new is let in.
#[test]
fn nobody_new() {
    harness::run(async {
        let (gate, origin, proxy) = behind_a_gate().await;
        let mut client = Client::connect(proxy.addr()).await;
        client.send(HELD).await;
        origin.wait_for_requests(1).await;
        proxy.terminate();
        let refused = async {
            // Those that were in the queue already are closed without an answer.
            while let Ok(stream) = TcpStream::connect(proxy.addr()).await {
                drop(stream);
                tokio::task::yield_now().await;
            }
        };
        within("connections are refused", refused).await;
        gate.open();
        assert_eq!(client.response().await.text(), "held");
        proxy.ended().await;
    });
}

/// A request that never ends is waited for only so long.
#[test]
fn the_grace_period() {
    harness::run(async {
        let origin = held(&Gate::new()).await;
        let proxy = harness::proxy_with(harness::Forward(origin.addr()), |conf, _| {
            conf.grace_period_seconds = Some(1);
            conf.graceful_shutdown_timeout_seconds = Some(1);
        })
        .await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send(HELD).await;
        origin.wait_for_requests(1).await;
        proxy.terminate();
        assert_eq!(client.read_to_end().await, "");
        proxy.ended().await;
    });
}

/// A fast stop cuts what is open.
#[test]
fn a_fast_stop() {
    harness::run(async {
        let (_gate, origin, proxy) = behind_a_gate().await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send(HELD).await;
        origin.wait_for_requests(1).await;
        drop(proxy);
        assert_eq!(client.read_to_end().await, "");
    });
}

/// Requests that wait behind one another on a connection: each is answered, or none of it.
#[test]
fn pipelined_requests() {
    harness::run(async {
        let (gate, origin, proxy) = behind_a_gate().await;
        let mut idle = kept(&proxy).await;
        let mut client = Client::connect(proxy.addr()).await;
        client
            .send("GET /held HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        origin.wait_for_requests(2).await;
        proxy.terminate();
        idle.expect_closed().await;
        gate.open();
        let first = client.response_to("GET").await;
        assert_eq!(first.text(), "held");
        // RFC 9112 section 9.6: after `close`, nothing more is answered.
        if first.header("connection") != Some("close") {
            assert_eq!(client.response_to("GET").await.text(), "hello");
        }
        client.expect_closed().await;
        proxy.ended().await;
    });
}

/// Asks again and again, over kept connections, until nobody listens any more; returns how many
/// requests were answered and how many were sent over a kept connection for nothing.
async fn load(addr: SocketAddr) -> (usize, usize) {
    let (mut answered, mut lost) = (0, 0);
    while let Ok(mut stream) = TcpStream::connect(addr).await {
        let mut first = true;
        loop {
            match exchange(&mut stream).await {
                Ok(kept) => {
                    answered += 1;
                    first = false;
                    if !kept {
                        break;
                    }
                }
                Err(_) => {
                    // The system resets what it had not handed to the server yet.
                    lost += usize::from(!first);
                    break;
                }
            }
        }
    }
    (answered, lost)
}

/// Sends one GET that is answered `hello`; returns whether the server keeps the connection.
async fn exchange(stream: &mut TcpStream) -> std::io::Result<bool> {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await?;
    let mut answer = vec![];
    while !answer.ends_with(b"hello") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    Ok(!answer.contains("connection: close"))
}

/// Twenty clients that never pause: none that was told that its connection is kept loses one.
#[test]
fn under_load() {
    harness::run(async {
        let (_gate, origin, proxy) = behind_a_gate().await;
        let clients: Vec<_> = (0..20).map(|_| tokio::spawn(load(proxy.addr()))).collect();
        origin.wait_for_requests(1000).await;
        proxy.terminate();
        proxy.ended().await;
        let (mut answered, mut lost) = (0, 0);
        for client in clients {
            let (good, bad) = client.await.unwrap();
            answered += good;
            lost += bad;
        }
        assert!(answered >= 1000, "{answered}");
        assert_eq!(lost, 0, "besides {answered} answered");
    });
}
