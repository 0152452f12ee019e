//! A proxy with TLS on both sides.

use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora_e2e::harness;

use super::*;

/// Passes everything on to a TLS upstream.
struct ToTls(SocketAddr);

#[async_trait]
impl ProxyHttp for ToTls {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(peer(self.0, "a.example")))
    }
}

#[test]
fn tls_to_tls() {
    harness::run(async {
        let origin = serve(settings("a")).await;
        let conf = Arc::new(ServerConf::default());
        let proxy = http_proxy(&conf, ToTls(origin.addr()));
        let proxy = harness::start_tls(proxy, settings("b")).await;
        let connector = TransportConnector::new(None);
        let peer = peer(proxy.addr(), "b.example");
        let mut stream = connector.new_stream(&peer).await.unwrap();
        for _ in 0..3 {
            let body = get_on(&mut stream).await;
            assert_eq!(body, "TLSv1.3 a.example - full - -");
        }
    });
}
