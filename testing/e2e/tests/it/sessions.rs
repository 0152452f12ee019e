//! What a session does for hooks that answer by themselves, and what it tells when all is done, in
//! either protocol of the client.

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request};
use pingora::prelude::*;
use pingora::protocols::http::HttpTask;
use pingora::proxy::FailToProxy;
use pingora_e2e::h2::{self, H2Origin};
use pingora_e2e::harness::{self, Running};
use pingora_test_support::client::{self, Client};
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::{Gate, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// What the session of a request says at the end.
#[derive(Debug, PartialEq)]
struct Logged {
    status: u16,
    sent: usize,
    read: usize,
    upstream_sent: Option<usize>,
    upstream_received: usize,
    error: Option<ErrorType>,
}

/// Answers, or asks an upstream, as the path says.
struct Program {
    /// An upstream and the version of HTTP it speaks.
    upstream: Option<(SocketAddr, u8)>,
    log: mpsc::UnboundedSender<Logged>,
}

const AB: Bytes = Bytes::from_static(b"ab");
const CD: Bytes = Bytes::from_static(b"cd");

fn head(length: Option<usize>) -> Box<ResponseHeader> {
    let mut head = ResponseHeader::build(200, None).unwrap();
    if let Some(length) = length {
        head.set_content_length(length).unwrap();
    }
    Box::new(head)
}

/// Answers by the methods of the session; returns whether the path asks for that.
async fn answer(session: &mut Session, path: &str) -> Result<bool> {
    match path {
        "/head" => {
            let head = ResponseHeader::build(204, None)?;
            session.write_response_header(Box::new(head), true).await?;
        }
        "/pieces" => {
            session
                .write_response_header_ref(&head(None), false)
                .await?;
            session.write_response_body(Some(AB), false).await?;
            session.write_response_body(None, false).await?;
            session.write_response_body(Some(CD), true).await?;
        }
        "/length" => {
            session.write_response_header(head(Some(4)), false).await?;
            session.write_response_body(Some(AB), false).await?;
            session.write_response_body(Some(CD), false).await?;
            session.write_response_body(None, true).await?;
        }
        "/unended" => {
            session.write_response_header(head(None), false).await?;
            session.write_response_body(Some(AB), false).await?;
        }
        "/short" => {
            session.write_response_header(head(Some(4)), false).await?;
            session.write_response_body(Some(AB), false).await?;
        }
        "/twice" => {
            session.write_response_header(head(Some(2)), false).await?;
            let second = Box::new(ResponseHeader::build(500, None)?);
            session.write_response_header(second, false).await?;
            session.write_response_body(Some(AB), true).await?;
        }
        "/fails" => {
            session.write_response_header(head(None), false).await?;
            session.write_response_body(Some(AB), false).await?;
            return Error::e_explain(InternalError, "this test wants it");
        }
        _ => return answer_by_tasks(session, path).await,
    }
    Ok(true)
}

async fn answer_by_tasks(session: &mut Session, path: &str) -> Result<bool> {
    let begin = || HttpTask::Header(head(None), false);
    let body = |data, end| HttpTask::Body(Some(data), end);
    match path {
        "/tasks" => {
            let begun = vec![begin(), body(AB, false)];
            assert!(!session.write_response_tasks(begun).await?);
            let ended = vec![body(CD, true), HttpTask::Done];
            assert!(session.write_response_tasks(ended).await?);
        }
        "/trailers" => {
            let mut trailers = Box::new(HeaderMap::new());
            trailers.insert("x-sum", "1".parse().unwrap());
            let tasks = vec![begin(), body(AB, false), HttpTask::Trailer(Some(trailers))];
            assert!(session.write_response_tasks(tasks).await?);
        }
        "/queued" => {
            assert!(!session.supports_proxy_task_api());
            session.set_proxy_tasks_enabled(true);
            assert!(session.supports_proxy_task_api());
            session.send_downstream_proxy_task(begin()).await?;
            assert!(session.has_pending_downstream_tasks());
            assert!(!session.write_downstream_proxy_tasks().await?);
            assert!(!session.has_pending_downstream_tasks());
            session.send_downstream_proxy_task(body(AB, false)).await?;
            session.send_downstream_proxy_task(body(CD, true)).await?;
            assert!(session.write_downstream_proxy_tasks().await?);
        }
        _ => return answer_an_error(session, path).await,
    }
    Ok(true)
}

async fn answer_an_error(session: &mut Session, path: &str) -> Result<bool> {
    match path {
        "/error" => session.respond_error(418).await?,
        "/error-body" => session.respond_error_with_body(503, AB).await?,
        "/error-head" => {
            let mut head = ResponseHeader::build(429, None)?;
            head.set_content_length(2)?;
            let downstream = session.as_downstream_mut();
            downstream.write_error_response(head, CD).await?;
        }
        // Too late: a head is on its way.
        "/error-late" => {
            session.write_response_header(head(Some(2)), false).await?;
            session.respond_error(500).await?;
            session.write_response_body(Some(AB), true).await?;
        }
        _ => return read_body(session, path).await,
    }
    Ok(true)
}

async fn read_body(session: &mut Session, path: &str) -> Result<bool> {
    if !matches!(path, "/echo" | "/read-first") {
        return Ok(false);
    }
    session.enable_retry_buffering();
    let mut body = Vec::new();
    while let Some(piece) = session.read_request_body().await? {
        body.extend_from_slice(&piece);
    }
    assert!(session.is_body_done());
    assert_eq!(session.get_retry_buffer().unwrap_or_default(), body);
    if path == "/read-first" {
        return Ok(false);
    }
    let head = head(Some(body.len()));
    session.write_response_header(head, false).await?;
    session.write_response_body(Some(body.into()), true).await?;
    Ok(true)
}

#[async_trait]
impl ProxyHttp for Program {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let path = session.req_header().uri.path().to_string();
        answer(session, &path).await
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        match session.req_header().uri.path() {
            "/stays" => session.set_abort_on_close(false),
            "/refuses" => {
                session.respond_error_with_body(403, AB).await?;
                return Error::e_explain(ErrorType::new("Refused"), "this test wants it");
            }
            _ => (),
        }
        let (addr, version) = self.upstream.expect("the path goes upstream");
        let mut peer = harness::peer(addr);
        peer.options.set_http_version(version, version);
        Ok(peer)
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, _: &mut ()) {
        let logged = Logged {
            status: session.response_written().map_or(0, |r| r.status.as_u16()),
            sent: session.body_bytes_sent(),
            read: session.body_bytes_read(),
            upstream_sent: session.upstream_body_bytes_sent(),
            upstream_received: session.upstream_body_bytes_received(),
            error: e.map(|e| e.etype().clone()),
        };
        // The test may be over.
        let _ = self.log.send(logged);
    }
}

async fn start(upstream: Option<(SocketAddr, u8)>) -> (Running, mpsc::UnboundedReceiver<Logged>) {
    let (log, logged) = mpsc::unbounded_channel();
    let program = Program { upstream, log };
    let proxy = harness::proxy_h2c(program).await;
    (proxy, logged)
}

/// Asks in the version given, on a connection of its own; returns status and body, and whether the
/// connection was kept. A body that breaks off is `None`.
async fn ask(
    version: u8,
    addr: SocketAddr,
    method: &str,
    path: &str,
    body: &'static str,
) -> (u16, Option<String>, bool) {
    if version == 1 {
        let fields = [("TE", "trailers")];
        let mut client = Client::connect(addr).await;
        let request = client::request(method, path, &fields, body);
        client.send(request).await;
        return match client.try_response().await {
            Ok(response) => {
                let kept = response.header("connection") == Some("keep-alive");
                let sum = response.trailers.get("x-sum").unwrap_or_default();
                let text = format!("{}{sum}", response.text());
                (response.status, Some(text), kept)
            }
            Err(_) => (200, None, false),
        };
    }
    let mut requests = h2::connect(addr).await;
    let request = Request::builder()
        .method(method)
        .uri(format!("http://a.example{path}"));
    let request = request.body(()).unwrap();
    let response = h2::send(&mut requests, request, body).await;
    let status = response.status().as_u16();
    let Ok((body, trailers)) = h2::read(response.into_body()).await else {
        return (status, None, false);
    };
    let sum = trailers
        .get("x-sum")
        .map_or("", |sum| sum.to_str().unwrap());
    let text = format!("{}{sum}", String::from_utf8_lossy(&body));
    (status, Some(text), true)
}

/// Every way to answer, to clients of both protocols: what they get, and what is counted.
#[test]
fn ways_to_answer() {
    harness::run(async {
        let (proxy, mut logged) = start(None).await;
        for (path, status, text, sent, kept) in [
            ("/head", 204, Some(""), 0, true),
            ("/pieces", 200, Some("abcd"), 4, true),
            ("/length", 200, Some("abcd"), 4, true),
            ("/unended", 200, Some("ab"), 2, true),
            ("/short", 200, None, 2, false),
            ("/twice", 200, Some("ab"), 2, true),
            ("/fails", 200, None, 2, false),
            ("/tasks", 200, Some("abcd"), 4, true),
            ("/trailers", 200, Some("ab1"), 2, true),
            ("/queued", 200, Some("abcd"), 4, true),
            ("/error", 418, Some(""), 0, false),
            ("/error-body", 503, Some("ab"), 2, false),
            ("/error-head", 429, Some("cd"), 2, false),
            ("/error-late", 200, Some("ab"), 2, true),
            ("/echo", 200, Some("hello"), 5, true),
        ] {
            let (method, body) = match path {
                "/echo" => ("POST", "hello"),
                _ => ("GET", ""),
            };
            for version in [1, 2] {
                let answer = ask(version, proxy.addr(), method, path, body).await;
                let kept = kept || (version == 2 && text.is_some());
                let expected = (status, text.map(str::to_string), kept);
                assert_eq!(answer, expected, "{path} {version}");
                let log = within("the log", logged.recv()).await.unwrap();
                let expected = Logged {
                    status,
                    sent,
                    read: body.len(),
                    upstream_sent: None,
                    upstream_received: 0,
                    error: (path == "/fails").then_some(InternalError),
                };
                assert_eq!(log, expected, "{path} {version}");
            }
        }
    });
}

async fn origin() -> Origin {
    Origin::start(|request| match request.target.as_str() {
        "/204" => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => Reply::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        "/chunked" if request.method == "HEAD" => {
            Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        }
        "/chunked" => Reply::chunked(["abc", "de"]),
        "/cut" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").close(),
        "/dies" => Reply::nothing().close(),
        _ => Reply::ok(&request.body),
    })
    .await
}

async fn h2_origin() -> H2Origin {
    H2Origin::start(|(request, mut respond)| async move {
        let (method, path) = (request.method().clone(), request.uri().path().to_string());
        let (body, _) = h2::read(request.into_body()).await.unwrap_or_default();
        let (status, length, body) = match path.as_str() {
            "/204" => (204, None, Bytes::new()),
            "/304" => (304, Some("9".to_string()), Bytes::new()),
            "/chunked" if method == "HEAD" => (200, None, Bytes::new()),
            "/chunked" => (200, None, Bytes::from_static(b"abcde")),
            "/cut" => (200, Some("9".to_string()), Bytes::from_static(b"abc")),
            "/dies" => return respond.send_reset(::h2::Reason::INTERNAL_ERROR),
            _ => (200, Some(body.len().to_string()), body),
        };
        let fields = length.as_deref().map(|length| ("content-length", length));
        let head = h2::response(status, fields.as_slice());
        let mut stream = respond.send_response(head, body.is_empty()).unwrap();
        if path == "/cut" {
            stream.send_data(body, false).unwrap();
            // What was sent before a reset may be lost with it.
            let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
        } else if !body.is_empty() {
            stream.send_data(body, true).unwrap();
        }
    })
    .await
}

/// What is counted between clients and origins of both protocols.
#[test]
fn what_is_counted() {
    harness::run(async {
        let (origin, h2_origin) = (origin().await, h2_origin().await);
        for (addr, upstream) in [(origin.addr(), 1), (h2_origin.addr(), 2)] {
            let (proxy, mut logged) = start(Some((addr, upstream))).await;
            for (method, path, body, status, text) in [
                ("GET", "/", "", 200, Some("")),
                ("POST", "/", "hello", 200, Some("hello")),
                ("POST", "/read-first", "hello", 200, Some("hello")),
                ("HEAD", "/chunked", "", 200, Some("")),
                ("GET", "/chunked", "", 200, Some("abcde")),
                ("GET", "/204", "", 204, Some("")),
                ("GET", "/304", "", 304, Some("")),
                ("GET", "/dies", "", 502, Some("")),
                ("POST", "/dies", "hello", 502, Some("")),
            ] {
                for version in [1, 2] {
                    let case = format!("{method} {path} from {version} to {upstream}");
                    let answer = ask(version, proxy.addr(), method, path, body).await;
                    let kept = version == 2 || status != 502;
                    let expected = (status, text.map(str::to_string), kept);
                    assert_eq!(answer, expected, "{case}");
                    let received = text.map_or(0, str::len);
                    let expected = Logged {
                        status,
                        sent: received,
                        read: body.len(),
                        upstream_sent: Some(body.len()),
                        upstream_received: received,
                        error: (status == 502).then_some(ConnectionClosed),
                    };
                    let log = within("the log", logged.recv()).await.unwrap();
                    assert_eq!(log, expected, "{case}");
                }
            }
        }
    });
}

/// A response that the origin cuts is an error of the upstream, logged with what was sent.
#[test]
fn what_is_counted_of_a_cut_response() {
    harness::run(async {
        let origin = origin().await;
        let (proxy, mut logged) = start(Some((origin.addr(), 1))).await;
        for version in [1, 2] {
            let answer = ask(version, proxy.addr(), "GET", "/cut", "").await;
            assert_eq!(answer, (200, None, false));
            let expected = Logged {
                status: 200,
                sent: 3,
                read: 0,
                upstream_sent: Some(0),
                upstream_received: 3,
                error: Some(ConnectionClosed),
            };
            assert_eq!(within("the log", logged.recv()).await, Some(expected));
        }
    });
}

/// A client that goes away ends the exchange, unless that was switched off.
#[test]
fn exchanges_without_a_client() {
    harness::run(async {
        let gate = Gate::new();
        let wait = gate.clone();
        let answer = move |_: &_| {
            let reply = Reply::nothing().wait(&wait);
            reply.then("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        };
        let origin = Origin::start(answer).await;
        let (proxy, mut logged) = start(Some((origin.addr(), 1))).await;

        let mut client = Client::connect(proxy.addr()).await;
        client.send(client::request("GET", "/goes", &[], "")).await;
        origin.wait_for_requests(1).await;
        client.reset();
        let log = within("the log", logged.recv()).await.unwrap();
        assert_eq!((log.status, log.error), (0, Some(ConnectionClosed)));

        let mut client = Client::connect(proxy.addr()).await;
        client.send(client::request("GET", "/stays", &[], "")).await;
        origin.wait_for_requests(2).await;
        drop(client);
        gate.open();
        let log = within("the log", logged.recv()).await.unwrap();
        assert_eq!((log.status, log.upstream_received), (200, 5));
    });
}

/// A hook that cannot say that it has answered does so and returns an error: the client gets the
/// answer and has the time to read it, however much of its request is left.
#[test]
fn an_answer_before_an_error() {
    harness::run(async {
        let (proxy, mut logged) = start(None).await;
        let refused = Logged {
            status: 403,
            sent: 2,
            read: 0,
            upstream_sent: None,
            upstream_received: 0,
            error: Some(ErrorType::new("Refused")),
        };
        let answer = ask(2, proxy.addr(), "GET", "/refuses", "").await;
        assert_eq!(answer, (403, Some("ab".to_string()), true));
        assert_eq!(
            within("the log", logged.recv()).await.as_ref(),
            Some(&refused)
        );

        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        let head = "POST /refuses HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 100_000]).await.unwrap();
        let mut answer = String::new();
        let read = within("the answer", stream.read_to_string(&mut answer)).await;
        read.expect("no reset");
        // A reset while it still sends could overtake the answer on a longer way.
        let rest = within("sending on", stream.write_all(&[b'x'; 1_000_000])).await;
        rest.expect("no reset");
        assert!(
            answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("\r\n\r\nab"),
            "{answer}"
        );
        assert_eq!(within("the log", logged.recv()).await, Some(refused));
    });
}

/// Answers failures by itself, and keeps the connection.
struct Forgiving;

#[async_trait]
impl ProxyHttp for Forgiving {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Error::e_explain(HTTPStatus(404), "there is none")
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, _: &mut ()) -> FailToProxy {
        let HTTPStatus(error_code) = *e.etype() else {
            panic!("not the error of this test: {e}");
        };
        let mut head = ResponseHeader::build(error_code, None).unwrap();
        head.set_content_length(2).unwrap();
        let head = session.write_response_header(Box::new(head), false).await;
        head.expect("the client reads");
        let body = session.write_response_body(Some(AB), true).await;
        body.expect("the client reads");
        FailToProxy {
            error_code,
            can_reuse_downstream: true,
        }
    }
}

/// A failure that a hook has answered need not cost the client its connection, even if its body was
/// not read.
#[test]
fn failures_that_keep_the_connection() {
    harness::run(async {
        let proxy = harness::proxy(Forgiving).await;
        let mut client = Client::connect(proxy.addr()).await;
        for (method, body) in [("GET", ""), ("POST", "hello"), ("GET", "")] {
            let response = client.request(method, "/", &[], body).await;
            assert_eq!((response.status, response.text()), (404, "ab"));
            assert_eq!(response.header("connection"), Some("keep-alive"));
        }
        assert_eq!(client.leftover(), b"");
    });
}
