//! Every client before every origin: one test body, a cell for each pair of protocols.

mod clients;
mod origins;

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora_e2e::harness::{self, Running};

use self::clients::{Answer, Ask, Body, Client};
use self::origins::Origin;

/// A version of HTTP, without TLS.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    H1,
    H2,
}

use Version::{H1, H2};

/// Every pair.
const CELLS: [(Version, Version); 4] = [(H1, H1), (H1, H2), (H2, H1), (H2, H2)];

/// Passes everything on to an origin of a known version.
struct Pass(SocketAddr, Version);

#[async_trait]
impl ProxyHttp for Pass {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = harness::peer(self.0);
        if self.1 == H2 {
            peer.options.set_http_version(2, 2);
        }
        peer.options.max_h2_streams = 10;
        Ok(peer)
    }
}

async fn proxy(origin: &Origin) -> Running {
    let pass = Pass(origin.addr(), origin.version());
    harness::proxy_with(pass, |_, options| options.h2c = true).await
}

/// Sends one request through every cell, twice on a connection, and checks the answers.
fn check(ask: Ask, expected: impl Fn(&Answer) -> bool + Send + Sync) {
    harness::run(async {
        for (down, up) in CELLS {
            let origin = Origin::start(up).await;
            let proxy = proxy(&origin).await;
            let mut client = Client::connect(down, proxy.addr()).await;
            for round in 1..=2 {
                let answer = client.ask(&ask).await;
                assert!(
                    expected(&answer),
                    "{down:?} to {up:?}, round {round}: {ask:?}: {answer:?}"
                );
            }
            assert_eq!(origin.errors(), Vec::<String>::new(), "{down:?} to {up:?}");
            assert_eq!(origin.connections(), 1, "{down:?} to {up:?}");
        }
    });
}

fn ask(method: &'static str, path: &'static str, body: Body) -> Ask {
    Ask {
        method,
        path,
        body,
        trailers: false,
    }
}

#[test]
fn get() {
    check(ask("GET", "/echo", Body::None), |answer| {
        answer.status == 200 && answer.body == Ok("GET ".into()) && answer.header("date").is_some()
    });
}

#[test]
fn get_of_unknown_length() {
    check(ask("GET", "/pieces", Body::None), |answer| {
        answer.status == 200 && answer.body == Ok("hello".into())
    });
}

#[test]
fn head() {
    check(ask("HEAD", "/echo", Body::None), |answer| {
        answer.status == 200
            && answer.body == Ok(String::new())
            && answer.header("content-length") == Some("5")
    });
}

#[test]
fn statuses_without_a_body() {
    for (path, status) in [("/204", 204), ("/304", 304)] {
        check(ask("GET", path, Body::None), |answer| {
            answer.status == status && answer.body == Ok(String::new())
        });
    }
}

#[test]
fn post() {
    for body in [
        Body::None,
        Body::Fixed(""),
        Body::Fixed("hello"),
        Body::Pieces(&["hel", "lo"]),
        Body::Pieces(&[]),
    ] {
        let expected = format!("POST {}", body.text());
        check(ask("POST", "/echo", body), |answer| {
            answer.status == 200 && answer.body.as_ref() == Ok(&expected)
        });
    }
}

#[test]
fn large_bodies() {
    let text: &'static str = "0123456789abcdef".repeat(64 * 1024).leak();
    let expected = format!("POST {text}");
    for body in [Body::Fixed(text), Body::Pieces(vec![text].leak())] {
        check(ask("POST", "/echo", body), |answer| {
            answer.status == 200 && answer.body.as_ref() == Ok(&expected)
        });
    }
}

#[test]
fn informational_responses() {
    check(ask("GET", "/hints", Body::None), |answer| {
        answer.status == 200 && answer.body == Ok("hello".into()) && answer.sees_hints()
    });
}

#[test]
fn trailers() {
    check(ask("GET", "/trailers", Body::None), |answer| {
        answer.status == 200
            && answer.body == Ok("hello".into())
            && answer.trailers == [("x-checksum".to_string(), "5".to_string())]
    });
}

/// Trailers of a request reach an origin of HTTP/2 from a client of HTTP/2.
#[test]
fn request_trailers() {
    harness::run(async {
        let origin = Origin::start(H2).await;
        let proxy = proxy(&origin).await;
        let mut client = Client::connect(H2, proxy.addr()).await;
        let mut ask = ask("POST", "/request-trailers", Body::Pieces(&["hello"]));
        ask.trailers = true;
        let answer = client.ask(&ask).await;
        assert_eq!(answer.body, Ok("x-asked: 1".to_string()), "{answer:?}");
    });
}

/// The answer may come before the request has ended: what is left of it is of no use to anybody.
#[test]
fn early_responses() {
    let text: &'static str = "x".repeat(10 * 1024 * 1024).leak();
    harness::run(async {
        for (down, up) in CELLS {
            let origin = Origin::start_on_head(up).await;
            let proxy = proxy(&origin).await;
            let mut client = Client::connect(down, proxy.addr()).await;
            let answer = client.ask(&ask("POST", "/early", Body::Fixed(text))).await;
            assert_eq!(
                (answer.status, answer.body),
                (403, Ok("no".to_string())),
                "{down:?} to {up:?}"
            );
        }
    });
}

/// An origin that breaks off: the client sees that the response is not whole.
#[test]
fn aborts_of_the_origin() {
    harness::run(async {
        for (down, up) in CELLS {
            for path in ["/abort", "/abort-pieces"] {
                let origin = Origin::start(up).await;
                let proxy = proxy(&origin).await;
                let mut client = Client::connect(down, proxy.addr()).await;
                let answer = client.ask(&ask("GET", path, Body::None)).await;
                // A reset of HTTP/2 may overtake the head.
                let overtaken = up == H2 && answer.status == 502;
                assert!(
                    answer.body.is_err() || overtaken,
                    "{down:?} to {up:?}: {answer:?}"
                );
            }
            let origin = Origin::start(up).await;
            let proxy = proxy(&origin).await;
            let mut client = Client::connect(down, proxy.addr()).await;
            let answer = client.ask(&ask("GET", "/abort-before", Body::None)).await;
            assert_eq!(answer.status, 502, "{down:?} to {up:?}: {answer:?}");
        }
    });
}

/// A client that goes away: the origin learns of it, whatever it is doing.
#[test]
fn aborts_of_the_client() {
    harness::run(async {
        for (down, up) in CELLS {
            for (path, body) in [("/wait", Body::None), ("/wait", Body::Unended("hello"))] {
                let origin = Origin::start_on_head(up).await;
                let proxy = proxy(&origin).await;
                let client = Client::connect(down, proxy.addr()).await;
                client
                    .ask_and_go(&ask("POST", path, body), origin.seen())
                    .await;
                origin.aborted().await;
            }
        }
    });
}

/// WebSocket's way to a tunnel, each side in its own words.
#[test]
fn upgrades() {
    harness::run(async {
        for (down, up) in CELLS {
            let origin = Origin::start(up).await;
            let proxy = proxy(&origin).await;
            let mut tunnel = Client::upgrade(down, proxy.addr()).await;
            for message in ["ping", "0\r\n\r\n", "\0\x7f", &"long".repeat(50_000)] {
                tunnel.echo(message).await;
            }
            tunnel.end().await;
        }
    });
}
