use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::super::frame::{HEAD_BYTES, Head, flag, kind, put};
use super::super::hpack::Pseudo;
use super::super::streams::Asked;
use super::*;

fn local(stream_window: u32, connection_window: u32) -> Local {
    Local {
        max_streams: 100,
        stream_window,
        connection_window,
        max_header_list: 16 * 1024,
        connect_protocol: true,
    }
}

/// A client and a server, and the bytes between them.
struct Pair {
    client: Machine,
    server: Machine,
    to_server: BytesMut,
    to_client: BytesMut,
}

impl Pair {
    fn new(client: Local, server: Local) -> Self {
        let mut pair = Pair {
            client: Machine::new(false, client),
            server: Machine::new(true, server),
            to_server: BytesMut::new(),
            to_client: BytesMut::new(),
        };
        pair.settle();
        pair
    }

    /// Delivers up to `most` bytes each way.
    fn deliver(&mut self, most: usize) {
        self.to_server
            .extend_from_slice(&self.client.take_out().take_bytes());
        self.to_client
            .extend_from_slice(&self.server.take_out().take_bytes());
        for (machine, bytes, left) in [
            (&mut self.server, &mut self.to_server, &mut BytesMut::new()),
            (&mut self.client, &mut self.to_client, &mut BytesMut::new()),
        ] {
            let at = bytes.len().min(most);
            *left = bytes.split_off(at);
            machine.receive(bytes);
            bytes.extend_from_slice(left);
        }
    }

    /// Delivers until there is nothing more to say.
    fn settle(&mut self) {
        loop {
            self.deliver(usize::MAX);
            if !self.client.has_out() && !self.server.has_out() {
                return;
            }
        }
    }

    fn request(&mut self, ends: bool) -> u32 {
        self.client
            .open(ends, Asked::Other, |encoder, out| {
                encoder.pseudo(Pseudo::Method, b"POST", out);
                encoder.pseudo(Pseudo::Scheme, b"https", out);
                encoder.pseudo(Pseudo::Authority, b"a.example", out);
                encoder.pseudo(Pseudo::Path, b"/", out);
            })
            .unwrap()
    }
}

fn respond(machine: &mut Machine, id: u32, ends: bool) {
    machine
        .send_head(id, true, ends, |encoder, out| encoder.status(200, out))
        .unwrap();
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Sends as much of `body` as there is room for; returns whether that was all.
fn send(machine: &mut Machine, id: u32, body: &mut Bytes) -> bool {
    while !body.is_empty() {
        let Poll::Ready(room) = machine.poll_room(id, body.len(), &context()) else {
            return false;
        };
        let piece = body.split_to(room.unwrap());
        machine.send_data(id, piece, body.is_empty()).unwrap();
    }
    true
}

/// Reads what there is; returns whether that was the end.
fn read(machine: &mut Machine, id: u32, into: &mut Vec<u8>, at_most: usize) -> bool {
    for _ in 0..at_most {
        match machine.poll_data(id, &context()) {
            Poll::Ready(Some(piece)) => into.extend_from_slice(&piece.unwrap()),
            Poll::Ready(None) => return true,
            Poll::Pending => return false,
        }
    }
    false
}

#[test]
fn a_request_and_its_response() {
    let mut pair = Pair::new(local(70_000, 100_000), local(70_000, 100_000));
    let id = pair.request(true);
    pair.settle();
    let arrival = pair.server.next_arrival().unwrap();
    assert_eq!(arrival.id, id);
    let head = arrival.head;
    assert_eq!(head.value(head.method), Some(&b"POST"[..]));
    assert_eq!(head.value(head.authority), Some(&b"a.example"[..]));
    respond(&mut pair.server, id, false);
    let mut trailers = HeaderMap::new();
    trailers.insert("x", "y".parse().unwrap());
    pair.server.send_data(id, "hello".into(), false).unwrap();
    pair.server.send_trailers(id, &trailers).unwrap();
    pair.settle();
    let Poll::Ready(Ok(head)) = pair.client.poll_response(id, &context()) else {
        panic!("no head");
    };
    assert_eq!(head.status, Some(200));
    let mut body = Vec::new();
    assert!(read(&mut pair.client, id, &mut body, 9));
    assert_eq!(body, b"hello");
    let got = pair.client.poll_trailers(id, &context());
    assert!(matches!(got, Poll::Ready(Ok(Some(got))) if got == trailers));
    for machine in [&mut pair.client, &mut pair.server] {
        machine.release(id);
        assert_eq!((machine.live(), machine.open), (0, 0));
    }
}

/// Bodies both ways, of any length, in pieces of any size, some given up in the middle: what arrives is
/// what was sent, and in the end every byte of the windows is back.
#[test]
fn bodies_and_windows() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let windows = [1_000, 65_535, 70_000, 300_000];
        let mut any = || random.choice(windows).unwrap();
        let locals = (local(any(), any()), local(any(), any()));
        let initial = |local: &Local| i64::from(local.connection_window.max(DEFAULT_WINDOW));
        let (of_client, of_server) = (initial(&locals.0), initial(&locals.1));
        let mut pair = Pair::new(locals.0, locals.1);
        for _ in 0..random.usize(1..4) {
            exchange(&mut pair, &mut random);
        }
        pair.settle();
        for (sender, receiver, window) in [
            (&pair.client, &pair.server, of_server),
            (&pair.server, &pair.client, of_client),
        ] {
            let unclaimed = i64::from(receiver.unclaimed);
            assert_eq!(receiver.recv_window + unclaimed, window, "{seed}");
            assert_eq!(sender.send_window, receiver.recv_window, "{seed}");
            assert_eq!((sender.live(), sender.open), (0, 0), "{seed}");
            assert_eq!(sender.failure(), None, "{seed}");
            assert!(sender.queue.is_empty() && sender.block.is_none(), "{seed}");
        }
    }
}

/// One side of a stream: what it sends, what it has read.
struct Side {
    out: Bytes,
    sent: Bytes,
    read: Vec<u8>,
    has_read: bool,
    has_sent: bool,
}

impl Side {
    fn new(random: &mut fastrand::Rng) -> Self {
        let len = random.choice([1, 100, 5_000, 20_000, 200_000]).unwrap();
        let bytes: Bytes = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
        Side {
            out: bytes.clone(),
            sent: bytes,
            read: Vec::new(),
            has_read: false,
            has_sent: false,
        }
    }
}

fn exchange(pair: &mut Pair, random: &mut fastrand::Rng) {
    let mut streams: Vec<(u32, Side, Side)> = (0..random.usize(1..8))
        .map(|_| (pair.request(false), Side::new(random), Side::new(random)))
        .collect();
    pair.settle();
    while let Some(arrival) = pair.server.next_arrival() {
        respond(&mut pair.server, arrival.id, false);
    }
    pair.settle();
    let mut rounds = 0;
    while !streams.is_empty() {
        rounds += 1;
        assert!(rounds < 100_000, "it goes on");
        let at = random.usize(..streams.len());
        let (id, client, server) = &mut streams[at];
        let id = *id;
        if random.u8(..) == 0 {
            // Somebody gives up.
            match random.bool() {
                true => pair.client.release(id),
                false => pair.server.release(id),
            }
            pair.settle();
            let other = [&mut pair.client, &mut pair.server];
            other.into_iter().for_each(|machine| {
                if machine.streams.get(id).is_some() {
                    machine.release(id);
                }
            });
            streams.swap_remove(at);
            continue;
        }
        for (machine, side) in [(&mut pair.client, client), (&mut pair.server, server)] {
            match random.bool() {
                _ if side.has_sent => (),
                true => side.has_sent = send(machine, id, &mut side.out),
                false => {
                    let len = random.usize(..side.out.len());
                    let mut some = side.out.slice(..len);
                    let before = some.len();
                    while !some.is_empty() {
                        let room = machine.poll_room(id, some.len(), &context());
                        let Poll::Ready(room) = room else { break };
                        let piece = some.split_to(room.unwrap());
                        machine.send_data(id, piece, false).unwrap();
                    }
                    let _ = side.out.split_to(before - some.len());
                }
            }
            if !side.has_read {
                side.has_read = read(machine, id, &mut side.read, random.usize(1..4));
            }
        }
        pair.deliver(random.choice([1, 10, 1_000, 100_000]).unwrap());
        let (_, client, server) = &streams[at];
        let all = [client, server];
        if all.iter().all(|side| side.has_read && side.has_sent) {
            assert!(client.read == server.sent && server.read == client.sent);
            pair.client.release(id);
            pair.server.release(id);
            streams.swap_remove(at);
        }
    }
}

/// Returns a server whose client has introduced itself, with nothing to say.
fn server() -> Machine {
    let mut server = Machine::new(true, local(65_535, 65_535));
    let mut input = BytesMut::from(&PREFACE[..]);
    put(&mut input, kind::SETTINGS, 0, 0, b"");
    put(&mut input, kind::SETTINGS, flag::ACK, 0, b"");
    server.receive(&mut input);
    assert!(input.is_empty() && server.failure().is_none());
    server.take_out();
    server
}

fn receive(machine: &mut Machine, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let mut input = BytesMut::new();
    put(&mut input, kind, flags, stream, payload);
    machine.receive(&mut input);
}

/// `GET https://a/`, by the static table.
const GET: &[u8] = b"\x82\x87\x84\x41\x01a";
const WHOLE: u8 = flag::END_HEADERS | flag::END_STREAM;

/// Frames that change nothing are counted, unless enough that do went with them.
#[test]
fn what_is_wasted() {
    let mut server = server();
    for _ in 0..10 {
        receive(&mut server, kind::PING, 0, 0, b"12345678");
        receive(&mut server, 0x99, 0, 0, b"whatever");
    }
    assert_eq!(server.take_wasted().frames, 20);
    receive(&mut server, kind::HEADERS, WHOLE, 1, GET);
    for _ in 0..CREDIT + 1 {
        receive(&mut server, kind::PING, 0, 0, b"12345678");
    }
    assert_eq!(server.take_wasted().frames, 1);
    // A reset before the answer counts, one behind it does not.
    receive(&mut server, kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    assert_eq!(server.take_wasted().resets, 1);
    receive(&mut server, kind::HEADERS, flag::END_HEADERS, 3, GET);
    respond(&mut server, 3, true);
    receive(&mut server, kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]);
    assert_eq!(server.take_wasted().resets, 0);
    // Streams we have to reset.
    receive(&mut server, kind::HEADERS, WHOLE, 5, b"\x82");
    receive(&mut server, kind::HEADERS, WHOLE, 7, GET);
    receive(&mut server, kind::WINDOW_UPDATE, 0, 7, &[0; 4]);
    assert_eq!(server.take_wasted().malformed, 2);
}

/// A peer that does not take what it is owed is not read on, and is once it does.
#[test]
fn nothing_is_read_while_too_much_is_owed() {
    let mut server = server();
    let mut input = BytesMut::new();
    for _ in 0..100_000 {
        put(&mut input, kind::PING, 0, 0, b"12345678");
    }
    let mut answers = 0;
    let mut rounds = 0;
    while server.receive(&mut input) {
        assert!(server.out.len() < MAX_OWED + 100);
        answers += server.take_out().take_bytes().len() / (HEAD_BYTES + 8);
        rounds += 1;
    }
    answers += server.take_out().take_bytes().len() / (HEAD_BYTES + 8);
    assert!(input.is_empty() && rounds > 3);
    assert_eq!(answers, 100_000);
}

/// A head too long for one frame goes on in others.
#[test]
fn long_heads() {
    let mut pair = Pair::new(local(70_000, 70_000), local(70_000, 70_000));
    pair.client.local.max_header_list = 1 << 20;
    let id = pair.request(true);
    pair.settle();
    let value = "x".repeat(10_000);
    let sent = pair.server.send_head(id, true, true, |encoder, out| {
        encoder.status(200, out);
        for at in 0..9 {
            encoder.field(
                format!("x-{at}").as_bytes(),
                None,
                value.as_bytes(),
                false,
                out,
            );
        }
    });
    sent.unwrap();
    pair.settle();
    let Poll::Ready(Ok(head)) = pair.client.poll_response(id, &context()) else {
        panic!("no head");
    };
    let fields = head.fields.into_map();
    assert_eq!(fields.len(), 9);
    assert!(
        fields
            .values()
            .all(|got| got.as_bytes() == value.as_bytes())
    );
}

/// Every connection error is said, with what it is, and ends all streams.
#[test]
fn errors_of_the_connection() {
    let settings = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let cases: [(&str, u8, u8, u32, &[u8], Reason); 14] = [
        (
            "DATA on an idle stream",
            0,
            0,
            3,
            b"x",
            Reason::PROTOCOL_ERROR,
        ),
        ("DATA of no stream", 0, 0, 0, b"x", Reason::PROTOCOL_ERROR),
        ("padding", 0, 8, 1, b"\x05x", Reason::PROTOCOL_ERROR),
        ("HEADERS of no stream", 1, 5, 0, GET, Reason::PROTOCOL_ERROR),
        ("even", 1, 5, 2, GET, Reason::PROTOCOL_ERROR),
        (
            "no HPACK",
            1,
            5,
            3,
            b"\xff\xff\xff\xff\xff\xff",
            Reason::COMPRESSION_ERROR,
        ),
        ("RST_STREAM", 3, 0, 3, &[0; 4], Reason::PROTOCOL_ERROR),
        ("length", 3, 0, 1, &[0; 5], Reason::FRAME_SIZE_ERROR),
        ("SETTINGS", 4, 0, 0, &[0; 5], Reason::FRAME_SIZE_ERROR),
        ("ACK", 4, 1, 0, &[0; 6], Reason::FRAME_SIZE_ERROR),
        (
            "window",
            4,
            0,
            0,
            &settings(4, 1 << 31),
            Reason::FLOW_CONTROL_ERROR,
        ),
        ("PING", 6, 0, 0, &[0; 7], Reason::FRAME_SIZE_ERROR),
        ("PUSH_PROMISE", 5, 4, 1, &[0; 4], Reason::PROTOCOL_ERROR),
        ("CONTINUATION", 9, 4, 1, GET, Reason::PROTOCOL_ERROR),
    ];
    for (name, kind, flags, stream, payload, reason) in cases {
        let mut server = server();
        receive(&mut server, kind::HEADERS, flag::END_HEADERS, 1, GET);
        let Poll::Pending = server.poll_data(1, &context()) else {
            panic!("there is nothing to read");
        };
        server.take_out();
        receive(&mut server, kind, flags, stream, payload);
        let by_peer = false;
        let failure = Failure::GoAway { reason, by_peer };
        assert_eq!(server.failure(), Some(failure), "{name}");
        let data = server.poll_data(1, &context());
        assert_eq!(data, Poll::Ready(Some(Err(failure))), "{name}");
        let out = server.take_out().take_bytes();
        let head = Head::parse(&out).unwrap();
        assert_eq!(head.kind, kind::GOAWAY, "{name}");
        assert_eq!(
            out[HEAD_BYTES + 4..][..4],
            u32::from(reason).to_be_bytes(),
            "{name}"
        );
    }
}

/// Those that open no stream any more let the streams that are open end.
#[test]
fn a_graceful_end() {
    let mut pair = Pair::new(local(70_000, 70_000), local(70_000, 70_000));
    let first = pair.request(true);
    pair.settle();
    // This one is on its way when the server ends.
    let second = pair.request(true);
    pair.server.end_gracefully();
    pair.settle();
    assert!(!pair.client.takes_streams() && !pair.server.is_done());
    for id in [first, second] {
        assert_eq!(pair.server.next_arrival().unwrap().id, id);
        respond(&mut pair.server, id, true);
        pair.settle();
        assert!(matches!(
            pair.client.poll_response(id, &context()),
            Poll::Ready(Ok(_))
        ));
        pair.client.release(id);
        pair.server.release(id);
    }
    assert!(pair.server.is_done() && pair.client.is_done());
}

/// What the server has not seen is told from what it may have seen.
#[test]
fn streams_the_server_has_not_seen() {
    let mut pair = Pair::new(local(70_000, 70_000), local(70_000, 70_000));
    let (seen, unseen) = (pair.request(true), pair.request(true));
    let mut input = BytesMut::new();
    let goaway = [&seen.to_be_bytes()[..], &[0; 4]].concat();
    put(&mut input, kind::GOAWAY, 0, 0, &goaway);
    pair.client.receive(&mut input);
    let by_peer = true;
    let reason = Reason::NO_ERROR;
    let failure = Failure::GoAway { reason, by_peer };
    let polled = pair.client.poll_response(unseen, &context());
    assert!(matches!(polled, Poll::Ready(Err(got)) if got == failure));
    assert!(pair.client.poll_response(seen, &context()).is_pending());
    pair.client
        .ended(Failure::Io(std::io::ErrorKind::UnexpectedEof));
    let polled = pair.client.poll_response(seen, &context());
    assert!(matches!(polled, Poll::Ready(Err(Failure::Io(_)))));
}

/// A stream opened before the server has acknowledged a small window has that window, and works.
#[test]
fn small_windows_before_they_are_known() {
    let mut client = Machine::new(false, local(1_000, 65_535));
    let mut input = BytesMut::new();
    put(&mut input, kind::SETTINGS, 0, 0, b"");
    client.receive(&mut input);
    let mut pair = Pair::new(local(1_000, 65_535), local(70_000, 70_000));
    std::mem::swap(&mut pair.client, &mut client);
    let id = pair.request(true);
    receive(&mut pair.client, kind::SETTINGS, flag::ACK, 0, b"");
    receive(
        &mut pair.client,
        kind::HEADERS,
        flag::END_HEADERS,
        id,
        b"\x88",
    );
    receive(&mut pair.client, kind::DATA, 0, id, &[b'x'; 1_000]);
    let mut body = Vec::new();
    assert!(!read(&mut pair.client, id, &mut body, 9));
    assert_eq!(body.len(), 1_000);
    assert_eq!(pair.client.failure(), None);
}

/// Streams that are not read do not use up the window of those that are.
#[test]
fn streams_that_are_not_read_stop_no_others() {
    let mut pair = Pair::new(local(70_000, 70_000), local(65_535, 200_000));
    let (stalled, read_on) = (
        [pair.request(false), pair.request(false)],
        pair.request(false),
    );
    for id in stalled {
        let mut body = Bytes::from(vec![b'x'; 65_000]);
        while !send(&mut pair.client, id, &mut body) {
            pair.settle();
        }
    }
    let mut body = Bytes::from(vec![b'y'; 500_000]);
    let mut got = Vec::new();
    for _ in 0..1_000 {
        send(&mut pair.client, read_on, &mut body);
        pair.settle();
        read(&mut pair.server, read_on, &mut got, 9);
    }
    assert_eq!(got.len(), 500_000);
}

/// What a stream may hand over at once is bounded, whatever the windows.
#[test]
fn no_stream_fills_the_connection() {
    let mut pair = Pair::new(local(70_000, 70_000), local(1 << 24, 1 << 24));
    let id = pair.request(false);
    pair.settle();
    let mut body = Bytes::from(vec![b'x'; 10_000_000]);
    assert!(!send(&mut pair.client, id, &mut body));
    assert!(pair.client.out.len() < MAX_UNSENT + 32 * 1024);
    pair.settle();
    // It goes on once that was sent.
    assert!(pair.client.poll_room(id, 1, &context()).is_ready());
}

/// A server has not ended before its last word was sent.
#[test]
fn the_end_comes_behind_what_was_said() {
    let mut pair = Pair::new(local(70_000, 70_000), local(70_000, 70_000));
    let id = pair.request(true);
    pair.settle();
    pair.server.end_gracefully();
    pair.settle();
    pair.server.next_arrival().unwrap();
    respond(&mut pair.server, id, false);
    pair.server
        .send_data(id, Bytes::from(vec![b'x'; 60_000]), true)
        .unwrap();
    pair.server.release(id);
    assert!(pair.server.live() == 0 && !pair.server.is_done());
    pair.settle();
    assert!(pair.server.is_done());
}

/// Frames on streams that came after the end was said concern nobody else.
#[test]
fn what_comes_behind_the_end_is_left_alone() {
    let mut server = server();
    receive(&mut server, kind::HEADERS, WHOLE, 1, GET);
    server.end_gracefully();
    receive(&mut server, kind::PING, flag::ACK, 0, &LAST_PING);
    receive(&mut server, kind::HEADERS, flag::END_HEADERS, 3, GET);
    receive(&mut server, kind::DATA, 0, 3, b"x");
    receive(&mut server, kind::WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]);
    receive(&mut server, kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]);
    assert_eq!(server.failure(), None);
    respond(&mut server, 1, true);
    assert_eq!(server.live(), 1);
}

/// A request that is given up before anybody has seen it is never seen.
#[test]
fn requests_that_are_given_up_at_once() {
    let mut server = server();
    for id in [1, 3, 5] {
        receive(&mut server, kind::HEADERS, WHOLE, id, GET);
    }
    receive(&mut server, kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]);
    assert_eq!(server.live(), 2);
    let arrived = std::iter::from_fn(|| server.next_arrival());
    assert_eq!(
        arrived.map(|arrival| arrival.id).collect::<Vec<_>>(),
        [1, 5]
    );
}

/// Heads that are refused, stream by stream.
#[test]
fn heads_that_are_no_heads() {
    let literal = |name: &[u8], value: &[u8]| {
        let (name_len, value_len) = (name.len() as u8, value.len() as u8);
        [&[0, name_len], name, &[value_len], value].concat()
    };
    let tunnel = [&literal(b":method", b"CONNECT")[..], b"\x87\x84\x41\x01a"].concat();
    let tunnel = [tunnel, literal(b":protocol", b"websocket")].concat();
    let mut server = server();
    server.local.connect_protocol = false;
    receive(&mut server, kind::HEADERS, flag::END_HEADERS, 1, &tunnel);
    assert!(server.next_arrival().is_none());
    server.local.connect_protocol = true;
    receive(&mut server, kind::HEADERS, flag::END_HEADERS, 3, &tunnel);
    assert!(server.next_arrival().is_some());
    let spaced = [GET, &literal(b"a", b" b")].concat();
    receive(&mut server, kind::HEADERS, WHOLE, 5, &spaced);
    assert!(server.next_arrival().is_none() && server.failure().is_none());
}

/// What servers send that clients may not: white space is cut off, a name without end refused.
#[test]
fn heads_of_servers() {
    let mut pair = Pair::new(local(70_000, 70_000), local(70_000, 70_000));
    pair.client.local.max_header_list = 1 << 20;
    let (spaced, long) = (pair.request(true), pair.request(true));
    receive(
        &mut pair.client,
        kind::HEADERS,
        WHOLE,
        spaced,
        b"\x88\0\x01a\x04 b\t ",
    );
    let Poll::Ready(Ok(head)) = pair.client.poll_response(spaced, &context()) else {
        panic!("no head");
    };
    assert_eq!(head.fields.into_map()["a"], "b");
    let name = "x".repeat(70_000);
    let mut block = BytesMut::from(&b"\x88"[..]);
    let mut encoder = Encoder::new();
    encoder.begin(&mut block);
    encoder.field(name.as_bytes(), None, b"y", false, &mut block);
    let mut input = BytesMut::new();
    let mut kind = kind::HEADERS;
    for piece in block.chunks(16_000) {
        put(&mut input, kind, 0, long, piece);
        kind = kind::CONTINUATION;
    }
    put(&mut input, kind, flag::END_HEADERS, long, b"");
    pair.client.receive(&mut input);
    let polled = pair.client.poll_response(long, &context());
    assert!(matches!(polled, Poll::Ready(Err(Failure::Reset { .. }))));
    assert_eq!(pair.client.failure(), None);
}

/// The end of a body needs no room.
#[test]
fn an_end_without_room() {
    let mut server = server();
    receive(&mut server, kind::HEADERS, flag::END_HEADERS, 1, GET);
    server.streams.get(1).unwrap().recv_window = -5;
    receive(&mut server, kind::DATA, flag::END_STREAM, 1, b"");
    assert_eq!(server.poll_data(1, &context()), Poll::Ready(None));
}

/// A body that we cut off does not look whole.
#[test]
fn a_body_that_is_cut_off_has_no_end() {
    let mut server = server();
    receive(&mut server, kind::HEADERS, flag::END_HEADERS, 1, GET);
    receive(&mut server, kind::DATA, flag::END_STREAM, 1, b"all of it");
    receive(&mut server, kind::WINDOW_UPDATE, 0, 1, &[0; 4]);
    assert!(!server.is_read(1));
    let polled = server.poll_data(1, &context());
    assert!(matches!(polled, Poll::Ready(Some(Err(_)))), "{polled:?}");
}

/// A few bytes here and there do not keep large buffers alive.
#[test]
fn small_pieces_are_copied() {
    let mut server = server();
    receive(&mut server, kind::HEADERS, flag::END_HEADERS, 1, GET);
    let mut input = BytesMut::with_capacity(256 * 1024);
    for _ in 0..10 {
        put(&mut input, kind::DATA, 0, 1, b"a small piece");
    }
    put(&mut input, kind::DATA, 0, 1, &[b'x'; 16_000]);
    let (start, whole) = (input.as_ptr() as usize, input.capacity());
    server.receive(&mut input);
    let mut pieces = Vec::new();
    while let Poll::Ready(Some(piece)) = server.poll_data(1, &context()) {
        pieces.push(piece.unwrap());
    }
    assert_eq!(pieces.concat().len(), 130 + 16_000);
    let is_inside = |piece: &Bytes| (start..start + whole).contains(&(piece.as_ptr() as usize));
    assert!(!pieces.iter().any(is_inside));
}
