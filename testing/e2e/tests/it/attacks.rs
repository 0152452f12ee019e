//! Clients of HTTP/2 that do not behave: what they cost is bounded, they are told to calm down, and
//! nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use ::h2::Reason;
use async_trait::async_trait;
use http::Request;
use pingora::prelude::*;
use pingora_e2e::frames::{
    self, Client, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GET, POST, WHOLE, frame, kind,
};
use pingora_e2e::h2;
use pingora_e2e::harness::{self, Forward, Running, forward_h2c};
use pingora_test_support::limit::Gate;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::within;

/// Sends what `frames` returns for each stream until the server has had enough; returns why it
/// ended the connection. All the while another client is served.
async fn flood(proxy: &Running, frames: impl Fn(u32) -> Vec<u8>, streams: u32) -> Option<u32> {
    let mut other = h2::connect(proxy.addr()).await;
    let mut client = Client::connect(proxy.addr(), b"").await;
    let reading = tokio::spawn(async move {
        let mut reason = None;
        while let Some(frame) = frames::next(&mut client.receive).await {
            if frame.kind == kind::GOAWAY {
                let bytes = frame.payload[4..8].try_into().unwrap();
                reason = Some(u32::from_be_bytes(bytes));
            }
        }
        reason
    });
    let mut send = client.send;
    for at in 0..streams {
        let bytes = frames(at * 2 + 1);
        let sent = tokio::io::AsyncWriteExt::write_all(&mut send, &bytes);
        if within("sending", sent).await.is_err() {
            break;
        }
        if at % 100 == 0 {
            let request = Request::get("http://a/").body(()).unwrap();
            let response = other.send_request(request, true).unwrap().0;
            let response = within("a response to somebody else", response).await;
            assert_eq!(response.unwrap().status(), 200);
        }
    }
    within("the end of the connection", reading).await.unwrap()
}

fn request(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, WHOLE, stream, block)
}

/// CVE-2023-44487.
#[test]
fn rapid_reset() {
    harness::run(async {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Origin::start(move |request| match request.header("host") {
            Some("x") => Reply::nothing().wait(&held),
            _ => Reply::ok(""),
        })
        .await;
        let proxy = forward_h2c(origin.addr()).await;
        let reset = |stream| {
            let cancel = frame(kind::RST_STREAM, 0, stream, &8u32.to_be_bytes());
            [request(stream, GET), cancel].concat()
        };
        let reason = flood(&proxy, reset, 100_000).await;
        assert_eq!(reason, Some(ENHANCE_YOUR_CALM));
        gate.open();
    });
}

/// The same one by one, each request at work before it is given up.
#[test]
fn slow_reset() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::nothing()).await;
        let proxy = forward_h2c(origin.addr()).await;
        let mut requests = h2::connect(proxy.addr()).await;
        for at in 1..1000 {
            let request = Request::get("http://a/").body(()).unwrap();
            let (response, mut stream) = match requests.send_request(request, true) {
                Ok(sent) => sent,
                Err(e) => {
                    assert_eq!(e.reason(), Some(Reason::ENHANCE_YOUR_CALM), "{e}");
                    break;
                }
            };
            // Until the budget is used up each of them reaches the origin.
            tokio::select! {
                // Both branches are cancel-safe: nothing is read from either.
                () = origin.wait_for_requests(at) => (),
                ended = response => drop(ended.unwrap_err()),
            }
            stream.send_reset(Reason::CANCEL);
        }
        let seen = origin.requests().len();
        assert!((100..500).contains(&seen), "{seen}");
    });
}

/// CVE-2025-8671: valid requests, and frames that make the server reset them.
#[test]
fn made_you_reset() {
    harness::run(async {
        let origin = Origin::start(|request| match request.header("host") {
            Some("x") => Reply::nothing(),
            _ => Reply::ok(""),
        })
        .await;
        let proxy = forward_h2c(origin.addr()).await;
        let window = |increment: u32| {
            move |stream| {
                let update = frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
                [request(stream, GET), update].concat()
            }
        };
        let depends_on_itself = |stream: u32| {
            let priority = [&stream.to_be_bytes()[..], &[0]].concat();
            [
                request(stream, GET),
                frame(kind::PRIORITY, 0, stream, &priority),
            ]
            .concat()
        };
        let short_priority = |stream| {
            [
                request(stream, GET),
                frame(kind::PRIORITY, 0, stream, b"1234"),
            ]
            .concat()
        };
        let data_after_end =
            |stream| [request(stream, GET), frame(kind::DATA, 0, stream, b"x")].concat();
        let headers_after_end = |stream| [request(stream, GET), request(stream, GET)].concat();
        let longer_than_said = |stream| {
            let head = [POST, b"\x0f\x0d\x011"].concat();
            let head = frame(kind::HEADERS, END_HEADERS, stream, &head);
            [head, frame(kind::DATA, END_STREAM, stream, b"too long")].concat()
        };
        let cases: [(&str, &dyn Fn(u32) -> Vec<u8>, bool); 7] = [
            ("increment of 0", &window(0), true),
            ("overflow", &window((1 << 31) - 1), true),
            ("dependency on itself", &depends_on_itself, false),
            ("short PRIORITY", &short_priority, false),
            ("DATA after the end", &data_after_end, true),
            ("HEADERS after the end", &headers_after_end, true),
            ("length", &longer_than_said, true),
        ];
        for (name, frames, must_end) in cases {
            let before = origin.requests().len();
            let reason = flood(&proxy, frames, 5_000).await;
            // Some of them end the connection at once, as errors of the connection.
            assert!(!must_end || reason.is_some(), "{name}");
            let work = origin.requests().len() - before;
            assert!(!must_end || work < 1000, "{name}: {work}");
        }
    });
}

/// CVE-2026-105297 and its like: few bytes that become many fields.
#[test]
fn header_bombs() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = forward_h2c(origin.addr()).await;
        let bomb = |fields: usize| {
            let block = [GET, b"\x40\x01a\x00"].concat();
            let fields = vec![0xbe; fields];
            [block, fields].concat()
        };
        // Within a frame; more fields than allowed, more than the list may be long.
        for fields in [101, 1_900, 4_000] {
            let mut client = Client::connect(proxy.addr(), b"").await;
            client.send(&request(1, &bomb(fields))).await;
            let answer = loop {
                let frame = client.next().await.expect("an answer");
                if matches!(frame.kind, kind::HEADERS | kind::RST_STREAM | kind::GOAWAY) {
                    break frame;
                }
            };
            if answer.kind == kind::HEADERS {
                // `:status: 431`, by its index and as it is.
                let refused = b"\x48\x03431";
                assert!(answer.payload.starts_with(refused), "{answer:?}");
            }
        }
        // Many such streams on a connection, none of whose responses is taken.
        let settings = [&[0, 4][..], &0u32.to_be_bytes()].concat();
        let mut client = Client::connect(proxy.addr(), &settings).await;
        for at in 0..2048 {
            let stream = at * 2 + 1;
            let first = frame(kind::HEADERS, END_STREAM, stream, &bomb(16_000));
            let rest = frame(kind::CONTINUATION, END_HEADERS, stream, &[0xbe; 16_000]);
            if !client.send(&[first, rest].concat()).await {
                break;
            }
        }
        assert_eq!(origin.requests().len(), 0);
        let mut other = h2::connect(proxy.addr()).await;
        let request = Request::get("http://a/").body(()).unwrap();
        let response = other.send_request(request, true).unwrap().0.await;
        assert_eq!(response.unwrap().status(), 200);
    });
}

/// CVE-2024-27316 and its like.
#[test]
fn continuation_flood() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = forward_h2c(origin.addr()).await;
        for piece in [&b""[..], b"\x00\x01a\x01b", &[0; 0]] {
            let open = frame(kind::HEADERS, END_STREAM, 1, GET);
            let more = frame(kind::CONTINUATION, 0, 1, piece);
            let frames = |stream| match stream {
                1 => open.clone(),
                _ => more.clone(),
            };
            let reason = flood(&proxy, frames, 100_000).await;
            assert_eq!(reason, Some(ENHANCE_YOUR_CALM), "{piece:?}");
        }
    });
}

/// Frames without meaning: refused, or never more than are answered.
#[test]
fn control_frame_floods() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = forward_h2c(origin.addr()).await;
        let empty_data = |stream| match stream {
            1 => frame(kind::HEADERS, END_HEADERS, 1, POST),
            _ => frame(kind::DATA, 0, 1, b""),
        };
        let reason = flood(&proxy, empty_data, 10_000).await;
        assert_eq!(reason, Some(ENHANCE_YOUR_CALM));
        // Nobody reads the answers: the server stops reading as well.
        for flood in [
            frame(kind::PING, 0, 0, b"12345678"),
            frame(kind::SETTINGS, 0, 0, b""),
        ] {
            let mut client = Client::connect(proxy.addr(), b"").await;
            let flood = flood.repeat(1000);
            for _ in 0..1000 {
                let sent = tokio::io::AsyncWriteExt::write_all(&mut client.send, &flood);
                let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(100), sent).await
                else {
                    break;
                };
            }
            let mut other = h2::connect(proxy.addr()).await;
            let request = Request::get("http://a/").body(()).unwrap();
            let response = other.send_request(request, true).unwrap().0.await;
            assert_eq!(response.unwrap().status(), 200);
        }
    });
}

/// Requests that are none: a few are reset one by one, then the connection ends.
#[test]
fn malformed_requests() {
    harness::run(async {
        let origin = Origin::start(|request| match request.header("host") {
            Some("x") => panic!("a malformed request came through"),
            _ => Reply::ok(""),
        })
        .await;
        let proxy = forward_h2c(origin.addr()).await;
        let literal = |name: &str, value: &str| {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            let lengths = [name.len() as u8, value.len() as u8];
            [&[0, lengths[0]], name, &[lengths[1]], value].concat()
        };
        for field in [
            literal("host", "y"),
            literal("a", " b"),
            literal("a", "b\t"),
            literal("a", "b\r\nc: d"),
            literal("a", "b\0"),
            literal("A", "b"),
            literal("a b", "c"),
            literal("a:b", "c"),
            literal("a\"b", "c"),
            literal("", "c"),
            literal("connection", "close"),
            literal("transfer-encoding", "chunked"),
            literal("keep-alive", "5"),
            literal("upgrade", "x"),
            literal("te", "gzip"),
            literal("content-length", "5"),
            literal("content-length", "x"),
            literal("content-length", "+0"),
            literal(":path", "/b"),
            literal(":unknown", "b"),
            // Another path in place of the one of `GET`, or one behind a field.
            b"/ b".to_vec(),
            b"/\r\nx:y".to_vec(),
            b"b".to_vec(),
            b"".to_vec(),
            [literal("a", "b"), literal(":path", "/")].concat(),
        ] {
            let path = |path: &[u8]| [&[0x82, 4, path.len() as u8], path, &GET[2..]].concat();
            let block = match field.first() {
                Some(0) if field.starts_with(&literal("a", "b")) => {
                    [&[0x82, 0x86, 0x41, 1, b'x'], &field[..]].concat()
                }
                Some(0) => [GET, &field].concat(),
                _ => path(&field),
            };
            let mut client = Client::connect(proxy.addr(), b"").await;
            client.send(&request(1, &block)).await;
            let answer = loop {
                let frame = client.next().await.expect("an answer");
                if frame.kind != kind::SETTINGS && frame.kind != kind::WINDOW_UPDATE {
                    break frame;
                }
            };
            assert!(
                matches!(answer.kind, kind::RST_STREAM | kind::GOAWAY),
                "{:?}: {answer:?}",
                String::from_utf8_lossy(&field)
            );
        }
        // Those the h2 crate takes, and ours that it would not.
        for field in [
            literal("host", "y"),
            literal("a\"", "b"),
            literal("te", "gzip"),
        ] {
            let block = [GET, &field].concat();
            let reason = flood(&proxy, |stream| request(stream, &block), 1000).await;
            assert_eq!(reason, Some(ENHANCE_YOUR_CALM));
        }
        assert_eq!(origin.errors(), Vec::<String>::new());
    });
}

/// What a client is told that reads nothing does not pile up: there is an end to it (RUSTSEC-2024-0003).
#[test]
fn resets_that_nobody_reads() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = forward_h2c(origin.addr()).await;
        let no_window = [&[0, 4][..], &0u32.to_be_bytes()].concat();
        let malformed = [GET, b"\x00\x04host\x01y"].concat();
        let overflow = ((1u32 << 31) - 1).to_be_bytes();
        let cases: [(&str, &dyn Fn(u32) -> Vec<u8>); 3] = [
            ("malformed", &|stream| request(stream, &malformed)),
            ("overflow", &|stream| {
                let update = frame(kind::WINDOW_UPDATE, 0, stream, &overflow);
                [request(stream, GET), update.clone(), update].concat()
            }),
            ("after the end", &|stream| {
                [request(stream, GET), frame(kind::DATA, 0, stream, b"x")].concat()
            }),
        ];
        for (name, frames) in cases {
            let mut client = Client::connect(proxy.addr(), &no_window).await;
            let mut sent = 0;
            while sent < 100_000 && client.send(&frames(sent * 2 + 1)).await {
                sent += 1;
            }
            assert!(sent < 100_000, "{name}: the server takes everything");
        }
    });
}

/// Requests that are answered with a refusal are no attack, however many.
#[test]
fn refused_requests() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = forward_h2c(origin.addr()).await;
        let mut requests = h2::connect(proxy.addr()).await;
        for at in 0..100 {
            let request = Request::get("http://a/").header("expect", "x");
            let request = request.body(()).unwrap();
            let response = requests.send_request(request, true).unwrap().0.await;
            assert_eq!(response.unwrap().status(), 417, "{at}");
        }
        let request = Request::get("http://a/").body(()).unwrap();
        let response = requests.send_request(request, true).unwrap().0.await;
        assert_eq!(response.unwrap().status(), 200);
    });
}

/// Sets a short write timeout.
struct Impatient(SocketAddr);

#[async_trait]
impl ProxyHttp for Impatient {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        session.set_write_timeout(Some(Duration::from_millis(300)));
        session.set_read_timeout(Some(Duration::from_millis(300)));
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(harness::peer(self.0))
    }
}

/// A client that takes a byte now and then takes nothing; one that owes a body and sends none is
/// given up too.
#[test]
fn stalled_streams() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok(vec![b'x'; 100_000])).await;
        let proxy = harness::proxy_h2c(Impatient(origin.addr())).await;
        let settings = [&[0, 4][..], &0u32.to_be_bytes()].concat();
        let mut client = Client::connect(proxy.addr(), &settings).await;
        for at in 0..50 {
            client.send(&request(at * 2 + 1, GET)).await;
        }
        client
            .send(&frame(kind::HEADERS, END_HEADERS, 101, POST))
            .await;
        let mut send = client.send;
        let drip = tokio::spawn(async move {
            for at in 0u32.. {
                let update = frame(
                    kind::WINDOW_UPDATE,
                    0,
                    (at % 50) * 2 + 1,
                    &1u32.to_be_bytes(),
                );
                if tokio::io::AsyncWriteExt::write_all(&mut send, &update)
                    .await
                    .is_err()
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let mut reset = 0;
        while reset < 51 {
            let frame = frames::next(&mut client.receive).await.expect("resets");
            reset += usize::from(frame.kind == kind::RST_STREAM);
        }
        drip.abort();
    });
}

/// Connections without a request end by themselves, gracefully.
#[test]
fn idle_connections() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("")).await;
        let proxy = harness::proxy_with(Forward(origin.addr()), |_, options| {
            options.h2c = true;
            options.h2_idle_timeout = Some(Duration::from_millis(100));
        })
        .await;
        let mut client = Client::connect(proxy.addr(), b"").await;
        client.send(&request(1, GET)).await;
        assert_eq!(client.goaway().await, Some(0));
    });
}
