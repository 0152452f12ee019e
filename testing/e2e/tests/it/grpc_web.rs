//! gRPC-web in front of a server that speaks gRPC over HTTP/1.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::modules::http::HttpModules;
use pingora::modules::http::grpc_web::{GrpcWeb, GrpcWebBridge};
use pingora::prelude::*;
use pingora_e2e::harness::{self, Running, peer};
use pingora_test_support::client::{Client, Response};
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::raw::{self, Listener};

struct Bridged(SocketAddr);

#[async_trait]
impl ProxyHttp for Bridged {
    type CTX = ();
    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(GrpcWeb));
    }

    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        let bridge = session.downstream_modules_ctx.get_mut::<GrpcWebBridge>();
        bridge.expect("added above").init();
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

/// A message of gRPC: not compressed, of 5 bytes.
const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";
const MESSAGE_TEXT: &str = "AAAAAAVoZWxsbw==";

/// The trailers below as a frame.
const FRAME: &[u8] = b"\x80\0\0\0\x0fgrpc-status:0\r\n";

const GRPC_REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc+proto\r\n\
    Transfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\na\r\n\0\0\0\0\x05hello\r\n0\r\ngrpc-status: 0\r\n\r\n";

/// A server that speaks gRPC, a bridge before it, and a client.
async fn bridged() -> (Origin, Running, Client) {
    let origin = Origin::start(|_| Reply::raw(GRPC_REPLY)).await;
    let proxy = harness::proxy(Bridged(origin.addr())).await;
    let client = Client::connect(proxy.addr()).await;
    (origin, proxy, client)
}

async fn call(client: &mut Client, content_type: &str, body: &[u8]) -> Response {
    let fields = [("Content-Type", content_type), ("X-Grpc-Web", "1")];
    client.request("POST", "/s/m", &fields, body).await
}

#[test]
fn messages_and_trailers_cross_the_bridge() {
    harness::run(async {
        let (origin, _proxy, mut client) = bridged().await;
        let text = [MESSAGE_TEXT.as_bytes(), b"gAAAAA9ncnBjLXN0YXR1czowDQo="].concat();
        let cases = [
            (
                "application/grpc-web+proto",
                MESSAGE,
                [MESSAGE, FRAME].concat(),
            ),
            (
                "application/grpc-web-text+proto",
                MESSAGE_TEXT.as_bytes(),
                text,
            ),
        ];
        for (at, (content_type, sent, received)) in cases.into_iter().enumerate() {
            let response = call(&mut client, content_type, sent).await;
            assert_eq!(response.status, 200);
            assert_eq!(response.header("content-type"), Some(content_type));
            assert_eq!(
                response.body.escape_ascii().to_string(),
                received.escape_ascii().to_string()
            );
            assert!(response.trailers.get("grpc-status").is_none());
            let request = &origin.requests()[at];
            assert_eq!(
                request.header("content-type"),
                Some("application/grpc+proto")
            );
            assert_eq!(
                request.header("te"),
                Some("trailers"),
                "a strict server insists"
            );
            assert_eq!(request.body, MESSAGE);
        }
    });
}

#[test]
fn what_is_not_grpc_web_passes() {
    harness::run(async {
        let (origin, _proxy, mut client) = bridged().await;
        let response = call(&mut client, "text/plain", b"abc").await;
        assert_eq!(response.body, MESSAGE);
        assert_eq!(origin.requests()[0].header("te"), None);
        assert_eq!(origin.requests()[0].body, "abc");
    });
}

#[test]
fn text_that_is_not_base64_is_refused() {
    harness::run(async {
        let (_origin, _proxy, mut client) = bridged().await;
        let response = call(&mut client, "application/grpc-web-text", b"!!!!").await;
        assert_eq!(response.status, 400);
    });
}

#[test]
fn a_second_try_decodes_from_the_beginning() {
    harness::run(async {
        let origin = Listener::bind().await;
        let proxy = harness::proxy(Bridged(origin.addr())).await;
        let (first, rest) = MESSAGE_TEXT.split_at(7);
        let mut client = raw::connect(proxy.addr()).await;
        let head = "POST /s/m HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web-text";
        client
            .send(format!("{head}\r\nContent-Length: 16\r\n\r\n{first}"))
            .await;
        let mut busy = origin.accept().await;
        busy.read_head().await;
        busy.expect("3\r\n\0\0\0\r\n").await;
        busy.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            .await;
        let mut idle = origin.accept().await;
        idle.read_head().await;
        idle.expect("3\r\n\0\0\0\r\n").await;
        client.send(rest).await;
        idle.expect("7\r\n\0\x05hello\r\n0\r\n\r\n").await;
        idle.send(GRPC_REPLY).await;
        let head = client.read_head().await;
        assert!(head.starts_with(b"HTTP/1.1 200 "));
    });
}
