//! Backends for the examples: HTTP servers in the same process, so that each example runs on its own.
//!
//! Not an example. A proxy of your own points at servers that exist already.

use std::net::{SocketAddr, TcpListener};

use async_trait::async_trait;
use http::Response;
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::services::listening::Service;
use pingora_error::{ErrorType::BindError, OrErr, Result};

/// Answers with its name and the request line; below `/headers` also with the headers it was sent.
pub(crate) struct Backend {
    name: String,
}

/// Returns a service that answers as `name`, to be added to the server, and where it will listen.
pub(crate) fn backend(name: &str) -> Result<(Service<Backend>, SocketAddr)> {
    let address = free_address().or_err(BindError, "no free port for a demo backend")?;
    let name = name.to_string();
    let mut service = Service::new(format!("demo {name}"), Backend { name });
    service.add_tcp(&address.to_string());
    Ok((service, address))
}

/// Returns an address with a port that is free at this moment.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

#[async_trait]
impl ServeHttp for Backend {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let mut text = format!("{}: {} {}\n", self.name, request.method, request.uri);
        if request.uri.path().starts_with("/headers") {
            for (name, value) in &request.headers {
                text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
            }
        }
        let mut response = Response::new(text.into_bytes());
        let plain = http::HeaderValue::from_static("text/plain");
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, plain);
        response
    }
}
