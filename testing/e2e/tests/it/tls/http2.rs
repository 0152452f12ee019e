//! HTTP/2 where ALPN chooses it, on both sides, and HTTP/1 where it does not.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use pingora_e2e::h2;
use pingora_e2e::harness::{self, Running};
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::within;

use super::{peer, settings};

/// Passes on to a plain origin, or by TLS to another proxy with this ALPN.
struct Hop(SocketAddr, Option<ALPN>);

#[async_trait]
impl ProxyHttp for Hop {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let Some(alpn) = &self.1 else {
            return Ok(harness::peer(self.0));
        };
        let mut peer = peer(self.0, "a.example");
        peer.options.alpn = alpn.clone();
        Ok(Box::new(peer))
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut pingora::http::ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        let version = format!("{:?}", session.req_header().version());
        response.append_header("X-Hop", version).map(|_| ())
    }
}

/// Starts a proxy behind TLS that takes these protocols.
async fn serve(hop: Hop, alpn: ALPN) -> Running {
    let mut tls = settings("a");
    tls.set_alpn(alpn);
    let proxy = HttpProxy::new(hop, std::sync::Arc::new(ServerConf::default()));
    harness::start_tls(proxy, tls).await
}

/// Asks through TLS in the protocol that `alpn` leads to; returns the versions of the hops, the last
/// one first.
async fn ask(addr: SocketAddr, alpn: ALPN) -> Vec<String> {
    let mut peer = peer(addr, "a.example");
    peer.options.alpn = alpn;
    let connector = pingora::connectors::http::Connector::new(None);
    let (mut session, _) = within("a connection", connector.get_http_session(&peer))
        .await
        .unwrap();
    let mut request = pingora::http::RequestHeader::build("GET", b"/", None).unwrap();
    request.insert_header("Host", "a.example").unwrap();
    session
        .write_request_header(Box::new(request))
        .await
        .unwrap();
    session.finish_request_body().await.unwrap();
    within("a response", session.read_response_header())
        .await
        .unwrap();
    let head = session.response_header().unwrap();
    assert_eq!(head.status, 200);
    let hops = head.headers.get_all("x-hop").iter();
    hops.map(|hop| hop.to_str().unwrap().to_string()).collect()
}

#[test]
fn alpn_chooses() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("hello")).await;
        for (offered, taken, version) in [
            (ALPN::H2H1, ALPN::H2H1, "HTTP/2.0"),
            (ALPN::H2, ALPN::H2H1, "HTTP/2.0"),
            (ALPN::H1, ALPN::H2H1, "HTTP/1.1"),
            (ALPN::H2H1, ALPN::H1, "HTTP/1.1"),
        ] {
            let inner = serve(Hop(origin.addr(), None), taken).await;
            assert_eq!(ask(inner.addr(), offered.clone()).await, [version]);
            // The same on the other side of a proxy, whatever its client speaks.
            let outer = serve(Hop(inner.addr(), Some(offered)), ALPN::H2H1).await;
            for (client, first) in [(ALPN::H2, "HTTP/2.0"), (ALPN::H1, "HTTP/1.1")] {
                for _ in 0..2 {
                    let hops = ask(outer.addr(), client.clone()).await;
                    assert_eq!(hops, [version, first]);
                }
            }
        }
    });
}

/// A server that lets ALPN alone, or refuses HTTP/2, is no server for a peer that wants nothing else.
#[test]
fn nothing_but_http2() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("hello")).await;
        let inner = serve(Hop(origin.addr(), None), ALPN::H1).await;
        let mut peer = peer(inner.addr(), "a.example");
        peer.options.alpn = ALPN::H2;
        let connector = pingora::connectors::http::Connector::<()>::new(None);
        assert!(connector.get_http_session(&peer).await.is_err());
        // By prior knowledge without TLS it is another matter.
        let plain = harness::proxy_h2c(Hop(origin.addr(), None)).await;
        let mut requests = h2::connect(plain.addr()).await;
        let request = http::Request::get("http://a/").body(()).unwrap();
        let response = h2::send(&mut requests, request, "").await;
        assert_eq!(response.status(), 200);
    });
}
