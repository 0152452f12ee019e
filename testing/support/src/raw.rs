//! A scripted peer: expect these bytes, send those, half-close, close, reset. As a client
//! ([`connect`]), as one accepted connection at a time ([`Listener`]), or as a whole script
//! ([`serve`]).
//!
//! ```
//! use pingora_test_support::raw::{self, Step};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let server = raw::serve([vec![
//!     Step::expect_head(),
//!     Step::send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
//!     Step::Close,
//! ]])
//! .await;
//! let mut client = raw::connect(server.addr()).await;
//! client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
//! client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
//! client.expect_end().await;
//! assert_eq!(server.finish().await, [b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"]);
//! # });
//! ```

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::check::{self, show};
use crate::limit::{Gate, within};
use crate::message::Reader;

/// One thing a scripted connection does.
#[derive(Clone, Debug)]
pub enum Step {
    /// The next bytes received are exactly these.
    Expect(Bytes),
    /// Reads up to and including these bytes.
    ExpectUntil(Bytes),
    /// The peer ends its side, with nothing more before that.
    ExpectEnd,
    /// The peer ends its side or resets, after whatever it still sends.
    ExpectGone,
    /// Sends these bytes in one write.
    Send(Bytes),
    /// Sends these bytes in writes of so many bytes, letting other tasks run in between.
    SendPieces(Bytes, usize),
    /// Waits for a gate.
    Wait(Gate),
    /// Opens a gate.
    Open(Gate),
    /// Ends the sending side only.
    HalfClose,
    /// Closes the connection.
    Close,
    /// Resets the connection (RST on the wire).
    Reset,
}

impl Step {
    /// Returns [`Step::Expect`].
    pub fn expect(bytes: impl Into<Bytes>) -> Self {
        Self::Expect(bytes.into())
    }

    /// Returns [`Step::ExpectUntil`] the end of a message head.
    pub fn expect_head() -> Self {
        Self::ExpectUntil(Bytes::from_static(b"\r\n\r\n"))
    }

    /// Returns [`Step::ExpectUntil`].
    pub fn expect_until(bytes: impl Into<Bytes>) -> Self {
        Self::ExpectUntil(bytes.into())
    }

    /// Returns [`Step::Send`].
    pub fn send(bytes: impl Into<Bytes>) -> Self {
        Self::Send(bytes.into())
    }
}

/// One raw connection. Every wait panics after [`crate::limit::LIMIT`] and says what it missed.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    reader: Reader,
}

/// Connects to `addr`.
pub async fn connect(addr: SocketAddr) -> Raw {
    let stream = within("connecting", TcpStream::connect(addr)).await;
    Raw::new(stream.unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}")))
}

impl Raw {
    /// Wraps a connected stream.
    pub fn new(stream: TcpStream) -> Self {
        // Pieces must arrive as the test sends them.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            reader: Reader::new(true),
        }
    }

    /// Sends bytes in one write.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes)
            .await
            .unwrap_or_else(|error| panic!("sending: {error}"));
    }

    /// Sends bytes; an error if the peer is gone.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        within("sending", self.stream.write_all(bytes.as_ref())).await
    }

    /// Sends bytes in writes of `size`, letting other tasks run in between.
    pub async fn send_pieces(&mut self, bytes: impl AsRef<[u8]>, size: usize) {
        for piece in bytes.as_ref().chunks(size) {
            self.send(piece).await;
            tokio::task::yield_now().await;
        }
    }

    /// Panics unless the next bytes are exactly these.
    pub async fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let expected = bytes.as_ref();
        let what = format!("expecting {}", show(expected));
        let read = within(&what, async {
            while self.reader.leftover().len() < expected.len() {
                // Stop at the first wrong byte, to show it instead of waiting for more.
                if !expected.starts_with(self.reader.leftover())
                    || !self.reader.fill(&mut self.stream).await?
                {
                    break;
                }
            }
            let count = expected.len().min(self.reader.leftover().len());
            self.reader.exactly(&mut self.stream, count).await
        });
        check::bytes(
            read.await.unwrap_or_else(|error| panic!("{what}: {error}")),
            expected,
        );
    }

    /// Returns what arrives up to and including `needle`.
    pub async fn read_until(&mut self, needle: impl AsRef<[u8]>) -> Bytes {
        let what = format!("reading until {}", show(needle.as_ref()));
        let read = within(&what, self.reader.until(&mut self.stream, needle.as_ref())).await;
        let read = read.unwrap_or_else(|error| panic!("{what}: {error}"));
        read.unwrap_or_else(|| panic!("{what}: the peer closed"))
    }

    /// Returns a message head, the empty line included.
    pub async fn read_head(&mut self) -> Bytes {
        self.read_until(b"\r\n\r\n").await
    }

    /// Returns exactly `count` bytes.
    pub async fn read_exactly(&mut self, count: usize) -> Bytes {
        let read = within("reading", self.reader.exactly(&mut self.stream, count)).await;
        read.unwrap_or_else(|error| panic!("reading {count} bytes: {error}"))
    }

    /// Returns everything until the peer ends its side; what came before a reset, if it resets.
    pub async fn read_to_end(&mut self) -> Bytes {
        within("reading to the end", async {
            while let Ok(true) = self.reader.fill(&mut self.stream).await {}
        })
        .await;
        self.reader.take_leftover()
    }

    /// Panics unless the peer ends its side without sending anything more.
    pub async fn expect_end(&mut self) {
        let more = within("the peer's end", self.reader.fill(&mut self.stream)).await;
        let more = more.unwrap_or_else(|error| panic!("expecting the end: {error}"));
        assert!(
            !more,
            "expected the end, received {}",
            show(self.reader.leftover())
        );
        check::bytes(self.reader.leftover(), b"");
    }

    /// Panics unless the peer resets the connection without sending anything more.
    pub async fn expect_reset(&mut self) {
        let more = within("the peer's reset", self.reader.fill(&mut self.stream)).await;
        assert!(more.is_err(), "expected a reset, received {more:?}");
        check::bytes(self.reader.leftover(), b"");
    }

    /// Ends the sending side only.
    pub async fn half_close(&mut self) {
        within("half-closing", self.stream.shutdown())
            .await
            .expect("the sending side is open");
    }

    /// Closes the connection.
    pub fn close(self) {}

    /// Resets the connection (RST on the wire).
    pub fn reset(self) {
        self.stream
            .set_zero_linger()
            .expect("a TCP socket lingers as told");
    }

    /// Returns the local address.
    pub fn local_addr(&self) -> SocketAddr {
        self.stream
            .local_addr()
            .expect("a connected socket has an address")
    }

    /// Returns every byte received since the last call.
    pub fn take_record(&mut self) -> Bytes {
        self.reader.take_record()
    }

    /// Performs a script; returns every byte received.
    pub async fn run(mut self, script: Vec<Step>) -> Vec<u8> {
        let mut received = Vec::new();
        for step in script {
            match step {
                Step::Expect(bytes) => self.expect(bytes).await,
                Step::ExpectUntil(bytes) => drop(self.read_until(bytes).await),
                Step::ExpectEnd => self.expect_end().await,
                Step::ExpectGone => drop(self.read_to_end().await),
                Step::Send(bytes) => self.send(bytes).await,
                Step::SendPieces(bytes, size) => self.send_pieces(bytes, size).await,
                Step::Wait(gate) => gate.opened().await,
                Step::Open(gate) => gate.open(),
                Step::HalfClose => self.half_close().await,
                Step::Close => break,
                Step::Reset => {
                    received.extend_from_slice(&self.take_record());
                    self.reset();
                    return received;
                }
            }
        }
        received.extend_from_slice(&self.take_record());
        received
    }
}

/// A server side that accepts one connection at a time.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on a free port of 127.0.0.1.
    pub async fn bind() -> Self {
        Self(
            TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a free port of 127.0.0.1"),
        )
    }

    /// Returns the address.
    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket has an address")
    }

    /// Returns the next connection.
    pub async fn accept(&self) -> Raw {
        let (stream, _) = within("a connection", self.0.accept())
            .await
            .expect("accepting works");
        Raw::new(stream)
    }
}

/// Returns an address of 127.0.0.1 where nothing listens: connecting to it is refused.
pub async fn refused_addr() -> SocketAddr {
    Listener::bind().await.addr()
}

/// A server that runs scripts. A script that fails panics in [`Served::finish`], so call it.
#[derive(Debug)]
#[must_use = "a failed script panics in finish()"]
pub struct Served {
    addr: SocketAddr,
    task: JoinHandle<Vec<Vec<u8>>>,
}

/// Serves as many connections as there are scripts, one after the other.
pub async fn serve(scripts: impl IntoIterator<Item = Vec<Step>>) -> Served {
    let listener = Listener::bind().await;
    let addr = listener.addr();
    let scripts: Vec<_> = scripts.into_iter().collect();
    let task = tokio::spawn(async move {
        let mut received = Vec::new();
        for script in scripts {
            received.push(listener.accept().await.run(script).await);
        }
        received
    });
    Served { addr, task }
}

impl Served {
    /// Returns the address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns, once every script is done, what each connection received; panics if one failed.
    pub async fn finish(self) -> Vec<Vec<u8>> {
        match within("the scripts", self.task).await {
            Ok(received) => received,
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => panic!("the runtime stopped before the scripts were done"),
        }
    }
}
