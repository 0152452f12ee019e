//! The PROXY protocol on listeners and to upstreams.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::protocols::proxy_protocol::{
    AcceptProxyProtocol, ProxyHeader, ProxyProtocolVersion, SendProxyHeader,
};
use pingora::server::configuration::ServerConf;
use pingora_e2e::harness::{self, Running, ask, peer};
use pingora_test_support::client::Client;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::raw::{self, Step};

/// Answers with the address of the client, or passes it on in a header.
struct Whoami {
    upstream: Option<SocketAddr>,
    version: ProxyProtocolVersion,
}

#[async_trait]
impl ProxyHttp for Whoami {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        if self.upstream.is_some() {
            return Ok(false);
        }
        let who = format!(
            "{} {}",
            session.client_addr().unwrap(),
            session.server_addr().unwrap()
        );
        session.respond_error_with_body(200, who.into()).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = peer(self.upstream.expect("only with an upstream"));
        let inet = |addr: Option<&pingora::protocols::l4::socket::SocketAddr>| {
            *addr.unwrap().as_inet().unwrap()
        };
        let header = ProxyHeader::new(inet(session.client_addr()), inet(session.server_addr()));
        let mut send = SendProxyHeader::new(header);
        send.version = self.version;
        peer.options.proxy_protocol = Some(Arc::new(send));
        Ok(peer)
    }
}

async fn listener(accept: AcceptProxyProtocol, upstream: Option<SocketAddr>) -> Running {
    let server = Server::new_with_opt_and_conf(None, ServerConf::default());
    let whoami = Whoami {
        upstream,
        version: ProxyProtocolVersion::V1,
    };
    let mut service = http_proxy_service(&server.configuration, whoami);
    service.endpoints().set_pre_tls_callback(Arc::new(accept));
    harness::start(server, service).await
}

const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    harness::run(async {
        let header = ProxyHeader::new(
            "192.0.2.1:7".parse().unwrap(),
            "192.0.2.2:8".parse().unwrap(),
        );
        let accept = AcceptProxyProtocol::from_trusted(["127.0.0.0/8"]).unwrap();
        let server = listener(accept, None).await;
        for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
            for piece in [1, 1000] {
                let bytes = [&header.encode(version)[..], GET.as_bytes()].concat();
                let answer = ask(server.addr(), &bytes, piece).await;
                assert_eq!(answer.status(), Some(200));
                assert!(
                    answer.bytes.ends_with(b"192.0.2.1:7 192.0.2.2:8"),
                    "{version:?} {piece}"
                );
            }
        }
        // It has nobody to tell of: the connection is its own.
        let local = [
            &ProxyHeader::local().encode(ProxyProtocolVersion::V2)[..],
            GET.as_bytes(),
        ]
        .concat();
        let answer = ask(server.addr(), &local, 1000).await;
        assert!(String::from_utf8_lossy(&answer.bytes).contains("\r\n\r\n127.0.0.1:"));
        // Without a header, or with a wrong one, there is no answer.
        for wrong in [
            GET.as_bytes(),
            b"PROXY TCP4 1 2 3 4\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
        ] {
            let answer = ask(server.addr(), wrong, 1000).await;
            assert!(answer.closed && answer.bytes.is_empty());
        }
    });
}

#[test]
fn nobody_else_does() {
    harness::run(async {
        let header = "PROXY TCP4 192.0.2.1 192.0.2.2 7 8\r\n";
        let accept = AcceptProxyProtocol::from_trusted(["10.0.0.0/8"]).unwrap();
        let server = listener(accept, None).await;
        let answer = ask(server.addr(), format!("{header}{GET}").as_bytes(), 1000).await;
        assert_eq!(answer.status(), Some(400));
        assert!(answer.closed);
        let answer = ask(server.addr(), GET.as_bytes(), 1000).await;
        assert!(String::from_utf8_lossy(&answer.bytes).contains("\r\n\r\n127.0.0.1:"));
    });
}

#[test]
fn a_header_can_be_optional() {
    harness::run(async {
        let accept = AcceptProxyProtocol::from_trusted(["127.0.0.1"]).unwrap();
        let server = listener(accept.optional(), None).await;
        let header = "PROXY TCP4 192.0.2.1 192.0.2.2 7 8\r\n";
        let answer = ask(server.addr(), format!("{header}{GET}").as_bytes(), 3).await;
        assert!(answer.bytes.ends_with(b"192.0.2.1:7 192.0.2.2:8"));
        let answer = ask(server.addr(), GET.as_bytes(), 3).await;
        assert_eq!(answer.status(), Some(200));
    });
}

/// A connection belongs to one client: it starts with its header and serves nobody else.
#[test]
fn upstream_connections_start_with_the_header_of_their_client() {
    harness::run(async {
        let reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        let serve = |client: &str| {
            let header = format!("PROXY TCP4 {client} 192.0.2.9 7 8\r\nGET /");
            let answer = format!("{reply}{}", &client[client.len() - 2..]);
            vec![
                Step::expect(header.clone()),
                Step::expect_head(),
                Step::send(answer.clone()),
                Step::expect_head(),
                Step::send(answer),
            ]
        };
        let origin = raw::serve([serve("192.0.2.11"), serve("192.0.2.22")]).await;
        let accept = AcceptProxyProtocol::from_trusted(["127.0.0.1"]).unwrap();
        let proxy = listener(accept, Some(origin.addr())).await;
        for client in ["192.0.2.11", "192.0.2.22"] {
            let mut connection = Client::connect(proxy.addr()).await;
            connection
                .send(format!("PROXY TCP4 {client} 192.0.2.9 7 8\r\n"))
                .await;
            for _ in 0..2 {
                let response = connection.get("/").await;
                assert_eq!(response.text(), &client[client.len() - 2..]);
            }
        }
        drop(proxy);
        origin.finish().await;
    });
}

#[test]
fn version_2_reaches_an_origin_that_reads_it() {
    harness::run(async {
        // Our own listener is the origin: it says whom it was told of.
        let accept = AcceptProxyProtocol::from_trusted(["127.0.0.1"]).unwrap();
        let origin = listener(accept, None).await;
        let whoami = Whoami {
            upstream: Some(origin.addr()),
            version: ProxyProtocolVersion::V2,
        };
        let proxy = harness::proxy(whoami).await;
        let mut client = Client::connect(proxy.addr()).await;
        let me = client.local_addr();
        let response = client.get("/").await;
        assert_eq!(response.text(), format!("{me} {}", proxy.addr()));
    });
}

#[test]
fn an_upstream_without_the_option_gets_none() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("plain")).await;
        let proxy = harness::forward(origin.addr()).await;
        assert_eq!(
            Client::connect(proxy.addr()).await.get("/").await.text(),
            "plain"
        );
        assert!(origin.errors().is_empty());
    });
}
