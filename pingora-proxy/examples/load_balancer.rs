//! A load balancer: round robin over backends that health checks find alive.
//!
//! `cargo run --release --example load_balancer`
//!
//! Without arguments it balances over three small backends in this process, and a dead one that
//! health checks keep out. Paste the line it prints a few times: the backends take turns.
//!
//! `--backend HOST:PORT` (repeatable) and `--listen ADDR` (repeatable) make it a real one,
//! `-c conf.yaml` configures the server, `-t` checks all that, `--help` has the rest.
//!
//! Built with a TLS feature (`--features openssl`), `--cert` and `--key` make it serve HTTPS, with
//! HTTP/2, and a backend may be `https://HOST:PORT`; its certificate must be valid for `HOST`.
//!
//! Stop a backend while requests are coming in: none of them fails. Health checks take up to a
//! second to notice; until then, requests that meet the dead backend are tried at another one.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::Parser;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::prelude::*;
use pingora_core::protocols::l4::socket;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use pingora_load_balancing::health_check::HealthObserve;
use pingora_load_balancing::prelude::*;
use pingora_load_balancing::{Backend, Backends, discovery};
use pingora_proxy::prelude::*;
use tokio::sync::watch;

mod demo;

/// Where nothing listens: the dead backend of the demo.
const DEAD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// A load balancer. Without backends, it brings three of its own and a dead one
#[derive(Parser)]
#[command(name = "load_balancer", version)]
struct Args {
    /// A server to send requests to, with https:// before it for TLS; may be repeated
    #[arg(long = "backend", value_name = "HOST:PORT")]
    backends: Vec<String>,

    /// A PEM file with a certificate chain, to serve HTTPS
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<String>,

    /// A PEM file with the key of the certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<String>,

    /// An address to listen on; may be repeated
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6188")]
    listen: Vec<String>,

    #[command(flatten)]
    server: Opt,
}

struct Balancer {
    backends: Arc<LoadBalancer<RoundRobin>>,
    // Demo backends end when these are dropped, that is after the last request.
    _demo: Vec<demo::Upstream>,
}

/// The host name of a backend that speaks TLS, kept with it.
#[derive(Clone)]
struct TlsName(String);

/// What is known about one request.
#[derive(Default)]
struct Tried {
    failed: Vec<socket::SocketAddr>,
}

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = Tried;

    fn new_ctx(&self) -> Tried {
        Tried::default()
    }

    async fn upstream_peer(&self, _: &mut Session, tried: &mut Tried) -> Result<Box<HttpPeer>> {
        let untried = |b: &Backend, healthy| healthy && !tried.failed.contains(&b.addr);
        let Some(backend) = self.backends.select_with(b"", 256, untried) else {
            return Error::e_explain(HTTPStatus(503), "no healthy backend left to try");
        };
        let tls = backend.ext.get::<TlsName>().map(|name| name.0.clone());
        let mut peer = HttpPeer::new(&backend, tls.is_some(), tls.unwrap_or_default());
        peer.options.connection_timeout = Some(Duration::from_secs(1));
        Ok(Box::new(peer))
    }

    /// Nothing was sent: any request may go to another backend.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        tried: &mut Tried,
        mut e: Box<Error>,
    ) -> Box<Error> {
        tried.failed.push(peer._address.clone());
        e.set_retry(true);
        e
    }

    /// A backend died with the request in hand: one that only asks may be asked again elsewhere.
    /// (The proxy itself makes sure that nothing of a response was passed on before.)
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        e: Box<Error>,
        tried: &mut Tried,
        client_reused: bool,
    ) -> Box<Error> {
        let mut e = e.more_context(format!("peer: {peer}"));
        let safe = session.req_header().method.is_safe() && !session.retry_buffer_truncated();
        e.set_retry(safe && *e.esource() == ErrorSource::Upstream);
        // A kept connection that was closed says little about the backend, a new one does.
        if !client_reused {
            tried.failed.push(peer._address.clone());
        }
        e
    }
}

/// Prints what the health checks find out.
struct Report;

#[async_trait]
impl HealthObserve for Report {
    async fn observe(&self, backend: &Backend, healthy: bool) {
        say(&format!(
            "backend {} is {}",
            backend.addr,
            if healthy { "up" } else { "down" }
        ));
    }
}

/// Prints a line to paste once the proxy listens.
struct Hint(watch::Receiver<Vec<String>>);

#[async_trait]
impl BackgroundService for Hint {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let mut addresses = self.0.clone();
        if let Ok(bound) = addresses.wait_for(|bound| !bound.is_empty()).await {
            say(&format!("try it: curl http://{}/", bound[0]));
        }
    }
}

fn main() -> ExitCode {
    let Err(e) = run(Args::parse());
    eprintln!("{e}");
    ExitCode::FAILURE
}

fn run(args: Args) -> Result<std::convert::Infallible, String> {
    let mut backends = resolve(&args.backends)?;
    let mut server = Server::new(args.server).map_err(|e| e.to_string())?;
    server.bootstrap();
    let mut demo = Vec::new();
    if backends.is_empty() {
        demo = add_demo_backends(&mut server).map_err(|e| e.to_string())?;
        let addresses = demo.iter().map(|upstream| upstream.address).chain([DEAD]);
        backends = addresses
            .map(|address| Backend::new(&address.to_string()))
            .collect::<Result<_>>()
            .map_err(|e| e.to_string())?;
    }

    let discovery = discovery::Static::new(backends);
    let mut balancer = LoadBalancer::from_backends(Backends::new(discovery));
    let mut check = TcpHealthCheck::new();
    check.health_changed_callback = Some(Box::new(Report));
    balancer.set_health_check(check);
    balancer.health_check_frequency = Some(Duration::from_secs(1));
    balancer.parallel_health_check = true;
    let checks = background_service("health checks", balancer);

    let balancer = Balancer {
        backends: checks.task(),
        _demo: demo,
    };
    let mut proxy = http_proxy_service(&server.configuration, balancer);
    for address in &args.listen {
        match (&args.cert, &args.key) {
            (Some(cert), Some(key)) => {
                let mut settings =
                    TlsSettings::intermediate(cert, key).map_err(|e| e.to_string())?;
                settings.enable_h2();
                proxy.add_tls_with_settings(address, None, settings);
            }
            _ => proxy.add_tcp(address),
        }
    }
    server.add_service(background_service("hint", Hint(proxy.address_watch())));
    server.add_service(checks);
    server.add_service(proxy);
    server.run_forever()
}

/// Returns the backends on the command line; a name may have several addresses.
fn resolve(backends: &[String]) -> Result<BTreeSet<Backend>, String> {
    let mut all = BTreeSet::new();
    for text in backends {
        let place = text.strip_prefix("https://").unwrap_or(text);
        let found = place.to_socket_addrs().map_err(|e| match e.kind() {
            io::ErrorKind::InvalidInput => format!("--backend {text:?}: expected HOST:PORT"),
            _ => format!("--backend {text:?}: {e}"),
        })?;
        for address in found {
            let mut backend = Backend::new(&address.to_string()).map_err(|e| e.to_string())?;
            if place.len() < text.len() {
                let name = place.rsplit_once(':').map_or(place, |(name, _)| name);
                backend.ext.insert(TlsName(name.to_owned()));
            }
            all.insert(backend);
        }
    }
    Ok(all)
}

/// Adds three backends to the server; returns where they are.
fn add_demo_backends(server: &mut Server) -> Result<Vec<demo::Upstream>> {
    let mut upstreams = Vec::new();
    for name in ["backend 1", "backend 2", "backend 3"] {
        let (service, upstream) = demo::backend(name)?;
        server.add_service(service);
        upstreams.push(upstream);
    }
    Ok(upstreams)
}

/// Prints a line; nobody may be reading.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
