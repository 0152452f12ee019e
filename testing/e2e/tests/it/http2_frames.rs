//! The framing of HTTP/2 as servers of ours keep it, by section of RFC 9113: a client of frames before
//! a proxy. Where the RFC leaves a choice, each passes. The other side is in `http2_frames_upstream`,
//! what costs too much in `attacks`.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use pingora::prelude::*;
use pingora_e2e::frames::code::{
    CANCEL, COMPRESSION, FLOW_CONTROL, FRAME_SIZE, NO_ERROR, PROTOCOL, REFUSED_STREAM,
    STREAM_CLOSED,
};
use pingora_e2e::frames::{
    ACK, DEFAULT_FRAME, DEFAULT_WINDOW, END_HEADERS, END_STREAM, Frame, GET, MAX_WINDOW, PADDED,
    POST, PREFACE, PRIORITY, Peer, Table, WHOLE, frame, goaway, kind, literal, number, reset,
    setting, settings, status, window_update,
};
use pingora_e2e::harness::{
    self, Forward, Running, forward_h2c, peer as to, proxy_h2c, proxy_with,
};
use pingora_test_support::limit::Gate;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::raw;

/// What stands on stream 1 before the frames of a case.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// A request whose body has not come.
    Open,
    /// A request that gets no answer.
    HalfClosed,
    /// A request that was answered.
    Closed,
    /// A request that was given up.
    GivenUp,
    /// A request that was malformed.
    Refused,
}

/// What must come of the frames of a case. Unless the connection ends, another request is answered.
#[derive(Clone, Copy, Debug)]
enum Must {
    /// The connection ends, with one of these reasons.
    End(&'static [u32]),
    /// This stream ends with one of these reasons, and no other.
    Reset(u32, &'static [u32]),
    /// This stream or the connection ends with one of these reasons.
    Either(u32, &'static [u32]),
    /// The same, or nothing happens.
    Perhaps(u32, &'static [u32]),
    /// This stream ends with PROTOCOL_ERROR, or a status of 4xx (section 8.1.1).
    Malformed(u32),
    /// This stream is answered with this status.
    Answer(u32, u16),
    /// Nothing.
    Nothing,
}

use Before::{Closed, GivenUp, HalfClosed, Nothing, Open, Refused};
use Must::{Answer, Either, End, Malformed, Perhaps, Reset};

/// What frames are that come after END_STREAM, or for streams that never were (section 5.1).
const LATE: &[u32] = &[STREAM_CLOSED, PROTOCOL];
/// What frames are that end within padding or priority: too short, or what is inside too long.
const SHORT: &[u32] = &[FRAME_SIZE, PROTOCOL];

/// The stream of the request that is sent last.
const LAST: u32 = 1001;

/// A proxy and its origin.
struct Server {
    proxy: Running,
    origin: Origin,
}

impl Server {
    async fn start() -> Self {
        let origin = Origin::start(|request| match &*request.target {
            "/hold" => Reply::nothing(),
            "x:1" => Reply::status(403, "no"),
            "/empty" => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
            "/length" => Reply::ok(request.body.len().to_string()),
            "/large" => Reply::ok(vec![b'x'; 100 << 10]),
            "/fields" => Reply::with_fields(200, &[("x", &"~".repeat(40_000))], "hello"),
            "/repeated" => Reply::with_fields(200, &[("x-repeated", "the same")], "hello"),
            _ => Reply::ok("hello"),
        })
        .await;
        let proxy = proxy_with(Forward(origin.addr()), |_, options| {
            options.h2c = true;
            options.allow_connect_method_proxying = true;
        })
        .await;
        Server { proxy, origin }
    }

    async fn connect(&self, name: &str, values: &[(u16, u32)]) -> Peer {
        Peer::connect(name, self.proxy.addr(), values).await
    }

    /// Checks cases, each on a connection of its own; panics with all that fail.
    async fn check(&self, cases: impl IntoIterator<Item = Case>) {
        let mut wrong = Vec::new();
        for (name, before, frames, must) in cases {
            let (fits, seen) = self.sees(name, before, &frames, must).await;
            if !fits {
                wrong.push(format!("{name}: must {must:?}, seen {seen:?}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Returns whether what must come of these frames comes of them, and what does.
    async fn sees(&self, name: &str, before: Before, frames: &[u8], must: Must) -> (bool, Seen) {
        let mut peer = self.connect(name, &[]).await;
        prepare(&mut peer, before).await;
        peer.send(frames).await;
        let mut seen = Seen::default();
        let fits = match must {
            End(reasons) => {
                seen.until(&mut peer, |seen| seen.closed).await;
                seen.ended_with(reasons)
            }
            Reset(stream, reasons) => {
                seen.until(&mut peer, |seen| seen.decided(stream)).await;
                seen.was_reset(stream, reasons) && another(&mut peer).await
            }
            Either(stream, reasons) => {
                seen.until(&mut peer, |seen| seen.decided(stream)).await;
                match seen.resets.is_empty() {
                    true => seen.ended_with(reasons),
                    false => seen.was_reset(stream, reasons) && another(&mut peer).await,
                }
            }
            Perhaps(stream, reasons) => {
                peer.send(&get(LAST, "/another")).await;
                seen.until(&mut peer, |seen| seen.decided(LAST)).await;
                match seen.resets.is_empty() {
                    true => seen.ended_with(reasons) || seen.answers.get(&LAST) == Some(&200),
                    false => seen.was_reset(stream, reasons),
                }
            }
            Malformed(stream) => {
                seen.until(&mut peer, |seen| seen.decided(stream)).await;
                let told = matches!(seen.answers.get(&stream), Some(400..500));
                (told || seen.was_reset(stream, &[PROTOCOL])) && another(&mut peer).await
            }
            Answer(stream, status) => {
                seen.until(&mut peer, |seen| seen.decided(stream)).await;
                let answered = seen.answers.get(&stream) == Some(&status);
                answered && another(&mut peer).await
            }
            Must::Nothing => {
                peer.send(&get(LAST, "/another")).await;
                seen.until(&mut peer, |seen| seen.decided(LAST)).await;
                let nothing = seen.resets.is_empty() && seen.reason.is_none();
                nothing && seen.answers.get(&LAST) == Some(&200)
            }
        };
        (fits, seen)
    }
}

/// A name, what stands before, what is sent, what must come of it.
type Case = (&'static str, Before, Vec<u8>, Must);

/// What a server has said.
#[derive(Debug, Default)]
struct Seen {
    answers: HashMap<u32, u16>,
    ended: HashSet<u32>,
    resets: HashMap<u32, u32>,
    reason: Option<u32>,
    closed: bool,
}

impl Seen {
    async fn until(&mut self, peer: &mut Peer, done: impl Fn(&Self) -> bool) {
        while !done(self) && !self.closed {
            match peer.next().await {
                Some(frame) => self.take(&frame),
                None => self.closed = true,
            }
        }
    }

    fn take(&mut self, frame: &Frame) {
        match frame.kind {
            kind::HEADERS => {
                let answer = self.answers.entry(frame.stream);
                answer.or_insert_with(|| status(&frame.payload));
            }
            kind::RST_STREAM => {
                let reason = number(&frame.payload) as u32;
                self.resets.insert(frame.stream, reason);
            }
            kind::GOAWAY => match number(&frame.payload[4..]) as u32 {
                // The server is about to stop, or this connection to be replaced.
                NO_ERROR => {}
                reason => self.reason = Some(reason),
            },
            _ => {}
        }
        if matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.flags & END_STREAM != 0 {
            self.ended.insert(frame.stream);
        }
    }

    /// Whether this stream has ended. One that is reset after a whole answer was answered.
    fn decided(&self, stream: u32) -> bool {
        self.ended.contains(&stream) || self.resets.contains_key(&stream)
    }

    fn was_reset(&self, stream: u32, reasons: &[u32]) -> bool {
        let reset = self.resets.get(&stream);
        reset.is_some_and(|reason| reasons.contains(reason)) && self.reason.is_none()
    }

    fn ended_with(&self, reasons: &[u32]) -> bool {
        self.closed && self.reason.is_some_and(|reason| reasons.contains(&reason))
    }
}

async fn prepare(peer: &mut Peer, before: Before) {
    let mut seen = Seen::default();
    match before {
        Nothing => {}
        Open => drop(peer.send(&frame(kind::HEADERS, END_HEADERS, 1, POST)).await),
        HalfClosed => drop(peer.send(&get(1, "/hold")).await),
        GivenUp => {
            peer.send(&[get(1, "/hold"), reset(1, CANCEL)].concat())
                .await;
        }
        Closed => {
            peer.send(&get(1, "/")).await;
            seen.until(peer, |seen| seen.ended.contains(&1)).await;
        }
        Refused => {
            let block = [GET, &literal("connection", "close")].concat();
            peer.send(&frame(kind::HEADERS, END_HEADERS, 1, &block))
                .await;
            seen.until(peer, |seen| seen.decided(1)).await;
        }
    }
    peer.ping().await;
}

/// Returns whether another request on the connection is answered.
async fn another(peer: &mut Peer) -> bool {
    peer.send(&get(LAST, "/another")).await;
    let mut seen = Seen::default();
    seen.until(peer, |seen| seen.ended.contains(&LAST)).await;
    seen.answers.get(&LAST) == Some(&200) && seen.reason.is_none()
}

/// Returns a header block of literals.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter().map(|(name, value)| literal(name, value));
    fields.collect::<Vec<_>>().concat()
}

/// Returns a header block with this path.
fn path(method: &str, path: &str) -> Vec<u8> {
    block(&[
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
    ])
}

fn get(stream: u32, target: &str) -> Vec<u8> {
    frame(kind::HEADERS, WHOLE, stream, &path("GET", target))
}

fn post(stream: u32, target: &str) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS, stream, &path("POST", target))
}

fn data(stream: u32, flags: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(kind::DATA, flags, stream, payload.as_ref())
}

/// Returns a whole body for stream 1.
fn end() -> Vec<u8> {
    data(1, END_STREAM, "x")
}

fn headers(flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, 1, payload)
}

fn more(flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind::CONTINUATION, flags, stream, payload)
}

/// Section 3.4: no GOAWAY is needed, and no HTTP/2 may follow.
#[test]
fn prefaces() {
    harness::run(async {
        let server = Server::start().await;
        for (name, bytes) in [
            (
                "the end differs",
                b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
            ),
            (
                "the version differs",
                b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n".to_vec(),
            ),
            ("a frame of HTTP/2 without", settings(&[])),
            ("no SETTINGS", PREFACE.to_vec()),
        ] {
            let mut client = raw::connect(server.proxy.addr()).await;
            client.send(&bytes).await;
            client.send(get(1, "/")).await;
            client.half_close().await;
            let answer = client.read_to_end().await;
            let served = answer.windows(5).any(|part| part == b"hello");
            assert!(!served, "{name}: {answer:?}");
        }
        // The preface alone is answered with SETTINGS, in pieces too.
        let mut client = raw::connect(server.proxy.addr()).await;
        client.send_pieces(PREFACE, 1).await;
        client.send_pieces(settings(&[]), 1).await;
        client.send_pieces(get(1, "/"), 1).await;
        client.read_until("hello").await;
        assert_eq!(server.origin.requests().len(), 1);
    });
}

/// Section 6.5.2: what we set is within its range (which [`Peer`] checks), limits are announced, and
/// each SETTINGS is acknowledged once.
#[test]
fn settings_exchanged() {
    harness::run(async {
        let server = Server::start().await;
        let mut peer = server.connect("settings", &[]).await;
        for (id, least) in [
            (setting::MAX_HEADER_LIST_SIZE, 1 << 14),
            (setting::MAX_CONCURRENT_STREAMS, 100),
        ] {
            let announced = peer.settings.get(&id).copied();
            assert!(announced >= Some(least), "{id}: {announced:?}");
        }
        let acks = |frames: &[Frame]| {
            let acks = frames.iter();
            let acks = acks.filter(|f| (f.kind, f.flags) == (kind::SETTINGS, ACK));
            acks.count()
        };
        assert_eq!(acks(&peer.ping().await), 1);
        // Unknown ones, those of RFC 9218, the same twice, none at all.
        for values in [
            &[(0x4a4a, 7), (0xff, u32::MAX), (9, 1)][..],
            &[
                (setting::INITIAL_WINDOW_SIZE, 0),
                (setting::INITIAL_WINDOW_SIZE, 9),
            ],
            &[],
        ] {
            peer.send(&settings(values)).await;
            assert_eq!(acks(&peer.ping().await), 1, "{values:?}");
        }
        let twice = settings(&[]).repeat(2);
        peer.send(&twice).await;
        assert_eq!(acks(&peer.ping().await), 2);
        assert!(another(&mut peer).await);
    });
}

/// Sections 4.1, 5.5 and RFC 9218: what is not known is passed over, but not within a block.
#[test]
fn unknown_frames() {
    harness::run(async {
        let server = Server::start().await;
        let unknown = |flags, stream| frame(0xfa, flags, stream, b"whatever");
        let reserved = |mut frame: Vec<u8>| {
            frame[5] |= 0x80;
            frame
        };
        let flagged = |mut frame: Vec<u8>, flags: u8| {
            frame[4] |= flags;
            frame
        };
        let mut ping = server.connect("PING with undefined flags", &[]).await;
        ping.send(&frame(kind::PING, 0xfe, 0, b"whatever")).await;
        let pong = ping.expect_kind(kind::PING).await;
        assert_eq!((pong.flags, &*pong.payload), (ACK, &b"whatever"[..]));
        let undefined = !(WHOLE | PADDED | PRIORITY);
        #[rustfmt::skip]
        let cases = [
            ("unknown, on 0", Nothing, unknown(0xff, 0), Must::Nothing),
            ("unknown, idle", Nothing, unknown(0xff, 1), Must::Nothing),
            ("unknown, even", Nothing, unknown(0, 2), Must::Nothing),
            ("unknown, half-closed", HalfClosed, unknown(1, 1), Must::Nothing),
            ("unknown, closed", Closed, unknown(0, 1), Must::Nothing),
            ("unknown, open", Open, [unknown(5, 1), end()].concat(), Answer(1, 200)),
            ("unknown, empty", Open, [frame(0x20, 0, 1, b""), end()].concat(), Answer(1, 200)),
            ("PRIORITY_UPDATE", Nothing, frame(0x10, 0, 0, b"\0\0\0\x01u=1,i"), Must::Nothing),
            ("ALTSVC", Nothing, frame(0x0a, 0, 0, b"\0\x01xclear"), Must::Nothing),
            ("reserved bit of HEADERS", Nothing, reserved(get(1, "/")), Answer(1, 200)),
            ("reserved bit of DATA", Open, reserved(end()), Answer(1, 200)),
            ("reserved bit of SETTINGS", Nothing, reserved(settings(&[])), Must::Nothing),
            ("flags of HEADERS", Nothing, flagged(get(1, "/"), undefined), Answer(1, 200)),
            ("flags of DATA", Open, flagged(end(), !PADDED), Answer(1, 200)),
            ("flags of SETTINGS", Nothing, flagged(settings(&[]), 0xfe), Must::Nothing),
            ("flags of RST_STREAM", HalfClosed, flagged(reset(1, CANCEL), 0xff), Must::Nothing),
            ("flags of WINDOW_UPDATE", HalfClosed, flagged(window_update(1, 1), 0xff), Must::Nothing),
            ("unknown, in a block", Nothing, [headers(END_STREAM, &GET[..1]), unknown(0, 1)].concat(), End(&[PROTOCOL])),
        ];
        server.check(cases).await;
    });
}

/// Section 4.2.
#[test]
fn frame_sizes() {
    harness::run(async {
        let server = Server::start().await;
        let peer = server.connect("the largest frame", &[]).await;
        let announced = peer.settings.get(&setting::MAX_FRAME_SIZE);
        let largest = announced.map_or(DEFAULT_FRAME, |largest| *largest as usize);
        let head = |size: usize| {
            let head = path("GET", "/");
            let field = literal("a", vec![b'b'; size - head.len() - 7]);
            let block = [head, field].concat();
            // The length takes four bytes.
            assert_eq!(block.len(), size);
            headers(WHOLE, &block)
        };
        let zeros = |size: usize| vec![0; size];
        #[rustfmt::skip]
        let cases = [
            ("HEADERS of 16,384", Nothing, head(DEFAULT_FRAME), Answer(1, 200)),
            ("HEADERS too large", Nothing, head(largest + 1), End(&[FRAME_SIZE])),
            ("DATA of 16,384", Open, data(1, END_STREAM, zeros(DEFAULT_FRAME)), Answer(1, 200)),
            ("DATA too large", Open, data(1, END_STREAM, zeros(largest + 1)), Either(1, &[FRAME_SIZE])),
            ("SETTINGS too large", Nothing, frame(kind::SETTINGS, 0, 0, &vec![0xee; largest + 2]), End(&[FRAME_SIZE])),
            ("PING too large", Nothing, frame(kind::PING, 0, 0, &zeros(largest + 1)), End(&[FRAME_SIZE])),
            ("unknown of 16,384", Nothing, frame(0xfa, 0, 0, &zeros(DEFAULT_FRAME)), Must::Nothing),
            ("unknown too large", Nothing, frame(0xfa, 0, 0, &zeros(largest + 1)), End(&[FRAME_SIZE])),
        ];
        server.check(cases).await;
    });
}

/// Sections 4.3 and 6.10: a block is one piece, whatever frames it is cut into.
#[test]
fn blocks_in_pieces() {
    harness::run(async {
        let server = Server::start().await;
        let open = headers(END_STREAM, &GET[..1]);
        let rest = more(END_HEADERS, 1, &GET[1..]);
        let pieces = |sizes: &[usize]| {
            let mut left = GET;
            let mut bytes = headers(END_STREAM, b"");
            for size in sizes {
                bytes.extend(more(0, 1, &left[..*size]));
                left = &left[*size..];
            }
            [bytes, more(END_HEADERS, 1, left)].concat()
        };
        let whole = headers(WHOLE, GET);
        let trailers = |flags, rest: &[u8]| {
            let rest = more(END_HEADERS, 1, rest);
            [headers(flags, &literal("a", "b")), rest].concat()
        };
        let field = literal("c", "d");
        #[rustfmt::skip]
        let cases = [
            ("two pieces", Nothing, [&open[..], &rest].concat(), Answer(1, 200)),
            ("six pieces", Nothing, pieces(&[1, 1, 1, 1]), Answer(1, 200)),
            ("an empty piece", Nothing, pieces(&[0, 3]), Answer(1, 200)),
            ("fifty pieces", Nothing, [headers(END_STREAM, GET), more(0, 1, &literal("a", "b")).repeat(50), more(END_HEADERS, 1, b"")].concat(), Answer(1, 200)),
            ("trailers", Open, trailers(END_STREAM, &field), Answer(1, 200)),
            ("undefined flags", Nothing, [&open[..], &more(0xff, 1, &GET[1..])].concat(), Answer(1, 200)),
        ];
        server.check(cases).await;
        #[rustfmt::skip]
        let between = [
            ("DATA between", data(1, 0, "x")),
            ("HEADERS between", headers(WHOLE, GET)),
            ("HEADERS of another between", get(3, "/")),
            ("PRIORITY between", frame(kind::PRIORITY, 0, 1, b"\0\0\0\0\x0f")),
            ("RST_STREAM between", reset(1, CANCEL)),
            ("SETTINGS between", settings(&[])),
            ("PING between", frame(kind::PING, 0, 0, b"whatever")),
            ("GOAWAY between", goaway(0, NO_ERROR)),
            ("WINDOW_UPDATE between", window_update(0, 1)),
            ("CONTINUATION of another", more(END_HEADERS, 3, &GET[1..])),
            ("CONTINUATION of none", more(END_HEADERS, 0, &GET[1..])),
        ];
        let cases = between.into_iter().flat_map(|(name, between)| {
            [&b""[..], &more(0, 1, b"")].map(|piece| {
                let frames = [&open[..], piece, &between].concat();
                (name, Nothing, frames, End(&[PROTOCOL]))
            })
        });
        server.check(cases).await;
        let stray = more(END_HEADERS, 1, b"");
        #[rustfmt::skip]
        let cases = [
            ("stray, idle", Nothing, stray.clone(), End(&[PROTOCOL])),
            ("stray, open", Open, stray.clone(), End(&[PROTOCOL])),
            ("stray, after DATA", Open, [data(1, 0, "x"), stray.clone()].concat(), End(&[PROTOCOL])),
            ("stray, half-closed", HalfClosed, stray.clone(), End(LATE)),
            ("stray, closed", Closed, stray.clone(), End(LATE)),
            ("stray, after a whole", Nothing, [whole, stray.clone()].concat(), End(LATE)),
            ("stray, after the last", Nothing, [open, rest, stray].concat(), End(LATE)),
        ];
        server.check(cases).await;
    });
}

/// Section 4.3: blocks that cannot be decoded (RFC 7541), and those decoded for the table's sake.
#[test]
fn compression() {
    harness::run(async {
        let server = Server::start().await;
        let broken = [
            ("index 0", &b"\x80"[..]),
            ("an index of nothing", b"\xbf"),
            ("an index far away", b"\xff\x80\x7f"),
            ("the name of nothing", b"\x7f\x00\x01a"),
            ("an endless integer", &[0xff; 30]),
            ("an integer cut off", b"\xff\x80"),
            ("a string cut off", b"\x00\x05ab"),
            ("a value missing", b"\x00\x01a"),
            ("EOS in Huffman's code", b"\x00\x01a\x84\xff\xff\xff\xff"),
            ("padding of eight bits", b"\x00\x01a\x82\x1f\xff"),
            ("padding of zeros", b"\x00\x01a\x81\x18"),
        ];
        let cases = broken.into_iter().flat_map(|(name, field)| {
            let last = headers(WHOLE, &[GET, field].concat());
            let cut = [headers(END_STREAM, GET), more(END_HEADERS, 1, field)].concat();
            [
                (name, Nothing, last, End(&[COMPRESSION])),
                (name, Nothing, cut, End(&[COMPRESSION])),
                (name, Open, headers(WHOLE, field), End(&[COMPRESSION])),
            ]
        });
        server.check(cases).await;
        let too_large = headers(WHOLE, &[b"\x3f\xe2\x1f", GET].concat());
        let behind = headers(WHOLE, &[GET, b"\x20"].concat());
        let sized = headers(WHOLE, &[b"\x20\x3f\xe1\x1f", GET].concat());
        // `:path: /empty` goes into the table, with a field that is in order or is not.
        let indexed = b"\x44\x06/empty";
        let (method, rest) = (b"\x82", b"\x86\x41\x01x");
        let wrong = literal("connection", "close");
        let malformed = [method, &indexed[..], b"\x86", &wrong, b"\x41\x01x"].concat();
        let again = |index: u8| {
            let block = [method, &[index][..], b"\x86\x01\x01x"].concat();
            frame(kind::HEADERS, WHOLE, 3, &block)
        };
        let first = headers(WHOLE, &[method, &indexed[..], rest].concat());
        let given_up = [&first[..], &reset(1, CANCEL), &again(0xbf)].concat();
        #[rustfmt::skip]
        let cases = [
            ("a table too large", Nothing, too_large, End(&[COMPRESSION])),
            ("a size behind fields", Nothing, behind, End(&[COMPRESSION])),
            ("sizes at the start", Nothing, sized, Answer(1, 200)),
            ("an index", Nothing, [&first[..], &again(0xbf)].concat(), Answer(3, 204)),
            ("an index of the given up", Nothing, given_up, Answer(3, 204)),
            ("an index of the malformed", Nothing, [headers(WHOLE, &malformed), again(0xbf)].concat(), Answer(3, 204)),
        ];
        server.check(cases).await;
    });
}

/// Section 5.1: each state and what may not come in it.
#[test]
fn states() {
    harness::run(async {
        let server = Server::start().await;
        let any = || data(1, 0, "x");
        let priority = || frame(kind::PRIORITY, 0, 1, b"\0\0\0\0\x0f");
        let trailers = || headers(WHOLE, &literal("a", "b"));
        let whole = [headers(END_HEADERS, POST), data(1, 0, "x"), trailers()].concat();
        #[rustfmt::skip]
        let cases = [
            ("idle: DATA", Nothing, any(), Either(1, LATE)),
            ("idle: RST_STREAM", Nothing, reset(1, CANCEL), End(&[PROTOCOL])),
            ("idle: WINDOW_UPDATE", Nothing, window_update(1, 1), End(&[PROTOCOL])),
            ("idle: PRIORITY", Nothing, priority(), Must::Nothing),
            ("open: PRIORITY", Open, [priority(), end()].concat(), Answer(1, 200)),
            ("open: trailers", Nothing, whole, Answer(1, 200)),
            ("open: RST_STREAM", Open, reset(1, CANCEL), Must::Nothing),
            ("open: RST_STREAM, unknown reason", Open, reset(1, 0xdead), Must::Nothing),
            ("half-closed: DATA", HalfClosed, any(), Either(1, &[STREAM_CLOSED])),
            ("half-closed: empty DATA", HalfClosed, data(1, END_STREAM, ""), Either(1, &[STREAM_CLOSED])),
            ("half-closed: HEADERS", HalfClosed, get(1, "/"), Either(1, &[STREAM_CLOSED])),
            ("half-closed: trailers", HalfClosed, trailers(), Either(1, &[STREAM_CLOSED])),
            ("half-closed: PRIORITY", HalfClosed, priority(), Must::Nothing),
            ("half-closed: WINDOW_UPDATE", HalfClosed, window_update(1, 1), Must::Nothing),
            ("half-closed: RST_STREAM", HalfClosed, reset(1, CANCEL), Must::Nothing),
            ("closed: DATA", Closed, any(), Perhaps(1, LATE)),
            ("closed: HEADERS", Closed, get(1, "/"), Perhaps(1, LATE)),
            ("closed: PRIORITY", Closed, priority(), Must::Nothing),
            ("closed: WINDOW_UPDATE", Closed, window_update(1, 1), Must::Nothing),
            ("closed: RST_STREAM", Closed, reset(1, CANCEL), Must::Nothing),
            ("given up: DATA", GivenUp, any(), Perhaps(1, LATE)),
            ("given up: HEADERS", GivenUp, get(1, "/"), Perhaps(1, LATE)),
            ("given up: PRIORITY", GivenUp, priority(), Must::Nothing),
            ("given up: WINDOW_UPDATE", GivenUp, window_update(1, 1), Must::Nothing),
            ("given up: RST_STREAM", GivenUp, reset(1, CANCEL), Must::Nothing),
            // These may have been on their way.
            ("refused: DATA", Refused, data(1, END_STREAM, "x"), Must::Nothing),
            ("refused: trailers", Refused, trailers(), Must::Nothing),
            ("refused: PRIORITY", Refused, priority(), Must::Nothing),
            ("refused: WINDOW_UPDATE", Refused, window_update(1, 1), Must::Nothing),
            ("refused: RST_STREAM", Refused, reset(1, CANCEL), Must::Nothing),
        ];
        server.check(cases).await;
    });
}

/// Section 5.1.1.
#[test]
fn numbers_of_streams() {
    harness::run(async {
        let server = Server::start().await;
        let after_5 = |frames: Vec<u8>| [get(5, "/"), frames].concat();
        let priority = frame(kind::PRIORITY, 0, 3, b"\0\0\0\0\x0f");
        #[rustfmt::skip]
        let cases = [
            ("0", Nothing, get(0, "/"), End(&[PROTOCOL])),
            ("even", Nothing, get(2, "/"), End(&[PROTOCOL])),
            ("even, between", Nothing, after_5(get(6, "/")), End(&[PROTOCOL])),
            ("skipped", Nothing, after_5(get(99, "/")), Answer(99, 200)),
            ("lower", Nothing, after_5(get(3, "/")), Either(3, LATE)),
            ("DATA of a skipped one", Nothing, after_5(data(3, 0, "x")), Perhaps(3, LATE)),
            ("PRIORITY of a skipped one", Nothing, after_5(priority), Must::Nothing),
            ("WINDOW_UPDATE of a skipped one", Nothing, after_5(window_update(3, 1)), Must::Nothing),
            ("RST_STREAM of a skipped one", Nothing, after_5(reset(3, CANCEL)), Perhaps(3, LATE)),
            ("WINDOW_UPDATE of an idle one", Nothing, after_5(window_update(7, 1)), End(&[PROTOCOL])),
            ("WINDOW_UPDATE of an even one", Nothing, after_5(window_update(2, 1)), End(&[PROTOCOL])),
            ("RST_STREAM of an even one", Nothing, after_5(reset(2, CANCEL)), End(&[PROTOCOL])),
        ];
        server.check(cases).await;
        let mut peer = server.connect("the last", &[]).await;
        peer.send(&get(MAX_WINDOW as u32, "/")).await;
        let (first, block) = peer.block().await;
        assert_eq!((first.stream, status(&block)), (MAX_WINDOW as u32, 200));
    });
}

/// Section 5.1.2: what is too much is refused and nothing else suffers.
#[test]
fn streams_at_a_time() {
    harness::run(async {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Origin::start(move |request| match &*request.target {
            "/hold" => Reply::nothing()
                .wait(&held)
                .then("HTTP/1.1 204 No Content\r\n\r\n"),
            _ => Reply::ok("hello"),
        })
        .await;
        let proxy = forward_h2c(origin.addr()).await;
        let mut peer = Peer::connect("too many", proxy.addr(), &[]).await;
        let most = peer.settings[&setting::MAX_CONCURRENT_STREAMS];
        for at in 0..=most {
            peer.send(&get(2 * at + 1, "/hold")).await;
        }
        let mut seen = Seen::default();
        let over = 2 * most + 1;
        seen.until(&mut peer, |seen| seen.decided(over)).await;
        assert!(
            seen.was_reset(over, &[REFUSED_STREAM, PROTOCOL]),
            "{seen:?}"
        );
        gate.open();
        for at in 0..most {
            seen.until(&mut peer, |seen| seen.decided(2 * at + 1)).await;
        }
        let answered = seen.answers.values().filter(|status| **status == 204);
        assert_eq!(answered.count(), most as usize);
        assert!(another(&mut peer).await);
    });
}

/// Sections 5.3.1 and 6.1 to 6.4: the forms of DATA, HEADERS, PRIORITY and RST_STREAM.
#[test]
fn frames_of_streams() {
    harness::run(async {
        let server = Server::start().await;
        let with = |flags: u8, parts: [&[u8]; 2]| headers(WHOLE | flags, &parts.concat());
        let on_1 = |kind, payload: &[u8]| frame(kind, 0, 1, payload);
        let padded = |stream, payload: &[u8]| data(stream, PADDED | END_STREAM, payload);
        #[rustfmt::skip]
        let cases = [
            ("DATA of none", Nothing, data(0, 0, "x"), End(&[PROTOCOL])),
            ("DATA, padded", Open, padded(1, b"\x03x\0\0\0"), Answer(1, 200)),
            ("DATA, all of it padding", Open, padded(1, b"\x03\0\0\0"), Answer(1, 200)),
            ("DATA, no padding after all", Open, padded(1, b"\0x"), Answer(1, 200)),
            ("DATA, padding as long", Open, padded(1, b"\x04\0\0\0"), End(&[PROTOCOL])),
            ("DATA, padding longer", Open, padded(1, b"\xff\0\0\0"), End(&[PROTOCOL])),
            ("DATA, no length of padding", Open, padded(1, b""), Either(1, SHORT)),
            ("DATA, empty", Open, [data(1, 0, ""), end()].concat(), Answer(1, 200)),
            ("DATA, empty at the end", Open, [data(1, 0, "x"), data(1, END_STREAM, "")].concat(), Answer(1, 200)),
            ("HEADERS of none", Nothing, frame(kind::HEADERS, WHOLE, 0, GET), End(&[PROTOCOL])),
            ("HEADERS, padded", Nothing, with(PADDED, [&[b"\x02", GET].concat(), b"\0\0"]), Answer(1, 200)),
            ("HEADERS, priority", Nothing, with(PRIORITY, [b"\0\0\0\0\x0f", GET]), Answer(1, 200)),
            ("HEADERS, exclusive", Nothing, with(PRIORITY, [b"\x80\0\0\x09\xff", GET]), Answer(1, 200)),
            ("HEADERS, both", Nothing, with(PADDED | PRIORITY, [b"\x01\0\0\0\0\x0f", &[GET, b"\0"].concat()]), Answer(1, 200)),
            ("HEADERS, padding too long", Nothing, with(PADDED, [b"\x07", GET]), End(&[PROTOCOL])),
            ("HEADERS, padding in priority", Nothing, with(PADDED | PRIORITY, [b"\x07\0\0\0\0\x0f", GET]), End(SHORT)),
            ("HEADERS, priority cut off", Nothing, headers(WHOLE | PRIORITY, b"\0\0\0\0"), End(SHORT)),
            ("HEADERS, padding cut off", Nothing, headers(WHOLE | PADDED, b""), End(SHORT)),
            ("HEADERS on itself", Nothing, with(PRIORITY, [b"\0\0\0\x01\x0f", GET]), Perhaps(1, &[PROTOCOL])),
            ("PRIORITY on itself", Nothing, on_1(kind::PRIORITY, b"\0\0\0\x01\x0f"), Perhaps(1, &[PROTOCOL])),
            ("PRIORITY on itself, open", HalfClosed, on_1(kind::PRIORITY, b"\0\0\0\x01\x0f"), Perhaps(1, &[PROTOCOL])),
            ("PRIORITY of none", Nothing, frame(kind::PRIORITY, 0, 0, b"\0\0\0\x01\x0f"), End(&[PROTOCOL])),
            ("PRIORITY of 4", HalfClosed, on_1(kind::PRIORITY, b"\0\0\0\0"), Either(1, &[FRAME_SIZE])),
            ("PRIORITY of 6", HalfClosed, on_1(kind::PRIORITY, b"\0\0\0\0\0\0"), Either(1, &[FRAME_SIZE])),
            ("RST_STREAM of none", Nothing, reset(0, CANCEL), End(&[PROTOCOL])),
            ("RST_STREAM of 3", HalfClosed, on_1(kind::RST_STREAM, b"\0\0\0"), End(&[FRAME_SIZE])),
            ("RST_STREAM of 5", HalfClosed, on_1(kind::RST_STREAM, b"\0\0\0\0\0"), End(&[FRAME_SIZE])),
        ];
        server.check(cases).await;
    });
}

/// Sections 6.5 to 6.8: the forms of SETTINGS, PUSH_PROMISE, PING and GOAWAY.
#[test]
fn frames_of_connections() {
    harness::run(async {
        let server = Server::start().await;
        let on_0 = |kind, payload: &[u8]| frame(kind, 0, 0, payload);
        let set = |id, value| settings(&[(id, value)]);
        let push = [&2u32.to_be_bytes()[..], GET].concat();
        #[rustfmt::skip]
        let cases = [
            ("SETTINGS, ACK with a payload", Nothing, frame(kind::SETTINGS, ACK, 0, &[0; 6]), End(&[FRAME_SIZE])),
            ("SETTINGS of 5", Nothing, on_0(kind::SETTINGS, &[0; 5]), End(&[FRAME_SIZE])),
            ("SETTINGS of 7", Nothing, on_0(kind::SETTINGS, &[0; 7]), End(&[FRAME_SIZE])),
            ("SETTINGS of a stream", HalfClosed, frame(kind::SETTINGS, 0, 1, b""), End(&[PROTOCOL])),
            ("ACK of a stream", HalfClosed, frame(kind::SETTINGS, ACK, 1, b""), End(&[PROTOCOL])),
            ("ENABLE_PUSH 0", Nothing, set(setting::ENABLE_PUSH, 0), Must::Nothing),
            ("ENABLE_PUSH 1", Nothing, set(setting::ENABLE_PUSH, 1), Must::Nothing),
            ("ENABLE_PUSH 2", Nothing, set(setting::ENABLE_PUSH, 2), End(&[PROTOCOL])),
            ("window of 2^31-1", Nothing, set(setting::INITIAL_WINDOW_SIZE, MAX_WINDOW as u32), Must::Nothing),
            ("window of 2^31", Nothing, set(setting::INITIAL_WINDOW_SIZE, 1 << 31), End(&[FLOW_CONTROL])),
            ("window of 2^32-1", Nothing, set(setting::INITIAL_WINDOW_SIZE, u32::MAX), End(&[FLOW_CONTROL])),
            ("frames of 16,383", Nothing, set(setting::MAX_FRAME_SIZE, (1 << 14) - 1), End(&[PROTOCOL])),
            ("frames of 2^24-1", Nothing, set(setting::MAX_FRAME_SIZE, (1 << 24) - 1), Must::Nothing),
            ("frames of 2^24", Nothing, set(setting::MAX_FRAME_SIZE, 1 << 24), End(&[PROTOCOL])),
            ("a table of 2^32-1", Nothing, set(setting::HEADER_TABLE_SIZE, u32::MAX), Must::Nothing),
            ("no streams of ours", Nothing, set(setting::MAX_CONCURRENT_STREAMS, 0), Must::Nothing),
            ("the last of two is wrong", Nothing, settings(&[(setting::ENABLE_PUSH, 0), (setting::ENABLE_PUSH, 7)]), End(&[PROTOCOL])),
            ("PUSH_PROMISE", HalfClosed, frame(kind::PUSH_PROMISE, END_HEADERS, 1, &push), End(&[PROTOCOL])),
            ("PUSH_PROMISE, idle", Nothing, frame(kind::PUSH_PROMISE, END_HEADERS, 1, &push), End(&[PROTOCOL])),
            ("PING of 7", Nothing, on_0(kind::PING, &[0; 7]), End(&[FRAME_SIZE])),
            ("PING of 9", Nothing, on_0(kind::PING, &[0; 9]), End(&[FRAME_SIZE])),
            ("PING of none", Nothing, on_0(kind::PING, b""), End(&[FRAME_SIZE])),
            ("PING of a stream", HalfClosed, frame(kind::PING, 0, 1, &[0; 8]), End(&[PROTOCOL])),
            ("GOAWAY of a stream", HalfClosed, frame(kind::GOAWAY, 0, 1, &[0; 8]), End(&[PROTOCOL])),
            ("GOAWAY of 7", Nothing, on_0(kind::GOAWAY, &[0; 7]), End(&[FRAME_SIZE])),
        ];
        server.check(cases).await;
        // PING comes back as it was; ACK does not.
        let mut peer = server.connect("PING", &[]).await;
        peer.send(&frame(kind::PING, ACK, 0, b"unasked ")).await;
        peer.send(&frame(kind::PING, 0, 0, b"\0\x01\xff whys"))
            .await;
        let pong = peer.expect_kind(kind::PING).await;
        assert_eq!((pong.flags, &*pong.payload), (ACK, &b"\0\x01\xff whys"[..]));
        peer.ping().await;
    });
}

/// Section 6.8: a client that leaves still gets what it asked for.
#[test]
fn goaway_of_the_client() {
    harness::run(async {
        let debug = [&[0; 8][..], b"why"].concat();
        for goaway in [goaway(0, NO_ERROR), frame(kind::GOAWAY, 0, 0, &debug)] {
            let gate = Gate::new();
            let held = gate.clone();
            let origin = Origin::start(move |_| {
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                Reply::nothing().wait(&held).then(answer)
            })
            .await;
            let proxy = forward_h2c(origin.addr()).await;
            let mut peer = Peer::connect("GOAWAY", proxy.addr(), &[]).await;
            peer.send(&[get(1, "/"), goaway].concat()).await;
            peer.ping().await;
            gate.open();
            let (_, block) = peer.block().await;
            assert_eq!(status(&block), 200);
            assert_eq!(peer.read_data(1, 5).await, b"hello");
        }
    });
}

/// Section 6.9: the forms of WINDOW_UPDATE, and windows that grow too large.
#[test]
fn window_updates() {
    harness::run(async {
        let server = Server::start().await;
        let of = |stream, payload: &[u8]| frame(kind::WINDOW_UPDATE, 0, stream, payload);
        let most = (MAX_WINDOW - DEFAULT_WINDOW) as u32;
        let raised = settings(&[(setting::INITIAL_WINDOW_SIZE, DEFAULT_WINDOW as u32 + 1)]);
        #[rustfmt::skip]
        let cases = [
            ("0", HalfClosed, window_update(1, 0), Either(1, &[PROTOCOL])),
            ("0, reserved bit", HalfClosed, window_update(1, 1 << 31), Either(1, &[PROTOCOL])),
            ("1, reserved bit", HalfClosed, window_update(1, 1 << 31 | 1), Must::Nothing),
            ("0 of the connection", Nothing, window_update(0, 0), End(&[PROTOCOL])),
            ("3 bytes", HalfClosed, of(1, &[0; 3]), End(&[FRAME_SIZE])),
            ("5 bytes", HalfClosed, of(1, &[0; 5]), End(&[FRAME_SIZE])),
            ("3 bytes of the connection", Nothing, of(0, &[0; 3]), End(&[FRAME_SIZE])),
            ("2^31-1", HalfClosed, window_update(1, most), Must::Nothing),
            ("2^31-1 of the connection", Nothing, window_update(0, most), Must::Nothing),
            ("2^31", HalfClosed, window_update(1, most + 1), Reset(1, &[FLOW_CONTROL])),
            ("2^31 in two", HalfClosed, [window_update(1, most), window_update(1, 1)].concat(), Reset(1, &[FLOW_CONTROL])),
            ("2^31, open", Open, window_update(1, most + 1), Reset(1, &[FLOW_CONTROL])),
            ("2^31 of the connection", Nothing, window_update(0, most + 1), End(&[FLOW_CONTROL])),
            ("2^31 of the connection in two", Nothing, [window_update(0, most), window_update(0, 1)].concat(), End(&[FLOW_CONTROL])),
            ("2^31 by SETTINGS", HalfClosed, [window_update(1, most), raised].concat(), End(&[FLOW_CONTROL])),
        ];
        server.check(cases).await;
    });
}

/// Sections 6.5.2 and 6.9.2: a response comes as far as the windows reach, and those of open streams
/// change with the setting, below zero too.
#[test]
fn windows_of_responses() {
    harness::run(async {
        let server = Server::start().await;
        let window = |size| [(setting::INITIAL_WINDOW_SIZE, size)];

        let mut peer = server.connect("byte by byte", &window(1)).await;
        peer.send(&get(1, "/")).await;
        for _ in 0..4 {
            peer.read_data(1, 1).await;
            peer.send(&window_update(1, 1)).await;
        }
        peer.read_data(1, 1).await;

        let mut peer = server.connect("nothing first", &window(0)).await;
        peer.send(&get(1, "/large")).await;
        let (_, block) = peer.block().await;
        assert_eq!(status(&block), 200);
        peer.ping().await;
        peer.send(&settings(&window(1000))).await;
        peer.read_data(1, 1000).await;
        // 990 below zero.
        peer.send(&settings(&window(10))).await;
        peer.ping().await;
        peer.send(&window_update(1, 990)).await;
        peer.ping().await;
        peer.send(&window_update(1, 5)).await;
        peer.read_data(1, 5).await;
        peer.send(&settings(&window(1010))).await;
        peer.read_data(1, 1000).await;
        // Then the window of the connection is the smaller one.
        peer.send(&settings(&window(1 << 20))).await;
        peer.read_data(1, DEFAULT_WINDOW as usize - 2005).await;
        peer.ping().await;
        let rest = (100 << 10) - DEFAULT_WINDOW as usize;
        peer.send(&window_update(0, rest as u32 - 1)).await;
        peer.read_data(1, rest - 1).await;
        peer.send(&window_update(0, 1 << 20)).await;
        peer.read_data(1, 1).await;
        assert!(another(&mut peer).await);
    });
}

/// Sections 4.2 and 4.3: responses are cut into frames as large as the client takes.
#[test]
fn sizes_of_responses() {
    harness::run(async {
        let server = Server::start().await;
        let wide = (setting::INITIAL_WINDOW_SIZE, 1 << 20);
        for sizes in [
            &[][..],
            &[(setting::MAX_FRAME_SIZE, 1 << 14)],
            &[(setting::MAX_FRAME_SIZE, 20_000)],
        ] {
            let values = [&[wide], sizes].concat();
            let mut peer = server.connect("sizes", &values).await;
            peer.send(
                &[
                    window_update(0, 1 << 20),
                    get(1, "/large"),
                    get(3, "/fields"),
                ]
                .concat(),
            )
            .await;
            let mut streams = HashSet::new();
            while streams.len() < 2 {
                let frame = peer.expect().await;
                assert_ne!(frame.kind, kind::RST_STREAM, "{frame:?}");
                if frame.kind == kind::DATA && frame.flags & END_STREAM != 0 {
                    streams.insert(frame.stream);
                }
            }
            peer.send(&get(5, "/fields")).await;
            let (first, block) = peer.block().await;
            assert_eq!((first.stream, status(&block)), (5, 200));
            assert!(block.len() > DEFAULT_FRAME, "{}", block.len());
            assert!(another(&mut peer).await);
        }
    });
}

/// Section 4.3.1: the client's table is no larger than it says, and the change is told.
#[test]
fn tables_of_responses() {
    harness::run(async {
        let server = Server::start().await;
        for first in [&[][..], &[0], &[100]] {
            let setting = |size| (setting::HEADER_TABLE_SIZE, size as u32);
            let values: Vec<_> = first.iter().copied().map(setting).collect();
            let mut peer = server.connect("tables", &values).await;
            let mut table = Table::new();
            let limits = [first, &[], &[0], &[], &[4096], &[], &[0, 4096], &[], &[50]];
            for (at, limits) in limits.into_iter().enumerate() {
                if at > 0 {
                    for limit in limits {
                        peer.send(&settings(&[setting(*limit)])).await;
                    }
                }
                let stream = 2 * at as u32 + 1;
                peer.send(&get(stream, "/repeated")).await;
                let (_, block) = peer.block().await;
                table.check(limits, &block);
            }
        }
    });
}

/// Holds requests back before anything of their bodies is read.
struct Holding(Forward, Gate);

#[async_trait]
impl ProxyHttp for Holding {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, _: &mut Session, _: &mut ()) -> Result<bool> {
        self.1.opened().await;
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(to(self.0.0))
    }
}

/// Section 6.9.1: a client that sends more than our windows hold.
#[test]
fn windows_overrun() {
    harness::run(async {
        let server = Server::start().await;
        let gate = Gate::new();
        let proxy = Holding(Forward(server.origin.addr()), gate.clone());
        let proxy = proxy_h2c(proxy).await;
        for name in ["a stream", "the connection"] {
            let mut peer = Peer::connect(name, proxy.addr(), &[]).await;
            peer.ping().await;
            let mut stream = 1;
            peer.send(&post(stream, "/")).await;
            peer.fill(stream).await;
            let most = peer.settings[&setting::MAX_CONCURRENT_STREAMS];
            while name == "the connection" && peer.room[&0] > 0 {
                stream += 2;
                assert!(stream < 2 * most, "all streams together cannot overrun it");
                peer.send(&post(stream, "/")).await;
                peer.fill(stream).await;
            }
            peer.send(&data(stream, 0, "x")).await;
            let mut seen = Seen::default();
            seen.until(&mut peer, |seen| seen.decided(stream)).await;
            let reset = seen.was_reset(stream, &[FLOW_CONTROL]);
            assert!(
                reset || seen.ended_with(&[FLOW_CONTROL]),
                "{name}: {seen:?}"
            );
        }
        gate.open();
    });
}

/// Section 6.9: padding uses windows up and is given back, and what nobody reads is too.
#[test]
fn windows_given_back() {
    harness::run(async {
        let server = Server::start().await;
        let mut peer = server.connect("padding", &[]).await;
        peer.ping().await;
        peer.send(&post(1, "/length")).await;
        let padded = [&[255, b'x'][..], &[0; 255]].concat();
        let count = 3 * peer.room(1) as usize / padded.len();
        for _ in 0..count {
            while peer.room(1) < padded.len() as i64 {
                peer.expect().await;
            }
            peer.send(&data(1, PADDED, &padded)).await;
        }
        peer.send(&data(1, END_STREAM, "")).await;
        let (_, block) = peer.block().await;
        assert_eq!(status(&block), 200);
        let length = peer.expect_kind(kind::DATA).await;
        assert_eq!(length.payload, count.to_string().into_bytes());

        // The origin answers before it has read anything, and goes away.
        let early = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let origin = Origin::start_on_head(move |_| Reply::raw(early).close()).await;
        let proxy = forward_h2c(origin.addr()).await;
        let mut peer = Peer::connect("answered early", proxy.addr(), &[]).await;
        peer.ping().await;
        let mut seen = Seen::default();
        let (mut left, mut stream) = (3 * peer.room[&0], 1);
        while left > 0 {
            peer.send(&post(stream, "/")).await;
            let size = peer.initial_room;
            peer.send_data(stream, &vec![0; size as usize]).await;
            peer.send(&data(stream, END_STREAM, "")).await;
            seen.until(&mut peer, |seen| seen.decided(stream)).await;
            (left, stream) = (left - size, stream + 2);
        }
        assert_eq!(seen.reason, None);
    });
}

/// Section 8.1: bodies and trailers.
#[test]
fn messages() {
    harness::run(async {
        let server = Server::start().await;
        let with = |length: &str, flags, rest: Vec<u8>| {
            let block = [POST, &literal("content-length", length)].concat();
            [headers(flags, &block), rest].concat()
        };
        let both = |first: &str, second: &str| {
            let lengths = block(&[("content-length", first), ("content-length", second)]);
            [headers(END_HEADERS, &[POST, &lengths].concat()), end()].concat()
        };
        let trailers = |block: &[u8]| [data(1, 0, "x"), headers(WHOLE, block)].concat();
        let field = literal("a", "b");
        #[rustfmt::skip]
        let cases = [
            ("length", Nothing, with("1", END_HEADERS, end()), Answer(1, 200)),
            ("length, then empty", Nothing, with("1", END_HEADERS, [data(1, 0, "x"), data(1, END_STREAM, "")].concat()), Answer(1, 200)),
            ("length, padded", Nothing, with("1", END_HEADERS, data(1, END_STREAM | PADDED, b"\x02x\0\0")), Answer(1, 200)),
            ("length, then trailers", Nothing, with("1", END_HEADERS, trailers(&field)), Answer(1, 200)),
            ("length 0", Nothing, with("0", WHOLE, vec![]), Answer(1, 200)),
            ("length 0, empty DATA", Nothing, with("0", END_HEADERS, data(1, END_STREAM, "")), Answer(1, 200)),
            ("length without a body", Nothing, with("1", WHOLE, vec![]), Malformed(1)),
            ("length, an empty body", Nothing, with("1", END_HEADERS, data(1, END_STREAM, "")), Malformed(1)),
            ("shorter", Nothing, with("2", END_HEADERS, end()), Malformed(1)),
            ("shorter, trailers", Nothing, with("2", END_HEADERS, trailers(&field)), Malformed(1)),
            ("longer", Nothing, with("1", END_HEADERS, data(1, END_STREAM, "xy")), Malformed(1)),
            ("longer, in two", Nothing, with("1", END_HEADERS, [data(1, 0, "x"), end()].concat()), Malformed(1)),
            ("longer, without an end", Nothing, with("1", END_HEADERS, data(1, 0, "xy")), Malformed(1)),
            ("length no number", Nothing, with("one", END_HEADERS, end()), Malformed(1)),
            ("length signed", Nothing, with("+1", END_HEADERS, end()), Malformed(1)),
            ("length negative", Nothing, with("-1", END_HEADERS, end()), Malformed(1)),
            ("length empty", Nothing, with("", END_HEADERS, end()), Malformed(1)),
            ("length of 2^64 + 1", Nothing, with("18446744073709551617", END_HEADERS, end()), Malformed(1)),
            ("lengths that differ", Nothing, both("1", "2"), Malformed(1)),
            ("lengths that differ, last right", Nothing, both("2", "1"), Malformed(1)),
            ("trailers", Open, trailers(&field), Answer(1, 200)),
            ("trailers without a body", Open, headers(WHOLE, &field), Answer(1, 200)),
            ("trailers without fields", Open, trailers(b""), Answer(1, 200)),
            ("trailers that are no end", Open, headers(END_HEADERS, &field), Malformed(1)),
            ("trailers that are no end, DATA", Open, [headers(END_HEADERS, &field), end()].concat(), Malformed(1)),
            ("trailers, unknown", Open, trailers(&literal(":x", "y")), Malformed(1)),
            ("trailers, upper case", Open, trailers(&literal("A", "b")), Malformed(1)),
            ("trailers, :path", Open, trailers(&literal(":path", "/")), Malformed(1)),
            ("trailers, :status", Open, trailers(&literal(":status", "200")), Malformed(1)),
            ("trailers, connection", Open, trailers(&literal("connection", "close")), Malformed(1)),
            ("trailers, transfer-encoding", Open, trailers(&literal("transfer-encoding", "chunked")), Malformed(1)),
            ("trailers, CR LF", Open, trailers(&literal("a", "b\r\nc: d")), Malformed(1)),
        ];
        server.check(cases).await;
        // What was malformed at its end has begun to reach the origin, and is broken off.
        let mut errors = server.origin.errors();
        errors.retain(|error| !error.contains("closed inside"));
        assert_eq!(errors, Vec::<String>::new());
    });
}

/// Sections 8.2 and 8.3: malformed requests do not get to the origin.
#[test]
fn malformed_requests() {
    harness::run(async {
        let server = Server::start().await;
        let (m, s, p, a) = (
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "x"),
        );
        let with = |name, value| vec![m, s, p, a, (name, value)];
        let connect = (":method", "CONNECT");
        let websocket = (":protocol", "websocket");
        #[rustfmt::skip]
        let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
            ("upper case", with("A", "b")),
            ("a name with upper case", with("aBc", "d")),
            ("an empty name", with("", "b")),
            ("a name with a space", with("a b", "c")),
            ("a name with a colon", with("a:b", "c")),
            ("a name with NUL", with("a\0", "b")),
            ("a name with LF", with("a\n", "b")),
            ("a name with DEL", with("a\x7f", "b")),
            ("a name beyond ASCII", with("\u{e4}", "b")),
            ("a value with NUL", with("a", "b\0c")),
            ("a value with CR", with("a", "b\rc")),
            ("a value with LF", with("a", "b\nc")),
            ("a value with LF at the end", with("a", "b\n")),
            ("unknown", with(":x", "y")),
            ("an empty pseudo-header", with(":", "y")),
            ("empty :method", vec![(":method", ""), s, p, a]),
            (":method with a space", vec![(":method", "GET /x"), s, p, a]),
            ("a space first", with("a", " b")),
            ("a space last", with("a", "b ")),
            ("a tab first", with("a", "\tb")),
            ("a tab last", with("a", "b\t")),
            ("connection", with("connection", "close")),
            ("connection: te", with("connection", "te")),
            ("proxy-connection", with("proxy-connection", "close")),
            ("keep-alive", with("keep-alive", "timeout=5")),
            ("transfer-encoding", with("transfer-encoding", "chunked")),
            ("upgrade", with("upgrade", "websocket")),
            ("te: gzip", with("te", "gzip")),
            ("te: two", with("te", "trailers, gzip")),
            ("another host", with("host", "y")),
            (":status", with(":status", "200")),
            (":protocol without CONNECT", with(":protocol", "websocket")),
            (":method twice", with(":method", "GET")),
            (":scheme twice", with(":scheme", "http")),
            (":path twice", with(":path", "/")),
            (":authority twice", with(":authority", "x")),
            (":method last", vec![s, p, a, ("a", "b"), m]),
            (":path last", vec![m, s, a, ("a", "b"), p]),
            (":authority last", vec![m, s, p, ("a", "b"), a]),
            ("no :method", vec![s, p, a]),
            ("no :scheme", vec![m, p, a]),
            ("no :path", vec![m, s, a]),
            ("nothing", vec![]),
            ("no host", vec![m, s, p]),
            ("empty :scheme", vec![m, (":scheme", ""), p, a]),
            ("empty :path", vec![m, s, (":path", ""), a]),
            ("empty :authority", vec![m, s, p, (":authority", "")]),
            (":path without a slash", vec![m, s, (":path", "x"), a]),
            (":path with a space", vec![m, s, (":path", "/ x"), a]),
            (":path with a fragment", vec![m, s, (":path", "/x#y"), a]),
            (":authority in percent-encoding", vec![m, s, p, (":authority", "%41.example")]),
            (":path with CR LF", vec![m, s, (":path", "/\r\nx: y"), a]),
            (":authority with a name of a user", vec![m, s, p, (":authority", "a@x")]),
            (":authority with a space", vec![m, s, p, (":authority", "x y")]),
            ("CONNECT, no authority", vec![connect]),
            ("CONNECT, :scheme", vec![connect, s, (":authority", "x:1")]),
            ("CONNECT, :path", vec![connect, p, (":authority", "x:1")]),
            ("CONNECT, both", vec![connect, s, p, (":authority", "x:1")]),
            ("CONNECT, the form of others", vec![connect, (":authority", "x:1"), ("a", "b"), s]),
            (":protocol, no :scheme", vec![connect, websocket, p, a]),
            (":protocol, no :path", vec![connect, websocket, s, a]),
        ];
        let cases = cases.into_iter().map(|(name, fields)| {
            let frames = headers(WHOLE, &block(&fields));
            (name, Nothing, frames, Malformed(1))
        });
        server.check(cases).await;
        let seen = server.origin.requests();
        let wrong = seen.iter().find(|request| request.target != "/another");
        assert!(wrong.is_none(), "{wrong:?}");
        assert_eq!(server.origin.errors(), Vec::<String>::new());
    });
}

/// Sections 8.2 and 8.3: requests that only look odd.
#[test]
fn odd_requests() {
    harness::run(async {
        let server = Server::start().await;
        let (m, s, p, a) = (
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "x"),
        );
        let with = |name, value| vec![m, s, p, a, (name, value)];
        #[rustfmt::skip]
        let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
            ("te: trailers", with("te", "trailers")),
            ("priority", with("priority", "u=1, i")),
            ("the same host", with("host", "x")),
            ("an empty value", with("a", "")),
            ("spaces within", with("a", "b \t c")),
            ("a value beyond ASCII", with("a", "\u{e4}")),
            ("cookies in pieces", vec![m, s, p, a, ("cookie", "a=b"), ("cookie", "c=d")]),
            ("another order", vec![a, p, s, m]),
            ("host in place of :authority", vec![m, s, p, ("host", "x")]),
            ("https", vec![m, (":scheme", "https"), p, a]),
            ("OPTIONS *", vec![(":method", "OPTIONS"), s, (":path", "*"), a]),
            ("an unknown method", vec![(":method", "BREW"), s, p, a]),
            ("a query alone", vec![m, s, (":path", "/?a=b"), a]),
        ];
        let cases = cases.into_iter().map(|(name, fields)| {
            let frames = headers(WHOLE, &block(&fields));
            (name, Nothing, frames, Answer(1, 200))
        });
        server.check(cases).await;
        let frames = headers(
            WHOLE,
            &block(&[(":method", "CONNECT"), (":authority", "x:1")]),
        );
        server
            .check([("CONNECT", Nothing, frames, Answer(1, 403))])
            .await;
        assert_eq!(server.origin.errors(), Vec::<String>::new());
    });
}
