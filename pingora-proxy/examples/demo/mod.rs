//! Backends for the examples: HTTP servers in the same process, so that each example runs on its own.
//!
//! Not an example. A proxy of your own points at servers that exist already.

use std::net::{SocketAddr, TcpListener};

use async_trait::async_trait;
use http::Response;
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use pingora_core::services::listening;
use pingora_error::{ErrorType::BindError, OrErr, Result};
use tokio::sync::watch;

/// Where a backend listens. The backend ends when this is dropped: keep it in the proxy, so that
/// requests which are under way when the server stops still find their backend.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    _alive: watch::Sender<bool>,
}

/// Returns a service that answers as `name`, to be added to the server, and where it will listen.
pub(crate) fn backend(name: &str) -> Result<(Backend, Upstream)> {
    let address = free_address().or_err(BindError, "no free port for a demo backend")?;
    let answer = Answer {
        name: name.to_string(),
    };
    let mut service = listening::Service::new(format!("demo {name}"), answer);
    service.add_tcp(&address.to_string());
    let (alive, dropped) = watch::channel(false);
    Ok((
        Backend { service, dropped },
        Upstream {
            address,
            _alive: alive,
        },
    ))
}

/// A service that runs until its [`Upstream`] is dropped.
pub(crate) struct Backend {
    service: listening::Service<Answer>,
    dropped: ShutdownWatch,
}

#[async_trait]
impl Service for Backend {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        let dropped = self.dropped.clone();
        Service::start_service(&mut self.service, fds, dropped, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        Service::name(&self.service)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Service::listen_addresses(&self.service)
    }
}

/// Returns an address with a port that is free at this moment.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Answers with its name and the request line; below `/headers` also with the headers it was sent.
struct Answer {
    name: String,
}

#[async_trait]
impl ServeHttp for Answer {
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
