//! HTTPS with several certificates: chosen by server name, and reloaded when their files change.
//!
//! `cargo run --features openssl --example tls -- example.com=example.pem,example.key …`
//!
//! The first certificate is also the one for unknown names; `*.example.com` works too. Replace a
//! file while it runs: the next connection gets the new one, and none is dropped.

use std::process::ExitCode;

use async_trait::async_trait;
use http::Response;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::listeners::tls::{CertificateSet, TlsSettings};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::services::background::background_service;
use pingora::services::listening::Service;

const ADDRESS: &str = "127.0.0.1:6443";

/// Answers with what the TLS handshake agreed on.
struct Handshake;

#[async_trait]
impl ServeHttp for Handshake {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let digest = session
            .digest()
            .and_then(|digest| digest.ssl_digest.clone());
        let text = match digest {
            Some(tls) => format!(
                "{} with {} for {}{}\n",
                tls.version,
                tls.cipher,
                tls.server_name().unwrap_or("no name"),
                if tls.is_resumed() { ", resumed" } else { "" },
            ),
            None => "no TLS\n".to_string(),
        };
        Response::new(text.into_bytes())
    }
}

fn main() -> ExitCode {
    let Err(e) = run();
    eprintln!("{e}");
    ExitCode::FAILURE
}

fn run() -> Result<std::convert::Infallible> {
    let mut certificates: Option<CertificateSet> = None;
    for argument in std::env::args().skip(1) {
        let (name, files) = argument.split_once('=').unwrap_or(("", &argument));
        let Some((cert, key)) = files.split_once(',') else {
            return Error::e_explain(InternalError, "expected NAME=CERTIFICATE,KEY");
        };
        let set = match certificates.take() {
            Some(set) => set,
            None => CertificateSet::new(cert, key)?,
        };
        set.add(&[name], cert, key)?;
        certificates = Some(set);
    }
    let Some(certificates) = certificates else {
        return Error::e_explain(InternalError, "no certificate: give NAME=CERTIFICATE,KEY");
    };

    let mut settings = TlsSettings::with_certificates(certificates.clone())?;
    settings.enable_h2();
    let mut service = Service::new("https".to_string(), HttpServer::new_app(Handshake));
    service.add_tls_with_settings(ADDRESS, None, settings);

    let mut server = Server::new(None)?;
    server.bootstrap();
    server.add_service(background_service("certificates", certificates));
    server.add_service(service);
    println!("try it: curl --insecure https://{ADDRESS}/");
    server.run_forever()
}
