//! Services and applications: what a server runs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Response;
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::prelude::*;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::configuration::ServerConf;
use pingora::server::{
    ListenFds, RunArgs, RuntimeOpts, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
};
use pingora::services::background::BackgroundService;
use pingora::services::listening::Service as ListeningService;
use pingora::services::{Service, ServiceReadyNotifier, ServiceWithDependents};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::{Calls, ask};

static CALLS: Calls = Calls::new();

#[derive(Default)]
pub(crate) struct Background {
    ready: bool,
}

#[async_trait]
impl BackgroundService for Background {
    async fn start_with_ready_notifier(
        &self,
        shutdown: ShutdownWatch,
        ready_notifier: ServiceReadyNotifier,
    ) {
        if !self.ready {
            ready_notifier.notify_ready();
        }
        self.start(shutdown).await;
    }

    async fn start(&self, mut shutdown: ShutdownWatch) {
        CALLS.count();
        let _ = shutdown.changed().await;
    }
}

struct Plain;

#[async_trait]
impl Service for Plain {
    async fn start_service(
        &mut self,
        #[cfg(unix)] _fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        CALLS.count();
        let _ = shutdown.changed().await;
    }

    fn name(&self) -> &str {
        "plain"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    fn on_startup_delay(&self, _time_waited: Duration) {}

    fn listen_addresses(&self) -> Option<Vec<String>> {
        None
    }

    fn runtime_opts_override(&self, global: &RuntimeOpts) -> Option<RuntimeOpts> {
        Some(global.clone())
    }
}

struct Dependable;

#[async_trait]
impl ServiceWithDependents for Dependable {
    async fn start_service(
        &mut self,
        #[cfg(unix)] _fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready_notifier: ServiceReadyNotifier,
    ) {
        CALLS.count();
        ready_notifier.notify_ready();
        let _ = shutdown.changed().await;
    }

    fn name(&self) -> &str {
        "dependable"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    fn on_startup_delay(&self, _time_waited: Duration) {}

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(vec![])
    }

    fn runtime_opts_override(&self, _global: &RuntimeOpts) -> Option<RuntimeOpts> {
        None
    }
}

/// Ends the server once all its services have started.
struct WhenStarted;

#[async_trait]
impl ShutdownSignalWatch for WhenStarted {
    async fn recv(&self) -> ShutdownSignal {
        while CALLS.seen() < 4 {
            tokio::task::yield_now().await;
        }
        ShutdownSignal::FastShutdown
    }
}

#[test]
fn a_server_runs_every_kind_of_service() {
    let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
    server.bootstrap();
    let dependable = server.add_service(Dependable);
    let plain = server.add_boxed_service(Box::new(Plain));
    plain.add_dependency(&dependable);
    server.add_service(background_service("first", Background::default()));
    server.add_service(background_service("second", Background { ready: true }));
    server.add_service(ListeningService::new("echo".to_string(), Echo));
    server.run(RunArgs {
        shutdown_signal: Box::new(WhenStarted),
    });
    assert_eq!(CALLS.seen(), 4);
}

struct Echo;

#[async_trait]
impl ServerApp for Echo {
    async fn process_new(
        self: &Arc<Self>,
        mut session: Stream,
        _shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let mut buffer = [0; 64];
        let read = session.read(&mut buffer).await.ok()?;
        session.write_all(&buffer[..read]).await.ok()?;
        session.flush().await.ok()?;
        None
    }

    async fn cleanup(&self) {}
}

struct App {
    options: HttpServerOptions,
}

#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        session.respond_error(404).await.ok()?;
        let stream = session.finish().await.ok()??;
        let (stream, _rest) = stream.into_parts();
        Some(ReusedHttpStream::new(stream, None))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    async fn http_cleanup(&self) {}

    async fn process_custom_session(
        self: Arc<Self>,
        _stream: Stream,
        _shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        None
    }
}

struct Hello;

#[async_trait]
impl ServeHttp for Hello {
    async fn response(&self, http_session: &mut ServerSession) -> Response<Vec<u8>> {
        let path = http_session.req_header().uri.path().to_string();
        Response::builder()
            .status(200)
            .header("Content-Type", "text/plain")
            .body(format!("hello {path}").into_bytes())
            .expect("a valid response")
    }
}

#[tokio::test]
async fn applications_answer() {
    const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (_stop, shutdown) = watch::channel(false);

    let (client, server) = tokio::io::duplex(1024);
    let echo = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            Arc::new(Echo)
                .process_new(Box::new(server), &shutdown)
                .await
        }
    });
    assert_eq!(ask(client, "ping").await, "ping");
    assert!(echo.await.expect("no panic").is_none());

    let app = Arc::new(App {
        options: HttpServerOptions::default(),
    });
    let (client, server) = tokio::io::duplex(1024);
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move { app.process_new(Box::new(server), &shutdown).await.is_none() }
    });
    assert!(
        ask(client, GET)
            .await
            .starts_with("HTTP/1.1 404 Not Found\r\n")
    );

    let mut server = HttpServer::new_app(Hello);
    server.add_module(Box::new(crate::modules::Builder));
    let server = Arc::new(server);
    let (client, stream) = tokio::io::duplex(1024);
    tokio::spawn(async move {
        server
            .process_new(Box::new(stream), &shutdown)
            .await
            .is_none()
    });
    let response = ask(client, GET).await;
    assert!(response.contains("\r\nX-Module: seen\r\n"), "{response}");
    assert!(response.ends_with("hello /a"), "{response}");
}
