//! Requests a proxy makes to itself: piped to the client, or in the background.

use std::net::SocketAddr;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use pingora::prelude::*;
use pingora::protocols::http::HttpTask;
use pingora::proxy::subrequest::pipe::{
    InputBody, InputBodyType, PipeSubrequestError, PipeSubrequestState, pipe_subrequest,
};
use pingora::proxy::subrequest::{BodyMode, Ctx};
use pingora_e2e::h2;
use pingora_e2e::harness::{self, peer};
use pingora_test_support::client::Client;
use pingora_test_support::limit::Gate;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::{raw, within};
use tokio::sync::mpsc;

type Outcome = Result<PipeSubrequestState, PipeSubrequestError>;

/// Answers every request with the response of a subrequest to `upstream`.
struct Piper {
    upstream: SocketAddr,
    input: Mutex<Option<InputBodyType>>,
    /// What the filter does to the head.
    refuse: bool,
    outcomes: mpsc::UnboundedSender<Outcome>,
}

impl Piper {
    fn new(upstream: SocketAddr) -> (Self, mpsc::UnboundedReceiver<Outcome>) {
        let (outcomes, seen) = mpsc::unbounded_channel();
        let piper = Piper {
            upstream,
            input: Mutex::new(None),
            refuse: false,
            outcomes,
        };
        (piper, seen)
    }

    fn filter(&self, task: HttpTask) -> pingora::Result<Option<HttpTask>> {
        match task {
            HttpTask::Header(..) if self.refuse => Error::e_explain(HTTPStatus(418), "refused"),
            HttpTask::Header(mut head, end) => {
                head.insert_header("X-Piped", "yes")?;
                Ok(Some(HttpTask::Header(head, end)))
            }
            other => Ok(Some(other)),
        }
    }
}

#[async_trait]
impl ProxyHttp for Piper {
    type CTX = ();
    fn new_ctx(&self) {}

    fn allow_spawning_subrequest(&self, session: &Session, _ctx: &()) -> bool {
        session.subrequest_ctx.is_none()
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> pingora::Result<bool> {
        let Some(spawner) = session.subrequest_spawner.clone() else {
            return Ok(false);
        };
        let ctx = Ctx::builder().body_mode(BodyMode::ExpectBody).build();
        let (mut subrequest, handle) = spawner.create_subrequest(session, ctx);
        let head = subrequest.session_mut().req_header_mut();
        head.set_uri("/from-subrequest".parse().unwrap());
        let input = self.input.lock().unwrap().take();
        let input = input.unwrap_or(InputBodyType::SaveBody(8));
        let filter = |task| self.filter(task);
        let outcome = pipe_subrequest(session, subrequest, handle, filter, input).await;
        let failed = outcome
            .as_ref()
            .err()
            .map(|e| e.error.etype().clone())
            .map(|etype| Error::explain(etype, "piping a subrequest"));
        self.outcomes.send(outcome).unwrap();
        failed.map_or(Ok(true), Err)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(peer(self.upstream))
    }
}

async fn next(outcomes: &mut mpsc::UnboundedReceiver<Outcome>) -> Outcome {
    within("the pipe ends", outcomes.recv()).await.unwrap()
}

#[test]
fn the_response_of_a_subrequest_answers_the_client() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(format!("to {}", request.target))).await;
        let (piper, mut outcomes) = Piper::new(origin.addr());
        let proxy = harness::proxy(piper).await;
        let mut client = Client::connect(proxy.addr()).await;
        // Twice on one connection: the first left nothing behind.
        for _ in 0..2 {
            let response = client.get("/asked").await;
            assert_eq!(response.text(), "to /from-subrequest");
            assert_eq!(response.header("x-piped"), Some("yes"));
            let state = next(&mut outcomes).await.unwrap();
            assert!(state.header_received);
            within("the task ends", state.join_handle.unwrap())
                .await
                .unwrap();
        }
        assert_eq!(origin.requests().len(), 2);
        assert!(origin.errors().is_empty());
    });
}

/// The body of the client reaches the upstream, whatever its framing, and is saved if it fits.
#[test]
fn the_body_of_the_client_is_passed_on() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(&request.body)).await;
        let (piper, mut outcomes) = Piper::new(origin.addr());
        let proxy = harness::proxy(piper).await;
        let mut client = Client::connect(proxy.addr()).await;
        let chunked = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
        let large = "x".repeat(300_000);
        let cases = [
            ("Content-Length", "hello".to_string(), true),
            ("Transfer-Encoding", "hello".to_string(), true),
            ("Content-Length", large.clone(), false),
            ("Transfer-Encoding", large, false),
        ];
        for (framing, body, saved) in cases {
            let response = if framing == "Content-Length" {
                client.request("POST", "/", &[], &body).await
            } else {
                let message = format!("{chunked}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                client.send(message).await;
                client.response().await
            };
            assert_eq!(response.text(), body, "{framing}");
            let kept = next(&mut outcomes).await.unwrap().saved_body.unwrap();
            assert_eq!(kept.is_body_complete(), saved, "{framing}");
            if saved {
                let InputBody::Bytes(pieces) = kept.into() else {
                    panic!("nothing was saved");
                };
                assert_eq!(pieces.concat(), body.as_bytes());
            }
        }
        assert!(origin.errors().is_empty(), "{:?}", origin.errors());
    });
}

/// HTTP/2 needs no field to announce a body.
#[test]
fn the_body_of_a_client_of_http2_is_passed_on() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(&request.body)).await;
        let (piper, mut outcomes) = Piper::new(origin.addr());
        let proxy = harness::proxy_h2c(piper).await;
        let mut requests = h2::connect(proxy.addr()).await;
        for body in ["", "hello"] {
            let request = Request::post("http://a.example/").body(()).unwrap();
            let (response, mut send) = requests.send_request(request, false).unwrap();
            send.send_data(body.into(), true).unwrap();
            let response = within("a response", response).await.unwrap();
            assert_eq!(response.headers()["x-piped"], "yes");
            let (got, _) = h2::read(response.into_body()).await.unwrap();
            assert_eq!(got, body);
            let kept = next(&mut outcomes).await.unwrap().saved_body.unwrap();
            assert!(kept.is_body_complete());
        }
        assert!(origin.errors().is_empty(), "{:?}", origin.errors());
    });
}

#[test]
fn a_preset_body_takes_the_place_of_the_clients() {
    harness::run(async {
        let origin = Origin::start(|request| Reply::ok(&request.body)).await;
        let pieces = vec![
            Bytes::from_static(b"pre"),
            Bytes::new(),
            Bytes::from_static(b"set"),
        ];
        for (preset, expected) in [
            (InputBody::Bytes(pieces), "preset"),
            (InputBody::Bytes(vec![]), ""),
            (InputBody::NoBody, ""),
        ] {
            let (piper, mut outcomes) = Piper::new(origin.addr());
            *piper.input.lock().unwrap() = Some(InputBodyType::Preset(preset));
            let proxy = harness::proxy(piper).await;
            let mut client = Client::connect(proxy.addr()).await;
            let response = client.request("POST", "/", &[], "of the client").await;
            assert_eq!(response.text(), expected);
            assert!(next(&mut outcomes).await.unwrap().saved_body.is_none());
            // What the client sent did not become its next request.
            let response = client.get("/").await;
            assert_eq!(response.status, 200);
        }
        assert!(origin.errors().is_empty(), "{:?}", origin.errors());
    });
}

/// Of an upstream that cannot be reached, the subrequest makes an answer; the pipe passes it on.
#[test]
fn an_answered_failure_is_a_response() {
    harness::run(async {
        let (piper, mut outcomes) = Piper::new(raw::refused_addr().await);
        let proxy = harness::proxy(piper).await;
        let response = Client::connect(proxy.addr()).await.get("/").await;
        assert_eq!(response.status, 502);
        assert_eq!(response.header("x-piped"), Some("yes"));
        assert!(next(&mut outcomes).await.unwrap().header_received);
    });
}

#[test]
fn a_response_that_breaks_off_is_an_error_of_the_subrequest() {
    harness::run(async {
        let broken = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
        let origin = Origin::start(move |_| Reply::raw(broken).close()).await;
        let (piper, mut outcomes) = Piper::new(origin.addr());
        let proxy = harness::proxy(piper).await;
        let mut client = Client::connect(proxy.addr()).await;
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
        assert!(client.try_response().await.is_err());
        let e = next(&mut outcomes).await.unwrap_err();
        assert!(e.from_subreq && e.state.header_received);
        assert_eq!(*e.error.etype(), ConnectionClosed);
    });
}

#[test]
fn an_error_of_the_filter_leaves_the_answer_to_the_proxy() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("never seen")).await;
        let (mut piper, mut outcomes) = Piper::new(origin.addr());
        piper.refuse = true;
        let proxy = harness::proxy(piper).await;
        let response = Client::connect(proxy.addr()).await.get("/").await;
        assert_eq!(response.status, 418);
        let e = next(&mut outcomes).await.unwrap_err();
        assert!(!e.from_subreq && e.state.header_received);
        // The rest of the response can still be had.
        let mut rest = e.state.pipe_rx.unwrap();
        let body = within("the body", rest.recv()).await;
        assert!(matches!(body, Some(HttpTask::Body(Some(data), _)) if data == "never seen"));
    });
}

#[test]
fn a_client_that_goes_away_ends_the_pipe() {
    harness::run(async {
        let gate = Gate::new();
        let asked = Gate::new();
        let reply = Reply::default().open(&asked).wait(&gate);
        let origin = Origin::start(move |_| reply.clone()).await;
        let (piper, mut outcomes) = Piper::new(origin.addr());
        let proxy = harness::proxy(piper).await;
        let mut client = Client::connect(proxy.addr()).await;
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
        asked.opened().await;
        client.reset();
        let e = next(&mut outcomes).await.unwrap_err();
        assert!(!e.from_subreq && !e.state.header_received);
        // While somebody holds the state the subrequest goes on, then it ends.
        let task = e.state.join_handle.unwrap();
        assert!(!task.is_finished());
        drop(e.state.pipe_rx);
        within("the subrequest ends", task).await.unwrap();
        gate.open();
    });
}

/// Asks for everything twice.
struct Doubler(SocketAddr, mpsc::UnboundedSender<String>);

#[async_trait]
impl ProxyHttp for Doubler {
    type CTX = ();
    fn new_ctx(&self) {}

    fn allow_spawning_subrequest(&self, session: &Session, _ctx: &()) -> bool {
        session.subrequest_ctx.is_none()
    }

    async fn upstream_peer(&self, s: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        if let Some(spawner) = &s.subrequest_spawner {
            let ctx = Ctx::builder().user_ctx(Box::new("again")).build();
            spawner.spawn_background_subrequest(s, ctx);
        }
        Ok(peer(self.0))
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, _: &mut ()) {
        let note = session
            .subrequest_ctx
            .as_ref()
            .and_then(|ctx| ctx.user_ctx());
        let note = note.and_then(|ctx| ctx.downcast_ref::<&str>());
        let peer = session.client_addr().is_some();
        let line = format!(
            "{note:?} {:?} {peer} {}",
            e.map(|e| e.etype()),
            session.body_bytes_sent()
        );
        self.1.send(line).unwrap();
    }
}

#[test]
fn a_background_subrequest_needs_nobody() {
    harness::run(async {
        // More than fits between the two sessions.
        let origin = Origin::start(|_| Reply::ok("x".repeat(500_000))).await;
        let (log, mut logged) = mpsc::unbounded_channel();
        let proxy = harness::proxy(Doubler(origin.addr(), log)).await;
        let mut client = Client::connect(proxy.addr()).await;
        let response = client.request("POST", "/", &[], "body").await;
        assert_eq!(response.body.len(), 500_000);
        let mut log = vec![];
        for _ in 0..2 {
            log.push(within("a line of the log", logged.recv()).await.unwrap());
        }
        log.sort();
        assert_eq!(
            log,
            ["None None true 500000", "Some(\"again\") None true 500000"]
        );
        let mut bodies: Vec<_> = origin.requests().iter().map(|r| r.body.clone()).collect();
        bodies.sort();
        assert_eq!(bodies, ["", "body"]);
    });
}
