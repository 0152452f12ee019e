//! Any protocol over TCP, balanced over several servers, with health checks.
//!
//! `cargo run --release --example tcp_proxy`
//!
//! ```text
//! curl http://127.0.0.1:6197/        # the demo servers speak HTTP; the proxy does not care
//! ```

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::prelude::*;
use pingora_load_balancing::prelude::*;
use pingora_proxy::tcp::{ProxyTcp, TcpSession, tcp_proxy_service};

mod demo;

struct Balanced(Arc<LoadBalancer<RoundRobin>>);

#[async_trait]
impl ProxyTcp for Balanced {
    /// The tries so far.
    type CTX = usize;

    fn new_ctx(&self) -> usize {
        0
    }

    async fn upstream_peer(
        &self,
        _session: &mut TcpSession,
        _tries: &mut usize,
    ) -> Result<Box<HttpPeer>> {
        let backend = self.0.select(b"", 256);
        let backend = backend.or_err(ConnectError, "no healthy server")?;
        let mut peer = HttpPeer::new(backend, false, String::new());
        peer.options.connection_timeout = Some(Duration::from_secs(1));
        Ok(Box::new(peer))
    }

    /// Nothing was sent yet: any other server will do.
    fn fail_to_connect(
        &self,
        _session: &mut TcpSession,
        _peer: &HttpPeer,
        tries: &mut usize,
        mut e: Box<Error>,
    ) -> Box<Error> {
        *tries += 1;
        e.set_retry(*tries < 3);
        e
    }

    async fn logging(&self, session: &mut TcpSession, e: Option<&Error>, _tries: &mut usize) {
        println!(
            "client={:?} received={} sent={} error={:?}",
            session.client_addr(),
            session.bytes_received(),
            session.bytes_sent(),
            e.map(|e| e.etype()),
        );
    }
}

fn main() -> Result<()> {
    let mut server = Server::new(Opt::parse_args())?;
    server.bootstrap();
    let mut addresses = Vec::new();
    for name in ["one", "two"] {
        let (service, upstream) = demo::backend(name)?;
        server.add_service(service);
        addresses.push(upstream.address);
    }

    let mut servers = LoadBalancer::try_from_iter(addresses).or_fail()?;
    servers.set_health_check(TcpHealthCheck::new());
    servers.health_check_frequency = Some(Duration::from_secs(1));
    let checks = background_service("health checks", servers);

    let mut proxy = tcp_proxy_service(&server.configuration, Balanced(checks.task()));
    proxy.add_tcp("127.0.0.1:6197");
    server.add_service(checks);
    server.add_service(proxy);
    server.run_forever()
}
