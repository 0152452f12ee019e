//! `bench-pingora-lb`: a load balancer on Pingora 0.9.1, with health checks, as small as can be.
//!
//! It is compiled and never run: `bench build` measures what that costs, beside `load_balancer` among
//! the examples of this repository, which does more.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::lb::health_check::TcpHealthCheck;
use pingora::prelude::*;

struct Balancer(Arc<LoadBalancer<RoundRobin>>);

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        let backend = self.0.select(b"", 256);
        let backend =
            backend.ok_or_else(|| Error::explain(ErrorType::ConnectError, "no backend"))?;
        Ok(Box::new(HttpPeer::new(backend, false, String::new())))
    }
}

fn main() -> Result<()> {
    let mut server = Server::new(Some(Opt::parse_args()))?;
    server.bootstrap();
    let mut backends = LoadBalancer::try_from_iter(["127.0.0.1:8001", "127.0.0.1:8002"])
        .or_err(ErrorType::InternalError, "the addresses are ones")?;
    backends.set_health_check(TcpHealthCheck::new());
    let checks = background_service("health checks", backends);
    let balancer = Balancer(checks.task());
    let mut proxy = http_proxy_service(&server.configuration, balancer);
    proxy.add_tcp("127.0.0.1:6188");
    server.add_service(proxy);
    server.add_service(checks);
    server.run_forever();
}
