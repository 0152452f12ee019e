//! Responses: what an origin may not do to a client, and what a client must not be sent.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::upstreams::peer::HttpUpstreamRequestPolicy;
use pingora_e2e::harness::{self, Answer, ask};
use pingora_test_support::client::Client;
use pingora_test_support::message::Framing;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::within;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends one GET to a proxy whose origin answers every request with `reply` and leaves its
/// connection open; then a second GET, over another client connection.
///
/// Returns the first answer and how many connections the origin got for both.
async fn two_gets(reply: Reply) -> (Answer, usize) {
    let origin = Origin::start(move |_| reply.clone()).await;
    let proxy = harness::forward(origin.addr()).await;
    let last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let first = within("the first answer", ask(proxy.addr(), last, usize::MAX)).await;
    within("the second answer", ask(proxy.addr(), last, usize::MAX)).await;
    // That the proxy stops reading nonsense is no fault of its requests.
    let mut errors = origin.errors();
    errors.retain(|error| !error.contains("sending: "));
    assert_eq!(errors, Vec::<String>::new());
    (first, origin.connections())
}

/// RFC 9112 section 6.3: what cannot be framed is not passed on, and its connection not kept.
#[test]
fn malformed_responses() {
    harness::run(async {
        let with =
            |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let rows = [
            with("Content-Length: 5\r\nTransfer-Encoding: chunked"),
            with("Transfer-Encoding: chunked\r\nContent-Length: 5"),
            with("Content-Length: 5\r\nContent-Length: 6"),
            with("Content-Length: 5, 6"),
            with("Content-Length: +5"),
            with("Content-Length: -5"),
            with("Content-Length: 0x5"),
            with("Content-Length: five"),
            with("Content-Length: 5 5"),
            with("Content-Length: 99999999999999999999999"),
            with("Transfer-Encoding: chunked, chunked"),
            with("Transfer-Encoding: xchunked"),
            with("Transfer-Encoding: chunked, identity"),
            with("X-Header: a\0b"),
            with("X-Header: a\rSet-Cookie: b"),
            with("X Header: a"),
            with("X-Header : a"),
            with("no colon"),
            with(": empty"),
            "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n".to_string(),
            "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n".to_string(),
            "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n".to_string(),
            "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n".to_string(),
            "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n".to_string(),
            "HTTP/1.32 200 OK\r\nContent-Length: 0\r\n\r\n".to_string(),
            "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_string(),
            "ICY 200 OK\r\nContent-Length: 0\r\n\r\n".to_string(),
            "garbage\r\n\r\n".to_string(),
            "<html>".to_string(),
        ];
        let mut wrong = vec![];
        for reply in rows {
            let (answer, connections) = two_gets(Reply::raw(reply.clone()).close()).await;
            if answer.status() != Some(502) || answer.responses() != 1 || connections != 2 {
                wrong.push(format!("{reply:?}: {connections} connections, {answer:?}"));
            }
        }
        assert!(wrong.is_empty(), "not refused:\n{}", wrong.join("\n"));
    });
}

/// What follows a response belongs to nobody: it is dropped with its connection.
#[test]
fn bytes_after_the_end() {
    harness::run(async {
        let extra = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale";
        let rows = [
            (
                "length",
                format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello{extra}"),
            ),
            (
                "chunked",
                format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{extra}"
                ),
            ),
            (
                "empty",
                format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{extra}"),
            ),
            ("204", format!("HTTP/1.1 204 No Content\r\n\r\n{extra}")),
            (
                "204 with a body",
                "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello".to_string(),
            ),
            ("304", format!("HTTP/1.1 304 Not Modified\r\n\r\n{extra}")),
            (
                "304 with a body",
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello".to_string(),
            ),
            (
                "one byte",
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!".to_string(),
            ),
            (
                "CRLF",
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n".to_string(),
            ),
        ];
        for (name, reply) in rows {
            let (answer, connections) = two_gets(Reply::raw(reply)).await;
            assert_eq!(answer.responses(), 1, "{name}: {answer:?}");
            assert_eq!(connections, 2, "{name}: the connection was kept");
            let text = String::from_utf8(answer.bytes).unwrap();
            assert!(
                !text.contains("stale") && !text.contains("hello!"),
                "{name}: {text}"
            );
        }
    });
}

/// The same when the bytes come while the connection waits in the pool.
#[test]
fn bytes_while_idle() {
    harness::run(async {
        let late = pingora_test_support::Gate::new();
        let sent = pingora_test_support::Gate::new();
        let origin = Origin::start({
            let (late, sent) = (late.clone(), sent.clone());
            move |request| match request.connection {
                1 => Reply::ok("first")
                    .wait(&late)
                    .then("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale")
                    .open(&sent),
                _ => Reply::ok("second"),
            }
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        assert_eq!(client.get("/").await.text(), "first");
        late.open();
        sent.opened().await;
        assert_eq!(client.get("/").await.text(), "second");
    });
}

/// RFC 9110 sections 15.2.2 and 7.8: nobody asked to switch.
#[test]
fn an_unasked_101() {
    harness::run(async {
        let reply = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\
                     HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        let (answer, connections) = two_gets(Reply::raw(reply)).await;
        assert_eq!((answer.status(), connections), (Some(502), 2), "{answer:?}");
    });
}

/// RFC 9110 section 15.2: interim responses are passed on, each once, in order.
#[test]
fn interim_responses() {
    harness::run(async {
        let origin = Origin::start(|_| {
            Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
                .then(
                    "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n",
                )
                .then("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal")
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for _ in 0..2 {
            let response = client.get("/").await;
            assert_eq!(response.text(), "final");
            let statuses: Vec<u16> = response.informational.iter().map(|i| i.status).collect();
            assert_eq!(statuses, [103, 102, 103]);
            let link = response.informational[0].fields.get("link");
            assert_eq!(link, Some("</a.css>; rel=preload"));
        }
        assert_eq!(origin.connections(), 1);
    });
}

/// An interim response reaches the client before the final one exists.
#[test]
fn an_interim_response_at_once() {
    harness::run(async {
        let seen = pingora_test_support::Gate::new();
        let origin = Origin::start({
            let seen = seen.clone();
            move |_| {
                Reply::raw("HTTP/1.1 103 Early Hints\r\n\r\n")
                    .wait(&seen)
                    .then("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            }
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = pingora_test_support::raw::connect(proxy.addr()).await;
        client.send(GET).await;
        assert!(client.read_head().await.starts_with(b"HTTP/1.1 103 "));
        seen.open();
        assert!(client.read_head().await.starts_with(b"HTTP/1.1 200 "));
    });
}

/// Interim responses without end are an attack.
#[test]
fn a_flood_of_interim_responses() {
    harness::run(async {
        let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20_000);
        let (answer, _) = two_gets(Reply::raw(flood)).await;
        assert!(answer.closed);
        assert!(
            answer.responses() < 10_000,
            "{} passed on",
            answer.responses()
        );
        let last = String::from_utf8_lossy(&answer.bytes[answer.bytes.len().saturating_sub(400)..])
            .into_owned();
        assert!(last.contains("HTTP/1.1 502 "), "{last}");
    });
}

/// RFC 9110 section 9.3.2: the head of the answer to GET, and no body, whatever the origin says.
#[test]
fn head() {
    harness::run(async {
        let origin = Origin::start(|request| match &*request.target {
            "/length" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            "/chunked" => Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "/none" => Reply::raw("HTTP/1.1 200 OK\r\n\r\n"),
            _ => Reply::raw("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n"),
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for (target, length) in [
            ("/length", Some("5")),
            ("/chunked", None),
            ("/none", None),
            ("/x", Some("9")),
        ] {
            let response = client.request("HEAD", target, &[], "").await;
            assert_eq!(response.header("content-length"), length, "{target}");
            assert_eq!(response.body, "");
        }
        assert_eq!(client.leftover(), b"");
        assert_eq!(origin.connections(), 1);
    });
}

/// An origin that sends a body to HEAD: it is not passed on, and its connection is not kept.
#[test]
fn head_with_a_body() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("hello")).await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for _ in 0..2 {
            assert_eq!(client.request("HEAD", "/", &[], "").await.status, 200);
            assert_eq!(client.leftover(), b"");
        }
        assert_eq!(client.get("/").await.text(), "hello");
        assert_eq!(origin.connections(), 3);
    });
}

/// RFC 9110 section 15: some statuses have no body and no Transfer-Encoding.
#[test]
fn statuses_without_a_body() {
    harness::run(async {
        for status in [204, 304] {
            let origin = Origin::start(move |_| {
                Reply::raw(format!(
                    "HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\nETag: \"a\"\r\n\r\n"
                ))
            })
            .await;
            let proxy = harness::forward(origin.addr()).await;
            let mut client = Client::connect(proxy.addr()).await;
            for _ in 0..2 {
                client.send(GET).await;
                let response = client.response().await;
                assert_eq!((response.status, response.body.len()), (status, 0));
                assert!(!response.fields.has("transfer-encoding"), "{status}");
                assert_eq!(response.header("etag"), Some("\"a\""));
            }
            assert_eq!(client.leftover(), b"");
        }
        // RFC 9110 section 8.6: a 304 may name the length that a 200 would have.
        let origin =
            Origin::start(|_| Reply::raw("HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n")).await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for _ in 0..2 {
            assert_eq!(client.get("/").await.header("content-length"), Some("9"));
        }
        assert_eq!(origin.connections(), 1);
    });
}

/// RFC 9112 section 7: HTTP/1.0 knows no chunks, and RFC 9110 section 15.2 no 1xx.
#[test]
fn clients_of_http_1_0() {
    harness::run(async {
        let origin = Origin::start(|request| match &*request.target {
            "/chunked" => Reply::chunked(["hel", "lo"]),
            "/hints" => Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
                .then("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
            _ => Reply::ok("hello"),
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        for target in ["/chunked", "/hints", "/plain"] {
            for keep in ["", "Connection: keep-alive\r\n"] {
                let bytes = format!("GET {target} HTTP/1.0\r\nHost: a\r\n{keep}\r\n");
                let mut client = Client::connect(proxy.addr()).await;
                client.send(bytes).await;
                let response = client.response().await;
                assert_eq!(
                    (response.status, response.text()),
                    (200, "hello"),
                    "{target}"
                );
                assert_eq!(response.informational.len(), 0, "{target}");
                assert!(!response.fields.has("transfer-encoding"), "{target}");
                if keep.is_empty() || response.framing == Framing::Close {
                    client.expect_closed().await;
                } else {
                    // RFC 9112 section 9.3: kept only if the response says so, too.
                    assert_eq!(response.header("connection"), Some("keep-alive"));
                    client.send("GET /plain HTTP/1.0\r\nHost: a\r\n\r\n").await;
                    assert_eq!(client.response().await.text(), "hello");
                    client.expect_closed().await;
                }
            }
        }
        assert_eq!(origin.errors(), Vec::<String>::new());
        // The hop to the origin is ours and speaks HTTP/1.1.
        assert!(
            origin
                .requests()
                .iter()
                .all(|request| request.version == "HTTP/1.1")
        );
    });
}

/// Origins of HTTP/1.0 are understood, and the client does not notice.
#[test]
fn origins_of_http_1_0() {
    harness::run(async {
        let origin = Origin::start(|_| {
            Reply::raw("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello").close()
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for _ in 0..2 {
            let response = client.get("/").await;
            assert_eq!((response.text(), &*response.version), ("hello", "HTTP/1.1"));
        }
        let broken = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        let (answer, connections) = two_gets(Reply::raw(broken)).await;
        assert_eq!(
            connections, 2,
            "RFC 9112 section 6.1: the framing may be wrong: {answer:?}"
        );
    });
}

/// RFC 9110 section 6.5.1: trailers are for clients that say `TE: trailers`.
#[test]
fn trailers() {
    harness::run(async {
        let origin = Origin::start(|_| {
            Reply::raw(
                "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
                 X-Sum: 42\r\nContent-Length: 9\r\nSet-Cookie: a=b\r\nHost: x\r\nConnection: close\r\n\r\n",
            )
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        let with = [("TE", "trailers"), ("Connection", "TE")];
        let response = client.request("GET", "/", &with, "").await;
        assert_eq!(response.text(), "hello");
        assert_eq!(response.trailers.get("x-sum"), Some("42"));
        for name in ["content-length", "host", "connection"] {
            assert!(!response.trailers.has(name), "{name} was passed on");
        }
        let response = client.get("/").await;
        assert_eq!(response.text(), "hello");
        assert_eq!(response.trailers.0, []);
    });
}

/// RFC 9110 section 7.6.1: what belongs to the connection ends with it, in both directions.
#[test]
fn hop_by_hop_fields_of_responses() {
    harness::run(async {
        let origin = Origin::start(|_| {
            Reply::with_fields(
                200,
                &[
                    ("Connection", "X-Secret, keep-alive"),
                    ("X-Secret", "1"),
                    ("Keep-Alive", "timeout=5"),
                    ("Proxy-Connection", "keep-alive"),
                    ("Proxy-Authenticate", "Basic"),
                    ("TE", "x"),
                    ("Upgrade", "h2c"),
                    ("X-Kept", "1"),
                ],
                "hello",
            )
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let response = Client::connect(proxy.addr()).await.get("/").await;
        assert_eq!(response.text(), "hello");
        assert_eq!(response.header("x-kept"), Some("1"));
        for name in ["x-secret", "proxy-connection", "te", "upgrade"] {
            assert!(!response.fields.has(name), "{name} was passed on");
        }
        // Ours may be there, the origin's not.
        assert_ne!(response.header("keep-alive"), Some("timeout=5"));
        assert_ne!(response.header("connection"), Some("X-Secret, keep-alive"));
    });
}

#[test]
fn hop_by_hop_fields_of_requests() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        client
            .send(
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine,x-other\r\nX-Mine: 1\r\n\
                 X-Other: 2\r\nX-Kept: 3\r\nKeep-Alive: 300\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n\
                 Proxy-Authorization: x\r\nTrailer: X-Foo\r\nUpgrade: h2c\r\n\r\n",
            )
            .await;
        assert_eq!(client.response().await.status, 200);
        let request = origin.requests()[0].clone();
        assert_eq!(request.header("x-kept"), Some("3"));
        for name in [
            "x-mine",
            "x-other",
            "keep-alive",
            "proxy-connection",
            "upgrade",
            "te",
        ] {
            assert!(!request.fields.has(name), "{name} was passed on");
        }
        let connection = request.header("connection").unwrap_or("keep-alive");
        assert!(
            connection.eq_ignore_ascii_case("keep-alive"),
            "{connection}"
        );
    });
}

/// A client cannot have fields removed that the origin or we rely on.
#[test]
fn nominations_that_are_refused() {
    harness::run(async {
        for nominated in [
            "Host",
            "Content-Length",
            "Authorization",
            "X-Forwarded-For",
            "Cookie",
            "close, Host",
        ] {
            let origin = Origin::start(|_| Reply::ok("")).await;
            let proxy = harness::forward(origin.addr()).await;
            let bytes = format!(
                "POST / HTTP/1.1\r\nHost: a\r\nConnection: {nominated}\r\nAuthorization: x\r\n\
                 X-Forwarded-For: 1.2.3.4\r\nCookie: a=b\r\nContent-Length: 5\r\n\r\nhello"
            );
            let answer = ask(proxy.addr(), bytes.as_bytes(), usize::MAX);
            let answer = within("an answer", answer).await;
            assert_eq!(origin.errors(), Vec::<String>::new(), "{nominated}");
            match origin.requests().first() {
                Some(request) => {
                    assert_eq!(request.fields.all("host"), ["a"], "{nominated}");
                    assert_eq!(&request.body[..], b"hello", "{nominated}");
                }
                None => assert_eq!(answer.status(), Some(400), "{nominated}: {answer:?}"),
            }
        }
    });
}

/// A client cannot have removed what a hook says about it, only what it said itself.
#[test]
fn nominations_of_fields_of_hooks() {
    struct Names(SocketAddr);

    #[async_trait]
    impl ProxyHttp for Names {
        type CTX = ();
        fn new_ctx(&self) {}
        async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
            let req = session.req_header_mut();
            req.insert_header("X-User", "nobody")?;
            req.insert_header("X-Tenant", "none")?;
            req.append_header("X-Via", "us")?;
            Ok(false)
        }
        async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
            Ok(harness::peer(self.0))
        }
    }

    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = harness::proxy(Names(origin.addr())).await;
        let mut client = Client::connect(proxy.addr()).await;
        client
            .send(
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-User, x-tenant, X-Via, X-Hop\r\n\
                 X-User: admin\r\nX-Via: them\r\nX-Hop: 1\r\n\r\n",
            )
            .await;
        assert_eq!(client.response().await.status, 200);
        let request = origin.requests()[0].clone();
        assert_eq!(request.fields.all("x-user"), ["nobody"]);
        assert_eq!(request.fields.all("x-tenant"), ["none"]);
        assert_eq!(request.fields.all("x-via"), ["us"]);
        assert!(!request.fields.has("x-hop") && !request.fields.has("connection"));
    });
}

/// A list that is no list of tokens is refused by default.
#[test]
fn malformed_nominations() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = harness::forward(origin.addr()).await;
        for value in ["a b", "\"x\"", "x;y", "x=y", "(x)", "close\tx"] {
            let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {value}\r\n\r\n");
            let answer = ask(proxy.addr(), bytes.as_bytes(), usize::MAX).await;
            assert_eq!(answer.status(), Some(400), "{value}: {answer:?}");
        }
        assert_eq!(origin.requests().len(), 0);
    });
}

/// The policy of the peer decides; `preserve` passes everything on but never breaks the framing.
#[test]
fn a_policy_that_preserves() {
    struct Preserve(SocketAddr);

    #[async_trait]
    impl ProxyHttp for Preserve {
        type CTX = ();
        fn new_ctx(&self) {}
        async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
            let mut peer = harness::peer(self.0);
            peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
            Ok(peer)
        }
    }

    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = harness::proxy(Preserve(origin.addr())).await;
        let mut client = Client::connect(proxy.addr()).await;
        let fields = [
            ("X-Mine", "1"),
            ("Keep-Alive", "300"),
            ("Connection", "X-Mine"),
        ];
        assert_eq!(client.request("GET", "/", &fields, "").await.status, 200);
        let request = &origin.requests()[0];
        assert_eq!(request.header("x-mine"), Some("1"));
        assert_eq!(request.header("keep-alive"), Some("300"));
    });
}

/// Reason phrases, unknown statuses and repeated fields are the origin's business.
#[test]
fn responses_are_passed_on_as_they_are() {
    harness::run(async {
        let origin = Origin::start(|request| match &*request.target {
            "/odd" => Reply::raw("HTTP/1.1 299 Odd But Legal\r\nContent-Length: 0\r\nX-lower: a\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n"),
            "/empty" => Reply::raw("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
            "/short" => Reply::raw("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
            _ => Reply::raw("HTTP/1.1 599 Last\r\nContent-Length: 2\r\n\r\nhi"),
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        let odd = client.get("/odd").await;
        assert_eq!((odd.status, &*odd.reason), (299, "Odd But Legal"));
        assert_eq!(odd.fields.all("set-cookie"), ["a", "b"]);
        assert!(
            odd.raw_head.windows(11).any(|w| w == b"X-lower: a\r"),
            "{:?}",
            odd.raw_head
        );
        assert_eq!(client.get("/empty").await.status, 200);
        assert_eq!(client.get("/short").await.status, 200);
        assert_eq!(client.get("/last").await.status, 599);
        assert_eq!(origin.connections(), 1);
    });
}

/// Connections are shared by clients, and given back only when they are clean.
#[test]
fn connections_to_origins_are_kept() {
    harness::run(async {
        let origin = Origin::start(|request| match &*request.target {
            "/close" => Reply::with_fields(200, &[("Connection", "close")], "bye").close(),
            _ => Reply::ok("hi"),
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        for _ in 0..5 {
            let mut client = Client::connect(proxy.addr()).await;
            assert_eq!(client.get("/").await.text(), "hi");
        }
        assert_eq!(origin.connections(), 1);
        let mut client = Client::connect(proxy.addr()).await;
        for _ in 0..3 {
            assert_eq!(client.get("/close").await.text(), "bye");
        }
        assert_eq!(origin.connections(), 3);
    });
}

/// A chunked body that goes wrong after the head cannot become a 502; it is cut, never completed.
#[test]
fn malformed_chunks() {
    harness::run(async {
        for body in [
            "0x5\r\nhello\r\n0\r\n\r\n",
            "\r\n\r\n",
            "5\r\nhelloXX0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5;\nhello\r\n0\r\n\r\n",
        ] {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let reply = Reply::raw(format!("{head}{body}"));
            let origin = Origin::start(move |_| reply.clone()).await;
            let proxy = harness::forward(origin.addr()).await;
            let answer = ask(
                proxy.addr(),
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                usize::MAX,
            )
            .await;
            let ended = answer.status() == Some(200) && answer.bytes.ends_with(b"\r\n0\r\n\r\n");
            assert!(answer.closed && !ended, "{body:?}: {answer:?}");
        }
    });
}

/// Bare line ends, folds and oversized heads: refused or made right, never repeated as they are.
#[test]
fn untidy_heads() {
    harness::run(async {
        let value = "x".repeat(2 << 20);
        for reply in [
            "HTTP/1.1 200 OK\nContent-Length: 2\nX-A: b\n\nhi".to_string(),
            "HTTP/1.1 200 OK\r\nContent-Length: 2\nX-A: b\r\n\r\nhi".to_string(),
            "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nhi".to_string(),
            format!("HTTP/1.1 200 OK\r\nX-A: {value}\r\nContent-Length: 2\r\n\r\nhi"),
            "HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nhi".to_string(),
        ] {
            let origin = Origin::start(move |_| Reply::raw(reply.clone())).await;
            let proxy = harness::forward(origin.addr()).await;
            let mut client = Client::connect(proxy.addr()).await;
            // The client refuses what is not tidy.
            let response = client.get("/").await;
            assert!(matches!(response.status, 200 | 502), "{response:?}");
            assert!(
                response.status == 502 || response.text() == "hi",
                "{response:?}"
            );
        }
    });
}

/// A head without an end is an error of the origin, not a full memory.
#[test]
fn a_head_without_an_end() {
    harness::run(async {
        let lines = "X-A: some value or other\r\n".repeat(100_000);
        let (answer, _) = two_gets(Reply::raw(format!("HTTP/1.1 200 OK\r\n{lines}"))).await;
        assert_eq!((answer.status(), answer.closed), (Some(502), true));
    });
}

/// A server may send larger heads and trailers than a client.
#[test]
fn large_heads() {
    harness::run(async {
        let origin = Origin::start(|request| {
            let (what, count) = request.target[1..].split_once('/').unwrap();
            let count: usize = count.parse().unwrap();
            match what {
                "fields" => {
                    let fields = "X-A: y\r\n".repeat(count - 1);
                    Reply::raw(format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{fields}\r\n"
                    ))
                }
                "bytes" => Reply::with_fields(200, &[("X-A", &"y".repeat(count))], ""),
                _ => Reply::raw(format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: {}\r\n\r\n",
                    "y".repeat(count)
                )),
            }
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        for (target, status) in [
            ("/fields/256", 200),
            ("/fields/257", 502),
            ("/bytes/1000000", 200),
            ("/bytes/1100000", 502),
            ("/trailers/60000", 200),
        ] {
            let mut client = Client::connect(proxy.addr()).await;
            let response = client.request("GET", target, &[("TE", "trailers")], "");
            let response = response.await;
            assert_eq!(response.status, status, "{target}");
            let of_trailers = response.trailers.get("x-a").map(str::len);
            let expected = target.starts_with("/trailers").then_some(60_000);
            assert_eq!(of_trailers, expected, "{target}");
        }
    });
}

/// A length said twice is said once, or refused.
#[test]
fn equal_lengths() {
    harness::run(async {
        for fields in [
            "Content-Length: 5, 5",
            "Content-Length: 5\r\nContent-Length: 5",
        ] {
            let reply = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhello");
            let origin = Origin::start(move |_| Reply::raw(reply.clone())).await;
            let proxy = harness::forward(origin.addr()).await;
            let mut client = Client::connect(proxy.addr()).await;
            let response = client.get("/").await;
            match response.status {
                200 => {
                    assert_eq!(response.fields.all("content-length"), ["5"], "{fields}");
                    assert_eq!(response.text(), "hello");
                }
                status => assert_eq!(status, 502, "{fields}"),
            }
        }
    });
}

/// Chunk extensions belong to the hop and are not passed on.
#[test]
fn chunk_extensions() {
    harness::run(async {
        let origin = Origin::start(|_| {
            Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0;c=\"d\"\r\n\r\n")
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for _ in 0..2 {
            assert_eq!(client.get("/").await.text(), "hello");
        }
        assert_eq!(origin.connections(), 1);
    });
}

/// A 100 (Continue) nobody asked for disturbs nobody.
#[test]
fn an_unasked_100() {
    harness::run(async {
        let origin = Origin::start(|_| {
            Reply::raw(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            )
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for _ in 0..2 {
            assert_eq!(client.get("/").await.text(), "hello");
            assert_eq!(client.request("POST", "/", &[], "x").await.text(), "hello");
        }
    });
}

/// RFC 9110 section 10.1.1: a client of HTTP/1.0 cannot expect anything.
#[test]
fn expect_in_http_1_0() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(&request.body)).await;
        let proxy = harness::forward(origin.addr()).await;
        let bytes =
            b"POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello";
        let answer = within("an answer", ask(proxy.addr(), bytes, usize::MAX)).await;
        assert_eq!(
            (answer.status(), answer.responses()),
            (Some(200), 1),
            "{answer:?}"
        );
    });
}

/// The client learns of a body that grows without end while it comes, not after.
#[test]
fn bodies_stream() {
    harness::run(async {
        for head in ["Transfer-Encoding: chunked", "Content-Length: 12"] {
            let more = pingora_test_support::Gate::new();
            let chunked = head.starts_with('T');
            let pieces = if chunked {
                ["6\r\nfirst \r\n", "6\r\nsecond\r\n0\r\n\r\n"]
            } else {
                ["first ", "second"]
            };
            let origin = Origin::start({
                let more = more.clone();
                move |_| {
                    Reply::raw(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"))
                        .then(pieces[0])
                        .wait(&more)
                        .then(pieces[1])
                }
            })
            .await;
            let proxy = harness::forward(origin.addr()).await;
            let mut client = pingora_test_support::raw::connect(proxy.addr()).await;
            client.send(GET).await;
            client.read_head().await;
            client.read_until("first ").await;
            more.open();
            client.read_until("second").await;
        }
    });
}

/// The same for uploads: each piece is passed on when it comes.
#[test]
fn uploads_stream() {
    harness::run(async {
        let listener = pingora_test_support::raw::Listener::bind().await;
        let proxy = harness::forward(listener.addr()).await;
        let mut client = pingora_test_support::raw::connect(proxy.addr()).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n")
            .await;
        let mut origin = within("a connection", listener.accept()).await;
        origin.read_head().await;
        client.send("first ").await;
        origin.expect("first ").await;
        client.send("second").await;
        origin.expect("second").await;
        origin.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert!(client.read_head().await.starts_with(b"HTTP/1.1 204 "));
    });
}

/// What an informational response says to this hop stays here (RFC 9110 section 7.6.1).
#[test]
fn informational_responses_lose_what_was_meant_for_us() {
    harness::run(async {
        let early = "HTTP/1.1 103 Early Hints\r\nConnection: close, X-Int\r\nX-Int: secret\r\n\
                     Keep-Alive: timeout=1\r\nLink: </a>\r\n\r\n";
        let reply = Reply::raw(early).then("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let origin = Origin::start(move |_| reply.clone()).await;
        let proxy = harness::forward(origin.addr()).await;
        let request = b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        let answer = harness::ask(proxy.addr(), request, 1000).await;
        let text = String::from_utf8(answer.bytes).unwrap();
        let (first, _) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(first, "HTTP/1.1 103 Early Hints\r\nLink: </a>");
    });
}
