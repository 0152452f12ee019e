//! Where state lives: in the process, on a connection, in a request.
//!
//! `cargo run --release --example ctx`
//!
//! ```text
//! curl http://127.0.0.1:6192/ http://127.0.0.1:6192/ -si      # two requests on one connection
//! curl http://127.0.0.1:6192/ -si -H 'Beta-Flag: 1'           # another backend
//! ```
//!
//! The response headers tell what was counted.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pingora_core::prelude::*;
use pingora_http::ResponseHeader;
use pingora_proxy::prelude::*;

mod demo;

/// Lives as long as the process, shared by all threads.
struct Router {
    stable: demo::Upstream,
    beta: demo::Upstream,
    requests: AtomicUsize,
}

/// Lives as long as a connection of a client.
struct OnConnection {
    requests: usize,
}

/// Lives as long as a request: what an early phase found out, for a later one.
struct Ctx {
    beta: bool,
    number: usize,
    on_connection: usize,
}

#[async_trait]
impl ProxyHttp for Router {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        Ctx {
            beta: false,
            number,
            on_connection: 1,
        }
    }

    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        ctx: &mut Ctx,
        before: Box<dyn Any + Send + Sync>,
    ) {
        if let Some(before) = before.downcast_ref::<OnConnection>() {
            ctx.on_connection = before.requests + 1;
        }
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        ctx.beta = session.get_header("Beta-Flag").is_some();
        Ok(false)
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        let upstream = if ctx.beta { &self.beta } else { &self.stable };
        Ok(Box::new(HttpPeer::new(
            upstream.address,
            false,
            String::new(),
        )))
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        upstream_response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        upstream_response.insert_header("X-Request-Number", ctx.number.to_string())?;
        upstream_response.insert_header("X-On-Connection", ctx.on_connection.to_string())
    }

    fn persist_connection_context(
        &self,
        _session: &Session,
        ctx: &Ctx,
    ) -> Option<Box<dyn Any + Send + Sync>> {
        Some(Box::new(OnConnection {
            requests: ctx.on_connection,
        }))
    }
}

fn main() -> Result<()> {
    let mut server = Server::new(Opt::parse_args())?;
    server.bootstrap();
    let (stable_service, stable) = demo::backend("stable")?;
    let (beta_service, beta) = demo::backend("beta")?;
    server.add_service(stable_service);
    server.add_service(beta_service);

    let router = Router {
        stable,
        beta,
        requests: AtomicUsize::new(0),
    };
    let mut proxy = http_proxy_service(&server.configuration, router);
    proxy.add_tcp("127.0.0.1:6192");
    server.add_service(proxy);
    server.run_forever()
}
