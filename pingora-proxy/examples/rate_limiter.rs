//! A limit per client: five requests in ten seconds, then 429 until the ten seconds are over.
//!
//! `cargo run --release --example rate_limiter`
//!
//! ```text
//! for i in 1 2 3 4 5 6 7; do curl -si -H 'appid: 1' http://127.0.0.1:6199/; done
//! curl -si http://127.0.0.1:6199/         # without an appid, the address counts
//! ```
//!
//! Who sends a new `appid` each time has no limit: check that a client may use the one it names,
//! as `gateway` does with a token, before you count by it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::prelude::*;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use pingora_http::ResponseHeader;
use pingora_limits::rate::{Rate, RateComponents};
use pingora_proxy::prelude::*;
use tokio::sync::watch;

mod demo;

pub(crate) struct RateLimiter {
    upstream: SocketAddr,
    /// Requests per client; its memory does not grow with the number of clients.
    requests: Rate,
    limit: isize,
    // The demo backend ends when this is dropped, that is after the last request.
    _demo: Option<demo::Upstream>,
}

/// Whose requests are counted together.
#[derive(Hash)]
enum Client<'a> {
    App(&'a [u8]),
    Address(IpAddr),
    /// On a Unix socket, for one.
    Unknown,
}

/// What is left for the client of a request.
#[derive(Default)]
pub(crate) struct Quota {
    remaining: isize,
}

impl RateLimiter {
    pub(crate) fn new(upstream: SocketAddr, limit: isize, interval: Duration) -> Self {
        RateLimiter {
            upstream,
            requests: Rate::new(interval),
            limit,
            _demo: None,
        }
    }

    /// Refuses a request, and says when to come back.
    async fn refuse(&self, session: &mut Session, wait: Duration) -> Result<()> {
        let body = Bytes::from_static(b"too many requests\n");
        let seconds = wait.as_secs_f64().ceil().max(1.0).to_string();
        let mut response = ResponseHeader::build(429, Some(6))?;
        response.insert_header("Content-Type", "text/plain")?;
        response.insert_header("Content-Length", body.len().to_string())?;
        response.insert_header("Retry-After", &seconds)?;
        response.insert_header("X-Rate-Limit-Limit", self.limit.to_string())?;
        response.insert_header("X-Rate-Limit-Remaining", "0")?;
        response.insert_header("X-Rate-Limit-Reset", seconds)?;
        session
            .write_response_header(Box::new(response), false)
            .await?;
        session.write_response_body(Some(body), true).await
    }
}

fn client(session: &Session) -> Client<'_> {
    if let Some(id) = session.req_header().headers.get("appid") {
        return Client::App(id.as_bytes());
    }
    match session.client_addr().and_then(|address| address.as_inet()) {
        Some(address) => Client::Address(address.ip()),
        None => Client::Unknown,
    }
}

#[async_trait]
impl ProxyHttp for RateLimiter {
    type CTX = Quota;

    fn new_ctx(&self) -> Quota {
        Quota::default()
    }

    async fn request_filter(&self, session: &mut Session, quota: &mut Quota) -> Result<bool> {
        let client = client(session);
        let seen = self.requests.observe(&client, 1);
        quota.remaining = (self.limit - seen).max(0);
        if seen <= self.limit {
            return Ok(false);
        }
        let left = |known: RateComponents| {
            let left = 1.0 - known.current_interval_fraction;
            known.interval.mul_f64(left)
        };
        let wait = self.requests.rate_with(&client, left);
        self.refuse(session, wait).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Quota) -> Result<Box<HttpPeer>> {
        let peer = HttpPeer::new(self.upstream, false, String::new());
        Ok(Box::new(peer))
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        upstream_response: &mut ResponseHeader,
        quota: &mut Quota,
    ) -> Result<()> {
        upstream_response.insert_header("X-Rate-Limit-Limit", self.limit.to_string())?;
        upstream_response.insert_header("X-Rate-Limit-Remaining", quota.remaining.to_string())
    }
}

/// Prints a line to paste once the proxy listens.
struct Hint(watch::Receiver<Vec<String>>);

#[async_trait]
impl BackgroundService for Hint {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let mut addresses = self.0.clone();
        if let Ok(bound) = addresses.wait_for(|bound| !bound.is_empty()).await {
            println!("try it, six times: curl -i http://{}/", bound[0]);
        }
    }
}

fn main() -> Result<()> {
    let mut server = Server::new(Opt::parse_args())?;
    server.bootstrap();
    let (backend, upstream) = demo::backend("backend")?;
    server.add_service(backend);

    let mut limiter = RateLimiter::new(upstream.address, 5, Duration::from_secs(10));
    limiter._demo = Some(upstream);
    let mut proxy = http_proxy_service(&server.configuration, limiter);
    proxy.add_tcp("127.0.0.1:6199");
    server.add_service(background_service("hint", Hint(proxy.address_watch())));
    server.add_service(proxy);
    server.run_forever()
}
