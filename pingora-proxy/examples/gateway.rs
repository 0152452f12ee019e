//! A gateway: routes by path, checks a token, changes headers on both ways, counts requests.
//!
//! `cargo run --release --example gateway`
//!
//! ```text
//! curl http://127.0.0.1:6191/headers              # the shop, with the headers it was sent
//! curl http://127.0.0.1:6191/admin/               # 403
//! curl http://127.0.0.1:6191/admin/ -H 'Authorization: Bearer sesame'
//! curl http://127.0.0.1:6191/ -i                  # see `Server`
//! ```
//!
//! Route by what will be sent: the path as it was received, not a decoded form of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pingora_core::prelude::*;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::prelude::*;

mod demo;

/// What opens `/admin/`. A real gateway compares secrets in constant time, and keeps them elsewhere.
const TOKEN: &str = "Bearer sesame";

struct Gateway {
    shop: demo::Upstream,
    admin: demo::Upstream,
    requests: AtomicUsize,
}

fn is_admin(session: &Session) -> bool {
    session.req_header().uri.path().starts_with("/admin/")
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        let allowed = session.get_header_bytes("Authorization") == TOKEN.as_bytes();
        if !is_admin(session) || allowed {
            return Ok(false);
        }
        session
            .respond_error_with_body(403, "a token, please\n".into())
            .await?;
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let upstream = match is_admin(session) {
            true => &self.admin,
            false => &self.shop,
        };
        Ok(Box::new(HttpPeer::new(
            upstream.address,
            false,
            String::new(),
        )))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        // The servers behind have no use for the token.
        upstream_request.remove_header("Authorization");
        // Insert replaces what the client claims; append would keep it.
        match session.client_addr().and_then(|address| address.as_inet()) {
            Some(client) => {
                upstream_request.insert_header("X-Forwarded-For", client.ip().to_string())
            }
            None => Ok(()),
        }
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        upstream_response: &mut ResponseHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        upstream_response.remove_header("X-Powered-By");
        upstream_response.insert_header("Server", "gateway")
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut ()) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let status = session
            .response_written()
            .map_or(0, |response| response.status.as_u16());
        let summary = self.request_summary(session, ctx);
        println!(
            "#{number} {status} {summary}{}",
            e.map_or("", |_| " (failed)")
        );
    }
}

fn main() -> Result<()> {
    let mut server = Server::new(Opt::parse_args())?;
    server.bootstrap();
    let (shop_service, shop) = demo::backend("shop")?;
    let (admin_service, admin) = demo::backend("admin")?;
    server.add_service(shop_service);
    server.add_service(admin_service);

    let gateway = Gateway {
        shop,
        admin,
        requests: AtomicUsize::new(0),
    };
    let mut proxy = http_proxy_service(&server.configuration, gateway);
    proxy.add_tcp("127.0.0.1:6191");
    server.add_service(proxy);
    server.run_forever()
}
