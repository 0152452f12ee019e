//! The smallest proxy: every phase at its default, one thread, one upstream.
//!
//! `cargo run --release --example minimal_proxy -- --listen 127.0.0.1:6188 --upstream 127.0.0.1:8000`
//!
//! `--to-client h2` and `--to-origin h2` make it speak HTTP/2 in cleartext on that side; with
//! `--cert FILE --key FILE` and a TLS feature it listens with TLS.
//!
//! `testing/bench` measures this program beside the same thing on other servers. For a proxy that
//! does something, read `load_balancer` and `gateway`.

use std::net::SocketAddr;
use std::process::ExitCode;

use async_trait::async_trait;
use pingora_core::apps::HttpServerOptions;
use pingora_core::server::Server;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Minimal {
    upstream: SocketAddr,
    h2: bool,
}

#[async_trait]
impl ProxyHttp for Minimal {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        let mut peer = Box::new(HttpPeer::new(self.upstream, false, String::new()));
        if self.h2 {
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = 100;
        }
        Ok(peer)
    }
}

fn main() -> ExitCode {
    let (mut listen, mut upstream) = (None, None);
    let (mut to_client, mut to_origin) = (false, false);
    let (mut cert, mut key) = (None, None);
    let mut args = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        match name.as_str() {
            "--listen" => listen = Some(value),
            "--upstream" => upstream = value.parse().ok(),
            "--to-client" => to_client = value == "h2",
            "--to-origin" => to_origin = value == "h2",
            "--cert" => cert = Some(value),
            "--key" => key = Some(value),
            _ => {}
        }
    }
    let (Some(listen), Some(upstream)) = (listen, upstream) else {
        eprintln!("usage: minimal_proxy --listen ADDR --upstream ADDR");
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
    let minimal = Minimal {
        upstream,
        h2: to_origin,
    };
    let mut proxy = http_proxy_service(&server.configuration, minimal);
    if to_client && let Some(app) = proxy.app_logic_mut() {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        app.server_options = Some(options);
    }
    proxy.threads = Some(1);
    match cert.zip(key) {
        Some((cert, key)) => {
            if let Err(error) = proxy.add_tls(&listen, &cert, &key) {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
        None => proxy.add_tcp(&listen),
    }
    server.add_service(proxy);
    server.run_forever();
}
