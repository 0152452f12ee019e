//! The origins of the page: one of what it fetches, one of WebSockets by a foreign implementation.

use std::net::SocketAddr;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pingora_e2e::h2::{self, Exchange, H2Origin};
use pingora_test_support::origin::{Origin, Reply, Request};
use pingora_test_support::{Gate, within};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::server as handshake;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// How long a browser may take to start and to try everything.
const BROWSER_LIMIT: Duration = Duration::from_secs(45);

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

/// The origin of what the page fetches.
pub(super) struct Pages {
    origin: Origin,
    reports: mpsc::UnboundedReceiver<String>,
    endless: Gate,
}

/// What its answers depend on.
struct State {
    reports: mpsc::UnboundedSender<String>,
    half_read: Gate,
    endless: Gate,
    unchanged: AtomicUsize,
}

impl Pages {
    /// Starts it.
    pub(super) async fn start() -> Self {
        let (sender, reports) = mpsc::unbounded_channel();
        let endless = Gate::new();
        let state = State {
            reports: sender,
            half_read: Gate::new(),
            endless: endless.clone(),
            unchanged: AtomicUsize::new(0),
        };
        let origin = Origin::start(move |request| state.reply(request)).await;
        Pages {
            origin,
            reports,
            endless,
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.origin.addr()
    }

    pub(super) fn errors(&self) -> Vec<String> {
        self.origin.errors()
    }

    /// Returns what the page saw.
    pub(super) async fn report(&mut self) -> String {
        let report = tokio::time::timeout(BROWSER_LIMIT, self.reports.recv()).await;
        let Ok(report) = report else {
            let requests = self.origin.requests();
            let targets: Vec<_> = requests.iter().map(|request| &request.target).collect();
            panic!("no report; there were requests for {targets:?}");
        };
        report.expect("the origin runs")
    }

    /// Returns when the response that never ends was closed from the other side.
    pub(super) async fn endless_was_given_up(&self) {
        within("the endless response began", self.endless.opened()).await;
        self.origin.wait_for_closed(1).await;
    }
}

impl State {
    fn reply(&self, request: &Request) -> Reply {
        let typed =
            |kind: &str, body: &[u8]| Reply::with_fields(200, &[("Content-Type", kind)], body);
        match &*request.target {
            "/" => self.page(),
            "/style.css" => typed(
                "text/css",
                include_bytes!("../../../../../fixtures/browser/style.css"),
            ),
            "/image.gif" => typed(
                "image/gif",
                include_bytes!("../../../../../fixtures/browser/image.gif"),
            ),
            "/page.js" => typed(
                "text/javascript",
                include_bytes!("../../../../../fixtures/browser/page.js"),
            ),
            "/hinted.css" => typed("text/css", b""),
            "/cookies" => {
                let fields = request.fields.0.iter();
                let count = fields
                    .filter(|(name, _)| name.eq_ignore_ascii_case("cookie"))
                    .count();
                Reply::ok(format!(
                    "{count} {}",
                    request.header("cookie").unwrap_or("none")
                ))
            }
            "/empty" => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
            "/moved" => Reply::with_fields(302, &[("Location", "/range")], ""),
            "/echo" => Reply::ok(&request.body),
            "/streamed" => Reply::raw(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nfirst half\r\n",
            )
            .wait(&self.half_read)
            .then("b\r\nsecond half\r\n0\r\nX-Checksum: 21\r\n\r\n"),
            "/read-it" => {
                self.half_read.open();
                Reply::ok("read")
            }
            "/range" => range(request),
            "/tagged" => self.tagged(request),
            "/tagged-hits" => Reply::ok(format!(
                "{} unchanged",
                self.unchanged.load(Ordering::Relaxed)
            )),
            "/endless" => {
                Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                    .open(&self.endless)
            }
            "/no-socket" => Reply::status(403, "no"),
            "/report" => {
                let report = String::from_utf8_lossy(&request.body).into_owned();
                // An error: the test has ended.
                let _ = self.reports.send(report);
                Reply::ok("")
            }
            coded if coded.starts_with("/coded/") => {
                let lines: String = (0..5000).map(|at| format!("line {at}\n")).collect();
                typed("text/plain", lines.as_bytes())
            }
            many if many.starts_with("/many/") => Reply::ok(many),
            _ => Reply::status(404, "none"),
        }
    }

    fn page(&self) -> Reply {
        const PAGE: &str = include_str!("../../../../../fixtures/browser/index.html");
        // What a 103 names the browser asks for when it likes to, so nothing waits for that.
        Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: </hinted.css>; rel=preload; as=style\r\n\r\n")
            .then(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
                 Set-Cookie: a=1\r\nSet-Cookie: b=2; Secure\r\n\r\n{PAGE}",
                PAGE.len()
            ))
    }

    fn tagged(&self, request: &Request) -> Reply {
        const FIELDS: &[(&str, &str)] = &[("ETag", "\"1\""), ("Cache-Control", "max-age=100")];
        if request.header("if-none-match") == Some("\"1\"") {
            self.unchanged.fetch_add(1, Ordering::Relaxed);
            return Reply::raw("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n");
        }
        Reply::with_fields(200, FIELDS, "same")
    }
}

fn range(request: &Request) -> Reply {
    if request.method == "HEAD" {
        return Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n");
    }
    match request.header("range") {
        Some("bytes=5-9") => {
            Reply::with_fields(206, &[("Content-Range", "bytes 5-9/26")], &LETTERS[5..10])
        }
        _ => Reply::ok(LETTERS),
    }
}

/// An origin of WebSockets.
pub(super) struct Sockets {
    addr: SocketAddr,
    closes: mpsc::UnboundedReceiver<String>,
    /// Lives as long as this.
    _h2: Option<H2Origin>,
}

impl Sockets {
    /// Starts one of HTTP/1 or of HTTP/2.
    pub(super) async fn start(is_h2: bool) -> Self {
        let (sender, closes) = mpsc::unbounded_channel();
        if is_h2 {
            let origin = H2Origin::start(move |exchange| serve_h2(exchange, sender.clone())).await;
            return Sockets {
                addr: origin.addr(),
                closes,
                _h2: Some(origin),
            };
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        // Ends with the runtime of the test.
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let closes = sender.clone();
                tokio::spawn(async move {
                    let socket = accept_hdr_async(stream, choose_protocol).await;
                    converse(socket.expect("a valid handshake"), closes).await;
                });
            }
        });
        Sockets {
            addr,
            closes,
            _h2: None,
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the next code and reason that a client closed with.
    pub(super) async fn closed_with(&mut self) -> String {
        let closed = within("a WebSocket is closed", self.closes.recv()).await;
        closed.expect("the origin runs")
    }
}

#[allow(clippy::result_large_err, reason = "the signature of the handshake")]
fn choose_protocol(
    request: &handshake::Request,
    mut response: handshake::Response,
) -> Result<handshake::Response, handshake::ErrorResponse> {
    assert_eq!(request.headers()["sec-websocket-protocol"], "other, echo");
    let echo = http::HeaderValue::from_static("echo");
    response
        .headers_mut()
        .insert("sec-websocket-protocol", echo);
    Ok(response)
}

/// Echoes messages until either side closes; tells what the client closed with.
async fn converse<S>(mut socket: WebSocketStream<S>, closes: mpsc::UnboundedSender<String>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) if text == "close 4002" => {
                let frame = CloseFrame {
                    code: 4002.into(),
                    reason: "go".into(),
                };
                socket.close(Some(frame)).await.expect("it is open");
            }
            Message::Text(text) if text == "drop" => return,
            Message::Close(Some(frame)) => {
                let _ = closes.send(format!("{} {}", frame.code, frame.reason));
            }
            Message::Text(_) | Message::Binary(_) => {
                socket.send(message).await.expect("it is open");
            }
            _ => {}
        }
    }
}

/// Serves a stream of HTTP/2 that an extended CONNECT opens (RFC 8441).
async fn serve_h2(exchange: Exchange, closes: mpsc::UnboundedSender<String>) {
    let (request, mut respond) = exchange;
    let protocol = request.extensions().get::<::h2::ext::Protocol>();
    assert_eq!(protocol.expect("a tunnel").as_str(), "websocket");
    assert_eq!(request.method(), "CONNECT");
    assert_eq!(request.headers()["sec-websocket-protocol"], "other, echo");
    assert!(!request.headers().contains_key("sec-websocket-key"));
    let head = h2::response(200, &[("sec-websocket-protocol", "echo")]);
    let mut sending = respond.send_response(head, false).expect("it is open");
    let mut receiving = request.into_body();

    let (stream, tunnel) = tokio::io::duplex(64 * 1024);
    let (mut answers, mut questions) = tokio::io::split(tunnel);
    let up = async {
        while let Some(Ok(piece)) = receiving.data().await {
            let _ = receiving.flow_control().release_capacity(piece.len());
            if questions.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = questions.shutdown().await;
    };
    let down = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = answers.read(&mut buffer).await {
            let piece = Bytes::copy_from_slice(&buffer[..read]);
            if h2::write(&mut sending, piece).await.is_err() {
                return;
            }
        }
        let _ = sending.send_data(Bytes::new(), true);
    };
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    tokio::join!(up, down, converse(socket, closes));
}
