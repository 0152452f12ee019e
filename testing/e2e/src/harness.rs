//! Starts servers for tests and stops them. See the crate documentation for an example.

use std::future::Future;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions};
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, ShutdownSignal, ShutdownSignalWatch};
use pingora::services::ServiceWithDependents;
use pingora::services::listening::Service;
use pingora_test_support::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

/// How long a whole test may take. Every single wait inside has the shorter limit of
/// `pingora_test_support::limit`, so this only ends tests that loop.
pub const TEST_LIMIT: Duration = Duration::from_secs(60);

/// Runs a whole test on a fresh runtime with two threads; panics after [`TEST_LIMIT`].
pub fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let output = runtime.block_on(async { tokio::time::timeout(TEST_LIMIT, test).await });
    // A task that never ends must not hold the test.
    runtime.shutdown_background();
    output.unwrap_or_else(|_| panic!("the test did not end within {TEST_LIMIT:?}"))
}

/// Starts a server with one proxy and default settings.
pub async fn proxy<SV>(inner: SV) -> Running
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
{
    proxy_with(inner, |_, _| {}).await
}

/// Starts a server with one proxy; `adjust` changes its settings before.
pub async fn proxy_with<SV>(
    inner: SV,
    adjust: impl FnOnce(&mut ServerConf, &mut HttpServerOptions),
) -> Running
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
{
    let mut conf = ServerConf::default();
    let mut options = HttpServerOptions::default();
    adjust(&mut conf, &mut options);
    let server = Server::new_with_opt_and_conf(None, conf);
    let mut service = http_proxy_service(&server.configuration, inner);
    let app = service.app_logic_mut().expect("nothing shares it yet");
    app.server_options = Some(options);
    start(server, service).await
}

/// Starts a server with one proxy that also takes HTTP/2 without TLS.
pub async fn proxy_h2c<SV>(inner: SV) -> Running
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
{
    proxy_with(inner, |_, options| options.h2c = true).await
}

/// Starts a server with one HTTP application that is not a proxy.
pub async fn app(app: impl HttpServerApp + Send + Sync + 'static) -> Running {
    let server = Server::new_with_opt_and_conf(None, ServerConf::default());
    start(server, Service::new("app".to_string(), app)).await
}

/// Starts a proxy that passes everything on to `upstream` and changes nothing.
pub async fn forward(upstream: SocketAddr) -> Running {
    proxy(Forward(upstream)).await
}

/// Starts the proxy of [`forward`] for clients that may speak HTTP/2 without TLS.
pub async fn forward_h2c(upstream: SocketAddr) -> Running {
    proxy_h2c(Forward(upstream)).await
}

/// Starts `server` with `service` on a free port of 127.0.0.1; returns once it listens.
pub async fn start<A>(server: Server, mut service: Service<A>) -> Running
where
    A: pingora::apps::ServerApp + Send + Sync + 'static,
{
    service.add_tcp("127.0.0.1:0");
    run_with(server, service).await
}

/// Returns a new empty folder, which the test removes.
pub fn temporary_folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("pingora-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

/// Starts a server with `app` on a free port of 127.0.0.1 with TLS.
pub async fn start_tls<A>(app: A, settings: TlsSettings) -> Running
where
    A: pingora::apps::ServerApp + Send + Sync + 'static,
{
    let server = Server::new_with_opt_and_conf(None, ServerConf::default());
    let mut service = Service::new("tls".to_string(), app);
    service.add_tls_with_settings("127.0.0.1:0", None, settings);
    run_with(server, service).await
}

/// Starts `server` with `service`, whose addresses are set; returns once it listens.
pub async fn run_with<A>(server: Server, service: Service<A>) -> Running
where
    A: pingora::apps::ServerApp + Send + Sync + 'static,
{
    let addresses = service.address_watch();
    run_service(server, service, addresses).await
}

/// Starts `server` with `service`; returns once `addresses` has what it listens on.
pub async fn run_service(
    mut server: Server,
    service: impl ServiceWithDependents + 'static,
    mut addresses: watch::Receiver<Vec<String>>,
) -> Running {
    server.bootstrap();
    server.add_service(service);
    let (signal, signals) = watch::channel(Stop::NotYet);
    let (ended, has_ended) = oneshot::channel();
    thread::spawn(move || {
        let outcome = server.try_run(RunArgs {
            shutdown_signal: Box::new(FromTest(signals)),
        });
        // The test need not wait for the end.
        let _ = ended.send(outcome);
    });
    let bound = within(
        "the server listens",
        addresses.wait_for(|all| !all.is_empty()),
    )
    .await;
    let bound = bound.expect("the service exists").clone();
    Running {
        // A test may have added a Unix socket.
        addr: bound
            .iter()
            .find_map(|addr| addr.parse().ok())
            .expect("one is an IP address"),
        signal,
        ended: Some(has_ended),
    }
}

/// A server of a test; dropping it stops it at once.
pub struct Running {
    addr: SocketAddr,
    signal: watch::Sender<Stop>,
    ended: Option<oneshot::Receiver<Result<()>>>,
}

impl Running {
    /// Returns the address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Asks the server to finish what it has begun and end.
    pub fn terminate(&self) {
        self.signal.send_replace(Stop::Gracefully);
    }

    /// Returns once the server has ended; panics if it ended with an error or does not end.
    pub async fn ended(mut self) {
        let ended = self.ended.take().expect("only this takes it");
        let outcome = within("the server ends", ended).await;
        outcome
            .expect("the server did not panic")
            .expect("the server ended well");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal.send_replace(Stop::AtOnce);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Stop {
    NotYet,
    Gracefully,
    AtOnce,
}

struct FromTest(watch::Receiver<Stop>);

#[async_trait]
impl ShutdownSignalWatch for FromTest {
    async fn recv(&self) -> ShutdownSignal {
        let mut signals = self.0.clone();
        match signals
            .wait_for(|stop| *stop != Stop::NotYet)
            .await
            .as_deref()
        {
            Ok(Stop::Gracefully) => ShutdownSignal::GracefulTerminate,
            // An error: the sender is gone, and so is the test.
            _ => ShutdownSignal::FastShutdown,
        }
    }
}

/// The proxy of [`forward`].
pub struct Forward(pub SocketAddr);

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(peer(self.0))
    }
}

/// Passes on to an origin of HTTP/2, a hundred streams on a connection.
pub struct ForwardH2(pub SocketAddr);

#[async_trait]
impl ProxyHttp for ForwardH2 {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = peer(self.0);
        peer.options.set_http_version(2, 2);
        peer.options.max_h2_streams = 100;
        Ok(peer)
    }
}

/// Passes on to the Unix socket at this path.
pub struct ForwardUds(pub String);

#[async_trait]
impl ProxyHttp for ForwardUds {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new_uds(&self.0, false, String::new())?))
    }
}

/// Refuses a response of 503, so that another upstream is asked: for an `upstream_response_filter`.
pub fn refuse_busy(response: &ResponseHeader) -> Result<()> {
    if response.status != 503 {
        return Ok(());
    }
    let mut error = Error::explain(ErrorType::HTTPStatus(503), "another may answer");
    error.set_retry(true);
    Err(error)
}

/// Returns a plain peer.
pub fn peer(addr: SocketAddr) -> Box<HttpPeer> {
    Box::new(HttpPeer::new(addr, false, String::new()))
}

/// What a server answered on a connection of its own.
#[derive(Debug)]
pub struct Answer {
    /// Everything received.
    pub bytes: Vec<u8>,
    /// Whether the server closed the connection by itself (a reset counts).
    pub closed: bool,
}

impl Answer {
    /// Returns the status of the first response, if there is a response.
    pub fn status(&self) -> Option<u16> {
        let line = self.bytes.strip_prefix(b"HTTP/1.1 ")?;
        std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
    }

    /// Returns how many responses there are, 1xx included. Bodies must not look like heads.
    pub fn responses(&self) -> usize {
        let is_head = |window: &&[u8]| *window == b"HTTP/1.1 ";
        self.bytes.windows(9).filter(is_head).count()
    }
}

/// Sends `bytes` in writes of `piece` bytes and returns what comes back until the server closes;
/// gives up after [`SILENCE`] without a byte. Never closes its own side before that.
pub async fn ask(addr: SocketAddr, bytes: &[u8], piece: usize) -> Answer {
    let stream = TcpStream::connect(addr).await.expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let (mut receive, mut send) = stream.into_split();
    let bytes = bytes.to_vec();
    let sending = tokio::spawn(async move {
        for part in bytes.chunks(piece) {
            if send.write_all(part).await.is_err() {
                // The server has answered early; what it said is still to be read.
                break;
            }
            tokio::task::yield_now().await;
        }
        send
    });
    let mut answer = Answer {
        bytes: Vec::new(),
        closed: false,
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match tokio::time::timeout(SILENCE, receive.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => answer.closed = true,
            Ok(Ok(read)) => {
                answer.bytes.extend_from_slice(&buffer[..read]);
                continue;
            }
            Err(_) => {}
        }
        sending.abort();
        return answer;
    }
}

/// How long [`ask`] waits for the next byte. Only wrong answers wait that long.
pub const SILENCE: Duration = Duration::from_secs(3);
