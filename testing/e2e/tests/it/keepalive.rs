//! Connections of clients: kept, counted, pipelined, half closed, drained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::prelude::*;
use pingora_e2e::harness::{self, ask};
use pingora_test_support::client::{Client, Response};
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::{Gate, raw, within};

async fn hello() -> Origin {
    Origin::start(|_| Reply::ok("hello")).await
}

/// Whether the connection goes on, by what client and version say (RFC 9112 section 9.3).
#[test]
fn who_keeps_the_connection() {
    harness::run(async {
        let origin = hello().await;
        let proxy = harness::forward(origin.addr()).await;
        for (version, fields, kept) in [
            ("1.1", "", true),
            ("1.1", "Connection: keep-alive\r\n", true),
            ("1.1", "Connection: Keep-Alive\r\n", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: CLOSE\r\n", false),
            ("1.1", "Connection: x, close\r\n", false),
            ("1.1", "Connection: keep-alive, close\r\n", false),
            (
                "1.1",
                "Connection: keep-alive\r\nConnection: close\r\n",
                false,
            ),
            (
                "1.1",
                "Connection: close\r\nConnection: keep-alive\r\n",
                false,
            ),
            ("1.0", "", false),
            ("1.0", "Connection: close\r\n", false),
            ("1.0", "Connection: keep-alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let mut client = Client::connect(proxy.addr()).await;
            client
                .send(format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"))
                .await;
            let response = client.response().await;
            assert_eq!(response.text(), "hello");
            let says = response
                .header("connection")
                .unwrap_or_default()
                .to_lowercase();
            if kept {
                assert!(!says.contains("close"), "{version} {fields}");
                assert_eq!(client.get("/").await.text(), "hello", "{version} {fields}");
            } else {
                assert!(
                    version == "1.0" || says.contains("close"),
                    "{version} {fields}: {says}"
                );
                client.expect_closed().await;
            }
        }
        // Whatever clients do, the connection to the origin is ours to keep.
        assert_eq!((origin.connections(), origin.errors()), (1, vec![]));
    });
}

/// The number of requests on a connection can be limited; the last response says so.
#[test]
fn a_limit_of_requests() {
    harness::run(async {
        let origin = hello().await;
        for limit in [1, 2, 3] {
            let proxy = harness::proxy_with(harness::Forward(origin.addr()), |_, options| {
                options.keepalive_request_limit = Some(limit);
            })
            .await;
            let mut client = Client::connect(proxy.addr()).await;
            for index in 1..=limit {
                let response = client.get("/").await;
                let closing = response.header("connection") == Some("close");
                assert_eq!(closing, index == limit, "request {index} of {limit}");
            }
            client.expect_closed().await;
        }
    });
}

/// The limit holds for pipelined requests, too: those beyond it are not answered.
#[test]
fn a_limit_of_pipelined_requests() {
    harness::run(async {
        let origin = hello().await;
        let proxy = harness::proxy_with(harness::Forward(origin.addr()), |_, options| {
            options.keepalive_request_limit = Some(2);
        })
        .await;
        let three = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3);
        let answer = ask(proxy.addr(), three.as_bytes(), usize::MAX).await;
        assert_eq!((answer.responses(), answer.closed), (2, true));
        assert_eq!(origin.requests().len(), 2);
    });
}

/// Sets the keep-alive time of the first request only, or never.
struct KeepAlive {
    upstream: SocketAddr,
    seconds: Option<u64>,
}

#[async_trait]
impl ProxyHttp for KeepAlive {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        if session.req_header().headers.contains_key("x-set") {
            session.set_keepalive(self.seconds);
        }
        Ok(())
    }
    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(harness::peer(self.upstream))
    }
}

/// No keep-alive: the response says so and the connection ends.
#[test]
fn keep_alive_switched_off() {
    harness::run(async {
        let origin = hello().await;
        let inner = KeepAlive {
            upstream: origin.addr(),
            seconds: None,
        };
        let proxy = harness::proxy(inner).await;
        let mut client = Client::connect(proxy.addr()).await;
        assert_eq!(client.get("/").await.text(), "hello");
        let response = client.request("GET", "/", &[("X-Set", "1")], "").await;
        assert_eq!(response.header("connection"), Some("close"));
        client.expect_closed().await;
    });
}

/// The time to keep an idle connection, set on one request, still holds after the next: the
/// server closes the connection by itself, after the second response and not before.
#[test]
fn keep_alive_time_outlives_its_request() {
    harness::run(async {
        let origin = hello().await;
        let inner = KeepAlive {
            upstream: origin.addr(),
            seconds: Some(1),
        };
        let proxy = harness::proxy(inner).await;
        let mut client = Client::connect(proxy.addr()).await;
        assert_eq!(
            client
                .request("GET", "/", &[("X-Set", "1")], "")
                .await
                .text(),
            "hello"
        );
        assert_eq!(client.get("/").await.text(), "hello");
        // The default would be a minute, far beyond the limit of this wait.
        client.expect_closed().await;
    });
}

/// Pipelined requests are answered in order and never overtake each other.
#[test]
fn pipelining() {
    harness::run(async {
        let origin = Origin::start(|request| match &*request.target {
            "/chunked" => Reply::chunked(["chun", "ked"]),
            "/none" => Reply::status(204, ""),
            target => Reply::ok(target),
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let targets = ["/1", "/chunked", "/none", "/2", "/head", "/3"];
        let mut bytes = String::new();
        for target in targets {
            let method = if target == "/head" { "HEAD" } else { "GET" };
            bytes += &format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        let mut client = Client::connect(proxy.addr()).await;
        client.send(&bytes).await;
        let mut answers: Vec<Response> = vec![];
        for target in targets {
            let method = if target == "/head" { "HEAD" } else { "GET" };
            answers.push(client.response_to(method).await);
        }
        let bodies: Vec<&str> = answers.iter().map(Response::text).collect();
        assert_eq!(bodies, ["/1", "chunked", "", "/2", "", "/3"]);
        assert_eq!(origin.requests().len(), targets.len());
    });
}

/// A hundred requests in one write.
#[test]
fn deep_pipelining() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(&request.target)).await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        let all: String = (0..100)
            .map(|i| format!("GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .collect();
        client.send(&all).await;
        for index in 0..100 {
            assert_eq!(client.response_to("GET").await.text(), format!("/{index}"));
        }
    });
}

/// A bad request behind a good one: the good one is answered first.
#[test]
fn a_bad_request_after_a_good_one() {
    harness::run(async {
        let origin = hello().await;
        let proxy = harness::forward(origin.addr()).await;
        let bytes = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = ask(proxy.addr(), bytes.as_bytes(), usize::MAX).await;
        let text = String::from_utf8(answer.bytes.clone()).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        assert!(text.contains("HTTP/1.1 400 "), "{text}");
        assert_eq!((answer.responses(), answer.closed), (2, true), "{text}");
        assert_eq!(origin.requests().len(), 1);
    });
}

/// `printf 'GET …' | nc`: a client that has ended its side still gets its answer.
#[test]
fn half_closed_clients() {
    harness::run(async {
        let origin = Origin::start(|request| match &*request.target {
            "/big" => Reply::ok(vec![b'x'; 1 << 20]),
            target => Reply::ok(target),
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut wrong = vec![];
        for (bytes, expected) in [
            ("GET /one HTTP/1.1\r\nHost: a\r\n\r\n", 1),
            ("GET /big HTTP/1.1\r\nHost: a\r\n\r\n", 1),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
                1,
            ),
        ] {
            let mut client = raw::connect(proxy.addr()).await;
            client.send(bytes).await;
            client.half_close().await;
            let all = client.read_to_end().await;
            let answers = all.windows(13).filter(|w| w == b"HTTP/1.1 200 ").count();
            if answers != expected || (bytes.contains("big") && all.len() < 1 << 20) {
                wrong.push(format!(
                    "{bytes:?}: {answers} answers in {} bytes",
                    all.len()
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// The same with an origin that takes its time.
#[test]
fn half_closed_clients_that_wait() {
    harness::run(async {
        let gate = Gate::new();
        let origin = Origin::start({
            let gate = gate.clone();
            move |_| {
                Reply::nothing()
                    .wait(&gate)
                    .then("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            }
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.half_close().await;
        origin.wait_for_requests(1).await;
        gate.open();
        assert_eq!(client.response().await.text(), "hello");
        client.expect_closed().await;
    });
}

/// Answers every request itself, without looking at its body.
struct Answering;

#[async_trait]
impl ProxyHttp for Answering {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let mut response = ResponseHeader::build(200, None)?;
        let path = session.req_header().uri.path().to_string();
        response.insert_header("Content-Length", path.len().to_string())?;
        session
            .write_response_header(Box::new(response), false)
            .await?;
        session
            .write_response_body(Some(Bytes::from(path)), true)
            .await?;
        Ok(true)
    }
    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Error::e_explain(InternalError, "nothing needs an upstream")
    }
}

/// A body that nobody read is no request: small ones are skipped, large ones end the connection.
#[test]
fn a_body_left_on_the_wire() {
    harness::run(async {
        let proxy = harness::proxy(Answering).await;
        let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
        let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
        let length = format!("Content-Length: {}\r\n\r\n{hidden}", hidden.len());
        let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{chunk}");
        for method in ["GET", "POST", "HEAD"] {
            for rest in [&length, &chunked] {
                for piece in [1, 50, usize::MAX] {
                    let bytes = format!(
                        "{method} /first HTTP/1.1\r\nHost: a\r\n{rest}\
                         GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                    );
                    let answer = ask(proxy.addr(), bytes.as_bytes(), piece).await;
                    assert!(answer.closed);
                    let text = String::from_utf8(answer.bytes.clone()).unwrap();
                    assert!(!text.contains("/hidden"), "{bytes:?} in {piece}: {text}");
                    assert!((1..=2).contains(&answer.responses()), "{text}");
                    let second = text.contains("/second");
                    assert_eq!(
                        second,
                        answer.responses() == 2,
                        "{bytes:?} in {piece}: {text}"
                    );
                }
            }
        }
    });
}

/// An unread body is read only so far.
#[test]
fn a_large_body_left_on_the_wire() {
    harness::run(async {
        let proxy = harness::proxy(Answering).await;
        let mut client = Client::connect(proxy.addr()).await;
        client
            .send("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
            .await;
        assert_eq!(client.response().await.text(), "/first");
        let body = vec![b'x'; 1 << 16];
        let send = async { while client.try_send(&body).await.is_ok() {} };
        within("the proxy stops reading", send).await;
    });
}

/// An unfinished unread body does not hold a connection for ever, nor hide the answer.
#[test]
fn a_body_that_never_comes() {
    harness::run(async {
        let proxy = harness::proxy(Answering).await;
        for fields in [
            "Content-Length: 10",
            "Transfer-Encoding: chunked",
            "Content-Length: 10\r\nExpect: 100-continue",
        ] {
            let mut client = Client::connect(proxy.addr()).await;
            client
                .send(format!(
                    "POST /first HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"
                ))
                .await;
            let response = client.response().await;
            assert_eq!(
                (response.text(), response.informational.len()),
                ("/first", 0),
                "{fields}"
            );
        }
    });
}

/// A client that goes away ends the request at the origin, too.
#[test]
fn a_client_that_goes_away() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::nothing()).await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        origin.wait_for_requests(1).await;
        client.reset();
        origin.wait_for_closed(1).await;
    });
}

/// Many clients at once, each with many requests: every answer belongs to its question.
#[test]
fn many_clients() {
    harness::run(async {
        let origin = Arc::new(Origin::start(|request| Reply::ok(&request.target)).await);
        let proxy = Arc::new(
            harness::proxy_with(harness::Forward(origin.addr()), |conf, _| conf.threads = 2).await,
        );
        let clients: Vec<_> = (0..50)
            .map(|number| {
                let proxy = proxy.clone();
                tokio::spawn(async move {
                    let mut client = Client::connect(proxy.addr()).await;
                    for index in 0..20 {
                        let target = format!("/{number}/{index}");
                        assert_eq!(client.get(&target).await.text(), target);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        assert_eq!((origin.requests().len(), origin.errors()), (1000, vec![]));
        assert!(origin.connections() <= 50, "{}", origin.connections());
    });
}

/// A silent client is closed, not kept.
#[test]
fn silent_clients() {
    harness::run(async {
        let origin = hello().await;
        let proxy = harness::proxy_with(harness::Forward(origin.addr()), |_, options| {
            options.limits.head_timeout = Duration::from_millis(300);
        })
        .await;
        for start in ["G", "GET / HTTP/1.1\r\nHost: a\r\n"] {
            let mut client = raw::connect(proxy.addr()).await;
            client.send(start).await;
            let rest = client.read_to_end().await;
            assert!(
                rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"),
                "{rest:?}"
            );
        }
        assert_eq!(origin.connections(), 0);
    });
}

/// The time for a head is a total: a byte now and then does not extend it.
#[test]
fn a_head_that_drips() {
    harness::run(async {
        let origin = hello().await;
        let proxy = harness::proxy_with(harness::Forward(origin.addr()), |_, options| {
            options.limits.head_timeout = Duration::from_millis(500);
        })
        .await;
        let mut client = raw::connect(proxy.addr()).await;
        client.send("GET / HTTP/1.1\r\nX: ").await;
        let drip = async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            loop {
                tick.tick().await;
                if client.try_send("y").await.is_err() {
                    return;
                }
            }
        };
        within("the connection closes", drip).await;
    });
}

/// Half closed with two requests already sent: both are answered.
#[test]
fn half_closed_pipelined() {
    harness::run(async {
        let origin = hello().await;
        let proxy = harness::forward(origin.addr()).await;
        for round in 0..50 {
            let mut client = raw::connect(proxy.addr()).await;
            let two = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
            client.send(two).await;
            client.half_close().await;
            let all = client.read_to_end().await;
            let answers = all.windows(13).filter(|w| w == b"HTTP/1.1 200 ").count();
            assert_eq!(answers, 2, "round {round}");
        }
    });
}
