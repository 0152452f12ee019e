//! HTTP/2 between a slow side and a fast one, and what is sent twice and what never is.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::h2::Reason;
use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use pingora::prelude::*;
use pingora_e2e::frames::{self, Client, END_HEADERS, WHOLE, frame, kind};
use pingora_e2e::h2::{self, H2Origin, response};
use pingora_e2e::harness::{self, ForwardH2, forward_h2c, proxy_h2c};
use pingora_test_support::limit::Gate;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::raw;
use pingora_test_support::within;

fn post(path: &str) -> Request<()> {
    Request::post(format!("http://a{path}")).body(()).unwrap()
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a{path}")).body(()).unwrap()
}

/// Uploads that are given up while the origin takes nothing give their windows back.
#[test]
fn resets_of_stalled_uploads() {
    harness::run(async {
        let stalled = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&stalled);
        let origin = H2Origin::start(move |(request, mut respond)| {
            let seen = Arc::clone(&seen);
            async move {
                if request.uri().path() == "/stall" {
                    seen.fetch_add(1, Ordering::Relaxed);
                    // Holds the body without reading it, as long as somebody wants the answer.
                    let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
                    return;
                }
                let (body, _) = h2::read(request.into_body()).await.unwrap();
                let mut stream = respond.send_response(response(200, &[]), false).unwrap();
                stream.send_data(body, true).unwrap();
            }
        })
        .await;
        let proxy = proxy_h2c(ForwardH2(origin.addr())).await;
        let mut requests = h2::connect(proxy.addr()).await;
        for round in 1..=20 {
            let (_response, mut stream) = requests.send_request(post("/stall"), false).unwrap();
            stream.send_data(vec![0; 1 << 20].into(), false).unwrap();
            within("the upload stalls", async {
                while stalled.load(Ordering::Relaxed) < round {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            stream.send_reset(Reason::CANCEL);
        }
        let response = h2::send(&mut requests, post("/"), "small").await;
        assert_eq!(h2::read(response.into_body()).await.unwrap().0, "small");
    });
}

/// Uploads that stall do not keep others from being sent, nor downloads.
#[test]
fn stalled_streams_stop_nobody() {
    harness::run(async {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = H2Origin::start(move |(request, mut respond)| {
            let held = held.clone();
            async move {
                match request.uri().path() {
                    "/stall" => held.opened().await,
                    "/large" => {
                        let mut stream = respond.send_response(response(200, &[]), false).unwrap();
                        let _ = h2::write(&mut stream, vec![b'x'; 16 << 20].into()).await;
                        let _ = stream.send_data(Bytes::new(), true);
                    }
                    _ => {
                        let mut stream = respond.send_response(response(200, &[]), false).unwrap();
                        stream.send_data("small".into(), true).unwrap();
                    }
                }
            }
        })
        .await;
        let proxy = proxy_h2c(ForwardH2(origin.addr())).await;
        // Ten clients that take nothing, on a connection of their own, and ten uploads.
        let settings = [&[0, 4][..], &0u32.to_be_bytes()].concat();
        let mut lazy = Client::connect(proxy.addr(), &settings).await;
        let large = b"\x82\x04\x06/large\x86\x41\x01a";
        for at in 0..10 {
            lazy.send(&frame(kind::HEADERS, WHOLE, at * 2 + 1, large))
                .await;
        }
        let mut requests = h2::connect(proxy.addr()).await;
        let mut uploads = Vec::new();
        for _ in 0..10 {
            let (response, mut stream) = requests.send_request(post("/stall"), false).unwrap();
            stream.send_data(vec![0; 1 << 20].into(), false).unwrap();
            uploads.push((response, stream));
        }
        origin
            .wait_for("all streams", |seen| seen.streams == 20)
            .await;
        for _ in 0..50 {
            let response = h2::send(&mut requests, get("/small"), "").await;
            assert_eq!(h2::read(response.into_body()).await.unwrap().0, "small");
        }
        // One large response that is taken gets through beside those that are not.
        let response = h2::send(&mut requests, get("/large"), "").await;
        let (body, _) = h2::read(response.into_body()).await.unwrap();
        assert_eq!(body.len(), 16 << 20);
        assert_eq!(origin.counts().connections, 1);
        gate.open();
    });
}

/// How an origin fails its first request, and whether it has seen it.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Refused,
    Reset(Reason),
    Malformed,
    /// What the h2 crate takes and HTTP/1 does not.
    Quoted,
    Closed,
}

/// A POST is sent again when the server says that it was not seen, and never otherwise.
#[test]
fn requests_sent_twice() {
    harness::run(async {
        for (failure, status, tries) in [
            (Failure::Refused, 200, 2),
            (Failure::Reset(Reason::INTERNAL_ERROR), 502, 1),
            (Failure::Reset(Reason::CANCEL), 502, 1),
            (Failure::Malformed, 502, 1),
            (Failure::Quoted, 502, 1),
            (Failure::Closed, 502, 1),
        ] {
            let bodies = Arc::new(AtomicUsize::new(0));
            let seen = Arc::clone(&bodies);
            let origin = failing_origin(failure, seen).await;
            let proxy = proxy_h2c(ForwardH2(origin)).await;
            let mut requests = h2::connect(proxy.addr()).await;
            let response = h2::send(&mut requests, post("/"), "hello").await;
            assert_eq!(response.status(), status, "{failure:?}");
            assert_eq!(bodies.load(Ordering::Relaxed), tries, "{failure:?}");
        }
    });
}

/// Starts an origin of frames that fails the first request it gets and answers any other; counts the
/// requests whose body has come.
async fn failing_origin(failure: Failure, bodies: Arc<AtomicUsize>) -> SocketAddr {
    frames::origin(move |received| {
        if received.kind != kind::DATA || received.flags & 1 == 0 {
            return Some(vec![]);
        }
        let stream = received.stream;
        if bodies.fetch_add(1, Ordering::Relaxed) > 0 {
            return Some(frame(kind::HEADERS, WHOLE, stream, b"\x88"));
        }
        match failure {
            Failure::Refused => Some(reset(stream, Reason::REFUSED_STREAM)),
            Failure::Reset(reason) => Some(reset(stream, reason)),
            Failure::Malformed => {
                // A field in upper case.
                let block = b"\x88\x00\x01A\x01b";
                Some(frame(kind::HEADERS, END_HEADERS, stream, block))
            }
            Failure::Quoted => {
                let block = b"\x88\x00\x03a\"b\x01c";
                Some(frame(kind::HEADERS, WHOLE, stream, block))
            }
            Failure::Closed => None,
        }
    })
    .await
}

fn reset(stream: u32, reason: Reason) -> Vec<u8> {
    frame(
        kind::RST_STREAM,
        0,
        stream,
        &u32::from(reason).to_be_bytes(),
    )
}

/// GOAWAY: streams above its number were not seen and go elsewhere, POST or not; those below it are
/// never sent again.
#[test]
fn goaway_of_the_origin() {
    harness::run(async {
        for (last, status, connections) in [(0u32, 200, 2), (1, 502, 1)] {
            let listener = raw::Listener::bind().await;
            let addr = listener.addr();
            let served = tokio::spawn(async move {
                let mut count = 0;
                loop {
                    let mut peer = listener.accept().await;
                    count += 1;
                    peer.send(frame(kind::SETTINGS, 0, 0, b"")).await;
                    peer.read_until("hello").await;
                    if count == 2 {
                        peer.send(frame(kind::HEADERS, WHOLE, 1, b"\x88")).await;
                        return count;
                    }
                    let payload = [last.to_be_bytes(), 0u32.to_be_bytes()].concat();
                    peer.send(frame(kind::GOAWAY, 0, 0, &payload)).await;
                    if last > 0 {
                        peer.close();
                        return count;
                    }
                }
            });
            let proxy = proxy_h2c(ForwardH2(addr)).await;
            let mut requests = h2::connect(proxy.addr()).await;
            let response = h2::send(&mut requests, post("/"), "hello").await;
            assert_eq!(response.status(), status, "{last}");
            assert_eq!(served.await.unwrap(), connections);
        }
    });
}

/// The limit an origin announces is kept: nothing is refused.
#[test]
fn one_stream_at_a_time() {
    harness::run(async {
        let mut options = ::h2::server::Builder::new();
        options.max_concurrent_streams(1);
        let at_once = Arc::new(AtomicUsize::new(0));
        let origin = H2Origin::start_with(options, move |(_, mut respond)| {
            let at_once = Arc::clone(&at_once);
            async move {
                at_once.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                respond.send_response(response(200, &[]), true).unwrap();
            }
        })
        .await;
        let proxy = proxy_h2c(ForwardH2(origin.addr())).await;
        let mut requests = h2::connect(proxy.addr()).await;
        let mut responses = Vec::new();
        for _ in 0..10 {
            responses.push(requests.send_request(get("/"), true).unwrap().0);
        }
        for response in responses {
            let response = within("a response", response).await.unwrap();
            assert_eq!(response.status(), 200);
        }
    });
}

/// Answers of our own, a thousand times on a connection: none is cut off.
#[test]
fn answers_without_an_upstream() {
    struct Answers;

    #[async_trait]
    impl ProxyHttp for Answers {
        type CTX = ();
        fn new_ctx(&self) {}

        async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
            let body = Bytes::from_static(b"hello");
            session.respond_error_with_body(200, body).await?;
            Ok(true)
        }

        async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
            unreachable!("all is answered")
        }
    }

    harness::run(async {
        let proxy = proxy_h2c(Answers).await;
        let mut requests = h2::connect(proxy.addr()).await;
        for at in 0..1000 {
            let response = h2::send(&mut requests, get("/"), "").await;
            let body = h2::read(response.into_body()).await;
            assert_eq!(body.unwrap().0, "hello", "{at}");
        }
    });
}

/// A server that stops lets the requests that came end, and says that it takes no more.
#[test]
fn graceful_stop() {
    harness::run(async {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            Reply::nothing()
                .wait(&held)
                .then("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        })
        .await;
        let proxy = forward_h2c(origin.addr()).await;
        let mut requests = h2::connect(proxy.addr()).await;
        let response = requests.send_request(get("/"), true).unwrap().0;
        origin.wait_for_requests(1).await;
        proxy.terminate();
        // Kept: dropping them would reset their streams, of which a client may do only so many.
        let mut late = vec![];
        within("GOAWAY", async {
            while let Ok((response, _)) = requests.send_request(get("/late"), true) {
                late.push(response);
                tokio::task::yield_now().await;
            }
        })
        .await;
        gate.open();
        let response = within("a response", response).await.unwrap();
        assert_eq!(h2::read(response.into_body()).await.unwrap().0, "hello");
        drop(requests);
        proxy.ended().await;
    });
}

/// Has its origin end the connection between a stream being taken on it and the request.
struct Losing {
    to: ForwardH2,
    lose: Gate,
    lost: Gate,
}

#[async_trait]
impl ProxyHttp for Losing {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        self.to.upstream_peer(session, &mut ()).await
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        _: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        self.lose.open();
        self.lost.opened().await;
        Ok(())
    }
}

/// A request that never left goes to another connection at once, POST or not.
#[test]
fn connections_lost_before_the_request() {
    harness::run(async {
        // What the origin sends before it closes: nothing, or what no connection survives.
        for last in [Vec::new(), frame(kind::DATA, 0, 0, b"x")] {
            let listener = raw::Listener::bind().await;
            let (lose, lost) = (Gate::new(), Gate::new());
            let proxy = Losing {
                to: ForwardH2(listener.addr()),
                lose: lose.clone(),
                lost: lost.clone(),
            };
            let served = tokio::spawn(async move {
                let mut first = listener.accept().await;
                first.send(frame(kind::SETTINGS, 0, 0, b"")).await;
                lose.opened().await;
                first.send(last).await;
                first.half_close().await;
                first.read_to_end().await;
                lost.open();
                let mut second = listener.accept().await;
                second.send(frame(kind::SETTINGS, 0, 0, b"")).await;
                second.read_until("hello").await;
                second.send(frame(kind::HEADERS, WHOLE, 1, b"\x88")).await;
                second
            });
            let proxy = proxy_h2c(proxy).await;
            let mut requests = h2::connect(proxy.addr()).await;
            let response = h2::send(&mut requests, post("/"), "hello").await;
            assert_eq!(response.status(), 200);
            served.await.unwrap();
        }
    });
}

/// A connection that ends in place of an answer may have been idle for too long: what is idempotent
/// is sent again.
#[test]
fn connections_closed_on_reuse() {
    harness::run(async {
        for (request, status, seen) in [(get("/"), 200, 3), (post("/"), 502, 2)] {
            let heads = Arc::new(AtomicUsize::new(0));
            let origin = dying_origin(Arc::clone(&heads)).await;
            let proxy = proxy_h2c(ForwardH2(origin)).await;
            let mut requests = h2::connect(proxy.addr()).await;
            for status in [200, status] {
                let response = h2::send(&mut requests, request.clone(), "").await;
                assert_eq!(response.status(), status, "{request:?}");
            }
            assert_eq!(heads.load(Ordering::Relaxed), seen, "{request:?}");
        }
    });
}

/// Starts an origin of frames that answers one request on a connection and closes it on the next;
/// counts the requests.
async fn dying_origin(heads: Arc<AtomicUsize>) -> SocketAddr {
    frames::origin(move |received| {
        if received.kind != kind::HEADERS {
            return Some(vec![]);
        }
        heads.fetch_add(1, Ordering::Relaxed);
        (received.stream == 1).then(|| frame(kind::HEADERS, WHOLE, 1, b"\x88"))
    })
    .await
}

/// Gives the origin little time to go on with its response.
struct Hurried(ForwardH2);

#[async_trait]
impl ProxyHttp for Hurried {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = self.0.upstream_peer(session, &mut ()).await?;
        peer.options.read_timeout = Some(std::time::Duration::from_millis(100));
        peer.options.write_timeout = None;
        Ok(peer)
    }
}

/// An origin that takes no more of an upload owes the rest of a response it has begun.
#[test]
fn responses_that_stop_while_the_upload_stalls() {
    harness::run(async {
        let origin = H2Origin::start(|(_request, mut respond)| async move {
            let mut stream = respond.send_response(response(200, &[]), false).unwrap();
            stream.send_data("part".into(), false).unwrap();
            let _ = poll_fn(|cx| stream.poll_reset(cx)).await;
        })
        .await;
        let proxy = Hurried(ForwardH2(origin.addr()));
        let proxy = proxy_h2c(proxy).await;
        let mut requests = h2::connect(proxy.addr()).await;
        let (response, mut stream) = requests.send_request(post("/"), false).unwrap();
        stream.send_data(vec![0; 1 << 20].into(), false).unwrap();
        let response = within("a response", response).await.unwrap();
        within("the end", h2::read(response.into_body()))
            .await
            .unwrap_err();
    });
}

/// Puts in a head and a body that no frame holds.
struct Large(ForwardH2);

#[async_trait]
impl ProxyHttp for Large {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        self.0.upstream_peer(session, &mut ()).await
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        upstream: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        upstream.remove_header("Content-Length");
        for number in 0..10 {
            upstream.insert_header(format!("X-{number}"), "~".repeat(9_000))?;
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _: &mut (),
    ) -> Result<()> {
        *body = end.then(|| Bytes::from(vec![b'y'; 300_000]));
        Ok(())
    }
}

/// What a proxy makes itself is cut into frames as what it got is (CVE-2026-42055).
#[test]
fn requests_larger_than_frames() {
    harness::run(async {
        let origin = H2Origin::start(|(request, mut respond)| async move {
            let (head, body) = request.into_parts();
            let fields = (head.headers.values()).filter(|value| value.len() == 9_000);
            let fields = fields.count();
            let (body, _) = h2::read(body).await.unwrap();
            let text = format!(
                "{fields} {} {}",
                body.len(),
                body.iter().all(|&b| b == b'y')
            );
            let mut stream = respond.send_response(response(200, &[]), false).unwrap();
            stream.send_data(text.into(), true).unwrap();
        })
        .await;
        let proxy = Large(ForwardH2(origin.addr()));
        let proxy = proxy_h2c(proxy).await;
        let mut requests = h2::connect(proxy.addr()).await;
        for _ in 0..3 {
            let response = h2::send(&mut requests, post("/"), "small").await;
            let (text, _) = h2::read(response.into_body()).await.unwrap();
            assert_eq!(text, "10 300000 true");
        }
        assert_eq!(origin.counts().connections, 1);
    });
}

/// Hosts that are valid are passed on as they are, whatever the library of a server makes of them.
#[test]
fn hosts_of_any_form() {
    harness::run(async {
        let origin = H2Origin::start(|(request, mut respond)| async move {
            let host = request.uri().authority().unwrap().to_string();
            let mut stream = respond.send_response(response(200, &[]), false).unwrap();
            stream.send_data(host.into(), true).unwrap();
        })
        .await;
        let proxy = proxy_h2c(ForwardH2(origin.addr())).await;
        for (host, answer) in [
            ("a.example:80", "HTTP/1.1 200 "),
            ("a_b!c.example", "HTTP/1.1 200 "),
            // One that the origin's library resets.
            ("%61.example", "HTTP/1.1 502 "),
        ] {
            let mut client = raw::connect(proxy.addr()).await;
            client
                .send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
                .await;
            let head = client.read_head().await;
            assert!(head.starts_with(answer.as_bytes()), "{host}: {head:?}");
        }
    });
}
