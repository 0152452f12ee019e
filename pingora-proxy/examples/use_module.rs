//! A module: a filter that any proxy or HTTP server can add. This one names each request.
//!
//! `cargo run --release --example use_module`
//!
//! ```text
//! curl http://127.0.0.1:6197/headers -i                       # the backend saw the same id
//! curl http://127.0.0.1:6197/ -i -H 'X-Request-Id: mine'      # only kept below /trusted
//! curl http://127.0.0.1:6197/trusted -i -H 'X-Request-Id: mine'
//! ```

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module};
use pingora_core::prelude::*;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::prelude::*;

mod demo;

const HEADER: &str = "X-Request-Id";

/// Makes a [`RequestId`] for each request.
#[derive(Default)]
struct RequestIds {
    next: Arc<AtomicU64>,
}

impl HttpModuleBuilder for RequestIds {
    fn init(&self) -> Module {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:x}-{number:x}", std::process::id());
        Box::new(RequestId {
            id,
            trust_client: false,
        })
    }
}

/// The module as one request goes through it.
struct RequestId {
    id: String,
    trust_client: bool,
}

#[async_trait]
impl HttpModule for RequestId {
    async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        let given = req.headers.get(HEADER).filter(|_| self.trust_client);
        if let Some(given) = given.and_then(|value| value.to_str().ok()) {
            self.id = given.to_string();
        }
        req.insert_header(HEADER, &self.id)
    }

    async fn response_header_filter(&mut self, resp: &mut ResponseHeader, _: bool) -> Result<()> {
        resp.insert_header(HEADER, &self.id)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct Forward {
    upstream: demo::Upstream,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(RequestIds::default()));
    }

    /// Runs before the modules: the place to configure them for this request.
    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<()> {
        let trusted = session.req_header().uri.path().starts_with("/trusted");
        if let Some(module) = session.downstream_modules_ctx.get_mut::<RequestId>() {
            module.trust_client = trusted;
        }
        Ok(())
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(
            self.upstream.address,
            false,
            String::new(),
        )))
    }

    async fn logging(&self, session: &mut Session, _e: Option<&Error>, ctx: &mut ()) {
        if let Some(module) = session.downstream_modules_ctx.get::<RequestId>() {
            println!("{} {}", module.id, self.request_summary(session, ctx));
        }
    }
}

fn main() -> Result<()> {
    let mut server = Server::new(Opt::parse_args())?;
    server.bootstrap();
    let (service, upstream) = demo::backend("backend")?;
    server.add_service(service);

    let mut proxy = http_proxy_service(&server.configuration, Forward { upstream });
    proxy.add_tcp("127.0.0.1:6197");
    server.add_service(proxy);
    server.run_forever()
}
