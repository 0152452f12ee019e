//! Request and response bodies: framings, `Expect`, early answers, bodies nobody reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::prelude::*;
use pingora_e2e::h2;
use pingora_e2e::harness::{self, ask};
use pingora_test_support::client::Client;
use pingora_test_support::message::Framing;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::raw::{self, Step};
use pingora_test_support::{Gate, within};

/// Bytes that differ from their neighbours, so that a shift shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = vec![];
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

const CHUNKED_POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

async fn echo_origin() -> Origin {
    Origin::start(|request| Reply::ok(&request.body)).await
}

/// A body of a known length arrives with that length, and comes back whole.
#[test]
fn fixed_bodies() {
    harness::run(async {
        let origin = echo_origin().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for length in [0, 1, 2, 1000, 65_535, 65_536, 65_537, 1 << 20] {
            let body = pattern(length);
            let field = [("Content-Length", &*length.to_string())];
            let response = client.request("POST", "/", &field, &body).await;
            assert_eq!(response.framing, Framing::Length(length as u64));
            assert!(response.body == body, "{length} bytes came back changed");
        }
        let framings: Vec<Framing> = origin.requests().iter().map(|r| r.framing).collect();
        assert_eq!(framings[2], Framing::Length(2));
        assert_eq!(framings[0], Framing::Length(0));
        assert_eq!((origin.connections(), origin.errors()), (1, vec![]));
    });
}

/// A chunked body stays chunked (its length is not known) and ends exactly once.
#[test]
fn chunked_bodies() {
    harness::run(async {
        let origin = echo_origin().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for (length, size) in [
            (0, 1),
            (1, 1),
            (300, 1),
            (5000, 16),
            (100_000, 65_536),
            (1 << 20, 5000),
        ] {
            let body = pattern(length);
            client.send(CHUNKED_POST).await;
            client.send(in_chunks(&body, size)).await;
            let response = client.response().await;
            assert!(
                response.body == body,
                "{length} in {size} came back changed"
            );
        }
        let chunked = |request: &_| matches!(request, Framing::Chunked);
        assert!(
            origin
                .requests()
                .iter()
                .map(|r| r.framing)
                .all(|f| chunked(&f))
        );
        // The origin reads strictly: a second end would be a malformed request.
        assert_eq!((origin.connections(), origin.errors()), (1, vec![]));
    });
}

/// Extensions and forms of a size that are legal; the origin sees only what we made of them.
#[test]
fn legal_chunk_forms() {
    harness::run(async {
        let origin = echo_origin().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for body in [
            "5\r\nhello\r\n0\r\n\r\n",
            "005\r\nhello\r\n000\r\n\r\n",
            "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "5;a=b\r\nhello\r\n0;c\r\n\r\n",
            "5;a=\"b;\\\"c\"\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n",
        ] {
            client.send(CHUNKED_POST).await;
            client.send(body).await;
            assert_eq!(client.response().await.text(), "hello", "{body:?}");
        }
        let sizes = "A\r\n0123456789\r\na\r\nabcdefghij\r\n0\r\n\r\n";
        client.send(CHUNKED_POST).await;
        client.send(sizes).await;
        assert_eq!(client.response().await.text(), "0123456789abcdefghij");
        assert_eq!(origin.errors(), Vec::<String>::new());
        let received = String::from_utf8(origin.received(1)).unwrap();
        assert!(
            !received.contains(';') && !received.contains("005"),
            "{received}"
        );
    });
}

/// The same, byte by byte, with the next request right behind.
#[test]
fn bodies_in_pieces() {
    harness::run(async {
        let origin = echo_origin().await;
        let proxy = harness::forward(origin.addr()).await;
        let both = format!(
            "{CHUNKED_POST}5\r\nhello\r\n0\r\n\r\n\
             POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nworld\
             GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        );
        for piece in [1, 2, 3, 7, 64, usize::MAX] {
            let answer = ask(proxy.addr(), both.as_bytes(), piece).await;
            assert!(answer.closed);
            let text = String::from_utf8(answer.bytes).unwrap();
            let (first, rest) = text.split_once("hello").expect("the first answer");
            assert!(
                first.starts_with("HTTP/1.1 200") && rest.contains("world"),
                "{text}"
            );
            assert!(rest.ends_with("\r\n\r\n"), "{text}");
        }
        assert_eq!(origin.errors(), Vec::<String>::new());
    });
}

/// No body means no framing fields: not every origin takes a GET with a length.
#[test]
fn no_body() {
    harness::run(async {
        let origin = echo_origin().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
            assert_eq!(client.request(method, "/", &[], "").await.status, 200);
        }
        client.send("POST / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response().await.status, 200);
        for request in origin.requests() {
            assert!(!request.fields.has("transfer-encoding"), "{request:?}");
            let length = request.header("content-length");
            // RFC 9110 section 8.6: a POST without a body should say so.
            assert!(length.is_none() || request.method == "POST", "{request:?}");
        }
    });
}

/// Response bodies of every framing arrive as they were.
#[test]
fn response_bodies() {
    harness::run(async {
        let body = Arc::new(pattern(1 << 20));
        let origin = Origin::start({
            let body = body.clone();
            move |request| match &*request.target {
                "/length" => Reply::ok(&*body),
                "/chunked" => Reply::chunked(body.chunks(1000)),
                "/one" => Reply::chunked([&body[..]]),
                "/close" => Reply::raw("HTTP/1.1 200 OK\r\n\r\n")
                    .then(body.to_vec())
                    .close(),
                _ => Reply::raw("HTTP/1.0 200 OK\r\n\r\n")
                    .then(body.to_vec())
                    .close(),
            }
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for (target, framing) in [
            ("/length", Framing::Length(1 << 20)),
            ("/chunked", Framing::Chunked),
            ("/one", Framing::Chunked),
        ] {
            let response = client.get(target).await;
            assert_eq!(response.framing, framing, "{target}");
            assert!(response.body == **body, "{target} came back changed");
        }
        for target in ["/close", "/1.0"] {
            let mut client = Client::connect(proxy.addr()).await;
            let response = client.get(target).await;
            assert!(response.body == **body, "{target} came back changed");
        }
    });
}

/// RFC 9110 section 10.1.1: the origin's 100 reaches the client, which then sends its body.
#[test]
fn expect_continue() {
    harness::run(async {
        let origin = echo_origin().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = raw::connect(proxy.addr()).await;
        for _ in 0..2 {
            client
                .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
                .await;
            let interim = client.read_head().await;
            assert!(interim.starts_with(b"HTTP/1.1 100 "), "{interim:?}");
            client.send("hello").await;
            let head = client.read_head().await;
            assert!(head.starts_with(b"HTTP/1.1 200 "), "{head:?}");
            client.expect("hello").await;
        }
        assert_eq!(origin.errors(), Vec::<String>::new());
    });
}

/// The final answer instead of 100: the body is never sent, so neither connection goes on as if
/// it had been.
#[test]
fn expect_refused() {
    harness::run(async {
        let origin = Origin::start_on_head(|request| match &*request.target {
            "/refuse" => Reply::status(403, "no"),
            _ => Reply::ok("fine"),
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        client
            .send(
                "POST /refuse HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                 Content-Length: 40\r\n\r\n",
            )
            .await;
        let response = client.response().await;
        assert_eq!((response.status, response.informational.len()), (403, 0));
        // A request where the body belongs is either body or nothing, never a request.
        let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
        let _ = client.try_send(hidden).await;
        assert_eq!(
            Client::connect(proxy.addr())
                .await
                .get("/next")
                .await
                .text(),
            "fine"
        );
        let targets: Vec<String> = origin.requests().into_iter().map(|r| r.target).collect();
        assert_eq!(targets, ["/refuse", "/next"]);
        assert_eq!(
            origin.requests()[1].connection,
            2,
            "a poisoned connection was reused"
        );
    });
}

/// RFC 9110 section 10.1.1: an expectation nobody knows.
#[test]
fn unknown_expectations() {
    harness::run(async {
        let origin = echo_origin().await;
        let proxy = harness::forward(origin.addr()).await;
        for value in [
            "y 100-continue",
            "200-ok",
            "100-continue, x",
            "100-continues",
        ] {
            let bytes = format!(
                "POST / HTTP/1.1\r\nHost: a\r\nExpect: {value}\r\nContent-Length: 5\r\n\r\nhello"
            );
            let answer = ask(proxy.addr(), bytes.as_bytes(), usize::MAX).await;
            assert_eq!(answer.status(), Some(417), "{value}: {answer:?}");
        }
        assert_eq!(origin.requests().len(), 0);
    });
}

/// A client that expects and does not wait gets its answer all the same.
#[test]
fn expect_without_waiting() {
    harness::run(async {
        let origin = echo_origin().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for _ in 0..3 {
            let fields = [("Expect", "100-continue")];
            let response = client.request("PUT", "/", &fields, "hello").await;
            assert_eq!(response.text(), "hello");
        }
        assert_eq!(origin.errors(), Vec::<String>::new());
    });
}

/// An origin that answers before it has the body: the client gets the answer while it sends, and
/// everything it sends still arrives.
#[test]
fn early_response() {
    harness::run(async {
        let origin = Origin::start_on_head(|_| Reply::ok("early")).await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
            .await;
        assert_eq!(client.response().await.text(), "early");
        // What follows is the rest of the body, if the connection is still of use.
        let _ = client.try_send("world").await;
        let mut other = Client::connect(proxy.addr()).await;
        assert_eq!(other.get("/").await.text(), "early");
    });
}

/// The answer arrives although nobody ever reads the 10 MB that the client sends.
#[test]
fn an_origin_that_never_reads() {
    harness::run(async {
        let done = Gate::new();
        let listener = raw::Listener::bind().await;
        let proxy = harness::forward(listener.addr()).await;
        let origin = tokio::spawn({
            let done = done.clone();
            async move {
                let mut connection = listener.accept().await;
                connection.read_head().await;
                connection
                    .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
                    .await;
                done.opened().await;
            }
        });
        let mut bytes = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10485760\r\n\r\n".to_vec();
        bytes.extend_from_slice(&pattern(10 << 20));
        let answer = ask(proxy.addr(), &bytes, usize::MAX).await;
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        assert!(answer.bytes.ends_with(b"early"));
        done.open();
        within("the origin ends", origin).await.unwrap();
    });
}

/// The same with an origin that closes after its answer.
#[test]
fn an_origin_that_answers_and_closes() {
    harness::run(async {
        let origin = Origin::start_on_head(|_| {
            Reply::raw("HTTP/1.1 413 Too Big\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
                .half_close()
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut bytes = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10485760\r\n\r\n".to_vec();
        bytes.extend_from_slice(&pattern(10 << 20));
        let answer = ask(proxy.addr(), &bytes, usize::MAX).await;
        assert_eq!(answer.status(), Some(413), "{answer:?}");
        assert!(answer.bytes.ends_with(b"big"));
    });
}

/// A client that stops in the middle: the origin never sees a whole request.
#[test]
fn cut_requests() {
    harness::run(async {
        let origin = echo_origin().await;
        let proxy = harness::forward(origin.addr()).await;
        for bytes in [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello".to_string(),
            format!("{CHUNKED_POST}5\r\nhello\r\n"),
            format!("{CHUNKED_POST}5\r\nhel"),
            format!("{CHUNKED_POST}5\r\nhello\r\n0\r\n"),
        ] {
            for reset in [false, true] {
                let before = origin.connections();
                let mut client = raw::connect(proxy.addr()).await;
                client.send(&bytes).await;
                origin.wait_for_connections(before + 1).await;
                if reset {
                    client.reset();
                } else {
                    client.close();
                }
                origin.wait_for_closed(before + 1).await;
            }
        }
        assert_eq!(origin.requests().len(), 0);
    });
}

/// One answer a request, in order, however they are packed.
#[test]
fn pipelined_posts() {
    harness::run(async {
        let origin = echo_origin().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        let mut bytes = vec![];
        for index in 0..50 {
            let body = format!("body {index}");
            bytes.extend_from_slice(
                format!(
                    "POST /{index} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            );
        }
        client.send(&bytes).await;
        for index in 0..50 {
            assert_eq!(
                client.response_to("POST").await.text(),
                format!("body {index}")
            );
        }
        assert_eq!(client.leftover(), b"");
        assert_eq!((origin.requests().len(), origin.errors()), (50, vec![]));
    });
}

/// Pipelined uploads of 1 MB each, more than any buffer takes.
#[test]
fn pipelined_uploads() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(request.body.len().to_string())).await;
        let proxy = harness::forward(origin.addr()).await;
        let body = pattern(1 << 20);
        let mut bytes = vec![];
        for index in 0..8 {
            bytes.extend_from_slice(
                format!(
                    "POST /{index} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                )
                .as_bytes(),
            );
            bytes.extend_from_slice(&body);
        }
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = ask(proxy.addr(), &bytes, usize::MAX).await;
        assert!(answer.closed);
        assert_eq!(answer.responses(), 9);
        assert_eq!((origin.requests().len(), origin.errors()), (9, vec![]));
    });
}

/// A request body filter may change, hold, add and drop; the framing stays right.
#[test]
fn changed_request_bodies() {
    struct Change(std::net::SocketAddr);

    #[async_trait]
    impl ProxyHttp for Change {
        type CTX = Vec<u8>;
        fn new_ctx(&self) -> Vec<u8> {
            vec![]
        }
        async fn upstream_peer(&self, _: &mut Session, _: &mut Vec<u8>) -> Result<Box<HttpPeer>> {
            Ok(harness::peer(self.0))
        }
        async fn upstream_request_filter(
            &self,
            _: &mut Session,
            upstream: &mut RequestHeader,
            _: &mut Vec<u8>,
        ) -> Result<()> {
            upstream.remove_header("Content-Length");
            upstream.insert_header("Transfer-Encoding", "chunked")
        }
        async fn request_body_filter(
            &self,
            _: &mut Session,
            body: &mut Option<Bytes>,
            end: bool,
            held: &mut Vec<u8>,
        ) -> Result<()> {
            held.extend_from_slice(&body.take().unwrap_or_default());
            if end {
                held.reverse();
                // Empty at the end must not end the body twice.
                *body = Some(Bytes::from(std::mem::take(held)));
            }
            Ok(())
        }
    }

    harness::run(async {
        let origin = echo_origin().await;
        let proxy = harness::proxy(Change(origin.addr())).await;
        let mut client = Client::connect(proxy.addr()).await;
        for (body, reversed) in [("hello", "olleh"), ("", ""), ("x", "x")] {
            let length = body.len().to_string();
            let response = client
                .request("POST", "/", &[("Content-Length", &length)], body)
                .await;
            assert_eq!(response.text(), reversed);
            client.send(CHUNKED_POST).await;
            client.send(in_chunks(body.as_bytes(), 2)).await;
            assert_eq!(client.response().await.text(), reversed);
        }
        assert_eq!((origin.connections(), origin.errors()), (1, vec![]));
    });
}

/// An upload that fails in a filter is an error once, and the proxy does not spin on it.
#[test]
fn a_retry_of_an_empty_body() {
    struct Twice(std::net::SocketAddr, std::net::SocketAddr, AtomicUsize);

    #[async_trait]
    impl ProxyHttp for Twice {
        type CTX = bool;
        fn new_ctx(&self) -> bool {
            false
        }
        async fn upstream_peer(&self, _: &mut Session, second: &mut bool) -> Result<Box<HttpPeer>> {
            self.2.fetch_add(1, Ordering::Relaxed);
            Ok(harness::peer(if *second { self.1 } else { self.0 }))
        }
        fn error_while_proxy(
            &self,
            _: &HttpPeer,
            _: &mut Session,
            mut e: Box<Error>,
            second: &mut bool,
            _: bool,
        ) -> Box<Error> {
            e.set_retry(!*second);
            *second = true;
            e
        }
    }

    harness::run(async {
        for length in ["Content-Length: 0\r\n", ""] {
            let dying = raw::serve([vec![Step::expect_head(), Step::Close]]).await;
            let origin = echo_origin().await;
            let tries = Twice(dying.addr(), origin.addr(), AtomicUsize::new(0));
            let proxy = harness::proxy(tries).await;
            let mut client = Client::connect(proxy.addr()).await;
            client
                .send(format!("POST / HTTP/1.1\r\nHost: a\r\n{length}\r\n"))
                .await;
            assert_eq!(client.response().await.status, 200);
            assert_eq!((origin.requests().len(), origin.errors()), (1, vec![]));
            dying.finish().await;
        }
        // The same of HTTP/2: the end may come with the head or behind it.
        for (length, ends_with_head) in [(true, true), (false, true), (true, false), (false, false)]
        {
            let dying = raw::serve([vec![Step::expect_head(), Step::Close]]).await;
            let origin = echo_origin().await;
            let tries = Twice(dying.addr(), origin.addr(), AtomicUsize::new(0));
            let proxy = harness::proxy_h2c(tries).await;
            let mut requests = h2::connect(proxy.addr()).await;
            let mut request = http::Request::post("http://a/").body(()).unwrap();
            if length {
                let zero = http::HeaderValue::from_static("0");
                request.headers_mut().insert("content-length", zero);
            }
            let (response, mut stream) = requests.send_request(request, ends_with_head).unwrap();
            if !ends_with_head {
                stream.send_data(Bytes::new(), true).unwrap();
            }
            let response = within("a response", response).await.unwrap();
            assert_eq!(response.status(), 200, "{length} {ends_with_head}");
            assert_eq!((origin.requests().len(), origin.errors()), (1, vec![]));
            dying.finish().await;
        }
    });
}

/// RFC 9110 section 6.5.1: trailers of a request that would change what it means are dropped.
#[test]
fn request_trailers() {
    harness::run(async {
        let origin = echo_origin().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for name in [
            "Content-Length",
            "Host",
            "Authorization",
            "Transfer-Encoding",
            "Connection",
            "Content-Type",
            "Content-Encoding",
            "Cookie",
            "Trailer",
            "TE",
            "Expect",
            "Cache-Control",
        ] {
            client.send(CHUNKED_POST).await;
            client
                .send(format!("2\r\nhi\r\n0\r\n{name}: 9\r\n\r\n"))
                .await;
            assert_eq!(client.response().await.text(), "hi", "{name}");
            let request = origin.requests().pop().unwrap();
            assert!(!request.trailers.has(name), "{name} was passed on");
            assert!(request.header("content-length").is_none());
        }
        assert_eq!(origin.errors(), Vec::<String>::new());
    });
}

/// A body cut short must not look whole: the client sees the cut.
#[test]
fn cut_responses() {
    harness::run(async {
        for reply in [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        ] {
            let origin = Origin::start(move |_| Reply::raw(reply).close()).await;
            let proxy = harness::forward(origin.addr()).await;
            let answer = ask(
                proxy.addr(),
                b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                usize::MAX,
            )
            .await;
            assert!(answer.closed, "{reply:?}");
            // It may notice before it has passed anything on.
            let ended = answer.bytes.ends_with(b"\r\n0\r\n\r\n");
            assert!(
                !ended || answer.status() == Some(502),
                "{reply:?} looks whole"
            );
            assert_eq!(answer.responses(), 1, "{reply:?}: {answer:?}");
        }
    });
}
