//! The smallest proxy: every phase at its default, one thread, one upstream.
//!
//! `cargo run --release --example minimal_proxy -- --listen 127.0.0.1:6188 --upstream 127.0.0.1:8000`
//!
//! `--to-client h2` and `--to-origin h2` make it speak HTTP/2 in cleartext on that side; with
//! `--to-client tcp` it passes on bytes, whatever they are. With `--cert FILE --key FILE` and a TLS
//! feature it listens with TLS, whose clients choose between HTTP/1.1 and, if it is told
//! `--to-client h2`, HTTP/2.
//!
//! `testing/bench` measures this program beside the same thing on other servers. For a proxy that
//! does something, read `load_balancer` and `gateway`.

use std::net::SocketAddr;
use std::process::ExitCode;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerOptions, ServerApp};
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_proxy::tcp::{ProxyTcp, TcpSession, tcp_proxy_service};
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Minimal {
    upstream: SocketAddr,
    h2: bool,
}

impl Minimal {
    fn peer(&self) -> Box<HttpPeer> {
        Box::new(HttpPeer::new(self.upstream, false, String::new()))
    }
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
        let mut peer = self.peer();
        if self.h2 {
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = 100;
        }
        Ok(peer)
    }
}

#[async_trait]
impl ProxyTcp for Minimal {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut TcpSession,
        _ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        Ok(self.peer())
    }
}

/// Where to listen, and the files to do it with TLS, whose clients may choose HTTP/2.
struct Listen {
    address: String,
    files: Option<(String, String)>,
    h2: bool,
}

impl Listen {
    /// Adds the service to the server.
    fn add<A>(&self, mut service: Service<A>, server: &mut Server) -> Result<()>
    where
        A: ServerApp + Send + Sync + 'static,
    {
        match &self.files {
            Some((cert, key)) => {
                let mut settings = TlsSettings::intermediate(cert, key)?;
                if self.h2 {
                    settings.enable_h2();
                }
                service.add_tls_with_settings(&self.address, None, settings);
            }
            None => service.add_tcp(&self.address),
        }
        service.threads = Some(1);
        server.add_service(service);
        Ok(())
    }
}

fn main() -> ExitCode {
    let (mut listen, mut upstream, mut cert, mut key) = (None, None, None, None);
    let (mut to_client, mut to_origin) = (String::new(), String::new());
    let mut args = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        match name.as_str() {
            "--listen" => listen = Some(value),
            "--upstream" => upstream = value.parse().ok(),
            "--to-client" => to_client = value,
            "--to-origin" => to_origin = value,
            "--cert" => cert = Some(value),
            "--key" => key = Some(value),
            _ => {}
        }
    }
    let (Some(address), Some(upstream)) = (listen, upstream) else {
        eprintln!("usage: minimal_proxy --listen ADDR --upstream ADDR");
        return ExitCode::from(2);
    };
    let listen = Listen {
        address,
        files: cert.zip(key),
        h2: to_client == "h2",
    };
    let minimal = Minimal {
        upstream,
        h2: to_origin == "h2",
    };
    match prepare(minimal, &listen, &to_client) {
        Ok(server) => server.run_forever(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn prepare(minimal: Minimal, listen: &Listen, to_client: &str) -> Result<Server> {
    // One thread shares its tasks with nobody.
    let conf = ServerConf {
        work_stealing: false,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    if to_client == "tcp" {
        let proxy = tcp_proxy_service(&server.configuration, minimal);
        listen.add(proxy, &mut server)?;
        return Ok(server);
    }
    let mut proxy = http_proxy_service(&server.configuration, minimal);
    if listen.h2
        && let Some(app) = proxy.app_logic_mut()
    {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        app.server_options = Some(options);
    }
    listen.add(proxy, &mut server)?;
    Ok(server)
}
