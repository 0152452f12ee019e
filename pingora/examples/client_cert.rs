//! HTTPS for clients with a certificate, which is told to them.
//!
//! `cargo run --features openssl --example client_cert -- server.pem server.key ca.pem`
//!
//! `curl --cacert … --cert client.pem --key client.key https://localhost:6443/`, where `ca.pem` has
//! the authority that signed `client.pem`. Clients without one are refused in the handshake.

use std::process::ExitCode;

use async_trait::async_trait;
use http::Response;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::listeners::tls::{ClientAuth, TlsSettings};
use pingora::prelude::*;
use pingora::protocols::http::ServerSession;
use pingora::services::listening::Service;

const ADDRESS: &str = "127.0.0.1:6443";

/// Answers with who the client is.
struct WhoAreYou;

#[async_trait]
impl ServeHttp for WhoAreYou {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let digest = session
            .digest()
            .and_then(|digest| digest.ssl_digest.clone());
        let text = match &digest {
            Some(tls) => format!(
                "organization {:?}, serial number {:?}\n",
                tls.organization.as_deref().unwrap_or("none"),
                tls.serial_number.as_deref().unwrap_or("none"),
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [cert, key, ca] = &arguments[..] else {
        return Error::e_explain(
            InternalError,
            "expected CERTIFICATE KEY AUTHORITY, three files",
        );
    };
    let mut settings = TlsSettings::intermediate(cert, key)?;
    settings.set_client_auth(ca, ClientAuth::Required)?;
    let mut service = Service::new("https".to_string(), HttpServer::new_app(WhoAreYou));
    service.add_tls_with_settings(ADDRESS, None, settings);

    let mut server = Server::new(None)?;
    server.bootstrap();
    server.add_service(service);
    println!("listening on https://{ADDRESS}/");
    server.run_forever()
}
