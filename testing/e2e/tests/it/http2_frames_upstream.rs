//! The framing of HTTP/2 as clients of ours keep it, by section of RFC 9113: an origin of frames
//! behind a proxy. Where the RFC leaves a choice, each passes. The other side is in `http2_frames`.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora_e2e::frames::code::{
    CANCEL, COMPRESSION, FLOW_CONTROL, FRAME_SIZE, NO_ERROR, PROTOCOL, REFUSED_STREAM,
    STREAM_CLOSED,
};
use pingora_e2e::frames::{
    ACK, DEFAULT_FRAME, DEFAULT_WINDOW, END_HEADERS, END_STREAM, Field, MAX_WINDOW, PADDED,
    PREFACE, PRIORITY, Peer, Table, WHOLE, fields, frame, goaway, kind, literal, number, reset,
    setting, settings, window_update,
};
use pingora_e2e::harness::{self, ForwardH2, Running, proxy};
use pingora_test_support::client::{Client, Response, request};
use pingora_test_support::within;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Passes on to the origin whose port is the first segment of the path.
struct ByPort;

#[async_trait]
impl ProxyHttp for ByPort {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let port = session.req_header().uri.path()[1..].parse();
        let addr = SocketAddr::from(([127, 0, 0, 1], port.expect("a port")));
        ForwardH2(addr).upstream_peer(session, &mut ()).await
    }
}

/// What a client is told of a request.
type Told = JoinHandle<(Client, Result<Response, String>)>;

/// An origin that has no connection yet, and clients of the proxy before it.
struct Origin {
    name: String,
    listener: TcpListener,
    proxy: SocketAddr,
}

impl Origin {
    async fn new(name: &str, proxy: &Running) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (name, proxy) = (name.to_owned(), proxy.addr());
        Origin {
            name,
            listener,
            proxy,
        }
    }

    /// Sends a request in a task of its own.
    fn ask(&self, method: &str, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Told {
        let proxy = self.proxy;
        let bytes = self.request(method, fields, body);
        tokio::spawn(async move {
            let client = Client::connect(proxy).await;
            ask_on(client, bytes).await
        })
    }

    fn request(&self, method: &str, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
        let target = format!("/{}", self.listener.local_addr().unwrap().port());
        request(method, &target, fields, body)
    }

    /// Returns the next connection.
    async fn accept(&self, values: &[(u16, u32)]) -> Peer {
        Peer::accept(&self.name, &self.listener, values).await
    }

    /// Returns a connection whose first request was answered, so that all SETTINGS are in force.
    async fn warm(&self, values: &[(u16, u32)]) -> Peer {
        let told = self.ask("GET", &[], "");
        let mut peer = self.accept(values).await;
        let (first, _) = peer.block().await;
        peer.send(&answer(first.stream)).await;
        assert_eq!(told.await.unwrap().1.unwrap().text(), "hello");
        peer.ping().await;
        peer
    }
}

async fn ask_on(mut client: Client, bytes: Vec<u8>) -> (Client, Result<Response, String>) {
    // An error: the answer has come before the end of the request.
    let _ = client.try_send(bytes).await;
    let response = client.try_response().await;
    (client, response)
}

/// Returns a whole response.
fn answer(stream: u32) -> Vec<u8> {
    [head(stream, b"\x88"), data(stream, END_STREAM, "hello")].concat()
}

fn head(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS, stream, block)
}

fn data(stream: u32, flags: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(kind::DATA, flags, stream, payload.as_ref())
}

fn headers(flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, 1, payload)
}

fn more(flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind::CONTINUATION, flags, stream, payload)
}

/// Returns a response of 200 with these fields besides, and a body.
fn with(fields: &[u8]) -> Vec<u8> {
    let block = [b"\x88", fields].concat();
    [headers(END_HEADERS, &block), data(1, END_STREAM, "hello")].concat()
}

/// What must come of the frames an origin answers a request with.
#[derive(Clone, Copy, Debug)]
enum Must {
    /// The client gets this status with `hello`, and the connection goes on.
    Answer(u16),
    /// The same, and the connection may end.
    Last(u16),
    /// The client gets this status without a body, and the connection goes on.
    Empty(u16),
    /// The client gets 502, or a response that is broken off.
    Break,
    /// The same, and the connection ends with one of these reasons.
    End(&'static [u32]),
}

use Must::{Answer, Break, Empty, End, Last};

/// A name, what the origin sends once the request is there, what must come of it.
type Case = (&'static str, Vec<u8>, Must);

/// Checks cases of requests with this method, each with an origin of its own; panics with all that fail.
async fn check(method: &str, cases: impl IntoIterator<Item = Case>) {
    let proxy = proxy(ByPort).await;
    let mut wrong = Vec::new();
    for (name, frames, must) in cases {
        let origin = Origin::new(name, &proxy).await;
        let told = origin.ask(method, &[], "");
        let mut peer = origin.accept(&[]).await;
        let (first, _) = peer.block().await;
        assert_eq!(first.stream, 1, "{name}");
        peer.send(&frames).await;
        let reason = match must {
            End(_) => ended(&mut peer).await,
            _ => None,
        };
        let (_client, told) = within(name, told).await.unwrap();
        let fits = match (must, &told) {
            (Answer(status) | Last(status), Ok(told)) => {
                told.status == status && told.text() == "hello"
            }
            (Empty(status), Ok(told)) => told.status == status && told.body.is_empty(),
            (Break, told) => is_broken(told),
            (End(reasons), told) => {
                is_broken(told) && reason.is_some_and(|reason| reasons.contains(&reason))
            }
            _ => false,
        };
        if !fits {
            wrong.push(format!(
                "{name}: must {must:?}, told {told:?}, ended with {reason:?}"
            ));
        } else if matches!(must, Answer(_) | Empty(_)) {
            // What comes after is checked, and nothing ends the connection.
            peer.ping().await;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn is_broken(told: &Result<Response, String>) -> bool {
    told.as_ref().map_or(true, |told| told.status == 502)
}

/// Returns the reason of GOAWAY; the connection must have ended.
async fn ended(peer: &mut Peer) -> Option<u32> {
    let mut reason = None;
    while let Some(frame) = peer.next().await {
        if frame.kind == kind::GOAWAY {
            reason = Some(number(&frame.payload[4..]) as u32);
        }
    }
    reason
}

/// Sections 3.4, 6.5 and 6.7: how we begin, and that we answer. [`Peer`] checks the preface.
#[test]
fn connections_begin() {
    harness::run(async {
        let proxy = proxy(ByPort).await;
        let origin = Origin::new("the first request", &proxy).await;
        let told = origin.ask("GET", &[("x", "y")], "");
        let mut peer = origin.accept(&[]).await;
        assert_eq!(peer.settings.get(&setting::ENABLE_PUSH), Some(&0));
        let (first, block) = peer.block().await;
        assert_eq!((first.stream, first.flags & END_STREAM), (1, END_STREAM));
        // Pseudo-header fields, which are 1 to 7 of the static table, come first.
        let of_request = fields(&block).into_iter().map(|field| match field {
            Field::Indexed(at) | Field::Literal(at, _) => (1..=7).contains(&at),
            Field::Size(_) => true,
        });
        assert!(of_request.is_sorted_by(|one, two| one >= two), "{block:?}");

        for (values, at) in [
            (&[][..], 1),
            (&[(0x4a4a, 1)], 2),
            (&[(0xff, u32::MAX), (9, 1)], 3),
        ] {
            let ping = frame(kind::PING, 0, 0, &[at; 8]);
            peer.send(&[settings(values), ping].concat()).await;
            loop {
                let frame = peer.expect().await;
                if frame.kind == kind::PING {
                    assert_eq!((frame.flags, frame.payload), (ACK, vec![at; 8]));
                    break;
                }
            }
            assert!(peer.is_acknowledged(), "{values:?}");
        }
        // Not answered.
        peer.send(&frame(kind::PING, ACK, 0, b"unasked ")).await;
        peer.ping().await;
        peer.send(&answer(1)).await;
        assert_eq!(told.await.unwrap().1.unwrap().text(), "hello");
    });
}

/// What a server may send, and frames it may put in between.
#[test]
fn responses_in_order() {
    harness::run(async {
        let whole = answer(1);
        let open = headers(END_HEADERS, b"\x88");
        let end = data(1, END_STREAM, "hello");
        let before = |frames: Vec<u8>| [frames, answer(1)].concat();
        let between = |frames: Vec<u8>| [&open[..], &frames, &end].concat();
        let after = |frames: Vec<u8>| [answer(1), frames].concat();
        let blocks = |first: &[u8], last: &[u8]| {
            [headers(0, first), more(END_HEADERS, 1, last), end.clone()].concat()
        };
        let interim = |block: &[u8]| before(headers(END_HEADERS, block));
        let trailers =
            |block: &[u8]| [&open[..], &data(1, 0, "hello"), &headers(WHOLE, block)].concat();
        let reserved = |mut frame: Vec<u8>| {
            frame[5] |= 0x80;
            frame
        };
        let priority = frame(kind::PRIORITY, 0, 1, b"\0\0\0\0\x0f");
        let unknown = |stream| frame(0xfa, 0xff, stream, b"whatever");
        let window = settings(&[(setting::INITIAL_WINDOW_SIZE, 1)]);
        #[rustfmt::skip]
        let cases = [
            ("a response", whole.clone(), Answer(200)),
            ("a status of its own", [headers(END_HEADERS, &literal(":status", "299")), end.clone()].concat(), Answer(299)),
            ("an end alone", between(data(1, 0, "")), Answer(200)),
            ("an empty end", [&open[..], &data(1, 0, "hello"), &data(1, END_STREAM, "")].concat(), Answer(200)),
            ("an empty response", [&open[..], &data(1, END_STREAM, "")].concat(), Empty(200)),
            ("no body", headers(WHOLE, b"\x89"), Empty(204)),
            ("no body, 304", headers(WHOLE, &[&b"\x8b"[..], &literal("content-length", "5")].concat()), Empty(304)),
            ("no body, 200", headers(WHOLE, &[&b"\x88"[..], &literal("content-length", "0")].concat()), Empty(200)),
            ("a length", with(&literal("content-length", "5")), Answer(200)),
            ("padding", [&headers(END_HEADERS | PADDED, b"\x02\x88\0\0")[..], &data(1, END_STREAM | PADDED, b"\x03hello\0\0\0")].concat(), Answer(200)),
            ("padding alone", between(data(1, PADDED, b"\x03\0\0\0")), Answer(200)),
            ("priority in HEADERS", [&headers(END_HEADERS | PRIORITY, b"\0\0\0\0\x0f\x88")[..], &end].concat(), Answer(200)),
            ("two pieces", blocks(b"", b"\x88"), Answer(200)),
            ("two pieces, fields", blocks(b"\x88\x00\x01a", b"\x01b"), Answer(200)),
            ("a large block", blocks(&[&b"\x88"[..], &literal("x", [b'y'; 16_000])].concat(), &literal("z", [b'y'; 16_000])), Answer(200)),
            ("DATA of 16,384 and none", [&open[..], &data(1, PADDED, [&[255][..], &[0; 255]].concat()), &end].concat(), Answer(200)),
            ("100", interim(&literal(":status", "100")), Answer(200)),
            ("103", interim(&[literal(":status", "103"), literal("link", "</a>")].concat()), Answer(200)),
            ("100 and 103", before([headers(END_HEADERS, &literal(":status", "100")), headers(END_HEADERS, &literal(":status", "103"))].concat()), Answer(200)),
            ("trailers", trailers(&literal("a", "b")), Answer(200)),
            ("trailers without fields", trailers(b""), Answer(200)),
            ("unknown before", before(unknown(1)), Answer(200)),
            ("unknown between", between(unknown(1)), Answer(200)),
            ("unknown of the connection", between(unknown(0)), Answer(200)),
            ("unknown of no stream", between(unknown(2)), Answer(200)),
            ("ALTSVC", before(frame(0x0a, 0, 1, b"\0\0clear")), Answer(200)),
            ("ORIGIN", before(frame(0x0c, 0, 0, b"\0\x08http://x")), Answer(200)),
            ("reserved bit", [reserved(open.clone()), reserved(end.clone())].concat(), Answer(200)),
            ("undefined flags", [headers(!(PADDED | PRIORITY | END_STREAM), b"\x88"), data(1, !PADDED, "hello")].concat(), Answer(200)),
            ("PRIORITY", between(priority.clone()), Answer(200)),
            ("PRIORITY of no stream", before(frame(kind::PRIORITY, 0, 7, b"\0\0\0\0\x0f")), Answer(200)),
            ("PRIORITY after the end", after(priority), Answer(200)),
            ("PING between", between(frame(kind::PING, 0, 0, b"whatever")), Answer(200)),
            ("SETTINGS between", between(window), Answer(200)),
            ("WINDOW_UPDATE", between(window_update(1, 9)), Answer(200)),
            ("WINDOW_UPDATE after the end", after(window_update(1, 9)), Answer(200)),
            ("RST_STREAM after the end", after(reset(1, NO_ERROR)), Answer(200)),
            ("GOAWAY before", before(goaway(1, NO_ERROR)), Last(200)),
            ("GOAWAY between", between(goaway(1, NO_ERROR)), Last(200)),
            ("GOAWAY twice", before([goaway(MAX_WINDOW as u32, NO_ERROR), goaway(1, NO_ERROR)].concat()), Last(200)),
            ("sizes of the table", [headers(END_HEADERS, b"\x20\x3f\xe1\x1f\x88"), end.clone()].concat(), Answer(200)),
        ];
        check("GET", cases).await;
        let said = [&b"\x88"[..], &literal("content-length", "5")].concat();
        check("HEAD", [("HEAD", headers(WHOLE, &said), Empty(200))]).await;
    });
}

/// Sections 8.1 to 8.3: malformed responses become none.
#[test]
fn malformed_responses() {
    harness::run(async {
        let of =
            |block: Vec<u8>| [headers(END_HEADERS, &block), data(1, END_STREAM, "hello")].concat();
        let field = |name: &str, value: &str| with(&literal(name, value));
        let status = |value: &str| of(literal(":status", value));
        let open = headers(END_HEADERS, b"\x88");
        let length = |length: &str, rest: Vec<u8>| {
            let block = [&b"\x88"[..], &literal("content-length", length)].concat();
            [headers(END_HEADERS, &block), rest].concat()
        };
        let trailers = |flags, block: &[u8]| {
            [&open[..], &data(1, 0, "hello"), &headers(flags, block)].concat()
        };
        let ok = literal("a", "b");
        let end = |body: &str| data(1, END_STREAM, body);
        #[rustfmt::skip]
        let cases = [
            ("no :status", of(literal("a", "b")), Break),
            ("no field", of(vec![]), Break),
            (":status twice", with(b"\x88"), Break),
            (":status twice, not the same", with(b"\x8d"), Break),
            (":status last", of([literal("a", "b"), b"\x88".to_vec()].concat()), Break),
            (":status 101", status("101"), Break),
            (":status empty", status(""), Break),
            (":status of two digits", status("20"), Break),
            (":status of four digits", status("2000"), Break),
            (":status no number", status("abc"), Break),
            (":status 099", status("099"), Break),
            (":status 000", status("000"), Break),
            ("100 that is the end", headers(WHOLE, &literal(":status", "100")), Break),
            ("103 and DATA", [headers(END_HEADERS, &literal(":status", "103")), end("hello")].concat(), Break),
            (":path", field(":path", "/"), Break),
            (":method", field(":method", "GET"), Break),
            (":authority", field(":authority", "x"), Break),
            ("unknown", field(":x", "y"), Break),
            ("trailers, :path", trailers(WHOLE, &literal(":path", "/")), Break),
            ("trailers, :status", trailers(WHOLE, b"\x88"), Break),
            ("upper case", field("A", "b"), Break),
            ("an empty name", field("", "b"), Break),
            ("a name with a space", field("a b", "c"), Break),
            ("a name with a colon", field("a:b", "c"), Break),
            ("a name with LF", field("a\n", "b"), Break),
            ("a value with NUL", field("a", "b\0c"), Break),
            ("a value with CR", field("a", "b\rc"), Break),
            ("a value with LF", field("a", "b\nc"), Break),
            ("a value with CR LF", field("a", "b\r\nc: d"), Break),
            ("connection", field("connection", "close"), Break),
            ("proxy-connection", field("proxy-connection", "close"), Break),
            ("keep-alive", field("keep-alive", "timeout=5"), Break),
            ("transfer-encoding", field("transfer-encoding", "chunked"), Break),
            ("upgrade", field("upgrade", "websocket"), Break),
            ("shorter", length("9", end("hello")), Break),
            ("shorter, trailers", length("9", [data(1, 0, "hello"), headers(WHOLE, &ok)].concat()), Break),
            ("longer", length("3", end("hello")), Break),
            ("a length and no body", headers(WHOLE, &[&b"\x88"[..], &literal("content-length", "5")].concat()), Break),
            ("a length and an empty body", length("5", end("")), Break),
            ("length no number", length("five", end("hello")), Break),
            ("length signed", length("+5", end("hello")), Break),
            ("lengths that differ", with(&[literal("content-length", "5"), literal("content-length", "6")].concat()), Break),
            ("DATA first", [data(1, 0, "hello"), answer(1)].concat(), Break),
            ("DATA alone", end("hello"), Break),
            ("trailers first", headers(WHOLE, &ok), Break),
            ("trailers that are no end", [trailers(END_HEADERS, &ok), end("")].concat(), Break),
            ("trailers, unknown", trailers(WHOLE, &literal(":x", "y")), Break),
            ("trailers, upper case", trailers(WHOLE, &literal("A", "b")), Break),
            ("trailers, CR LF", trailers(WHOLE, &literal("a", "b\r\nc: d")), Break),
            ("trailers, connection", trailers(WHOLE, &literal("connection", "close")), Break),
            ("trailers, transfer-encoding", trailers(WHOLE, &literal("transfer-encoding", "chunked")), Break),
            ("broken off", [&open[..], &data(1, 0, "hello"), &reset(1, CANCEL)].concat(), Break),
            ("broken off, NO_ERROR", [&open[..], &data(1, 0, "hello"), &reset(1, NO_ERROR)].concat(), Break),
            ("broken off, a length", length("9", [data(1, 0, "hello"), reset(1, STREAM_CLOSED)].concat()), Break),
            ("given up", [&open[..], &data(1, 0, "hello"), &goaway(0, NO_ERROR)].concat(), Break),
        ];
        check("GET", cases).await;
    });
}

/// What no connection survives, while a response is awaited.
#[test]
fn connection_errors() {
    harness::run(async {
        let set = |id, value| settings(&[(id, value)]);
        let on = |kind, stream, payload: &[u8]| frame(kind, 0, stream, payload);
        let open = headers(0, b"\x88");
        let most = (MAX_WINDOW - DEFAULT_WINDOW) as u32;
        let push = [&2u32.to_be_bytes()[..], b"\x82\x84\x86\x41\x01x"].concat();
        let then = |frames: &[u8]| [&open[..], frames].concat();
        let block = |field: &[u8]| headers(WHOLE, &[b"\x88", field].concat());
        let large = vec![0; (1 << 24) - 1];
        #[rustfmt::skip]
        let cases = [
            ("DATA of none", data(0, 0, "x"), End(&[PROTOCOL])),
            ("DATA of an even stream", data(2, 0, "x"), End(&[PROTOCOL, STREAM_CLOSED])),
            ("DATA of an idle stream", data(3, 0, "x"), End(&[PROTOCOL, STREAM_CLOSED])),
            ("DATA of a far stream", data(MAX_WINDOW as u32, 0, "x"), End(&[PROTOCOL, STREAM_CLOSED])),
            ("DATA, padding as long", data(1, PADDED, b"\x04\0\0\0"), End(&[PROTOCOL])),
            ("HEADERS of none", head(0, b"\x88"), End(&[PROTOCOL])),
            ("HEADERS of an even stream", head(2, b"\x88"), End(&[PROTOCOL])),
            ("HEADERS of an idle stream", head(3, b"\x88"), End(&[PROTOCOL])),
            ("HEADERS, padding too long", headers(WHOLE | PADDED, b"\x02\x88"), End(&[PROTOCOL])),
            ("PUSH_PROMISE", frame(kind::PUSH_PROMISE, END_HEADERS, 1, &push), End(&[PROTOCOL])),
            ("PUSH_PROMISE of none", frame(kind::PUSH_PROMISE, END_HEADERS, 0, &push), End(&[PROTOCOL])),
            ("PRIORITY of none", on(kind::PRIORITY, 0, b"\0\0\0\0\x0f"), End(&[PROTOCOL])),
            ("RST_STREAM of none", reset(0, CANCEL), End(&[PROTOCOL])),
            ("RST_STREAM of an idle stream", reset(3, CANCEL), End(&[PROTOCOL])),
            ("RST_STREAM of an even stream", reset(2, CANCEL), End(&[PROTOCOL])),
            ("RST_STREAM of 3", on(kind::RST_STREAM, 1, &[0; 3]), End(&[FRAME_SIZE])),
            ("SETTINGS of a stream", on(kind::SETTINGS, 1, b""), End(&[PROTOCOL])),
            ("SETTINGS of 5", on(kind::SETTINGS, 0, &[0; 5]), End(&[FRAME_SIZE])),
            ("SETTINGS, ACK with a payload", frame(kind::SETTINGS, ACK, 0, &[0; 6]), End(&[FRAME_SIZE])),
            ("ENABLE_PUSH 1", set(setting::ENABLE_PUSH, 1), End(&[PROTOCOL])),
            ("ENABLE_PUSH 2", set(setting::ENABLE_PUSH, 2), End(&[PROTOCOL])),
            ("window of 2^31", set(setting::INITIAL_WINDOW_SIZE, 1 << 31), End(&[FLOW_CONTROL])),
            ("frames of 16,383", set(setting::MAX_FRAME_SIZE, (1 << 14) - 1), End(&[PROTOCOL])),
            ("frames of 2^24", set(setting::MAX_FRAME_SIZE, 1 << 24), End(&[PROTOCOL])),
            ("PING of a stream", on(kind::PING, 1, &[0; 8]), End(&[PROTOCOL])),
            ("PING of 7", on(kind::PING, 0, &[0; 7]), End(&[FRAME_SIZE])),
            ("GOAWAY of a stream", on(kind::GOAWAY, 1, &[0; 8]), End(&[PROTOCOL])),
            ("GOAWAY of 7", on(kind::GOAWAY, 0, &[0; 7]), End(&[FRAME_SIZE])),
            ("WINDOW_UPDATE of 0", window_update(0, 0), End(&[PROTOCOL])),
            ("WINDOW_UPDATE of 3", on(kind::WINDOW_UPDATE, 0, &[0; 3]), End(&[FRAME_SIZE])),
            ("WINDOW_UPDATE too large", window_update(0, most + 1), End(&[FLOW_CONTROL])),
            ("WINDOW_UPDATE of an idle stream", window_update(3, 1), End(&[PROTOCOL])),
            ("CONTINUATION", more(END_HEADERS, 1, b"\x88"), End(&[PROTOCOL])),
            ("CONTINUATION of another", then(&more(END_HEADERS, 3, b"")), End(&[PROTOCOL])),
            ("DATA in a block", then(&data(1, 0, "x")), End(&[PROTOCOL])),
            ("HEADERS in a block", then(&headers(WHOLE, b"\x88")), End(&[PROTOCOL])),
            ("PING in a block", then(&on(kind::PING, 0, &[0; 8])), End(&[PROTOCOL])),
            ("unknown in a block", then(&on(0xfa, 1, b"x")), End(&[PROTOCOL])),
            ("index 0", block(b"\x80"), End(&[COMPRESSION])),
            ("an index of nothing", block(b"\xbe"), End(&[COMPRESSION])),
            ("a string cut off", block(b"\x00\x05ab"), End(&[COMPRESSION])),
            ("padding of zeros", block(b"\x00\x01a\x81\x18"), End(&[COMPRESSION])),
            ("a table too large", headers(WHOLE, b"\x3f\xe2\xff\x03\x88"), End(&[COMPRESSION])),
            ("a frame too large", on(0xfa, 0, &large), End(&[FRAME_SIZE])),
            ("DATA too large", data(1, 0, &large), End(&[FRAME_SIZE])),
        ];
        check("GET", cases).await;
    });
}

/// Section 3.4: a server that begins with something else.
#[test]
fn servers_that_speak_something_else() {
    harness::run(async {
        let proxy = proxy(ByPort).await;
        for (name, bytes) in [
            (
                "HTTP/1",
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
            ),
            ("the preface of clients", PREFACE.to_vec()),
            ("nothing", vec![]),
        ] {
            let origin = Origin::new(name, &proxy).await;
            let told = origin.ask("GET", &[], "");
            let (mut stream, _) = within(name, origin.listener.accept()).await.unwrap();
            let sent = tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes);
            within(name, sent).await.unwrap();
            drop(stream);
            let told = within(name, told).await.unwrap().1;
            assert!(is_broken(&told), "{name}: {told:?}");
        }
    });
}

/// Sections 5.1.2 and 6.8: requests the server has not looked at are sent again, to it or on another
/// connection; not on one that goes away.
#[test]
fn requests_sent_again() {
    harness::run(async {
        let proxy = proxy(ByPort).await;
        for (name, last) in [
            ("refused", reset(1, REFUSED_STREAM)),
            ("GOAWAY", goaway(0, NO_ERROR)),
            ("GOAWAY with a reason", goaway(0, PROTOCOL)),
        ] {
            let origin = Origin::new(name, &proxy).await;
            let told = origin.ask("GET", &[], "");
            let mut first = origin.accept(&[]).await;
            first.block().await;
            first.send(&last).await;
            // Cancel-safe: of the branch that loses nothing is read any more.
            let (mut peer, stream) = tokio::select! {
                mut second = origin.accept(&[]) => {
                    let (again, _) = second.block().await;
                    (second, again.stream)
                }
                (again, _) = async {
                    match name {
                        "refused" => first.block().await,
                        _ => std::future::pending().await,
                    }
                } => (first, again.stream),
            };
            peer.send(&answer(stream)).await;
            let told = told.await.unwrap().1.unwrap();
            assert_eq!((told.status, told.text()), (200, "hello"), "{name}");
        }

        // What was begun ends, what is new goes elsewhere.
        let origin = Origin::new("the last stream", &proxy).await;
        let told = origin.ask("GET", &[], "");
        let mut first = origin.accept(&[]).await;
        first.block().await;
        first.send(&goaway(1, NO_ERROR)).await;
        first.ping().await;
        let new = origin.ask("GET", &[], "");
        let mut second = origin.accept(&[]).await;
        second.block().await;
        second.send(&answer(1)).await;
        first.send(&answer(1)).await;
        for told in [told, new] {
            assert_eq!(told.await.unwrap().1.unwrap().text(), "hello");
        }
    });
}

/// Section 5.1.2: no more streams than the server takes.
#[test]
fn streams_at_a_time() {
    harness::run(async {
        let proxy = proxy(ByPort).await;
        let origin = Origin::new("two at a time", &proxy).await;
        let limit = [(setting::MAX_CONCURRENT_STREAMS, 2)];
        let peer = origin.warm(&limit).await;
        let clients: Vec<_> = (0..20).map(|_| origin.ask("GET", &[], "")).collect();
        tokio::spawn(serve_two_at_a_time(peer));
        tokio::spawn(async move {
            loop {
                let peer = origin.accept(&limit).await;
                tokio::spawn(serve_two_at_a_time(peer));
            }
        });
        for client in clients {
            let told = within("an answer", client).await.unwrap().1.unwrap();
            assert_eq!((told.status, told.text()), (200, "hello"));
        }
    });
}

async fn serve_two_at_a_time(mut peer: Peer) {
    // A client may begin with more before it knows.
    let mut frames = peer.ping().await;
    let mut limit = usize::MAX;
    loop {
        let heads = frames.iter().filter(|frame| frame.kind == kind::HEADERS);
        let open: Vec<_> = heads.map(|head| head.stream).collect();
        assert!(open.len() <= limit, "{open:?}");
        limit = 2;
        for stream in open {
            peer.send(&answer(stream)).await;
        }
        let Some(next) = peer.next().await else {
            return;
        };
        // Those come too that do not wait for the limit.
        frames = peer.ping().await;
        frames.push(next);
    }
}

/// Sections 6.5.2 and 6.9.2: a request's body goes as far as the windows reach, and those of open
/// streams change with the setting, below zero too.
#[test]
fn windows_of_requests() {
    harness::run(async {
        let proxy = proxy(ByPort).await;
        let window = |size| [(setting::INITIAL_WINDOW_SIZE, size)];
        let body: Vec<u8> = (0..100 << 10).map(|at| at as u8).collect();

        let origin = Origin::new("windows", &proxy).await;
        let mut peer = origin.warm(&window(10)).await;
        let told = origin.ask("POST", &[], &body);
        let (first, _) = peer.block().await;
        let stream = first.stream;
        let mut seen = peer.read_data(stream, 10).await;
        peer.ping().await;
        for _ in 0..5 {
            peer.send(&window_update(stream, 1)).await;
            seen.extend(peer.read_data(stream, 1).await);
        }
        peer.send(&settings(&window(1010))).await;
        seen.extend(peer.read_data(stream, 1000).await);
        // 990 below zero.
        peer.send(&settings(&window(20))).await;
        peer.ping().await;
        peer.send(&window_update(stream, 990)).await;
        peer.ping().await;
        peer.send(&window_update(stream, 5)).await;
        seen.extend(peer.read_data(stream, 5).await);
        // Then the window of the connection is the smaller one.
        peer.send(&settings(&window(1 << 20))).await;
        let length = DEFAULT_WINDOW as usize - seen.len();
        seen.extend(peer.read_data(stream, length).await);
        peer.ping().await;
        peer.send(&window_update(0, 1 << 20)).await;
        let length = body.len() - seen.len();
        seen.extend(peer.read_data(stream, length).await);
        assert!(seen == body);
        peer.send(&answer(stream)).await;
        assert_eq!(told.await.unwrap().1.unwrap().text(), "hello");
    });
}

/// Sections 4.2 and 4.3: requests are cut into frames as large as the server takes.
#[test]
fn sizes_of_requests() {
    harness::run(async {
        let proxy = proxy(ByPort).await;
        let wide = (setting::INITIAL_WINDOW_SIZE, 1 << 20);
        let field = "~".repeat(40_000);
        for size in [DEFAULT_FRAME as u32, 20_000] {
            let origin = Origin::new("sizes", &proxy).await;
            let mut peer = origin.warm(&[wide, (setting::MAX_FRAME_SIZE, size)]).await;
            peer.send(&window_update(0, 1 << 20)).await;
            let told = origin.ask("POST", &[("x", &field)], vec![0; 100 << 10]);
            let (first, block) = peer.block().await;
            assert!(block.len() > DEFAULT_FRAME, "{}", block.len());
            peer.read_data(first.stream, 100 << 10).await;
            peer.send(&answer(first.stream)).await;
            assert_eq!(told.await.unwrap().1.unwrap().text(), "hello");
        }
    });
}

/// Section 4.3.1: the server's table is no larger than it says, and the change is told.
#[test]
fn tables_of_requests() {
    harness::run(async {
        let proxy = proxy(ByPort).await;
        let origin = Origin::new("tables", &proxy).await;
        let (told, mut peer) = (origin.ask("GET", &[], ""), origin.accept(&[]).await);
        let mut table = Table::new();
        let (first, block) = peer.block().await;
        table.check(&[], &block);
        peer.send(&answer(first.stream)).await;
        assert_eq!(told.await.unwrap().1.unwrap().text(), "hello");
        for limits in [&[][..], &[0], &[], &[4096], &[], &[0, 4096], &[]] {
            for limit in limits {
                let size = (setting::HEADER_TABLE_SIZE, *limit as u32);
                peer.send(&settings(&[size])).await;
            }
            peer.ping().await;
            let told = origin.ask("GET", &[("x-repeated", "the same")], "");
            let (first, block) = peer.block().await;
            table.check(limits, &block);
            peer.send(&answer(first.stream)).await;
            assert_eq!(told.await.unwrap().1.unwrap().text(), "hello");
        }
    });
}

/// Section 8.1: the server has enough of an upload, and has answered.
#[test]
fn answers_before_the_end_of_requests() {
    harness::run(async {
        let proxy = proxy(ByPort).await;
        let enough = reset(1, NO_ERROR);
        for (name, last) in [("reset", &enough[..]), ("not reset", b"")] {
            let origin = Origin::new(name, &proxy).await;
            let told = origin.ask("POST", &[], vec![0; 1 << 20]);
            let mut peer = origin.accept(&[]).await;
            peer.block().await;
            peer.expect_kind(kind::DATA).await;
            peer.send(&[&answer(1), last].concat()).await;
            let told = within(name, told).await.unwrap().1.unwrap();
            assert_eq!((told.status, told.text()), (200, "hello"), "{name}");
            // The connection goes on.
            let told = origin.ask("GET", &[], "");
            let (next, _) = peer.block().await;
            peer.send(&answer(next.stream)).await;
            assert_eq!(told.await.unwrap().1.unwrap().text(), "hello");
        }
    });
}

/// Section 6.9: windows grow as the client reads, and no sooner.
#[test]
fn windows_of_responses() {
    harness::run(async {
        /// More than all windows and buffers hold.
        const MUCH: usize = 64 << 20;

        let proxy = proxy(ByPort).await;
        let origin = Origin::new("windows", &proxy).await;
        let mut client = Client::connect(proxy.addr()).await;
        client.send(origin.request("GET", &[], "")).await;
        let mut peer = origin.accept(&[]).await;
        peer.block().await;
        peer.send(&headers(END_HEADERS, b"\x88")).await;
        let sent = peer.fill(1).await;
        assert!(sent < MUCH, "{sent}");
        let reading = tokio::spawn(async move { client.response().await });
        peer.send_data(1, &vec![0; 16 << 20]).await;
        peer.send(&data(1, END_STREAM, "")).await;
        let response = within("a response", reading).await.unwrap();
        assert_eq!(response.body.len(), sent + (16 << 20));
        peer.ping().await;

        // A server that goes on all the same.
        let mut client = Client::connect(proxy.addr()).await;
        client.send(origin.request("GET", &[], "")).await;
        let stream = peer.block().await.0.stream;
        peer.send(&head(stream, b"\x88")).await;
        let chunk = data(stream, 0, [0; DEFAULT_FRAME]).repeat(16);
        let mut sent = 0;
        let reason = 'overrun: loop {
            sent += 16 * DEFAULT_FRAME;
            assert!(sent < 2 * MUCH, "there is no end");
            peer.send(&[&chunk[..], &frame(kind::PING, 0, 0, &[0; 8])].concat())
                .await;
            loop {
                let frame = peer.expect().await;
                match frame.kind {
                    kind::PING => break,
                    kind::RST_STREAM => break 'overrun number(&frame.payload),
                    kind::GOAWAY => break 'overrun number(&frame.payload[4..]),
                    _ => {}
                }
            }
        };
        assert_eq!(reason, i64::from(FLOW_CONTROL));
        assert!(client.try_response().await.is_err());
    });
}
