//! Second tries: what is repeated, how often, with which body, and what must never be.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module};
use pingora::prelude::*;
use pingora_e2e::harness;
use pingora_test_support::client::Client;
use pingora_test_support::origin::{Origin, Reply, Request};
use pingora_test_support::raw;

/// An origin whose first connection dies when it gets its second request: what a client of a kept
/// connection meets when the server closes it at the same moment.
async fn dies_on_reuse() -> Origin {
    Origin::start(|request| match (request.connection, request.index) {
        (1, 2) => Reply::nothing().close(),
        _ => Reply::ok(&request.body),
    })
    .await
}

fn of<'a>(requests: &'a [Request], method: &str) -> Vec<&'a Request> {
    requests
        .iter()
        .filter(|request| request.method == method)
        .collect()
}

/// RFC 9110 section 9.2.2: idempotent requests are repeated when a kept connection dies.
#[test]
fn idempotent_requests_are_repeated() {
    harness::run(async {
        for (method, body) in [
            ("GET", ""),
            ("HEAD", ""),
            ("OPTIONS", ""),
            ("PUT", "hello"),
            ("DELETE", ""),
        ] {
            let origin = dies_on_reuse().await;
            let proxy = harness::forward(origin.addr()).await;
            let mut client = Client::connect(proxy.addr()).await;
            assert_eq!(client.get("/first").await.status, 200);
            let response = client.request(method, "/second", &[], body).await;
            assert_eq!(response.status, 200, "{method}");
            assert_eq!(origin.connections(), 2, "{method}");
            let requests = origin.requests();
            let second: Vec<&Request> = requests.iter().filter(|r| r.target == "/second").collect();
            assert_eq!(second.len(), 2, "{method}");
            assert!(
                second.iter().all(|request| request.body == body),
                "{method}"
            );
        }
    });
}

/// A POST or PATCH that may have been acted on is not.
#[test]
fn other_requests_are_not_repeated() {
    harness::run(async {
        for method in ["POST", "PATCH", "MADEUP"] {
            for body in ["", "hello"] {
                let origin = dies_on_reuse().await;
                let proxy = harness::forward(origin.addr()).await;
                let mut client = Client::connect(proxy.addr()).await;
                assert_eq!(client.get("/first").await.status, 200);
                let length = body.len().to_string();
                let fields = [("Content-Length", &*length)];
                let response = client.request(method, "/second", &fields, body).await;
                assert_eq!(response.status, 502, "{method}");
                assert_eq!(
                    of(&origin.requests(), method).len(),
                    1,
                    "{method} was repeated"
                );
            }
        }
    });
}

/// On a connection of its own, even a GET is not repeated: the origin is broken, not late.
#[test]
fn fresh_connections_are_not_repeated() {
    harness::run(async {
        for reply in [
            Reply::nothing().close(),
            Reply::nothing().reset(),
            Reply::raw("HTTP/1.1 2").close(),
        ] {
            let origin = Origin::start(move |_| reply.clone()).await;
            let proxy = harness::forward(origin.addr()).await;
            let response = Client::connect(proxy.addr()).await.get("/").await;
            assert_eq!((response.status, origin.requests().len()), (502, 1));
        }
    });
}

/// Once something was answered, there is no second try.
#[test]
fn begun_responses_are_not_repeated() {
    harness::run(async {
        let origin = Origin::start(|request| match request.index {
            1 => Reply::ok("first"),
            _ => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").reset(),
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        assert_eq!(client.get("/").await.text(), "first");
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let second = client.try_response().await;
        assert!(
            second
                .as_ref()
                .map_or(true, |response| response.status == 502),
            "{second:?}"
        );
    });
}

/// A connection that the origin closed while it waited is not used at all.
#[test]
fn closed_connections_are_noticed() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("hi").close()).await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        for round in 1..=5 {
            let response = client.request("POST", "/", &[], "body").await;
            assert_eq!(response.text(), "hi");
            origin.wait_for_closed(round).await;
            // Let the proxy see it as well; its next request is what shows that it has.
            tokio::task::yield_now().await;
        }
        assert_eq!(origin.requests().len(), 5);
    });
}

/// Counts its tries and decides in its hooks; `peers` are tried in turn, the last for ever.
struct Turns {
    peers: Vec<SocketAddr>,
    tries: Arc<AtomicUsize>,
    connect: Option<bool>,
    proxy: Option<bool>,
}

impl Turns {
    fn new(peers: &[SocketAddr], connect: Option<bool>, proxy: Option<bool>) -> Self {
        Self {
            peers: peers.to_vec(),
            tries: Arc::new(AtomicUsize::new(0)),
            connect,
            proxy,
        }
    }
}

#[async_trait]
impl ProxyHttp for Turns {
    type CTX = usize;
    fn new_ctx(&self) -> usize {
        0
    }
    async fn upstream_peer(&self, _: &mut Session, turn: &mut usize) -> Result<Box<HttpPeer>> {
        self.tries.fetch_add(1, Ordering::Relaxed);
        let peer = self.peers[(*turn).min(self.peers.len() - 1)];
        *turn += 1;
        Ok(harness::peer(peer))
    }
    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        _: &mut usize,
        mut e: Box<Error>,
    ) -> Box<Error> {
        if let Some(retry) = self.connect {
            e.set_retry(retry);
        }
        e
    }
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        _: &mut Session,
        mut e: Box<Error>,
        _: &mut usize,
        _: bool,
    ) -> Box<Error> {
        if let Some(retry) = self.proxy {
            e.set_retry(retry);
        }
        e
    }
}

/// Nothing was sent when connecting failed, so even a POST may go elsewhere, if the hook says so.
#[test]
fn failing_over() {
    harness::run(async {
        let dead = raw::refused_addr().await;
        let origin = Origin::start(|request| Reply::ok(&request.body)).await;
        for (retry, status, tries) in [(Some(true), 200, 2), (Some(false), 502, 1), (None, 502, 1)]
        {
            let turns = Turns::new(&[dead, origin.addr()], retry, None);
            let counted = turns.tries.clone();
            let proxy = harness::proxy(turns).await;
            let mut client = Client::connect(proxy.addr()).await;
            let response = client.request("POST", "/", &[], "hello").await;
            assert_eq!(response.status, status, "{retry:?}");
            assert_eq!(counted.load(Ordering::Relaxed), tries, "{retry:?}");
            if status == 200 {
                assert_eq!(response.text(), "hello");
            }
        }
    });
}

/// Tries have a limit, whatever the hook says.
#[test]
fn tries_have_a_limit() {
    harness::run(async {
        let dead = raw::refused_addr().await;
        for most in [1, 2, 5] {
            let turns = Turns::new(&[dead], Some(true), None);
            let counted = turns.tries.clone();
            let proxy = harness::proxy_with(turns, |conf, _| conf.max_retries = most).await;
            let response = Client::connect(proxy.addr()).await.get("/").await;
            assert_eq!(response.status, 502);
            let tries = counted.load(Ordering::Relaxed);
            assert_eq!(tries, most, "at most max_retries tries in all");
        }
    });
}

/// By default sixteen.
#[test]
fn tries_have_a_limit_by_default() {
    harness::run(async {
        let turns = Turns::new(&[raw::refused_addr().await], Some(true), None);
        let counted = turns.tries.clone();
        let proxy = harness::proxy(turns).await;
        assert_eq!(
            Client::connect(proxy.addr()).await.get("/").await.status,
            502
        );
        assert_eq!(counted.load(Ordering::Relaxed), 16);
    });
}

/// A hook that decides nothing is no crash, also when a kept connection dies.
#[test]
fn a_hook_that_decides_nothing() {
    harness::run(async {
        let origin = Origin::start(|request| match request.index {
            1 => Reply::ok("first"),
            _ => Reply::nothing().close(),
        })
        .await;
        let proxy = harness::proxy(Turns::new(&[origin.addr()], None, None)).await;
        let mut client = Client::connect(proxy.addr()).await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.text(), "first");
            let response = client.request("POST", "/", &[], "x").await;
            assert_eq!(response.status, 502);
            client = Client::connect(proxy.addr()).await;
        }
    });
}

/// The body is sent again from what was kept of it.
#[test]
fn bodies_are_replayed() {
    harness::run(async {
        let origin = Origin::start(|request| match request.connection {
            1 => Reply::nothing().close(),
            _ => Reply::ok(&request.body),
        })
        .await;
        let proxy = harness::proxy(Turns::new(&[origin.addr()], None, Some(true))).await;
        let mut client = Client::connect(proxy.addr()).await;
        let body: Vec<u8> = (0..60_000).map(|at| (at % 251) as u8).collect();
        let response = client.request("PUT", "/", &[], &body).await;
        assert!(
            response.body == body,
            "{} of {} bytes",
            response.body.len(),
            body.len()
        );
        assert_eq!((origin.requests().len(), origin.errors()), (2, vec![]));
        assert!(origin.requests().iter().all(|request| request.body == body));
    });
}

/// A body too large to keep is never sent again in part.
#[test]
fn large_bodies_are_not_replayed() {
    harness::run(async {
        let origin = Origin::start(|request| match request.connection {
            1 => Reply::nothing().close(),
            _ => Reply::ok(request.body.len().to_string()),
        })
        .await;
        let proxy =
            harness::proxy_with(Turns::new(&[origin.addr()], None, Some(true)), |conf, _| {
                conf.max_retries = 3;
            })
            .await;
        let mut client = Client::connect(proxy.addr()).await;
        let body = vec![b'x'; 1 << 20];
        let response = client.request("PUT", "/", &[], &body).await;
        assert_eq!(response.status, 502);
        assert!(
            origin
                .requests()
                .iter()
                .all(|request| request.body.len() == body.len())
        );
    });
}

/// A chunked body is replayed chunked.
#[test]
fn chunked_bodies_are_replayed() {
    harness::run(async {
        let origin = dies_on_reuse().await;
        let proxy = harness::forward(origin.addr()).await;
        let mut client = Client::connect(proxy.addr()).await;
        assert_eq!(client.get("/first").await.status, 200);
        client
            .send("PUT /second HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")
            .await;
        assert_eq!(client.response().await.text(), "hello");
        let puts = origin.requests();
        assert_eq!(of(&puts, "PUT").len(), 2);
        assert!(
            of(&puts, "PUT")
                .iter()
                .all(|request| request.body == "hello")
        );
        assert_eq!(origin.errors(), Vec::<String>::new());
    });
}

/// A hook cannot have a request repeated whose answer has begun.
#[test]
fn a_hook_cannot_answer_twice() {
    harness::run(async {
        let origin = Origin::start(|_| {
            Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                .close()
        })
        .await;
        let turns = Turns::new(&[origin.addr()], Some(true), Some(true));
        let proxy = harness::proxy_with(turns, |conf, _| conf.max_retries = 3).await;
        let answer = harness::ask(
            proxy.addr(),
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            usize::MAX,
        )
        .await;
        assert_eq!(answer.responses(), 1, "{answer:?}");
        let ended = answer.status() == Some(200) && answer.bytes.ends_with(b"\r\n0\r\n\r\n");
        assert!(answer.closed && !ended, "{answer:?}");
    });
}

/// Refuses redirects, and tries again.
struct NoRedirects(SocketAddr);

#[async_trait]
impl ProxyHttp for NoRedirects {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(harness::peer(self.0))
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        if response.status.is_redirection() {
            let mut e = Error::explain(HTTPStatus(502), "a redirect");
            e.set_retry(true);
            return Err(e);
        }
        Ok(())
    }
}

/// A response a hook refuses leaves its connection as good as any, if it came whole.
#[test]
fn refused_responses_leave_their_connection() {
    harness::run(async {
        for (reply, connections) in [
            ("302 Found\r\nContent-Length: 0\r\n\r\n", 1),
            ("302 Found\r\nContent-Length: 5\r\n\r\nmoved", 1),
            (
                "302 Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nmoved\r\n0\r\n\r\n",
                1,
            ),
            ("304 Not Modified\r\nContent-Length: 5\r\n\r\n", 1),
            (
                "302 Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                2,
            ),
            ("302 Found\r\nContent-Length: 9\r\n\r\nmoved", 2),
            ("302 Found\r\nContent-Length: 5\r\n\r\nmoved!", 2),
            (
                "302 Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nmoved\r\n",
                2,
            ),
            (
                "302 Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nmovedXX",
                2,
            ),
        ] {
            let seen = AtomicUsize::new(0);
            let origin = Origin::start(move |_| match seen.fetch_add(1, Ordering::Relaxed) {
                0 => Reply::raw(format!("HTTP/1.1 {reply}")),
                _ => Reply::ok("here"),
            })
            .await;
            let proxy = harness::proxy(NoRedirects(origin.addr())).await;
            let mut client = Client::connect(proxy.addr()).await;
            let response = client.get("/").await;
            assert_eq!(
                (response.status, response.text()),
                (200, "here"),
                "{reply:?}"
            );
            assert_eq!(origin.connections(), connections, "{reply:?}");
        }
    });
}

/// A request whose body was not sent to its end leaves no connection, whatever was answered.
#[test]
fn refused_responses_to_half_a_request_leave_nothing() {
    harness::run(async {
        let seen = AtomicUsize::new(0);
        let origin = Origin::start_on_head(move |_| match seen.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::raw("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"),
            _ => Reply::ok("here"),
        })
        .await;
        let proxy = harness::proxy(NoRedirects(origin.addr())).await;
        let mut client = Client::connect(proxy.addr()).await;
        let half = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello";
        client.send(half).await;
        assert_eq!(client.response().await.text(), "here");
        assert_eq!(origin.connections(), 2);
    });
}

/// Each try gets the head afresh: what a filter did to the first is not done twice.
#[test]
fn each_try_has_its_own_head() {
    struct Adding(Turns);

    #[async_trait]
    impl ProxyHttp for Adding {
        type CTX = usize;
        fn new_ctx(&self) -> usize {
            0
        }
        async fn upstream_peer(&self, s: &mut Session, turn: &mut usize) -> Result<Box<HttpPeer>> {
            self.0.upstream_peer(s, turn).await
        }
        fn error_while_proxy(
            &self,
            peer: &HttpPeer,
            session: &mut Session,
            e: Box<Error>,
            turn: &mut usize,
            reused: bool,
        ) -> Box<Error> {
            self.0.error_while_proxy(peer, session, e, turn, reused)
        }
        async fn upstream_request_filter(
            &self,
            _: &mut Session,
            upstream: &mut RequestHeader,
            _: &mut usize,
        ) -> Result<()> {
            upstream.append_header("X-Added", "1").map(|_| ())
        }
    }

    harness::run(async {
        let origin = Origin::start(|request| match request.connection {
            1 | 2 => Reply::nothing().close(),
            _ => Reply::ok("third"),
        })
        .await;
        let turns = Turns::new(&[origin.addr()], None, Some(true));
        let proxy = harness::proxy(Adding(turns)).await;
        assert_eq!(
            Client::connect(proxy.addr()).await.get("/").await.text(),
            "third"
        );
        for request in origin.requests() {
            assert_eq!(request.fields.all("x-added"), ["1"]);
        }
        assert_eq!(origin.requests().len(), 3);
    });
}

/// Numbers what it sees of a body, and says so at its end.
#[derive(Default)]
struct Numbers(usize);

#[async_trait]
impl HttpModule for Numbers {
    async fn request_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        self.0 += 1;
        let text = body.take().unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let end = if end { "." } else { "" };
        *body = Some(format!("{}:{text}{end}", self.0).into());
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct MakeNumbers;

impl HttpModuleBuilder for MakeNumbers {
    fn init(&self) -> Module {
        Box::<Numbers>::default()
    }
}

/// Goes to the first upstream, then to the second, whatever happens.
struct Numbered([SocketAddr; 2]);

#[async_trait]
impl ProxyHttp for Numbered {
    type CTX = usize;
    fn new_ctx(&self) -> usize {
        0
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(MakeNumbers));
    }

    async fn upstream_peer(&self, _: &mut Session, tries: &mut usize) -> Result<Box<HttpPeer>> {
        *tries += 1;
        Ok(harness::peer(self.0[*tries - 1]))
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        _: &mut Session,
        mut e: Box<Error>,
        _: &mut usize,
        _: bool,
    ) -> Box<Error> {
        e.set_retry(true);
        e
    }
}

/// A module that changes a body by what it has seen of it: it sees each piece once.
#[test]
fn modules_see_a_body_once() {
    harness::run(async {
        for whole in [false, true] {
            let broken = raw::Listener::bind().await;
            let origin = Origin::start(|request| Reply::ok(&request.body)).await;
            let proxy = harness::proxy(Numbered([broken.addr(), origin.addr()])).await;
            let mut client = raw::connect(proxy.addr()).await;
            client
                .send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
                .await;
            let mut first = broken.accept().await;
            first.read_head().await;
            first.expect("4\r\n1:ab\r\n").await;
            if whole {
                client.send("0\r\n\r\n").await;
                first.expect("3\r\n2:.\r\n0\r\n\r\n").await;
            }
            first.reset();
            if !whole {
                // What comes later goes on where the module is.
                client.send("2\r\ncd\r\n0\r\n\r\n").await;
            }
            let expected = match whole {
                true => "1:ab2:.",
                false => "1:ab2:cd3:.",
            };
            let head = client.read_head().await;
            assert!(head.starts_with(b"HTTP/1.1 200"), "{head:?}");
            client.expect(expected).await;
            assert_eq!(origin.requests()[0].body, expected);
        }
    });
}

/// What the modules made of a body is more than is kept: then it is not sent again.
#[test]
fn long_bodies_of_modules_are_not_replayed() {
    harness::run(async {
        let broken = raw::Listener::bind().await;
        let origin = Origin::start(|request| Reply::ok(&request.body)).await;
        let proxy = harness::proxy(Numbered([broken.addr(), origin.addr()])).await;
        let mut client = raw::connect(proxy.addr()).await;
        // Each piece makes a bit more of what fits just so.
        let body = "x".repeat(64 * 1024 - 2);
        let length = body.len();
        client
            .send(format!(
                "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 {length:x}\r\n{body}\r\n0\r\n\r\n"
            ))
            .await;
        let mut first = broken.accept().await;
        first.read_until("\r\n0\r\n\r\n").await;
        first.reset();
        let head = client.read_head().await;
        assert!(head.starts_with(b"HTTP/1.1 502"), "{head:?}");
        assert_eq!(origin.requests().len(), 0);
    });
}
