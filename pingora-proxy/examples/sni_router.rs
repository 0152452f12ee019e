//! TLS connections, each to the server its client asks for, without being decrypted.
//!
//! `cargo run --release --example sni_router -- a.example=127.0.0.1:9443 b.example=127.0.0.1:9444`
//!
//! ```text
//! curl --connect-to a.example:443:127.0.0.1:6198 https://a.example/
//! ```
//!
//! The client sees the certificate of the server it asked for; this program has none. A name that
//! is not on the list, and what is no TLS, is refused.

use std::collections::HashMap;

use async_trait::async_trait;
use pingora_core::prelude::*;
use pingora_proxy::tcp::{ProxyTcp, TcpSession, tcp_proxy_service};

struct ByName(HashMap<String, String>);

#[async_trait]
impl ProxyTcp for ByName {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(
        &self,
        session: &mut TcpSession,
        _ctx: &mut (),
    ) -> Result<Box<HttpPeer>> {
        let hello = session.client_hello().await?;
        let name = hello.and_then(|hello| hello.server_name.clone());
        let name = name.or_err(ConnectError, "the client asks for no name")?;
        let address = self.0.get(&name);
        let address = address.or_err(ConnectError, "the client asks for an unknown name")?;
        Ok(Box::new(HttpPeer::new(
            address.as_str(),
            false,
            String::new(),
        )))
    }
}

fn main() -> Result<()> {
    // The arguments are routes, so there are none for the server.
    let routes = std::env::args().skip(1).map(|route| {
        let route = route
            .split_once('=')
            .map(|(name, to)| (name.to_lowercase(), to.to_string()));
        route.or_err(InternalError, "expected NAME=HOST:PORT")
    });
    let routes = routes.collect::<Result<HashMap<_, _>>>()?;
    println!("{} routes", routes.len());

    let mut server = Server::new(None)?;
    server.bootstrap();
    let mut router = tcp_proxy_service(&server.configuration, ByName(routes));
    router.add_tcp("127.0.0.1:6198");
    server.add_service(router);
    server.run_forever()
}
