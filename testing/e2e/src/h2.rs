//! Peers of HTTP/2 without TLS, on the `h2` crate: an origin whose streams a test serves itself, and
//! a client. Those of HTTP/1 are in `pingora-test-support`.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use ::h2::client::SendRequest;
use ::h2::server::SendResponse;
use ::h2::{RecvStream, SendStream, client, server};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use pingora_test_support::within;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What a stream of an origin is served with: the request and where its response goes.
pub type Exchange = (Request<RecvStream>, SendResponse<Bytes>);

/// An origin of HTTP/2 by prior knowledge.
pub struct H2Origin {
    addr: SocketAddr,
    counts: watch::Receiver<Counts>,
    task: JoinHandle<()>,
}

/// What an origin has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Connections accepted.
    pub connections: usize,
    /// Connections that have ended.
    pub closed: usize,
    /// Streams opened.
    pub streams: usize,
}

impl H2Origin {
    /// Starts an origin that serves each stream with `serve`, in a task of its own.
    pub async fn start<F>(serve: impl Fn(Exchange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut options = server::Builder::new();
        options.enable_connect_protocol();
        Self::start_with(options, serve).await
    }

    /// Starts an origin with these options.
    pub async fn start_with<F>(
        options: server::Builder,
        serve: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (seen, counts) = watch::channel(Counts::default());
        let (serve, seen) = (Arc::new(serve), Arc::new(seen));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                seen.send_modify(|seen| seen.connections += 1);
                let (options, serve, seen) =
                    (options.clone(), Arc::clone(&serve), Arc::clone(&seen));
                connections.spawn(async move {
                    if let Ok(mut connection) = options.handshake(stream).await {
                        while let Some(Ok(exchange)) = connection.accept().await {
                            seen.send_modify(|seen| seen.streams += 1);
                            tokio::spawn(serve(exchange));
                        }
                    }
                    seen.send_modify(|seen| seen.closed += 1);
                });
            }
        });
        H2Origin { addr, counts, task }
    }

    /// Returns the address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns what it has seen so far.
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Returns once it has seen what `reached` asks for; panics after the limit.
    pub async fn wait_for(&self, what: &str, reached: impl Fn(&Counts) -> bool) {
        let mut counts = self.counts.clone();
        let waited = within(what, counts.wait_for(|counts| reached(counts))).await;
        waited.expect("the origin runs");
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Opens a connection by prior knowledge.
pub async fn connect(addr: SocketAddr) -> SendRequest<Bytes> {
    connect_with(client::Builder::new(), addr).await
}

/// Opens a connection with these options.
pub async fn connect_with(options: client::Builder, addr: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(addr).await.expect("the server listens");
    let _ = stream.set_nodelay(true);
    connect_on(options, stream).await
}

/// Opens a connection on a stream that is there already.
pub async fn connect_on<S>(options: client::Builder, stream: S) -> SendRequest<Bytes>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let shaken = within("a handshake", options.handshake(stream)).await;
    let (requests, connection) = shaken.expect("the server speaks HTTP/2");
    tokio::spawn(connection);
    requests.ready().await.expect("a new connection is ready")
}

/// Sends a request with this body, or without one if it is empty; returns the response.
pub async fn send(
    requests: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: &'static str,
) -> Response<RecvStream> {
    let sent = requests.send_request(request, body.is_empty());
    let (response, mut stream) = sent.expect("the connection takes requests");
    if !body.is_empty() {
        let sent = stream.send_data(body.into(), true);
        sent.expect("the stream was just opened");
    }
    within("a response", response).await.expect("a response")
}

/// Reads a body to its end; returns it and the trailers.
pub async fn read(mut body: RecvStream) -> Result<(Bytes, HeaderMap), ::h2::Error> {
    let mut whole = Vec::new();
    while let Some(piece) = within("a piece of a body", body.data()).await {
        let piece = piece?;
        // An error: the stream is gone, which the next read tells.
        let _ = body.flow_control().release_capacity(piece.len());
        whole.extend_from_slice(&piece);
    }
    let trailers = within("trailers", body.trailers()).await?;
    Ok((whole.into(), trailers.unwrap_or_default()))
}

/// Sends all of `data`, waiting for windows.
pub async fn write(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), ::h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.ok_or(::h2::Reason::CANCEL)??;
        stream.send_data(data.split_to(room.min(data.len())), false)?;
    }
    Ok(())
}

/// Returns a response without a body yet.
pub fn response(status: u16, fields: &[(&'static str, &str)]) -> Response<()> {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(()).expect("a valid head")
}
