//! Content codings through a whole proxy: on the way to the client, and of what an upstream sends.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::modules::http::compression::ResponseCompression;
use pingora::prelude::*;
use pingora::protocols::http::compression::Algorithm;
use pingora_e2e::harness::{self, peer};
use pingora_test_support::client::{self, Client, Response};
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::raw::{self, Listener};
use pingora_test_support::{Gate, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::mpsc;

const HTML: (&str, &str) = ("Content-Type", "text/html");

fn page() -> Vec<u8> {
    (0..5_000)
        .flat_map(|i| format!("<p>paragraph {i}</p>\n").into_bytes())
        .collect()
}

/// Compresses for clients, and decompresses what upstreams send.
struct Coding {
    upstream: SocketAddr,
    level: u32,
    decompress: bool,
    /// Gets what the hook sees of the upstream's body.
    seen: mpsc::UnboundedSender<Bytes>,
    errors: mpsc::UnboundedSender<String>,
}

#[async_trait]
impl ProxyHttp for Coding {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        let modules = &mut session.downstream_modules_ctx;
        let module = modules.get_mut::<ResponseCompression>();
        module.expect("there by default").adjust_level(self.level);
        session
            .upstream_compression
            .adjust_decompression(self.decompress);
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(peer(self.upstream))
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        if let Some(body) = body {
            let _ = self.seen.send(body.clone());
        }
        Ok(None)
    }

    async fn logging(&self, _: &mut Session, error: Option<&Error>, _: &mut ()) {
        if let Some(error) = error {
            let _ = self.errors.send(error.to_string());
        }
    }
}

struct Started {
    proxy: harness::Running,
    seen: mpsc::UnboundedReceiver<Bytes>,
    errors: mpsc::UnboundedReceiver<String>,
}

async fn start(origin: &Origin, level: u32, decompress: bool) -> Started {
    let (seen_by_hook, seen) = mpsc::unbounded_channel();
    let (logged, errors) = mpsc::unbounded_channel();
    let proxy = Coding {
        upstream: origin.addr(),
        level,
        decompress,
        seen: seen_by_hook,
        errors: logged,
    };
    let proxy = harness::proxy(proxy).await;
    Started {
        proxy,
        seen,
        errors,
    }
}

async fn get(client: &mut Client, method: &str, accept: &str) -> Response {
    client
        .request(method, "/", &[("Accept-Encoding", accept)], "")
        .await
}

fn decode(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut decoder = Algorithm::from(coding).decompressor(true).unwrap();
    decoder.encode(body, true).unwrap().to_vec()
}

fn encode(coding: &str, body: &[u8]) -> Bytes {
    let mut encoder = Algorithm::from(coding).compressor(5).unwrap();
    encoder.encode(body, true).unwrap()
}

#[test]
fn clients_get_the_coding_they_like() {
    harness::run(async {
        let fields = [HTML, ("ETag", "\"v1\""), ("Accept-Ranges", "bytes")];
        for reply in [
            Reply::with_fields(200, &fields, page()),
            Reply::chunked(page().chunks(999)).clone(),
        ] {
            let plain = reply.clone();
            let origin = Origin::start(move |_| plain.clone()).await;
            let Started { proxy, .. } = start(&origin, 5, false).await;
            // All on one connection: the bodies end where they should.
            let mut client = Client::connect(proxy.addr()).await;
            for (accept, coding) in [
                ("gzip", "gzip"),
                ("gzip;q=0.5, br", "br"),
                ("zstd, gzip", "zstd"),
                ("deflate", ""),
            ] {
                let response = get(&mut client, "GET", accept).await;
                if response.header("content-type").is_none() {
                    assert_eq!(
                        response.body,
                        page(),
                        "content of no known type is left alone"
                    );
                    continue;
                }
                assert_eq!(
                    response.header("content-encoding").unwrap_or_default(),
                    coding
                );
                assert_eq!(response.header("vary"), Some("Accept-Encoding"));
                if coding.is_empty() {
                    assert_eq!(response.header("etag"), Some("\"v1\""));
                    assert_eq!(response.body, page());
                    continue;
                }
                assert_eq!(response.header("etag"), Some("W/\"v1\""));
                assert_eq!(response.header("accept-ranges"), None);
                assert!(response.body.len() < page().len() / 4);
                assert!(decode(coding, &response.body) == page());
                let head = get(&mut client, "HEAD", accept).await;
                assert_eq!(head.header("content-encoding"), Some(coding));
                assert_eq!(head.header("content-length"), None);
            }
        }
    });
}

#[test]
fn some_responses_are_left_alone() {
    harness::run(async {
        let range = ("Content-Range", "bytes 0-99/2000");
        let transform = ("Cache-Control", "no-transform");
        let body = "x".repeat(100);
        for reply in [
            Reply::with_fields(206, &[HTML, range], &body),
            Reply::with_fields(200, &[HTML, transform], &body),
            Reply::with_fields(200, &[("Content-Type", "image/png")], &body),
            Reply::with_fields(200, &[HTML], "short"),
            Reply::raw(
                "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nContent-Type: text/html\r\n\r\n",
            ),
            Reply::raw("HTTP/1.1 204 No Content\r\nETag: \"v1\"\r\n\r\n"),
        ] {
            let as_it_is = reply.clone();
            let origin = Origin::start(move |_| as_it_is.clone()).await;
            let Started { proxy, .. } = start(&origin, 5, true).await;
            let coded = get(&mut Client::connect(proxy.addr()).await, "GET", "gzip").await;
            let plain = harness::forward(origin.addr()).await;
            let plain = client::get(plain.addr(), "/").await;
            assert_eq!(coded.header("content-encoding"), None, "{reply:?}");
            assert_eq!(coded.body, plain.body);
            assert_eq!(coded.header("etag"), plain.header("etag"));
        }
    });
}

#[test]
fn a_module_that_is_off_changes_nothing() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::with_fields(200, &[HTML], page())).await;
        let Started { proxy, .. } = start(&origin, 0, false).await;
        let response = get(&mut Client::connect(proxy.addr()).await, "GET", "gzip").await;
        assert_eq!(response.body, page());
        assert_eq!(response.header("vary"), None);
        assert!(response.header("content-length").is_some());
    });
}

#[test]
fn a_stream_is_read_as_it_is_written() {
    harness::run(async {
        let gate = Gate::new();
        let written = gate.clone();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let origin = Origin::start(move |_| {
            Reply::raw(format!("{head}5\r\nfirst\r\n"))
                .wait(&written)
                .then("4\r\nlast\r\n0\r\n\r\n")
        })
        .await;
        let Started { proxy, .. } = start(&origin, 5, false).await;
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut received = Vec::new();
        let mut decoder = Algorithm::Gzip.decompressor(true).unwrap();
        let first = loop {
            let count = within("the first event", stream.read_buf(&mut received))
                .await
                .unwrap();
            assert_ne!(count, 0);
            let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let chunk = &received[end + 4..];
            let Some(line) = chunk.windows(2).position(|two| two == b"\r\n") else {
                continue;
            };
            let size =
                usize::from_str_radix(std::str::from_utf8(&chunk[..line]).unwrap(), 16).unwrap();
            if let Some(data) = chunk.get(line + 2..line + 2 + size) {
                break decoder.encode(data, false).unwrap();
            }
        };
        assert_eq!(first, "first");
        gate.open();
        within("the end", stream.read_to_end(&mut received))
            .await
            .unwrap();
        assert!(received.ends_with(b"0\r\n\r\n"));
    });
}

#[test]
fn what_upstreams_send_is_decompressed() {
    harness::run(async {
        for coding in ["gzip", "br", "zstd"] {
            let fields = [HTML, ("Content-Encoding", coding), ("ETag", "\"v1\"")];
            let reply = Reply::with_fields(200, &fields, encode(coding, &page()));
            let origin = Origin::start(move |_| reply.clone()).await;
            let Started {
                proxy, mut seen, ..
            } = start(&origin, 0, true).await;
            let mut client = Client::connect(proxy.addr()).await;
            let response = get(&mut client, "GET", "deflate").await;
            assert_eq!(response.header("content-encoding"), None);
            assert_eq!(response.header("etag"), Some("W/\"v1\""));
            assert!(response.body == page());
            let mut hook_saw = Vec::new();
            while hook_saw.len() < page().len() {
                hook_saw.extend(within("a piece", seen.recv()).await.unwrap());
            }
            assert!(hook_saw == page(), "hooks see the plain body");

            let response = get(&mut client, "GET", coding).await;
            assert_eq!(response.header("content-encoding"), Some(coding));
            assert!(decode(coding, &response.body) == page());
        }
    });
}

#[test]
fn bombs_and_damage_end_the_response() {
    harness::run(async {
        for (coding, body) in [
            ("gzip", encode("gzip", &vec![0; 2 << 20])),
            ("zstd", encode("zstd", &vec![0; 2 << 20])),
            (
                "gzip",
                Bytes::from_static(b"this is no gzip, whatever the head says"),
            ),
            ("br", encode("br", &page()).slice(..50)),
        ] {
            let reply = Reply::with_fields(200, &[("Content-Encoding", coding)], body);
            let origin = Origin::start(move |_| reply.clone()).await;
            let Started {
                proxy, mut errors, ..
            } = start(&origin, 0, true).await;
            let mut client = Client::connect(proxy.addr()).await;
            client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
            client
                .try_response()
                .await
                .expect_err("a body that breaks off");
            let error = within("the error is logged", errors.recv()).await.unwrap();
            assert!(error.contains("Upstream CompressionError"), "{error}");
        }
    });
}

#[test]
fn curl_decodes_what_it_asks_for() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::with_fields(200, &[HTML], page())).await;
        let Started { proxy, .. } = start(&origin, 6, false).await;
        let url = format!("http://{}/", proxy.addr());
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--compressed",
            "--dump-header",
            "-",
            &url,
        ]);
        let output = match command.kill_on_drop(true).output().await {
            Ok(output) => output,
            Err(error) => {
                eprintln!("not tested, curl does not start: {error}");
                return;
            }
        };
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.stdout.ends_with(&page()));
        let head = String::from_utf8_lossy(&output.stdout[..300]).to_ascii_lowercase();
        assert!(head.contains("content-encoding: "), "{head}");
    });
}

/// Compresses what upstreams send, and tries again when they are busy.
struct Packing(SocketAddr);

#[async_trait]
impl ProxyHttp for Packing {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        session.upstream_compression.adjust_level(5);
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(peer(self.0))
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        resp: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        harness::refuse_busy(resp)
    }
}

#[test]
fn the_response_of_a_second_try_is_coded_anew() {
    harness::run(async {
        let image = ("Content-Type", "image/png");
        for (busy, fields, coding) in [
            (HTML, HTML, Some("gzip")),
            (image, HTML, Some("gzip")),
            (HTML, image, None),
        ] {
            let origin = Origin::start(move |request| match request.connection {
                1 => Reply::with_fields(503, &[busy], page()),
                _ => Reply::with_fields(200, &[fields], page()),
            })
            .await;
            let proxy = harness::proxy(Packing(origin.addr())).await;
            let mut client = Client::connect(proxy.addr()).await;
            let response = get(&mut client, "GET", "gzip").await;
            assert_eq!(response.status, 200);
            assert_eq!(response.header("content-encoding"), coding);
            match coding {
                Some(coding) => assert!(decode(coding, &response.body) == page()),
                None => assert!(response.body == page()),
            }
        }
    });
}

#[test]
fn a_coded_body_ends_before_its_trailers() {
    harness::run(async {
        let origin = Origin::start(|_| {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked";
            Reply::raw(format!("{head}\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n"))
        })
        .await;
        let proxy = harness::proxy(Packing(origin.addr())).await;
        let mut client = Client::connect(proxy.addr()).await;
        for coding in ["gzip", "br", "zstd"] {
            let fields = [("Accept-Encoding", coding), ("TE", "trailers")];
            let response = client.request("GET", "/", &fields, "").await;
            assert_eq!(response.header("content-encoding"), Some(coding));
            assert_eq!(decode(coding, &response.body), b"hello");
            assert_eq!(response.trailers.get("a"), Some("b"));
        }
    });
}

#[test]
fn tunnels_are_left_alone() {
    harness::run(async {
        let origin = Listener::bind().await;
        let proxy = harness::proxy_with(Packing(origin.addr()), |_, options| {
            options.allow_connect_method_proxying = true;
        })
        .await;
        let mut client = raw::connect(proxy.addr()).await;
        let ask = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nAccept-Encoding: gzip\r\n\r\n";
        client.send(ask).await;
        let mut upstream = origin.accept().await;
        upstream.read_head().await;
        let granted = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n";
        upstream.send([granted, "hello"].concat()).await;
        let head = String::from_utf8(client.read_head().await.to_vec()).unwrap();
        let head = head.to_lowercase();
        assert!(!head.contains("content-encoding"), "{head}");
        assert!(!head.contains("vary"), "{head}");
        client.expect("hello").await;
        upstream.half_close().await;
        client.expect_end().await;
    });
}
