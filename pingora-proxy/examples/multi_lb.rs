//! Two sets of backends behind one proxy, each with an algorithm and health checks of its own.
//!
//! `cargo run --release --example multi_lb`
//!
//! ```text
//! curl http://127.0.0.1:6194/api/x        # round robin: two backends take turns
//! curl http://127.0.0.1:6194/static/a     # by path: always the same of three backends
//! curl http://127.0.0.1:6194/static/b
//! ```

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::prelude::*;
use pingora_core::services::background::GenBackgroundService;
use pingora_load_balancing::prelude::*;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent};
use pingora_proxy::prelude::*;

mod demo;

struct Router {
    api: Arc<LoadBalancer<RoundRobin>>,
    // Consistent: when a backend goes, only the paths it had move.
    files: Arc<LoadBalancer<Consistent>>,
    _upstreams: [Vec<demo::Upstream>; 2],
}

#[async_trait]
impl ProxyHttp for Router {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let path = session.req_header().uri.path();
        let backend = match path.starts_with("/static/") {
            true => self.files.select(path.as_bytes(), 256),
            false => self.api.select(b"", 256),
        };
        let Some(backend) = backend else {
            return Error::e_explain(HTTPStatus(503), "no healthy backend");
        };
        Ok(Box::new(HttpPeer::new(backend, false, String::new())))
    }
}

/// Adds demo backends to the server; returns where they are.
fn add_backends(server: &mut Server, names: &[&str]) -> Result<Vec<demo::Upstream>> {
    let mut upstreams = Vec::new();
    for name in names {
        let (service, upstream) = demo::backend(name)?;
        server.add_service(service);
        upstreams.push(upstream);
    }
    Ok(upstreams)
}

/// Returns a balancer over `upstreams` as a service that checks them every second.
fn balancer<S>(
    name: &str,
    upstreams: &[demo::Upstream],
) -> Result<GenBackgroundService<LoadBalancer<S>>>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let addresses = upstreams.iter().map(|upstream| upstream.address);
    let mut balancer = LoadBalancer::<S>::try_from_iter(addresses).or_fail()?;
    balancer.set_health_check(TcpHealthCheck::new());
    balancer.health_check_frequency = Some(Duration::from_secs(1));
    Ok(background_service(name, balancer))
}

fn main() -> Result<()> {
    let mut server = Server::new(Opt::parse_args())?;
    server.bootstrap();
    let api_upstreams = add_backends(&mut server, &["api 1", "api 2"])?;
    let file_upstreams = add_backends(&mut server, &["file 1", "file 2", "file 3"])?;
    let api = balancer("api", &api_upstreams)?;
    let files = balancer("files", &file_upstreams)?;

    let router = Router {
        api: api.task(),
        files: files.task(),
        _upstreams: [api_upstreams, file_upstreams],
    };
    let mut proxy = http_proxy_service(&server.configuration, router);
    proxy.add_tcp("127.0.0.1:6194");

    // The proxy listens once both sets were checked.
    let checked = [server.add_service(api), server.add_service(files)];
    server.add_service(proxy).add_dependencies(&checked);
    server.run_forever()
}
