//! `bench-pingora --listen ADDR --upstream ADDR`: the smallest reverse proxy Pingora 0.9.1 allows.
//!
//! With `--cert FILE --key FILE` it listens with TLS.
//!
//! Default phases, default options, one worker thread, no logger installed. `minimal_proxy` among
//! the examples of this repository is the same program on our crates.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;

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

fn main() {
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
        eprintln!("usage: bench-pingora --listen ADDR --upstream ADDR");
        std::process::exit(2);
    };
    // One thread shares its tasks with nobody.
    let conf = ServerConf {
        work_stealing: false,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
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
            let mut settings = TlsSettings::intermediate(&cert, &key)
                .expect("the files are a certificate and its key");
            if to_client {
                settings.enable_h2();
            }
            proxy.add_tls_with_settings(&listen, None, settings);
        }
        None => proxy.add_tcp(&listen),
    }
    server.add_service(proxy);
    server.run_forever();
}
