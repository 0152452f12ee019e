//! A small HTTP/1 client with one connection, for tests: requests are raw bytes or one-liners,
//! responses are parsed strictly, and bytes that follow a response stay visible.
//!
//! ```
//! use pingora_test_support::{client::Client, origin::{Origin, Reply}};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let origin = Origin::start(|request| Reply::chunked([request.body.clone()])).await;
//! let mut client = Client::connect(origin.addr()).await;
//! let response = client.request("POST", "/", &[("x-trace", "1")], "payload").await;
//! assert_eq!(response.text(), "payload");
//! assert_eq!(response.header("transfer-encoding"), Some("chunked"));
//! assert_eq!(client.leftover(), b"");
//! // Two requests in one write; two responses, in order.
//! client.send("GET /1 HTTP/1.1\r\nHost: t\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: t\r\n\r\n").await;
//! assert_eq!(client.response_to("GET").await.status, 200);
//! # });
//! ```

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::check::show;
use crate::limit::within;
use crate::message::{Fields, Framing, Head, Reader};

/// A response, parsed strictly.
#[derive(Clone, Debug)]
pub struct Response {
    /// The version as sent, e.g. `HTTP/1.1`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// The fields in the order received, names as sent.
    pub fields: Fields,
    /// The head as received, with the empty line.
    pub raw_head: Bytes,
    /// How the body was framed.
    pub framing: Framing,
    /// The body without chunk framing.
    pub body: Bytes,
    /// The trailers of a chunked body.
    pub trailers: Fields,
    /// The 1xx responses that came before.
    pub informational: Vec<Informational>,
}

/// An interim (1xx) response.
#[derive(Clone, Debug)]
pub struct Informational {
    /// The status code.
    pub status: u16,
    /// The fields.
    pub fields: Fields,
}

impl Response {
    /// Returns the value of the first field of this name (any case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// Returns the body as text; panics if it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    reader: Reader,
    method: String,
}

/// Sends one GET on a connection of its own and returns the response.
pub async fn get(addr: SocketAddr, target: &str) -> Response {
    Client::connect(addr).await.get(target).await
}

impl Client {
    /// Connects to `addr`; panics if that is refused.
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(addr)).await;
        let stream = stream.unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}"));
        // Pieces must arrive as the test sends them.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            reader: Reader::new(false),
            method: String::from("GET"),
        }
    }

    /// Sends bytes as they are; the method is remembered from the first word, because a response
    /// to HEAD has no body.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes)
            .await
            .unwrap_or_else(|error| panic!("sending: {error}"));
    }

    /// Sends bytes as [`Client::send`] does; an error if the peer is gone.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let bytes = bytes.as_ref();
        let word = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
        if !word.is_empty() && word.iter().all(u8::is_ascii_uppercase) {
            self.method = String::from_utf8_lossy(word).into_owned();
        }
        within("sending", self.stream.write_all(bytes)).await
    }

    /// Sends a GET with `Host: test` and returns the response.
    pub async fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, &[], "").await
    }

    /// Sends a request with `Host: test` (unless `fields` has one) and, if there is a body, its
    /// Content-Length (unless `fields` frames it); returns the response.
    pub async fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Response {
        self.send(request(method, target, fields, body)).await;
        self.response().await
    }

    /// Returns the next final response; panics if it is malformed or does not come.
    pub async fn response(&mut self) -> Response {
        self.try_response()
            .await
            .unwrap_or_else(|error| panic!("reading a response: {error}"))
    }

    /// Returns the response to a request of this method, when several were sent at once.
    pub async fn response_to(&mut self, method: &str) -> Response {
        self.method = method.to_owned();
        self.response().await
    }

    /// Returns the next final response, or what is wrong with it.
    pub async fn try_response(&mut self) -> Result<Response, String> {
        within("a response", self.read_response()).await
    }

    async fn read_response(&mut self) -> Result<Response, String> {
        let mut informational = Vec::new();
        loop {
            let head = self.reader.head(&mut self.stream).await?;
            let head = head.ok_or("the peer closed without a response")?;
            let (version, status, reason) = status_line(&head)?;
            if (100..200).contains(&status) && status != 101 {
                informational.push(Informational {
                    status,
                    fields: head.fields,
                });
                continue;
            }
            let framing = self.framing(&head, status)?;
            let (body, trailers) = self.reader.body(&mut self.stream, framing).await?;
            let (fields, raw_head) = (head.fields, head.raw);
            return Ok(Response {
                version,
                status,
                reason,
                fields,
                raw_head,
                framing,
                body,
                trailers,
                informational,
            });
        }
    }

    /// RFC 9112 section 6.3, as a client.
    fn framing(&self, head: &Head, status: u16) -> Result<Framing, String> {
        let framing = head.framing()?;
        let connected = self.method == "CONNECT" && (200..300).contains(&status);
        if self.method == "HEAD" || connected || matches!(status, 101 | 204 | 304) {
            if matches!(status, 101 | 204) && framing.is_some() {
                return Err(format!("a {status} with framing: {}", show(&head.raw)));
            }
            return Ok(Framing::None);
        }
        Ok(framing.unwrap_or(Framing::Close))
    }

    /// Returns the bytes received and not used by a response so far.
    pub fn leftover(&self) -> &[u8] {
        self.reader.leftover()
    }

    /// Returns the next `count` bytes; for use after a 101 or CONNECT.
    pub async fn read_exactly(&mut self, count: usize) -> Bytes {
        let read = within("reading", self.reader.exactly(&mut self.stream, count)).await;
        read.unwrap_or_else(|error| panic!("reading {count} bytes: {error}"))
    }

    /// Panics unless the server closes now, with nothing more before that.
    pub async fn expect_closed(&mut self) {
        let more = within("the server's close", self.reader.fill(&mut self.stream)).await;
        let leftover = show(self.reader.leftover());
        assert!(leftover.is_empty(), "expected a close, received {leftover}");
        // A reset is a close too: the server may have unread input.
        assert!(!more.unwrap_or(false), "expected a close");
    }

    /// Ends the sending side only.
    pub async fn half_close(&mut self) {
        within("half-closing", self.stream.shutdown())
            .await
            .expect("the sending side is open");
    }

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
}

/// Returns the bytes of a request as [`Client::request`] sends it.
pub fn request(
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Vec<u8> {
    let body = body.as_ref();
    let has = |name: &str| {
        fields
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
    };
    let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    if !has("host") {
        bytes.extend_from_slice(b"Host: test\r\n");
    }
    for (name, value) in fields {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() && !has("content-length") && !has("transfer-encoding") {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn status_line(head: &Head) -> Result<(String, u16, String), String> {
    let bad = || format!("bad status line {}", show(&head.start));
    let (version, rest) = head.start.split_once(' ').ok_or_else(bad)?;
    let (code, reason) = rest.split_once(' ').ok_or_else(bad)?;
    let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || !is_code {
        return Err(bad());
    }
    Ok((
        version.to_owned(),
        code.parse().map_err(|_| bad())?,
        reason.to_owned(),
    ))
}
