//! HTTP/2 without TLS on both sides, as gRPC wants it inside a cluster.
//!
//! `cargo run --release --example grpc -- --listen 127.0.0.1:50050 --upstream 127.0.0.1:50051`
//!
//! `--upstream-http 1` speaks HTTP/1 to the upstream instead, which gRPC does not want but others
//! do. With TLS nothing of this is needed: ALPN chooses.

use std::net::SocketAddr;
use std::process::ExitCode;

use async_trait::async_trait;
use pingora_core::apps::HttpServerOptions;
use pingora_core::server::Server;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Grpc {
    upstream: SocketAddr,
    http_version: u8,
}

#[async_trait]
impl ProxyHttp for Grpc {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.upstream, false, String::new());
        // Without TLS nobody negotiates: both sides know.
        peer.options
            .set_http_version(self.http_version, self.http_version);
        // Calls share connections.
        peer.options.max_h2_streams = 100;
        Ok(Box::new(peer))
    }
}

fn main() -> ExitCode {
    let (mut listen, mut upstream, mut http_version) = (None, None, 2);
    let mut args = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        match name.as_str() {
            "--listen" => listen = Some(value),
            "--upstream" => upstream = value.parse().ok(),
            "--upstream-http" => http_version = value.parse().unwrap_or(2),
            _ => {}
        }
    }
    let (Some(listen), Some(upstream)) = (listen, upstream) else {
        eprintln!("usage: grpc --listen ADDR --upstream ADDR [--upstream-http 1]");
        return ExitCode::from(2);
    };
    let mut server = match Server::new(None) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    server.bootstrap();
    let grpc = Grpc {
        upstream,
        http_version,
    };
    let mut proxy = http_proxy_service(&server.configuration, grpc);
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    let app = proxy.app_logic_mut().expect("nothing shares it yet");
    app.server_options = Some(options);
    proxy.threads = Some(1);
    proxy.add_tcp(&listen);
    server.add_service(proxy);
    server.run_forever();
}
