//! TLS around a proxy of HTTP: TCP proxies that end it before an origin, and that begin it behind a
//! client, so that both are those of the cells without.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::proxy::http_proxy;
use pingora::proxy::tcp::{ProxyTcp, TcpSession, tcp_proxy_service};
use pingora::server::configuration::ServerConf;
use pingora_e2e::harness::{self, Running};

use super::{Pass, Version};
use crate::tls::{peer, settings};

/// Passes connections on, into TLS with these protocols or without it.
struct Door(SocketAddr, Option<ALPN>);

#[async_trait]
impl ProxyTcp for Door {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut TcpSession, _: &mut ()) -> Result<Box<HttpPeer>> {
        let Some(alpn) = &self.1 else {
            return Ok(harness::peer(self.0));
        };
        let mut peer = peer(self.0, "a.example");
        peer.options.alpn = alpn.clone();
        Ok(Box::new(peer))
    }
}

fn alpn(version: Version) -> ALPN {
    match version {
        Version::H1 => ALPN::H1,
        Version::H2 => ALPN::H2,
    }
}

/// Begins TLS in which `version` is asked for.
pub(super) async fn into_tls(to: SocketAddr, version: Version) -> Running {
    let server = Server::new_with_opt_and_conf(None, ServerConf::default());
    let door = Door(to, Some(alpn(version)));
    let service = tcp_proxy_service(&server.configuration, door);
    harness::start(server, service).await
}

/// Ends TLS in which nothing but `version` is taken.
pub(super) async fn out_of_tls(to: SocketAddr, version: Version) -> Running {
    let server = Server::new_with_opt_and_conf(None, ServerConf::default());
    let mut service = tcp_proxy_service(&server.configuration, Door(to, None));
    let mut tls = settings("a");
    tls.set_alpn(alpn(version));
    service.add_tls_with_settings("127.0.0.1:0", None, tls);
    harness::run_with(server, service).await
}

/// Starts a proxy behind TLS that takes both versions.
pub(super) async fn proxy(pass: Pass) -> Running {
    let mut tls = settings("a");
    tls.set_alpn(ALPN::H2H1);
    let proxy = http_proxy(&Arc::new(ServerConf::default()), pass);
    harness::start_tls(proxy, tls).await
}
