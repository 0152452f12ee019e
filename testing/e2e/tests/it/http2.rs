//! Clients of HTTP/2 before an origin of HTTP/1: what translation must not lose or add.

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use pingora::prelude::*;
use pingora_e2e::h2::{H2Origin, connect};
use pingora_e2e::harness::{self, forward_h2c};
use pingora_test_support::client;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::raw::{self, Step};
use pingora_test_support::within;

/// Sends a request and its body in pieces, with trailers if any; returns the response.
async fn send(
    requests: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: &[&'static str],
    trailers: Option<HeaderMap>,
) -> Result<Response<RecvStream>, h2::Error> {
    let no_body = body.is_empty() && trailers.is_none();
    let (response, mut stream) = requests.send_request(request, no_body)?;
    if !no_body {
        let mut sent = Ok(());
        for piece in body {
            let piece = Bytes::from_static(piece.as_bytes());
            sent = sent.and_then(|()| stream.send_data(piece, false));
        }
        // A request without content can be answered, and its stream ended, before its end is sent.
        let _ = sent.and_then(|()| match trailers {
            Some(trailers) => stream.send_trailers(trailers),
            None => stream.send_data(Bytes::new(), true),
        });
    }
    within("a response", response).await
}

async fn read(response: Response<RecvStream>) -> (Result<Bytes, h2::Error>, Option<HeaderMap>) {
    let mut body = response.into_body();
    let mut whole = Vec::new();
    while let Some(piece) = within("a piece of the body", body.data()).await {
        match piece {
            Ok(piece) => {
                let _ = body.flow_control().release_capacity(piece.len());
                whole.extend_from_slice(&piece);
            }
            Err(e) => return (Err(e), None),
        }
    }
    let trailers = within("trailers", body.trailers()).await.ok().flatten();
    (Ok(whole.into()), trailers)
}

fn get(addr: SocketAddr, path: &str) -> Request<()> {
    Request::get(format!("http://{addr}{path}"))
        .body(())
        .unwrap()
}

#[test]
fn requests_become_those_of_http1() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(&request.body)).await;
        let proxy = forward_h2c(origin.addr()).await;
        let mut requests = connect(proxy.addr()).await;

        let response = send(&mut requests, get(proxy.addr(), "/a?b"), &[], None)
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.headers().contains_key("date"));
        assert!(!response.headers().contains_key("connection"));
        let seen = origin.requests().pop().unwrap();
        assert_eq!((&*seen.method, &*seen.target), ("GET", "/a?b"));
        assert_eq!(seen.header("host").unwrap(), proxy.addr().to_string());

        for (body, length, framing) in [
            (&["hello", " ", "world"][..], None, "chunked"),
            (&["hello world"], Some("11"), "length"),
            (&[""], None, "chunked"),
            (&[""], Some("0"), "length"),
            (&[], None, "length"),
        ] {
            let mut request = Request::post(format!("http://{}/", proxy.addr()));
            if let Some(length) = length {
                request = request.header("content-length", length);
            }
            let response = send(&mut requests, request.body(()).unwrap(), body, None)
                .await
                .unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(read(response).await.0.unwrap(), body.concat(), "{body:?}");
            let seen = origin.requests().pop().unwrap();
            assert_eq!(seen.body, body.concat());
            let (te, cl) = (
                seen.header("transfer-encoding"),
                seen.header("content-length"),
            );
            assert_eq!(te.is_some(), framing == "chunked", "{body:?} {seen:?}");
            assert_eq!(cl.is_some(), framing == "length", "{body:?} {seen:?}");
        }
        assert_eq!(origin.errors(), Vec::<String>::new());
        assert_eq!(
            origin.connections(),
            1,
            "nothing stray came behind a request"
        );
    });
}

#[test]
fn cookies_are_joined() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = forward_h2c(origin.addr()).await;
        let mut requests = connect(proxy.addr()).await;
        let request = Request::get(format!("http://{}/", proxy.addr()))
            .header("cookie", "a=1")
            .header("x", "y")
            .header("cookie", "b=2")
            .header("cookie", "c=3")
            .body(())
            .unwrap();
        send(&mut requests, request, &[], None).await.unwrap();
        let seen = origin.requests().pop().unwrap();
        let cookies = seen.fields.all("cookie");
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    });
}

#[test]
fn responses_become_those_of_http2() {
    harness::run(async {
        let origin = Origin::start(|request| match &*request.target {
            "/chunked" => Reply::chunked(["hel", "lo"]),
            "/trailers" => Reply::raw(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n\
                 5\r\nhello\r\n0\r\nx: y\r\nContent-Length: 9\r\n\r\n",
            ),
            "/close" => Reply::raw("HTTP/1.0 200 OK\r\nKeep-Alive: 5\r\n\r\nhello").close(),
            "/304" => Reply::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
            "/204" => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
            "/hints" => Reply::raw(
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            ),
            "/short" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello").close(),
            _ if request.method == "HEAD" => {
                Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            }
            _ => Reply::ok("hello"),
        })
        .await;
        let proxy = forward_h2c(origin.addr()).await;
        let mut requests = connect(proxy.addr()).await;
        for (path, status, body) in [
            ("/", 200, "hello"),
            ("/chunked", 200, "hello"),
            ("/trailers", 200, "hello"),
            ("/close", 200, "hello"),
            ("/hints", 200, "hello"),
            ("/304", 304, ""),
            ("/204", 204, ""),
        ] {
            let response = send(&mut requests, get(proxy.addr(), path), &[], None)
                .await
                .unwrap();
            assert_eq!(response.status(), status, "{path}");
            for name in ["connection", "keep-alive", "transfer-encoding"] {
                assert!(!response.headers().contains_key(name), "{path} {name}");
            }
            let (text, trailers) = read(response).await;
            assert_eq!(text.unwrap(), body, "{path}");
            let trailers = trailers.unwrap_or_default();
            assert_eq!(trailers.contains_key("x"), path == "/trailers", "{path}");
            assert!(!trailers.contains_key("content-length"), "{path}");
        }
        let request = Request::head(format!("http://{}/", proxy.addr()))
            .body(())
            .unwrap();
        let response = send(&mut requests, request, &[], None).await.unwrap();
        assert_eq!(response.headers()["content-length"], "5");
        assert_eq!(read(response).await.0.unwrap(), "");

        // A response that breaks off is an error, never a shorter one.
        let response = send(&mut requests, get(proxy.addr(), "/short"), &[], None).await;
        let e = match response {
            Ok(response) => read(response).await.0.unwrap_err(),
            Err(e) => e,
        };
        assert_eq!(e.reason(), Some(Reason::INTERNAL_ERROR), "{e}");
        // And of one stream only.
        let response = send(&mut requests, get(proxy.addr(), "/"), &[], None)
            .await
            .unwrap();
        assert_eq!(read(response).await.0.unwrap(), "hello");
    });
}

/// The first bytes tell which protocol is spoken, in whatever pieces they come.
#[test]
fn both_protocols_on_one_port() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("hello")).await;
        let proxy = forward_h2c(origin.addr()).await;
        for piece in [1, 3, usize::MAX] {
            for request in ["GET", "POST", "PROPFIND", "PRINT"] {
                let text = format!("{request} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                let answer = harness::ask(proxy.addr(), text.as_bytes(), piece).await;
                assert_eq!(answer.status(), Some(200), "{request} {piece}");
            }
            let preface =
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x07\0\0\0\0\0";
            let answer = harness::ask(proxy.addr(), preface, piece).await;
            assert_eq!(
                answer.bytes.get(3),
                Some(&4),
                "SETTINGS come first: {answer:?}"
            );
        }
        // Where it is not allowed it is a malformed request.
        let proxy = harness::forward(origin.addr()).await;
        let answer = harness::ask(proxy.addr(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 99).await;
        assert!(matches!(answer.status(), Some(400 | 505)), "{answer:?}");
    });
}

/// What came of a response that breaks off is not lost behind the reset that says so.
#[test]
fn a_broken_response_arrives_as_far_as_it_came() {
    harness::run(async {
        let script = || {
            vec![
                Step::expect_head(),
                Step::send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
                Step::Close,
            ]
        };
        // More than a client may reset: these are not counted as its own.
        const ROUNDS: usize = 300;
        let origin = raw::serve((0..ROUNDS).map(|_| script())).await;
        let proxy = forward_h2c(origin.addr()).await;
        let mut requests = connect(proxy.addr()).await;
        for round in 0..ROUNDS {
            let request = Request::get("http://a/").body(()).unwrap();
            let response = send(&mut requests, request, &[], None).await;
            let response = response.unwrap_or_else(|e| panic!("round {round}: {e}"));
            assert_eq!(response.status(), 200);
            let mut body = response.into_body();
            let first = within("a piece of the body", body.data()).await.unwrap();
            assert_eq!(first.unwrap(), "hello", "round {round}");
            let end = within("the end", body.data()).await.unwrap().unwrap_err();
            assert_eq!(end.reason(), Some(Reason::INTERNAL_ERROR));
        }
    });
}

/// A tunnel has no body to announce: as HTTP/1 that would swallow the next request.
#[test]
fn a_tunnel_with_a_length_is_malformed() {
    harness::run(async {
        let origin = Origin::start_on_head(|_| Reply::ok("no")).await;
        let proxy = forward_h2c(origin.addr()).await;
        let mut requests = connect(proxy.addr()).await;
        let mut request = get(proxy.addr(), "/chat");
        *request.method_mut() = http::Method::CONNECT;
        let protocol = h2::ext::Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
        let length = http::HeaderValue::from_static("5");
        request.headers_mut().insert("content-length", length);
        let (response, _stream) = requests.send_request(request, false).unwrap();
        let error = within("a reset", response).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR));
        assert_eq!(origin.requests().len(), 0);
    });
}

/// The body is as long as its head says, or the request is none (RFC 9113 section 8.1.1).
#[test]
fn lengths_are_kept() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = forward_h2c(origin.addr()).await;
        for body in ["hello", "hello world", "hello worldwide"] {
            let mut requests = connect(proxy.addr()).await;
            let mut request = Request::post("http://a/");
            request = request.header("content-length", "11");
            let request = request.body(()).unwrap();
            let (response, mut stream) = requests.send_request(request, false).unwrap();
            stream.send_data(body.into(), true).unwrap();
            let response = within("a response", response).await;
            match body.len() {
                11 => assert_eq!(response.unwrap().status(), 200),
                _ => {
                    let e = response.expect_err(body);
                    assert_eq!(e.reason(), Some(Reason::PROTOCOL_ERROR), "{body}");
                }
            }
        }
        // What was sent of the others was no request.
        let bodies: Vec<Bytes> = origin.requests().into_iter().map(|r| r.body).collect();
        assert_eq!(bodies, ["hello world"]);
    });
}

/// Names another host than the client did.
struct Renaming(SocketAddr, u8);

#[async_trait]
impl ProxyHttp for Renaming {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = harness::peer(self.0);
        peer.options.set_http_version(self.1, self.1);
        Ok(peer)
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        upstream_request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        upstream_request.insert_header("Host", "other.example")
    }
}

/// A hook chooses the host, in `Host` or `:authority`, whatever the client speaks.
#[test]
fn hooks_choose_the_host() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(request.header("host").unwrap())).await;
        let h2_origin = H2Origin::start(|(request, mut respond)| async move {
            assert_eq!(request.headers().get("host"), None);
            let host = request.uri().authority().expect("h2 has one").to_string();
            let head = pingora_e2e::h2::response(200, &[]);
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(host.into(), true).unwrap();
        })
        .await;
        for (addr, version) in [(origin.addr(), 1), (h2_origin.addr(), 2)] {
            let proxy = harness::proxy_h2c(Renaming(addr, version)).await;
            assert_eq!(client::get(proxy.addr(), "/").await.text(), "other.example");
            let mut requests = connect(proxy.addr()).await;
            let response = send(&mut requests, get(proxy.addr(), "/"), &[], None);
            let (body, _) = read(response.await.unwrap()).await;
            assert_eq!(body.unwrap(), "other.example");
        }
    });
}

/// A server may send larger heads than a client.
#[test]
fn large_heads_of_responses() {
    harness::run(async {
        let origin = H2Origin::start(|(_, mut respond)| async move {
            let value = "y".repeat(500_000);
            let head = pingora_e2e::h2::response(200, &[("x-a", &value)]);
            respond.send_response(head, true).unwrap();
        })
        .await;
        let proxy = harness::proxy(Renaming(origin.addr(), 2)).await;
        let response = client::get(proxy.addr(), "/").await;
        assert_eq!(response.header("x-a").map(str::len), Some(500_000));
    });
}
