//! Refusing connections by address, before anything is spent on them.
//!
//! `cargo run --release --example connection_filter`
//!
//! ```text
//! curl http://127.0.0.1:6196/
//! curl http://127.0.0.1:6196/ --interface 127.0.0.2       # empty reply
//! ```
//!
//! 127.0.0.2 is a second address of this machine, as far as Linux is concerned.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::listeners::ConnectionFilter;
use pingora_core::prelude::*;
use pingora_proxy::prelude::*;

mod demo;

/// The addresses that are not served.
#[derive(Debug)]
struct Blocklist(HashSet<IpAddr>);

#[async_trait]
impl ConnectionFilter for Blocklist {
    async fn should_accept(&self, client: Option<&SocketAddr>) -> bool {
        // A client of a Unix socket has no address.
        let Some(client) = client else { return true };
        let refused = self.0.contains(&client.ip());
        if refused {
            println!("refused a connection from {client}");
        }
        !refused
    }
}

struct Forward {
    upstream: demo::Upstream,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(
            self.upstream.address,
            false,
            String::new(),
        )))
    }
}

fn main() -> Result<()> {
    let mut server = Server::new(Opt::parse_args())?;
    server.bootstrap();
    let (service, upstream) = demo::backend("backend")?;
    server.add_service(service);

    let mut proxy = http_proxy_service(&server.configuration, Forward { upstream });
    let blocked = HashSet::from([IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))]);
    proxy.set_connection_filter(Arc::new(Blocklist(blocked)));
    proxy.add_tcp("127.0.0.1:6196");
    server.add_service(proxy);
    server.run_forever()
}
