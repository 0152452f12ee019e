//! An HTTP/1 origin in the same process: port 0, one closure per test, every byte on record.
//!
//! The closure gets a [`Request`] and returns a [`Reply`]; a reply is raw bytes, so it may be as
//! wrong as the test needs. The origin itself reads requests strictly: one that is malformed is
//! answered 400, the connection is closed, and [`Origin::errors`] says why.
//!
//! ```
//! use pingora_test_support::{client::Client, origin::{Origin, Reply}};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! // Answers the first request of every connection, then breaks it.
//! let origin = Origin::start(|request| match request.index {
//!     1 => Reply::ok("first"),
//!     _ => Reply::raw("HTTP/1.1 200 OK\r\nContent-Le").reset(),
//! })
//! .await;
//! let mut client = Client::connect(origin.addr()).await;
//! assert_eq!(client.get("/").await.text(), "first");
//! client.send("GET /again HTTP/1.1\r\nHost: t\r\n\r\n").await;
//! assert!(client.try_response().await.is_err());
//! # });
//! ```
//!
//! Scripts that are not "request in, response out" belong to [`crate::raw`].

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::limit::{Gate, within};
use crate::message::{Fields, Framing, Head, Reader};

/// A request as the origin received it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target as sent: path and query, or a whole URI, or `*`.
    pub target: String,
    /// The version as sent, e.g. `HTTP/1.1`.
    pub version: String,
    /// The fields in the order received, names as sent.
    pub fields: Fields,
    /// The head as received, with the empty line.
    pub raw_head: Bytes,
    /// How the body was framed.
    pub framing: Framing,
    /// The body without chunk framing. Empty for the closure of [`Origin::start_on_head`].
    pub body: Bytes,
    /// The trailers of a chunked body.
    pub trailers: Fields,
    /// The number of the connection, from 1.
    pub connection: usize,
    /// The number of the request on its connection, from 1.
    pub index: usize,
}

impl Request {
    /// Returns the value of the first field of this name (any case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }
}

/// What follows a request: bytes to send and what happens to the connection.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Send(Bytes),
    Wait(Gate),
    Open(Gate),
    Echo,
    HalfClose,
    Close,
    Reset,
}

impl Reply {
    /// Returns a reply that sends these bytes as they are.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::default().then(bytes)
    }

    /// Returns a reply that sends nothing; the connection stays open.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Returns a 200 with this body and its Content-Length.
    pub fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::status(200, body)
    }

    /// Returns a response with this status and body, and its Content-Length.
    pub fn status(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::with_fields(status, &[], body)
    }

    /// Returns a response with this status, these fields, this body and its Content-Length.
    pub fn with_fields(status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut bytes = format!("HTTP/1.1 {status} Status\r\n").into_bytes();
        for (name, value) in fields {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        Self::raw(bytes)
    }

    /// Returns a 200 whose body is sent as these chunks.
    pub fn chunked<B: AsRef<[u8]>>(chunks: impl IntoIterator<Item = B>) -> Self {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in chunks {
            let chunk = chunk.as_ref();
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        Self::raw(bytes)
    }

    /// Then sends more bytes, in a write of their own.
    pub fn then(mut self, bytes: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Send(bytes.into()));
        self
    }

    /// Then waits until the gate is open.
    pub fn wait(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Wait(gate.clone()));
        self
    }

    /// Then opens the gate: what came before is on its way.
    pub fn open(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Open(gate.clone()));
        self
    }

    /// Then sends back whatever arrives until the peer ends; for use after a 101.
    pub fn echo(mut self) -> Self {
        self.steps.push(Step::Echo);
        self
    }

    /// Then closes the sending side and goes on reading until the peer ends.
    pub fn half_close(mut self) -> Self {
        self.steps.push(Step::HalfClose);
        self
    }

    /// Then closes the connection.
    pub fn close(mut self) -> Self {
        self.steps.push(Step::Close);
        self
    }

    /// Then resets the connection (RST on the wire).
    pub fn reset(mut self) -> Self {
        self.steps.push(Step::Reset);
        self
    }
}

/// A running origin; dropping it closes its port and every connection.
pub struct Origin {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    on_head: bool,
    counts: watch::Sender<Counts>,
    record: Mutex<Record>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    opened: usize,
    closed: usize,
    requests: usize,
}

#[derive(Default)]
struct Record {
    requests: Vec<Request>,
    received: Vec<Vec<u8>>,
    errors: Vec<String>,
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin {
    /// Starts an origin on a free port of 127.0.0.1; `handler` answers each complete request.
    /// A request with `Expect: 100-continue` gets its 100 before the body is read.
    pub async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::new(Box::new(handler), false).await
    }

    /// Like [`Origin::start`], but `handler` answers as soon as the head is there. The reply is
    /// sent before the body is read; no 100 is sent unless the reply has one.
    pub async fn start_on_head(
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::new(Box::new(handler), true).await
    }

    async fn new(handler: Box<Handler>, on_head: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port of 127.0.0.1");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let counts = watch::Sender::new(Counts::default());
        let shared = Arc::new(Shared {
            handler,
            on_head,
            counts,
            record: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Self { addr, shared, task }
    }

    /// Returns the address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns how many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.counts.borrow().opened
    }

    /// Returns how many connections are open now.
    pub fn open_connections(&self) -> usize {
        let counts = *self.shared.counts.borrow();
        counts.opened - counts.closed
    }

    /// Returns every request so far, in the order their handling began.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.record().requests.clone()
    }

    /// Returns every byte received on connection `number`, counted from 1.
    pub fn received(&self, number: usize) -> Vec<u8> {
        self.shared
            .record()
            .received
            .get(number - 1)
            .cloned()
            .unwrap_or_default()
    }

    /// Returns why requests were refused as malformed. Empty means all input was well-formed.
    pub fn errors(&self) -> Vec<String> {
        self.shared.record().errors.clone()
    }

    /// Returns once `count` requests have arrived in all; panics after the limit.
    pub async fn wait_for_requests(&self, count: usize) {
        self.wait(&format!("{count} requests at the origin"), |now| {
            now.requests >= count
        })
        .await;
    }

    /// Returns once `count` connections were accepted in all; panics after the limit.
    pub async fn wait_for_connections(&self, count: usize) {
        self.wait(&format!("{count} connections at the origin"), |now| {
            now.opened >= count
        })
        .await;
    }

    /// Returns once `count` connections have ended in all; panics after the limit.
    pub async fn wait_for_closed(&self, count: usize) {
        self.wait(&format!("{count} closed connections"), |now| {
            now.closed >= count
        })
        .await;
    }

    async fn wait(&self, what: &str, reached: impl Fn(&Counts) -> bool) {
        let mut counts = self.shared.counts.subscribe();
        let waited = within(what, counts.wait_for(|now| reached(now))).await;
        waited.expect("the origin holds the sender");
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropping the set with this task aborts every connection.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let mut number = 0;
        shared.counts.send_modify(|counts| {
            counts.opened += 1;
            number = counts.opened;
        });
        shared.record().received.push(Vec::new());
        connections.spawn(serve(stream, number, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Counts a connection as closed however its task ends.
struct Closed(Arc<Shared>);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.counts.send_modify(|counts| counts.closed += 1);
    }
}

async fn serve(mut stream: TcpStream, number: usize, shared: Arc<Shared>) {
    let _closed = Closed(shared.clone());
    // Small writes must arrive as the test wrote them.
    let _ = stream.set_nodelay(true);
    let mut reader = Reader::new(true);
    let mut index = 0;
    loop {
        index += 1;
        let outcome = exchange(&mut stream, &mut reader, (number, index), &shared).await;
        shared.record().received[number - 1].extend_from_slice(&reader.take_record());
        match outcome {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let connection_lost =
                    error.starts_with("reading: ") || error.starts_with("sending: ");
                if !connection_lost {
                    let answer =
                        b"HTTP/1.1 400 Malformed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    let _ = stream.write_all(answer).await;
                }
                shared
                    .record()
                    .errors
                    .push(format!("connection {number}, request {index}: {error}"));
                return;
            }
        }
    }
}

/// Serves one request; returns whether the connection goes on.
async fn exchange(
    stream: &mut TcpStream,
    reader: &mut Reader,
    (connection, index): (usize, usize),
    shared: &Shared,
) -> Result<bool, String> {
    let Some(head) = reader.head(stream).await? else {
        return Ok(false);
    };
    let mut request = request(&head, connection, index)?;
    let expects = request
        .header("expect")
        .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
    let mut reply = None;
    if shared.on_head {
        shared.count(&request);
        reply = Some((shared.handler)(&request));
    } else if expects && request.framing != Framing::None {
        send(stream, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    if let Some(reply) = reply {
        if !perform(stream, reader, reply).await? {
            return Ok(false);
        }
        reader.body(stream, request.framing).await?;
        return Ok(true);
    }
    (request.body, request.trailers) = reader.body(stream, request.framing).await?;
    shared.count(&request);
    let reply = (shared.handler)(&request);
    perform(stream, reader, reply).await
}

impl Shared {
    fn count(&self, request: &Request) {
        self.record().requests.push(request.clone());
        self.counts.send_modify(|counts| counts.requests += 1);
    }
}

fn request(head: &Head, connection: usize, index: usize) -> Result<Request, String> {
    let parts: Vec<&str> = head.start.split(' ').collect();
    let [method, target, version] = parts[..] else {
        return Err(format!("bad request line `{}`", head.start));
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(format!("bad version in `{}`", head.start));
    }
    Ok(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        version: version.to_owned(),
        fields: head.fields.clone(),
        raw_head: head.raw.clone(),
        framing: head.framing()?.unwrap_or(Framing::None),
        body: Bytes::new(),
        trailers: Fields::default(),
        connection,
        index,
    })
}

/// Performs the steps of a reply; returns whether the connection goes on.
async fn perform(
    stream: &mut TcpStream,
    reader: &mut Reader,
    reply: Reply,
) -> Result<bool, String> {
    for step in reply.steps {
        match step {
            Step::Send(bytes) => send(stream, &bytes).await?,
            Step::Wait(gate) => gate.opened().await,
            Step::Open(gate) => gate.open(),
            Step::Echo => {
                echo(stream, reader).await?;
                return Ok(false);
            }
            Step::HalfClose => {
                stream
                    .shutdown()
                    .await
                    .map_err(|error| format!("sending: {error}"))?;
                while reader.fill(stream).await? {}
                return Ok(false);
            }
            Step::Close => return Ok(false),
            Step::Reset => {
                stream
                    .set_zero_linger()
                    .map_err(|error| error.to_string())?;
                return Ok(false);
            }
        }
    }
    Ok(true)
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    stream
        .write_all(bytes)
        .await
        .map_err(|error| format!("sending: {error}"))
}

async fn echo(stream: &mut TcpStream, reader: &mut Reader) -> Result<(), String> {
    let early = reader.take_leftover();
    send(stream, &early).await?;
    let mut buffer = [0; 4096];
    loop {
        let read = stream
            .read(&mut buffer)
            .await
            .map_err(|error| format!("reading: {error}"))?;
        if read == 0 {
            return Ok(());
        }
        send(stream, &buffer[..read]).await?;
    }
}
