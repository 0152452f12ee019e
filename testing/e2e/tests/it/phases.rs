//! The phases of a request: which hooks run, in which order, and what follows when one fails.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module};
use pingora::prelude::*;
use pingora::proxy::FailToProxy;
use pingora_core::protocols::Digest;
use pingora_e2e::h2::{self, H2Origin};
use pingora_e2e::harness;
use pingora_test_support::client::{Client, Response};
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::{raw, within};
use tokio::sync::watch;

/// What was called, in order. Consecutive calls of a body filter are one entry, with `end` once
/// it has seen the end.
#[derive(Clone)]
struct Calls {
    list: Arc<Mutex<Vec<String>>>,
    logged: watch::Sender<usize>,
}

impl Calls {
    fn new() -> Self {
        Self {
            list: Arc::default(),
            logged: watch::Sender::new(0),
        }
    }

    fn push(&self, call: impl Into<String>) {
        self.list.lock().unwrap().push(call.into());
    }

    fn body(&self, name: &str, end: bool) {
        let mut list = self.list.lock().unwrap();
        if list.last().is_some_and(|last| last == name) {
            list.pop();
        }
        list.push(if end {
            format!("{name} end")
        } else {
            name.to_string()
        });
    }

    /// Returns everything called once `count` requests were logged, and forgets it.
    async fn take(&self, count: usize) -> Vec<String> {
        let mut logged = self.logged.subscribe();
        let wait = logged.wait_for(|logged| *logged >= count);
        within("the request is logged", wait).await.unwrap();
        std::mem::take(&mut *self.list.lock().unwrap())
    }
}

/// Records every hook; `fail` names the one that returns an error.
struct Recorder {
    upstream: SocketAddr,
    calls: Calls,
    fail: &'static str,
    kind: ErrorType,
}

impl Recorder {
    fn new(upstream: SocketAddr) -> (Self, Calls) {
        let calls = Calls::new();
        let recorder = Self {
            upstream,
            calls: calls.clone(),
            fail: "",
            kind: ErrorType::InternalError,
        };
        (recorder, calls)
    }

    fn at(&self, name: &'static str) -> Result<()> {
        if self.fail == name {
            return Error::e_explain(self.kind.clone(), "this test wants it");
        }
        Ok(())
    }

    fn hook(&self, name: &'static str) -> Result<()> {
        self.calls.push(name);
        self.at(name)
    }
}

#[async_trait]
impl ProxyHttp for Recorder {
    type CTX = ();

    fn new_ctx(&self) {
        self.calls.push("new_ctx");
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(RecordingModule(self.calls.clone())));
    }

    fn on_connection_reuse(&self, _: &mut Session, _: &mut (), before: Box<dyn Any + Send + Sync>) {
        let before = before.downcast::<&str>().expect("what was persisted");
        self.calls.push(format!("on_connection_reuse {before}"));
    }

    async fn early_request_filter(&self, _: &mut Session, _: &mut ()) -> Result<()> {
        self.hook("early_request_filter")
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        self.hook("request_filter")?;
        if session.req_header().uri.path() == "/answered" {
            session.respond_error(403).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn proxy_upstream_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        self.hook("proxy_upstream_filter")?;
        Ok(session.req_header().uri.path() != "/not-up")
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        self.hook("upstream_peer")?;
        Ok(harness::peer(self.upstream))
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        _: &mut (),
    ) -> Result<()> {
        assert!(digest.is_some());
        self.calls.push(if reused {
            "connected_to_upstream reused"
        } else {
            "connected_to_upstream"
        });
        self.at("connected_to_upstream")
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        _: &mut (),
        e: Box<Error>,
    ) -> Box<Error> {
        self.calls.push("fail_to_connect");
        e
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        _: &mut Session,
        mut e: Box<Error>,
        _: &mut (),
        _: bool,
    ) -> Box<Error> {
        self.calls.push("error_while_proxy");
        e.set_retry(false);
        e
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        _: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        self.hook("upstream_request_filter")
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        end: bool,
        _: &mut (),
    ) -> Result<()> {
        self.calls.body("request_body_filter", end);
        self.at("request_body_filter")
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        self.calls.push(format!(
            "upstream_response_filter {}",
            response.status.as_u16()
        ));
        self.at("upstream_response_filter")
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        end: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        self.calls.body("upstream_response_body_filter", end);
        self.at("upstream_response_body_filter").map(|()| None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        _: &mut HeaderMap,
        _: &mut (),
    ) -> Result<()> {
        self.hook("upstream_response_trailer_filter")
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        self.calls
            .push(format!("response_filter {}", response.status.as_u16()));
        self.at("response_filter")
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        end: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        self.calls.body("response_body_filter", end);
        self.at("response_body_filter").map(|()| None)
    }

    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        _: &mut HeaderMap,
        _: &mut (),
    ) -> Result<Option<Bytes>> {
        self.hook("response_trailer_filter").map(|()| None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, _: &mut ()) -> FailToProxy {
        self.calls.push(format!("fail_to_proxy {:?}", e.esource()));
        let code = match e.etype() {
            HTTPStatus(code) => *code,
            _ => match e.esource() {
                ErrorSource::Upstream => 502,
                ErrorSource::Downstream => 400,
                _ => 500,
            },
        };
        // Nothing to be done about an error here: the client is gone.
        let _ = session.respond_error(code).await;
        FailToProxy {
            error_code: code,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, _: &mut ()) {
        let status = session.response_written().map_or(0, |r| r.status.as_u16());
        let outcome = if e.is_some() { "error" } else { "ok" };
        self.calls.push(format!("logging {outcome} {status}"));
        if session.req_header().headers.contains_key("x-last") {
            self.calls.logged.send_modify(|logged| *logged += 1);
        }
    }

    fn persist_connection_context(
        &self,
        _: &Session,
        _: &(),
    ) -> Option<Box<dyn Any + Send + Sync>> {
        self.calls.push("persist_connection_context");
        self.calls.logged.send_modify(|logged| *logged += 1);
        Some(Box::new("mine"))
    }
}

struct RecordingModule(Calls);

impl HttpModuleBuilder for RecordingModule {
    fn init(&self) -> Module {
        Box::new(RecordingModule(self.0.clone()))
    }
}

#[async_trait]
impl HttpModule for RecordingModule {
    async fn request_header_filter(&mut self, _: &mut RequestHeader) -> Result<()> {
        self.0.push("module request_header");
        Ok(())
    }
    async fn request_body_filter(&mut self, _: &mut Option<Bytes>, end: bool) -> Result<()> {
        // Part of the same piece as the hook: only the end is worth an entry.
        if end {
            self.0.push("module request_body end");
        }
        Ok(())
    }
    async fn response_header_filter(&mut self, _: &mut ResponseHeader, _: bool) -> Result<()> {
        self.0.push("module response_header");
        Ok(())
    }
    fn response_body_filter(&mut self, _: &mut Option<Bytes>, end: bool) -> Result<()> {
        if end {
            self.0.push("module response_body end");
        }
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Returns the calls without those of modules and bodies.
fn hooks(calls: &[String]) -> Vec<&str> {
    let skip = |call: &&str| !call.starts_with("module") && !call.contains("body_filter");
    calls.iter().map(String::as_str).filter(skip).collect()
}

fn count(calls: &[String], wanted: &str) -> usize {
    calls.iter().filter(|call| *call == wanted).count()
}

/// Fields of the last request on a connection.
const LAST: [(&str, &str); 2] = [("Connection", "close"), ("X-Last", "1")];

/// Sends one request with a connection of its own; returns the answer and what was called.
async fn one(
    recorder: (Recorder, Calls),
    method: &str,
    target: &str,
    body: &str,
) -> (Result<Response, String>, Vec<String>) {
    let (recorder, calls) = recorder;
    let proxy = harness::proxy(recorder).await;
    let mut client = Client::connect(proxy.addr()).await;
    client
        .send(pingora_test_support::client::request(
            method,
            target,
            &LAST,
            body.as_bytes(),
        ))
        .await;
    let response = client.try_response().await;
    let called = calls.take(1).await;
    (response, called)
}

#[test]
fn a_get() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("hello")).await;
        let (response, calls) = one(Recorder::new(origin.addr()), "GET", "/", "").await;
        assert_eq!(response.unwrap().text(), "hello");
        assert_eq!(
            hooks(&calls),
            [
                "new_ctx",
                "early_request_filter",
                "request_filter",
                "proxy_upstream_filter",
                "upstream_peer",
                "connected_to_upstream",
                "upstream_request_filter",
                "upstream_response_filter 200",
                "response_filter 200",
                "logging ok 200",
            ]
        );
        for once in [
            "request_body_filter end",
            "upstream_response_body_filter end",
            "response_body_filter end",
            "module response_body end",
        ] {
            assert_eq!(count(&calls, once), 1, "{once}: {calls:?}");
        }
        let at = |name: &str| calls.iter().position(|call| call == name).unwrap();
        assert!(at("early_request_filter") < at("module request_header"));
        assert!(at("module request_header") < at("request_filter"));
        assert!(at("response_filter 200") < at("module response_header"));
        assert!(at("upstream_response_body_filter end") < at("response_body_filter end"));
    });
}

#[test]
fn a_post() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::chunked([&request.body, &request.body])).await;
        let (response, calls) = one(Recorder::new(origin.addr()), "POST", "/", "hello").await;
        assert_eq!(response.unwrap().text(), "hellohello");
        for once in [
            "request_body_filter end",
            "module request_body end",
            "upstream_response_body_filter end",
            "response_body_filter end",
            "module response_body end",
            "logging ok 200",
        ] {
            assert_eq!(count(&calls, once), 1, "{once}: {calls:?}");
        }
        assert_eq!(calls.last().unwrap(), "logging ok 200");
    });
}

/// Every framing shows its end to each body filter exactly once.
#[test]
fn the_end_is_seen_once() {
    harness::run(async {
        for (name, reply) in [
            ("length", Reply::ok("hello")),
            ("zero", Reply::ok("")),
            ("204", Reply::raw("HTTP/1.1 204 No Content\r\n\r\n")),
            ("304", Reply::raw("HTTP/1.1 304 Not Modified\r\n\r\n")),
            (
                "trailers",
                Reply::raw(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n",
                ),
            ),
            ("chunked", Reply::chunked(["hel", "lo"])),
            ("chunked empty", Reply::chunked::<&str>([])),
            ("close", Reply::raw("HTTP/1.1 200 OK\r\n\r\nhello").close()),
        ] {
            for (method, body) in [("GET", ""), ("POST", "hello")] {
                let reply = reply.clone();
                let origin = Origin::start(move |_| reply.clone()).await;
                let (response, calls) = one(Recorder::new(origin.addr()), method, "/", body).await;
                assert!(response.is_ok(), "{name}: {response:?}");
                for once in [
                    "request_body_filter end",
                    "upstream_response_body_filter end",
                    "response_body_filter end",
                ] {
                    assert_eq!(count(&calls, once), 1, "{name} {method} {once}: {calls:?}");
                }
            }
        }
    });
}

#[test]
fn trailers_have_their_hooks() {
    harness::run(async {
        let origin = Origin::start(|_| {
            Reply::raw(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n",
            )
        })
        .await;
        let (recorder, calls) = Recorder::new(origin.addr());
        let proxy = harness::proxy(recorder).await;
        let mut client = Client::connect(proxy.addr()).await;
        let fields = [
            ("TE", "trailers"),
            ("Connection", "TE, close"),
            ("X-Last", "1"),
        ];
        let response = client.request("GET", "/", &fields, "").await;
        assert_eq!(response.trailers.get("x"), Some("y"));
        let calls = calls.take(1).await;
        let upstream = calls
            .iter()
            .position(|call| call == "upstream_response_trailer_filter");
        let downstream = calls
            .iter()
            .position(|call| call == "response_trailer_filter");
        assert!(upstream.unwrap() < downstream.unwrap(), "{calls:?}");
        assert_eq!(calls.last().unwrap(), "logging ok 200");
    });
}

/// An interim response is not the response: bodies end once, and one line is logged.
#[test]
fn an_interim_response() {
    harness::run(async {
        let origin = Origin::start(|_| {
            Reply::raw(
                "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            )
        })
        .await;
        let (response, calls) = one(Recorder::new(origin.addr()), "GET", "/", "").await;
        assert_eq!(response.unwrap().informational.len(), 1);
        assert_eq!(count(&calls, "response_body_filter end"), 1, "{calls:?}");
        assert_eq!(count(&calls, "logging ok 200"), 1);
    });
}

/// A filter that answers: nothing of an upstream is asked.
#[test]
fn answered_by_the_filter() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let (response, calls) = one(Recorder::new(origin.addr()), "GET", "/answered", "").await;
        assert_eq!(response.unwrap().status, 403);
        assert_eq!(
            hooks(&calls),
            [
                "new_ctx",
                "early_request_filter",
                "request_filter",
                "logging ok 403"
            ]
        );
        assert_eq!(origin.connections(), 0);
    });
}

/// A filter that forbids the upstream and says nothing itself is a 502.
#[test]
fn not_upstream() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let (response, calls) = one(Recorder::new(origin.addr()), "GET", "/not-up", "").await;
        assert_eq!(response.unwrap().status, 502);
        assert!(!calls.contains(&"upstream_peer".to_string()), "{calls:?}");
        assert!(calls.last().unwrap().starts_with("logging "), "{calls:?}");
        assert_eq!(origin.connections(), 0);
    });
}

#[test]
fn a_refused_connection() {
    harness::run(async {
        let recorder = Recorder::new(raw::refused_addr().await);
        let (response, calls) = one(recorder, "GET", "/", "").await;
        assert_eq!(response.unwrap().status, 502);
        assert_eq!(
            hooks(&calls),
            [
                "new_ctx",
                "early_request_filter",
                "request_filter",
                "proxy_upstream_filter",
                "upstream_peer",
                "fail_to_connect",
                "fail_to_proxy Upstream",
                "logging error 502",
            ]
        );
    });
}

#[test]
fn a_broken_exchange() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::nothing().close()).await;
        let (response, calls) = one(Recorder::new(origin.addr()), "GET", "/", "").await;
        assert_eq!(response.unwrap().status, 502);
        assert_eq!(
            hooks(&calls)[6..],
            [
                "upstream_request_filter",
                "error_while_proxy",
                "fail_to_proxy Upstream",
                "logging error 502",
            ]
        );
    });
}

/// An error of any hook before the response began is answered, logged last, and goes no further.
#[test]
fn errors_in_hooks() {
    harness::run(async {
        for (kind, status) in [(ErrorType::InternalError, 500), (HTTPStatus(418), 418)] {
            for fail in [
                "early_request_filter",
                "request_filter",
                "proxy_upstream_filter",
                "upstream_peer",
                "connected_to_upstream",
                "upstream_request_filter",
                "request_body_filter",
                "upstream_response_filter",
                "response_filter",
            ] {
                let origin = Origin::start(|_| Reply::ok("hello")).await;
                let (mut recorder, calls) = Recorder::new(origin.addr());
                recorder.fail = fail;
                recorder.kind = kind.clone();
                let (response, calls) = one((recorder, calls), "POST", "/", "hi").await;
                let response = response.unwrap_or_else(|e| panic!("{fail}: {e}; {calls:?}"));
                assert_eq!(response.status, status, "{fail}: {calls:?}");
                assert_eq!(
                    *calls.last().unwrap(),
                    format!("logging error {status}"),
                    "{fail}"
                );
                let failed = calls
                    .iter()
                    .filter(|c| c.starts_with("fail_to_proxy"))
                    .count();
                assert_eq!(failed, 1, "{fail}: {calls:?}");
                assert_eq!(calls.iter().filter(|c| c.starts_with("logging")).count(), 1);
            }
        }
    });
}

/// Later errors cut the response; they are logged all the same.
#[test]
fn errors_in_body_hooks() {
    harness::run(async {
        for fail in ["upstream_response_body_filter", "response_body_filter"] {
            let origin = Origin::start(|_| Reply::chunked(["hel", "lo"])).await;
            let (mut recorder, calls) = Recorder::new(origin.addr());
            recorder.fail = fail;
            let (response, calls) = one((recorder, calls), "GET", "/", "").await;
            assert!(
                response.map_or(true, |r| r.status == 500),
                "{fail}: {calls:?}"
            );
            assert!(
                calls.last().unwrap().starts_with("logging error"),
                "{fail}: {calls:?}"
            );
        }
    });
}

/// State of one request reaches the next of the same connection, and no other.
#[test]
fn contexts_of_connections() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let (recorder, calls) = Recorder::new(origin.addr());
        let proxy = harness::proxy(recorder).await;
        let mut client = Client::connect(proxy.addr()).await;
        client.get("/").await;
        let first = calls.take(1).await;
        assert_eq!(first.last().unwrap(), "persist_connection_context");
        assert_eq!(first[first.len() - 2], "logging ok 200");
        client.request("GET", "/", &LAST, "").await;
        let second = calls.take(2).await;
        assert_eq!(
            second[..3],
            [
                "new_ctx",
                "on_connection_reuse mine",
                "early_request_filter"
            ]
        );
        assert!(second.contains(&"connected_to_upstream reused".to_string()));
        // A connection that ends persists nothing.
        assert_eq!(second.last().unwrap(), "logging ok 200");
        let mut other = Client::connect(proxy.addr()).await;
        other.request("GET", "/", &LAST, "").await;
        let third = calls.take(3).await;
        assert_eq!(third[..2], ["new_ctx", "early_request_filter"]);
    });
}

/// The defaults of everything: nothing but `upstream_peer`, and its errors.
struct Failing(ErrorType, ErrorSource);

#[async_trait]
impl ProxyHttp for Failing {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut e = Error::explain(self.0.clone(), "this test wants it");
        match self.1 {
            ErrorSource::Upstream => e.as_up(),
            ErrorSource::Downstream => e.as_down(),
            _ => e.as_in(),
        }
        Err(e)
    }
}

/// Which error is which status, by default.
#[test]
fn statuses_of_errors() {
    harness::run(async {
        for (kind, source, status) in [
            (HTTPStatus(403), ErrorSource::Internal, 403),
            (HTTPStatus(429), ErrorSource::Downstream, 429),
            (HTTPStatus(503), ErrorSource::Upstream, 503),
            (ErrorType::ConnectRefused, ErrorSource::Upstream, 502),
            (ErrorType::ConnectTimedout, ErrorSource::Upstream, 502),
            (ErrorType::InvalidHTTPHeader, ErrorSource::Downstream, 400),
            (ErrorType::InternalError, ErrorSource::Internal, 500),
            (ErrorType::new("Mine"), ErrorSource::Internal, 500),
        ] {
            let proxy = harness::proxy(Failing(kind.clone(), source)).await;
            let mut client = Client::connect(proxy.addr()).await;
            let response = client.get("/").await;
            assert_eq!(response.status, status, "{kind:?}");
            assert_eq!(response.header("connection"), Some("close"), "{kind:?}");
            client.expect_closed().await;
        }
    });
}

/// Turns a response of a server of this version into another and adds a body; counts nothing.
struct Rewrite(SocketAddr, u8);

#[async_trait]
impl ProxyHttp for Rewrite {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = harness::peer(self.0);
        peer.options.set_http_version(self.1, self.1);
        Ok(peer)
    }
    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        response.set_status(200)?;
        response.remove_header("Content-Length");
        response.insert_header("Transfer-Encoding", "chunked")
    }
    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        if end {
            let mut all = body.take().unwrap_or_default().to_vec();
            all.extend_from_slice(b"added");
            *body = Some(all.into());
        }
        Ok(None)
    }
}

/// A response without a body can be given one.
#[test]
fn bodies_for_responses_without() {
    harness::run(async {
        for (reply, text) in [
            (Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"), "added"),
            (
                Reply::raw("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"),
                "added",
            ),
            (Reply::ok(""), "added"),
            (Reply::ok("hello "), "hello added"),
            (Reply::chunked(["hel", "lo "]), "hello added"),
        ] {
            let origin = Origin::start(move |_| reply.clone()).await;
            let proxy = harness::proxy(Rewrite(origin.addr(), 1)).await;
            let mut client = Client::connect(proxy.addr()).await;
            for _ in 0..2 {
                let response = client.get("/").await;
                assert_eq!((response.status, response.text()), (200, text));
            }
        }
    });
}

/// The same from a server of HTTP/2, for clients of both versions.
#[test]
fn bodies_for_responses_without_over_http2() {
    harness::run(async {
        for (status, body, text) in [
            (204, "", "added"),
            (304, "", "added"),
            (200, "", "added"),
            (200, "hello ", "hello added"),
        ] {
            let origin = H2Origin::start(move |(_, mut respond)| async move {
                let head = h2::response(status, &[]);
                let mut stream = respond.send_response(head, body.is_empty()).unwrap();
                if !body.is_empty() {
                    stream.send_data(body.into(), true).unwrap();
                }
            })
            .await;
            let rewrite = Rewrite(origin.addr(), 2);
            let proxy = harness::proxy_h2c(rewrite).await;
            let mut client = Client::connect(proxy.addr()).await;
            let mut requests = h2::connect(proxy.addr()).await;
            for _ in 0..2 {
                let response = client.get("/").await;
                assert_eq!((response.status, response.text()), (200, text), "{status}");
                let request = http::Request::get("http://a/").body(()).unwrap();
                let response = h2::send(&mut requests, request, "").await;
                assert_eq!(response.status(), 200);
                assert_eq!(h2::read(response.into_body()).await.unwrap().0, text);
            }
        }
    });
}

/// Asks for a pause after each piece.
struct Slow(SocketAddr, Duration);

#[async_trait]
impl ProxyHttp for Slow {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(harness::peer(self.0))
    }
    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        Ok(body.as_ref().map(|_| self.1))
    }
}

/// A pause delays and loses nothing.
#[test]
fn delays() {
    harness::run(async {
        let body = vec![b'x'; 1 << 20];
        let origin = Origin::start(move |_| Reply::ok(&body)).await;
        let pause = Duration::from_millis(20);
        let proxy = harness::proxy(Slow(origin.addr(), pause)).await;
        let before = std::time::Instant::now();
        let mut client = Client::connect(proxy.addr()).await;
        assert_eq!(client.get("/").await.body.len(), 1 << 20);
        // More than one piece, so at least one pause. A pause is a promise: never shorter.
        assert!(before.elapsed() >= pause, "{:?}", before.elapsed());
    });
}

/// HEAD has a body that ends, too: an empty one.
#[test]
fn the_end_of_no_body() {
    harness::run(async {
        let origin =
            Origin::start(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")).await;
        let (response, calls) = one(Recorder::new(origin.addr()), "HEAD", "/", "").await;
        assert_eq!(response.unwrap().header("content-length"), Some("5"));
        for once in [
            "upstream_response_body_filter end",
            "response_body_filter end",
        ] {
            assert_eq!(count(&calls, once), 1, "{once}: {calls:?}");
        }
    });
}

/// A connection that ends persists nothing, whatever ended it.
#[test]
fn nothing_to_persist() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        for fail in ["", "upstream_peer"] {
            let (mut recorder, calls) = Recorder::new(origin.addr());
            recorder.fail = fail;
            let proxy = harness::proxy(recorder).await;
            let mut client = Client::connect(proxy.addr()).await;
            client.request("GET", "/", &LAST, "").await;
            client.expect_closed().await;
            proxy.terminate();
            // Nothing is called after that.
            proxy.ended().await;
            let calls = calls.take(1).await;
            assert!(calls.last().unwrap().starts_with("logging"), "{calls:?}");
        }
    });
}
