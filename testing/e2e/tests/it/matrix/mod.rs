//! Every client before every origin: one test body, a cell for each pair of protocols.

mod clients;
#[cfg(feature = "any_tls")]
mod doors;
mod origins;

use std::fmt;
use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora_e2e::harness::{self, Running};

use self::clients::{Answer, Ask, Body, Client};
use self::origins::Origin;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    H1,
    H2,
}

use Version::{H1, H2};

/// What is spoken on one side of the proxy.
#[derive(Clone, Copy, PartialEq)]
struct Kind {
    version: Version,
    tls: bool,
}

/// HTTP/1, and HTTP/2 by prior knowledge; both also over TLS, chosen by ALPN, where a library for
/// that is compiled in.
const KINDS: &[Kind] = &[
    Kind {
        version: H1,
        tls: false,
    },
    Kind {
        version: H2,
        tls: false,
    },
    #[cfg(feature = "any_tls")]
    Kind {
        version: H1,
        tls: true,
    },
    #[cfg(feature = "any_tls")]
    Kind {
        version: H2,
        tls: true,
    },
];

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls { " with TLS" } else { "" };
        write!(f, "{:?}{tls}", self.version)
    }
}

/// Returns every pair.
fn cells() -> impl Iterator<Item = (Kind, Kind)> {
    let with_every = |down: &'static Kind| KINDS.iter().map(|up| (*down, *up));
    KINDS.iter().flat_map(with_every)
}

/// Passes everything on to an origin of a known kind.
struct Pass(SocketAddr, Kind);

#[async_trait]
impl ProxyHttp for Pass {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        #[cfg(feature = "any_tls")]
        let mut peer = match self.1.tls {
            true => Box::new(crate::tls::peer(self.0, "a.example")),
            false => harness::peer(self.0),
        };
        #[cfg(not(feature = "any_tls"))]
        let mut peer = harness::peer(self.0);
        match self.1.version {
            H1 => peer.options.set_http_version(1, 1),
            H2 => peer.options.set_http_version(2, 2),
        }
        peer.options.max_h2_streams = 10;
        Ok(peer)
    }
}

/// A proxy between a client and an origin of these kinds, which both speak without TLS: that is
/// put around the proxy where there is any.
struct Cell {
    origin: Origin,
    /// Where the client connects to.
    addr: SocketAddr,
    _front: Running,
    /// What is behind it.
    _running: Vec<Running>,
}

impl Cell {
    async fn start(down: Kind, up: Kind) -> Cell {
        Cell::before(Origin::start(up.version).await, down, up).await
    }

    /// The origin answers when it has read the head.
    async fn start_on_head(down: Kind, up: Kind) -> Cell {
        Cell::before(Origin::start_on_head(up.version).await, down, up).await
    }

    #[cfg(feature = "any_tls")]
    async fn before(origin: Origin, down: Kind, up: Kind) -> Cell {
        let mut running = Vec::new();
        let mut behind = origin.addr();
        if up.tls {
            running.push(doors::out_of_tls(behind, up.version).await);
            behind = running[0].addr();
        }
        let pass = Pass(behind, up);
        let mut front = match down.tls {
            true => doors::proxy(pass).await,
            false => plain(pass).await,
        };
        if down.tls {
            let door = doors::into_tls(front.addr(), down.version).await;
            running.push(std::mem::replace(&mut front, door));
        }
        Cell {
            origin,
            addr: front.addr(),
            _front: front,
            _running: running,
        }
    }

    #[cfg(not(feature = "any_tls"))]
    async fn before(origin: Origin, _down: Kind, up: Kind) -> Cell {
        let proxy = plain(Pass(origin.addr(), up)).await;
        Cell {
            origin,
            addr: proxy.addr(),
            _front: proxy,
            _running: Vec::new(),
        }
    }
}

async fn plain(pass: Pass) -> Running {
    harness::proxy_h2c(pass).await
}

/// Sends one request through every cell, twice on a connection, and checks the answers.
fn check(ask: Ask, expected: impl Fn(&Answer) -> bool + Send + Sync) {
    harness::run(async {
        for (down, up) in cells() {
            let cell = Cell::start(down, up).await;
            let mut client = Client::connect(down.version, cell.addr).await;
            for round in 1..=2 {
                let answer = client.ask(&ask).await;
                assert!(
                    expected(&answer),
                    "{down:?} to {up:?}, round {round}: {ask:?}: {answer:?}"
                );
            }
            let errors = cell.origin.errors();
            assert_eq!(errors, Vec::<String>::new(), "{down:?} to {up:?}");
            assert_eq!(cell.origin.connections(), 1, "{down:?} to {up:?}");
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
        for (down, up) in cells().filter(|cell| (cell.0.version, cell.1.version) == (H2, H2)) {
            let cell = Cell::start(down, up).await;
            let mut client = Client::connect(H2, cell.addr).await;
            let mut ask = ask("POST", "/request-trailers", Body::Pieces(&["hello"]));
            ask.trailers = true;
            let answer = client.ask(&ask).await;
            let expected = Ok("x-asked: 1".to_string());
            assert_eq!(answer.body, expected, "{down:?} to {up:?}: {answer:?}");
        }
    });
}

/// The answer may come before the request has ended: what is left of it is of no use to anybody.
#[test]
fn early_responses() {
    let text: &'static str = "x".repeat(10 * 1024 * 1024).leak();
    harness::run(async {
        for (down, up) in cells() {
            let cell = Cell::start_on_head(down, up).await;
            let mut client = Client::connect(down.version, cell.addr).await;
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
        for (down, up) in cells() {
            for path in ["/abort", "/abort-pieces"] {
                let cell = Cell::start(down, up).await;
                let mut client = Client::connect(down.version, cell.addr).await;
                let answer = client.ask(&ask("GET", path, Body::None)).await;
                // A reset of HTTP/2 may overtake the head.
                let overtaken = up.version == H2 && answer.status == 502;
                assert!(
                    answer.body.is_err() || overtaken,
                    "{down:?} to {up:?}: {answer:?}"
                );
            }
            let cell = Cell::start(down, up).await;
            let mut client = Client::connect(down.version, cell.addr).await;
            let answer = client.ask(&ask("GET", "/abort-before", Body::None)).await;
            assert_eq!(answer.status, 502, "{down:?} to {up:?}: {answer:?}");
        }
    });
}

/// A client that goes away: the origin learns of it, whatever it is doing.
#[test]
fn aborts_of_the_client() {
    harness::run(async {
        for (down, up) in cells() {
            for (path, body) in [("/wait", Body::None), ("/wait", Body::Unended("hello"))] {
                let cell = Cell::start_on_head(down, up).await;
                let client = Client::connect(down.version, cell.addr).await;
                client
                    .ask_and_go(&ask("POST", path, body), cell.origin.seen())
                    .await;
                cell.origin.aborted().await;
            }
        }
    });
}

/// WebSocket's way to a tunnel, each side in its own words.
#[test]
fn upgrades() {
    harness::run(async {
        for (down, up) in cells() {
            let cell = Cell::start(down, up).await;
            let mut tunnel = Client::upgrade(down.version, cell.addr).await;
            for message in ["ping", "0\r\n\r\n", "\0\x7f", &"long".repeat(50_000)] {
                tunnel.echo(message).await;
            }
            tunnel.end().await;
        }
    });
}
