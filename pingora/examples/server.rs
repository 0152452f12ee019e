//! A server with services of every kind: plain TCP, HTTP, a reverse proxy, and one in the
//! background.
//!
//! `cargo run --release --example server`
//!
//! ```text
//! echo hello | curl -sm1 telnet://127.0.0.1:6142  # echo of bytes
//! curl http://127.0.0.1:6145/ -d hello           # echo of a request's body
//! curl http://127.0.0.1:6141/ -d hello -i        # the same through a proxy
//! ```
//!
//! Built with a TLS feature (`--features openssl`) it also serves the HTTP echo by TLS, with a
//! certificate that is chosen for each connection:
//!
//! ```text
//! … -- --certificate example.com=example.pem,example.key --certificate …
//! curl --insecure --connect-to ::127.0.0.1:6143 https://example.com/ -d hello
//! ```
//!
//! Also here: `-c conf.yaml`, `-d`, `-t`, `-u`; see `--help`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use clap::Parser;
use http::{Response, StatusCode};
use pingora::apps::ServerApp;
use pingora::apps::http_app::ServeHttp;
use pingora::prelude::*;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use pingora::services::listening::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How much of a body the HTTP echo holds.
const MAX_BODY: usize = 1 << 20;

/// How often the background service looks at the counter.
const PERIOD: Duration = Duration::from_secs(5);

/// Sends back what it gets, byte for byte.
struct Echo {
    connections: Arc<AtomicUsize>,
}

#[async_trait]
impl ServerApp for Echo {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut shutdown = shutdown.clone();
        let mut buf = [0; 4096];
        loop {
            let read = tokio::select! {
                // cancel-safe
                _ = shutdown.changed() => return None,
                // cancel-safe: either nothing was read or it is the result
                read = stream.read(&mut buf) => read,
            };
            let Ok(n @ 1..) = read else { return None };
            stream.write_all(&buf[..n]).await.ok()?;
            stream.flush().await.ok()?;
        }
    }
}

/// Answers with the body of the request.
struct HttpEcho;

#[async_trait]
impl ServeHttp for HttpEcho {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut body = Vec::new();
        while let Ok(Some(piece)) = session.read_request_body().await {
            body.extend_from_slice(&piece);
            if body.len() > MAX_BODY {
                let mut refusal = Response::new(Vec::new());
                *refusal.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                return refusal;
            }
        }
        if body.is_empty() {
            body.extend_from_slice(b"no body\n");
        }
        Response::new(body)
    }
}

/// Passes everything on to the HTTP echo.
struct Proxy;

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(
            "127.0.0.1:6145",
            false,
            String::new(),
        )))
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        upstream_response: &mut ResponseHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        upstream_response.insert_header("X-Proxied", "yes")
    }
}

/// Prints how many connections the echo had, when that has changed.
struct Statistics {
    connections: Arc<AtomicUsize>,
}

#[async_trait]
impl BackgroundService for Statistics {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut printed = 0;
        let mut ticks = tokio::time::interval(PERIOD);
        loop {
            tokio::select! {
                // cancel-safe
                _ = shutdown.changed() => return,
                // cancel-safe
                _ = ticks.tick() => {}
            }
            let connections = self.connections.load(Ordering::Relaxed);
            if connections != printed {
                println!("connections to the echo so far: {connections}");
                printed = connections;
            }
        }
    }
}

#[derive(Parser)]
#[command(name = "server", version)]
struct Args {
    /// A certificate to serve TLS with: two PEM files, for one server name; may be repeated
    #[cfg(feature = "any_tls")]
    #[arg(long = "certificate", value_name = "NAME=CERTIFICATE,KEY")]
    certificates: Vec<String>,

    #[command(flatten)]
    server: Opt,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut server = Server::new(args.server)?;
    server.bootstrap();

    let connections = Arc::new(AtomicUsize::new(0));
    let mut echo = Service::new(
        "echo".to_string(),
        Echo {
            connections: connections.clone(),
        },
    );
    echo.add_tcp("127.0.0.1:6142");

    let mut http_echo = Service::new("HTTP echo".to_string(), HttpEcho);
    http_echo.add_tcp("127.0.0.1:6145");

    let mut proxy = http_proxy_service(&server.configuration, Proxy);
    proxy.add_tcp("127.0.0.1:6141");

    #[cfg(feature = "any_tls")]
    if !args.certificates.is_empty() {
        let settings = dynamic::settings(&args.certificates)?;
        http_echo.add_tls_with_settings("127.0.0.1:6143", None, settings);
    }

    server.add_service(echo);
    server.add_service(http_echo);
    server.add_service(proxy);
    server.add_service(background_service("statistics", Statistics { connections }));
    server.run_forever()
}

/// TLS with certificates that are chosen in a callback.
///
/// For certificates from files there is a simpler way, which also reads them again: see the example
/// `tls`. In a callback they may come from anywhere, a database for example.
#[cfg(feature = "any_tls")]
mod dynamic {
    use std::collections::HashMap;

    use async_trait::async_trait;
    use pingora::listeners::TlsAccept;
    use pingora::listeners::tls::{TlsSettings, server_name, set_certificate};
    use pingora::prelude::*;
    use pingora::protocols::tls::TlsRef;
    use pingora::utils::tls::CertKey;

    struct ByName(HashMap<String, CertKey>);

    #[async_trait]
    impl TlsAccept for ByName {
        async fn certificate_callback(&self, ssl: &mut TlsRef) {
            let name = server_name(ssl).unwrap_or_default().to_ascii_lowercase();
            // It may wait here. Without a certificate the handshake fails.
            let Some(certificate) = self.0.get(&name) else {
                return println!("no certificate for {name:?}");
            };
            if let Err(e) = set_certificate(ssl, certificate) {
                println!("{e}");
            }
        }
    }

    /// Returns settings with these certificates, `NAME=CERTIFICATE,KEY` each.
    pub(super) fn settings(arguments: &[String]) -> Result<TlsSettings> {
        let mut by_name = HashMap::new();
        for argument in arguments {
            let parts = argument.split_once('=').and_then(|(name, files)| {
                let (cert, key) = files.split_once(',')?;
                Some((name.to_ascii_lowercase(), cert, key))
            });
            let (name, cert, key) = parts.or_err(InternalError, "expected NAME=CERTIFICATE,KEY")?;
            by_name.insert(name, CertKey::from_files(cert, key)?);
        }
        let mut settings = TlsSettings::with_callbacks(Box::new(ByName(by_name)))?;
        settings.enable_h2();
        Ok(settings)
    }
}
