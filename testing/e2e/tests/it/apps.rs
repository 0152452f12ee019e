//! Servers that are no proxies: an application that answers by itself.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use pingora::apps::HttpServerOptions;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora_e2e::frames::{self, kind, setting};
use pingora_e2e::h2;
use pingora_e2e::harness::{self, ask};
use pingora_test_support::client::Client;
use pingora_test_support::within;

/// Answers with what it was sent.
struct Echo;

#[async_trait]
impl ServeHttp for Echo {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let path = session.req_header().uri.path().to_string();
        let mut body = vec![];
        if path != "/unread" {
            while let Ok(Some(piece)) = session.read_request_body().await {
                body.extend_from_slice(&piece);
            }
        }
        let status = if path == "/missing" { 404 } else { 200 };
        let length = body.len();
        Response::builder()
            .status(status)
            .header("Content-Length", length)
            .header("X-Method", session.req_header().method.as_str())
            .body(body)
            .expect("a valid response")
    }
}

#[test]
fn an_echo() {
    harness::run(async {
        let server = harness::app(HttpServer::new_app(Echo)).await;
        let mut client = Client::connect(server.addr()).await;
        for (method, body) in [("GET", ""), ("POST", "hello"), ("PUT", "x"), ("DELETE", "")] {
            let response = client.request(method, "/", &[], body).await;
            assert_eq!((response.status, response.text()), (200, body));
            assert_eq!(response.header("x-method"), Some(method));
        }
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")
            .await;
        assert_eq!(client.response().await.text(), "hello");
        assert_eq!(client.get("/missing").await.status, 404);
        assert_eq!(client.leftover(), b"");
    });
}

/// HEAD gets the head only, whatever the application made.
#[test]
fn head() {
    harness::run(async {
        let server = harness::app(HttpServer::new_app(Echo)).await;
        let mut client = Client::connect(server.addr()).await;
        client
            .send("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        let response = client.response().await;
        assert_eq!(
            (response.status, response.header("content-length")),
            (200, Some("5"))
        );
        assert_eq!(client.get("/").await.text(), "");
        assert_eq!(client.leftover(), b"");
    });
}

/// A body the application did not read is not the next request.
#[test]
fn an_unread_body() {
    harness::run(async {
        let server = harness::app(HttpServer::new_app(Echo)).await;
        let hidden = "PUT /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
        for piece in [1, usize::MAX] {
            let bytes = format!(
                "POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{hidden}\
                 GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                hidden.len()
            );
            let answer = ask(server.addr(), bytes.as_bytes(), piece).await;
            let text = String::from_utf8(answer.bytes.clone()).unwrap();
            assert!(answer.closed && !text.contains("PUT"), "{text}");
        }
    });
}

/// The same protection as a proxy: bad requests do not reach the application.
#[test]
fn bad_requests() {
    harness::run(async {
        let server = harness::app(HttpServer::new_app(Echo)).await;
        for (bytes, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\nHost: a\n\n", 400),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                400,
            ),
            (
                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                400,
            ),
        ] {
            let answer = ask(server.addr(), bytes.as_bytes(), usize::MAX).await;
            assert_eq!(
                (answer.status(), answer.closed),
                (Some(status), true),
                "{bytes:?}"
            );
            assert!(
                !answer.bytes.windows(8).any(|w| w == b"X-Method"),
                "{bytes:?}"
            );
        }
    });
}

/// Connections are kept, pipelined and closed as a proxy does.
#[test]
fn connections() {
    harness::run(async {
        let server = harness::app(HttpServer::new_app(Echo)).await;
        let two = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answer = ask(server.addr(), two.as_bytes(), usize::MAX).await;
        assert_eq!((answer.responses(), answer.closed), (2, true));
        let old = ask(server.addr(), b"GET / HTTP/1.0\r\n\r\n", usize::MAX).await;
        assert_eq!((old.status(), old.closed), (Some(200), true));
        let mut idle = Client::connect(server.addr()).await;
        assert_eq!(idle.get("/").await.status, 200);
        server.terminate();
        idle.expect_closed().await;
        server.ended().await;
    });
}

/// What the options of an application say of HTTP/2 is what clients are told, and held to; what they
/// leave open is protected.
#[test]
fn options_of_http2() {
    harness::run(async {
        let mut app = HttpServer::new_app(Echo);
        let mut options = H2Options::new();
        options.max_concurrent_streams(7).initial_window_size(1000);
        app.h2_options = Some(options);
        let mut h2c = HttpServerOptions::default();
        h2c.h2c = true;
        app.server_options = Some(h2c);
        let server = harness::app(app).await;
        let mut client = frames::Client::connect(server.addr(), b"").await;
        let told = client.next().await.expect("SETTINGS");
        assert_eq!(told.kind, kind::SETTINGS);
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | u32::from(*byte))
        };
        let told: Vec<(u32, u32)> = (told.payload.chunks(6))
            .map(|setting| (number(&setting[..2]), number(&setting[2..])))
            .collect();
        for (setting, value) in [
            (setting::MAX_CONCURRENT_STREAMS, 7),
            (setting::INITIAL_WINDOW_SIZE, 1000),
            (setting::MAX_HEADER_LIST_SIZE, 64 * 1024),
        ] {
            assert!(told.contains(&(u32::from(setting), value)), "{told:?}");
        }
        assert!(!told.contains(&(u32::from(setting::ENABLE_CONNECT_PROTOCOL), 1)));
        // The window opens as the body is read.
        let mut requests = h2::connect(server.addr()).await;
        let request = Request::post("http://a/").body(()).unwrap();
        let (response, mut send) = requests.send_request(request, false).unwrap();
        let body = Bytes::from(vec![b'x'; 50_000]);
        send.send_data(body.clone(), true).unwrap();
        let response = within("a response", response).await.unwrap();
        let (echoed, _) = h2::read(response.into_body()).await.unwrap();
        assert!(echoed == body);
    });
}
