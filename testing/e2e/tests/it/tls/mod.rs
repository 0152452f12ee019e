//! TLS on both sides of the framework: its listeners, its connectors, and both in a proxy. No test
//! knows which library is compiled in; each runs once with every library.

mod browser;
mod certificates;
mod handshakes;
mod health;
mod http2;
mod listeners;
mod programs;
mod proxies;
mod raw;
mod stapling;
mod tunnels;
mod upstreams;

use async_trait::async_trait;
use http::Response;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::connectors::TransportConnector;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{ALPN, Stream};
use pingora::utils::tls::{CertKey, load_ca};
use pingora_e2e::harness::Running;
use pingora_test_support::within;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Returns the path of a file of the fixtures.
fn file(name: &str) -> String {
    format!("{}/../fixtures/certs/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Returns settings with the certificate `name`.
pub(crate) fn settings(name: &str) -> TlsSettings {
    TlsSettings::intermediate(&file(&format!("{name}.pem")), &file(&format!("{name}.key"))).unwrap()
}

/// Returns a peer that trusts the authority of the tests.
pub(crate) fn peer(addr: SocketAddr, sni: &str) -> HttpPeer {
    let mut peer = HttpPeer::new(addr, true, sni.to_string());
    peer.options.ca = Some(load_ca(&file("ca.pem")).unwrap());
    peer
}

/// Returns a client certificate of the fixtures.
fn client_cert(name: &str) -> Arc<CertKey> {
    let (cert, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
    Arc::new(CertKey::from_files(&cert, &key).unwrap())
}

/// Answers with what the server knows of the connection: version, server name, protocol, whether the
/// session was resumed, and the organization of the client.
struct Facts;

#[async_trait]
impl ServeHttp for Facts {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut received = 0;
        while let Ok(Some(piece)) = session.read_request_body().await {
            received += piece.len();
        }
        let digest = session
            .digest()
            .and_then(|digest| digest.ssl_digest.clone());
        let body = match digest {
            Some(digest) => facts(&digest),
            None => "plain".to_string(),
        };
        let size = session.req_header().headers.get("x-size");
        let size = size.map_or(0, |size| size.to_str().unwrap().parse().unwrap());
        let body = if size > 0 { "x".repeat(size) } else { body };
        Response::builder()
            .header("Content-Length", body.len())
            .header("X-Received", received)
            .body(body.into_bytes())
            .unwrap()
    }
}

fn facts(digest: &SslDigest) -> String {
    let kept = digest.extension.get::<String>().map_or("-", String::as_str);
    format!(
        "{} {} {} {} {} {kept}",
        digest.version,
        digest.server_name().unwrap_or("-"),
        digest.alpn().map_or("-".to_string(), ALPN::to_string),
        if digest.is_resumed() {
            "resumed"
        } else {
            "full"
        },
        digest.organization.as_deref().unwrap_or("-"),
    )
}

/// Starts a server of [`Facts`].
async fn serve(settings: TlsSettings) -> Running {
    pingora_e2e::harness::start_tls(HttpServer::new_app(Facts), settings).await
}

/// Sends a GET on `stream` and returns the body of the answer.
async fn get_on(stream: &mut Stream) -> String {
    within("the request is sent", async {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            .await
            .unwrap();
        stream.flush().await.unwrap();
    })
    .await;
    let mut received = vec![];
    loop {
        let read = within("an answer", stream.read_buf(&mut received)).await;
        assert!(
            read.unwrap() > 0,
            "closed after {:?}",
            String::from_utf8_lossy(&received)
        );
        let text = String::from_utf8_lossy(&received);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        if body.len() >= length {
            assert_eq!(body.len(), length);
            return body.to_string();
        }
    }
}

/// Connects and sends a GET.
async fn get(connector: &TransportConnector, peer: &HttpPeer) -> Result<String> {
    let mut stream = within("a connection", connector.new_stream(peer)).await?;
    let body = get_on(&mut stream).await;
    // Session tickets may be behind the answer; the pool looks before it gives a connection out.
    connector.release_stream(stream, u64::MAX, None);
    Ok(body)
}

/// Connects with a connector of its own and sends a GET.
async fn get_once(peer: &HttpPeer) -> Result<String> {
    get(&TransportConnector::new(None), peer).await
}
