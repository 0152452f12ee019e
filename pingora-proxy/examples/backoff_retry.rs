//! Trying again with growing pauses: a backend that is late costs no failed request.
//!
//! `cargo run --release --example backoff_retry`
//!
//! The backend starts two seconds after the proxy. Ask at once: the answer is late, not a 502.
//!
//! ```text
//! curl http://127.0.0.1:6195/ -w '%{time_total} s\n'
//! ```

use std::time::Duration;

use async_trait::async_trait;
use pingora_core::prelude::*;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_core::services::background::BackgroundService;
use pingora_proxy::prelude::*;

mod demo;

/// The pause before the second try; each one after it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often a request is tried; `max_retries` of the configuration is the limit of this.
const MAX_TRIES: u32 = 8;

struct Patient {
    upstream: demo::Upstream,
}

#[derive(Default)]
struct Ctx {
    failures: u32,
}

#[async_trait]
impl ProxyHttp for Patient {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::default()
    }

    /// Runs before every try, so this is where to wait.
    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        if ctx.failures > 0 {
            let pause = (FIRST_PAUSE * 2u32.pow(ctx.failures - 1)).min(LONGEST_PAUSE);
            println!("try {} in {pause:?}", ctx.failures + 1);
            tokio::time::sleep(pause).await;
        }
        let mut peer = HttpPeer::new(self.upstream.address, false, String::new());
        peer.options.connection_timeout = Some(Duration::from_secs(1));
        Ok(Box::new(peer))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Ctx,
        mut e: Box<Error>,
    ) -> Box<Error> {
        ctx.failures += 1;
        e.set_retry(ctx.failures < MAX_TRIES);
        e
    }
}

/// Is ready after two seconds.
struct Late;

#[async_trait]
impl BackgroundService for Late {
    async fn start_with_ready_notifier(&self, _: ShutdownWatch, ready: ServiceReadyNotifier) {
        tokio::time::sleep(Duration::from_secs(2)).await;
        ready.notify_ready();
    }
}

fn main() -> Result<()> {
    let mut server = Server::new(Opt::parse_args())?;
    server.bootstrap();
    let (backend, upstream) = demo::backend("late backend")?;
    let late = server.add_service(background_service("late", Late));
    server.add_service(backend).add_dependency(late);

    let mut proxy = http_proxy_service(&server.configuration, Patient { upstream });
    proxy.add_tcp("127.0.0.1:6195");
    server.add_service(proxy);
    server.run_forever()
}
