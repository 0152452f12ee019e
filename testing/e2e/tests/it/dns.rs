//! Peers named by a host name: resolved when connecting, never on a worker's time.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora_e2e::harness;
use pingora_test_support::client::{self, Client};
use pingora_test_support::origin::{Origin, Reply};

/// Asks the host that the path names.
struct Named(SocketAddr);

#[async_trait]
impl ProxyHttp for Named {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(match session.req_header().uri.path() {
            "/" => harness::peer(self.0),
            path => Box::new(HttpPeer::new(&path[1..], false, String::new())),
        })
    }
}

/// RFC 6761 section 6.4: `.invalid` never exists.
#[test]
fn a_name_that_does_not_exist() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("hello")).await;
        let proxy = harness::proxy(Named(origin.addr())).await;
        let mut waiting = Client::connect(proxy.addr()).await;
        waiting
            .send("GET /name.invalid:80 HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        // The only worker of the proxy is free for others meanwhile.
        for _ in 0..10 {
            assert_eq!(client::get(proxy.addr(), "/").await.text(), "hello");
        }
        assert_eq!(waiting.response().await.status, 502);
    });
}

/// Names that are no names: errors, not panics; the proxy goes on.
#[test]
fn names_that_are_none() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("hello")).await;
        let proxy = harness::proxy(Named(origin.addr())).await;
        for name in [
            "no-port",
            ":80",
            "a..b:80",
            "name.invalid:99999",
            "name.invalid:x",
            "-:1",
            "%20:80",
        ] {
            let response = client::get(proxy.addr(), &format!("/{name}")).await;
            assert!(
                matches!(response.status, 500 | 502),
                "{name}: {}",
                response.status
            );
        }
        assert_eq!(client::get(proxy.addr(), "/").await.text(), "hello");
    });
}

/// `localhost` may be two addresses of which one is refused; the other answers.
#[test]
fn a_name_with_several_addresses() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("hello")).await;
        let proxy = harness::proxy(Named(origin.addr())).await;
        let target = format!("/localhost:{}", origin.addr().port());
        for _ in 0..3 {
            assert_eq!(client::get(proxy.addr(), &target).await.text(), "hello");
        }
        // Kept under its name.
        assert_eq!(origin.connections(), 1);
    });
}
