//! A peer that keeps count: what the other side sends is checked against RFC 9113, whatever the test
//! is about. What nobody may send is in `check`, the ranges of settings are in `set`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;

use pingora_test_support::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::{
    ACK, DEFAULT_FRAME, DEFAULT_WINDOW, END_HEADERS, END_STREAM, Frame, MAX_WINDOW, PADDED,
    PREFACE, PRIORITY, WHOLE, frame, kind, number, setting, settings, unpadded,
};

/// A client or an origin; it answers SETTINGS and PING. Whatever is sent, right or wrong, is counted.
pub struct Peer {
    /// What panics begin with.
    name: String,
    send: OwnedWriteHalf,
    receive: OwnedReadHalf,
    /// What the other side has set.
    pub settings: HashMap<u16, u32>,
    /// What the other side may still send on each stream, the connection being 0.
    windows: HashMap<u32, i64>,
    /// What may still be sent to the other side.
    pub room: HashMap<u32, i64>,
    initial_window: i64,
    /// What may be sent on a new stream.
    pub initial_room: i64,
    max_frame: usize,
    /// SETTINGS sent and not acknowledged.
    pending: VecDeque<Vec<u8>>,
    /// Streams the other side has ended.
    ended: HashSet<u32>,
    /// The stream whose header block is not complete.
    block: Option<u32>,
}

impl Peer {
    /// Connects, sends the preface with these SETTINGS, and reads those of the server.
    pub async fn connect(name: &str, addr: SocketAddr, values: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the server listens");
        let mut peer = Self::new(name, stream);
        peer.send(PREFACE).await;
        peer.exchange(values).await;
        peer
    }

    /// Accepts a client, sends these SETTINGS, and reads its preface.
    pub async fn accept(name: &str, listener: &TcpListener, values: &[(u16, u32)]) -> Self {
        let accepted = within(name, listener.accept()).await;
        let mut peer = Self::new(name, accepted.expect("a connection").0);
        let mut preface = [0; 24];
        let read = within(name, peer.receive.read_exact(&mut preface)).await;
        read.unwrap_or_else(|error| panic!("{name}: no preface: {error}"));
        assert_eq!(preface, PREFACE, "{name}");
        peer.exchange(values).await;
        peer
    }

    fn new(name: &str, stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        let (receive, send) = stream.into_split();
        Peer {
            name: name.to_owned(),
            send,
            receive,
            settings: HashMap::new(),
            windows: HashMap::from([(0, DEFAULT_WINDOW)]),
            room: HashMap::from([(0, DEFAULT_WINDOW)]),
            initial_window: DEFAULT_WINDOW,
            initial_room: DEFAULT_WINDOW,
            max_frame: DEFAULT_FRAME,
            pending: VecDeque::new(),
            ended: HashSet::new(),
            block: None,
        }
    }

    /// RFC 9113 section 3.4: SETTINGS come first.
    async fn exchange(&mut self, values: &[(u16, u32)]) {
        self.send(&settings(values)).await;
        let first = self.expect().await;
        assert_eq!((first.kind, first.flags), (kind::SETTINGS, 0), "{first:?}");
    }

    /// Sends bytes; returns whether the other side still takes them.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.count(bytes);
        within(&self.name, self.send.write_all(bytes)).await.is_ok()
    }

    /// Closes the connection for sending.
    pub async fn half_close(&mut self) {
        // An error: the other side has closed it already.
        let _ = within(&self.name, self.send.shutdown()).await;
    }

    /// Returns the next frame, checked; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        let read = within(&self.name, self.receive.read_exact(&mut head)).await;
        read.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        assert!(length <= self.max_frame, "{}: {head:?}", self.name);
        let mut payload = vec![0; length];
        let read = within(&self.name, self.receive.read_exact(&mut payload)).await;
        read.ok()?;
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        };
        self.check(&frame);
        self.apply(&frame).await;
        Some(frame)
    }

    /// Returns the next frame; panics if there is none.
    pub async fn expect(&mut self) -> Frame {
        let next = self.next().await;
        next.unwrap_or_else(|| panic!("{}: the connection ended", self.name))
    }

    /// Returns the next frame of this kind, whatever comes before.
    pub async fn expect_kind(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.expect().await;
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Returns what comes until the other side has seen all that was sent.
    pub async fn ping(&mut self) -> Vec<Frame> {
        let ping = frame(kind::PING, 0, 0, b"in order");
        assert!(self.send(&ping).await, "{}: closed", self.name);
        let mut frames = Vec::new();
        loop {
            let frame = self.expect().await;
            let answer = (frame.kind, frame.flags) == (kind::PING, ACK);
            if answer && frame.payload == b"in order" {
                return frames;
            }
            frames.push(frame);
        }
    }

    /// Returns the next header block, CONTINUATION included, and its first frame.
    pub async fn block(&mut self) -> (Frame, Vec<u8>) {
        let mut first = self.expect_kind(kind::HEADERS).await;
        let mut block = unpadded(&first).to_vec();
        let mut flags = first.flags;
        while flags & END_HEADERS == 0 {
            let more = self.expect().await;
            flags = more.flags;
            block.extend(more.payload);
        }
        first.payload.clear();
        (first, block)
    }

    /// Returns whether all SETTINGS sent were acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns how much may be sent on this stream now.
    pub fn room(&self, stream: u32) -> i64 {
        let own = self.room.get(&stream).copied();
        own.unwrap_or(self.initial_room).min(self.room[&0])
    }

    /// Sends DATA as far as the windows allow, waiting for more.
    pub async fn send_data(&mut self, stream: u32, mut data: &[u8]) {
        while !data.is_empty() {
            let room = self.room(stream);
            if room <= 0 {
                self.expect().await;
                continue;
            }
            let size = data.len().min(DEFAULT_FRAME).min(room as usize);
            assert!(
                self.send(&frame(kind::DATA, 0, stream, &data[..size]))
                    .await
            );
            data = &data[size..];
        }
    }

    /// Sends DATA until there is no room left and none is given; returns how much it was.
    pub async fn fill(&mut self, stream: u32) -> usize {
        let mut sent = 0;
        while self.room(stream) > 0 {
            let size = self.room(stream).min(DEFAULT_FRAME as i64) as usize;
            self.send_data(stream, &vec![0; size]).await;
            sent += size;
            if self.room(stream) <= 0 {
                self.ping().await;
            }
        }
        sent
    }

    /// Returns the payloads of a stream until so many bytes of them have come, and no more.
    pub async fn read_data(&mut self, stream: u32, length: usize) -> Vec<u8> {
        let mut data = Vec::new();
        while data.len() < length {
            let frame = self.expect().await;
            let reset = (frame.kind, frame.stream) == (kind::RST_STREAM, stream);
            assert!(!reset, "{}: {frame:?}", self.name);
            if (frame.kind, frame.stream) == (kind::DATA, stream) {
                data.extend_from_slice(unpadded(&frame));
            }
        }
        assert_eq!(data.len(), length, "{}", self.name);
        data
    }

    /// Counts what is sent.
    fn count(&mut self, mut bytes: &[u8]) {
        while let Some((head, rest)) = bytes.split_at_checked(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & !(1 << 31);
            let Some((payload, rest)) = rest.split_at_checked(length) else {
                return;
            };
            bytes = rest;
            match head[3] {
                kind::WINDOW_UPDATE if length == 4 => {
                    let window = self.windows.entry(stream).or_insert(self.initial_window);
                    *window += number(payload) & MAX_WINDOW;
                }
                kind::SETTINGS if head[4] & ACK == 0 => {
                    self.pending.push_back(payload.to_vec());
                    for (id, value) in parameters(payload) {
                        self.allow(id, value, true);
                    }
                }
                kind::DATA => {
                    let initial = self.initial_room;
                    *self.room.entry(stream).or_insert(initial) -= length as i64;
                    *self.room.entry(0).or_insert(0) -= length as i64;
                }
                _ => {}
            }
        }
    }

    /// A setting holds from when it is acknowledged; one that allows more, perhaps before.
    fn allow(&mut self, id: u16, value: u32, before: bool) {
        match id {
            setting::INITIAL_WINDOW_SIZE => {
                let change = i64::from(value) - self.initial_window;
                if change > 0 || !before {
                    self.initial_window += change;
                    for (stream, window) in &mut self.windows {
                        *window += if *stream == 0 { 0 } else { change };
                    }
                }
            }
            setting::MAX_FRAME_SIZE if !before || value as usize > self.max_frame => {
                self.max_frame = value as usize;
            }
            _ => {}
        }
    }

    /// What RFC 9113 lets nobody send.
    fn check(&self, frame: &Frame) {
        let why = |what: &str| format!("{}: {what}: {frame:?}", self.name);
        let flags = match frame.kind {
            kind::DATA => END_STREAM | PADDED,
            kind::HEADERS => WHOLE | PADDED | PRIORITY,
            kind::SETTINGS | kind::PING => ACK,
            kind::CONTINUATION => END_HEADERS,
            _ => 0,
        };
        assert_eq!(frame.flags & !flags, 0, "{}", why("an undefined flag"));
        let length = match (frame.kind, frame.flags & ACK) {
            (kind::PRIORITY, _) => Some(5),
            (kind::RST_STREAM | kind::WINDOW_UPDATE, _) => Some(4),
            (kind::PING, _) => Some(8),
            (kind::SETTINGS, ACK) => Some(0),
            _ => None,
        };
        let actual = frame.payload.len();
        assert_eq!(length.unwrap_or(actual), actual, "{}", why("length"));
        let of_connection = match frame.kind {
            kind::SETTINGS | kind::PING | kind::GOAWAY => frame.stream == 0,
            kind::WINDOW_UPDATE => true,
            kind::PUSH_PROMISE => panic!("{}", why("nobody may push")),
            _ => frame.stream != 0,
        };
        assert!(of_connection, "{}", why("stream"));
        assert!(frame.stream <= MAX_WINDOW as u32, "{}", why("reserved bit"));
        let continues = frame.kind == kind::CONTINUATION;
        let block = continues.then_some(frame.stream);
        assert_eq!(self.block, block, "{}", why("a block in pieces"));
        if matches!(frame.kind, kind::DATA | kind::HEADERS) {
            let ended = self.ended.contains(&frame.stream);
            assert!(!ended, "{}", why("after the end"));
            assert_eq!(frame.stream % 2, 1, "{}", why("a stream of nobody"));
        }
    }

    /// Takes in what the other side says.
    async fn apply(&mut self, received: &Frame) {
        let stream = received.stream;
        match (received.kind, received.flags & ACK) {
            (kind::SETTINGS, 0) => {
                for (id, value) in parameters(&received.payload) {
                    self.set(id, value);
                }
                self.send(&frame(kind::SETTINGS, ACK, 0, b"")).await;
            }
            (kind::SETTINGS, _) => {
                let sent = self.pending.pop_front().expect("an ACK of SETTINGS sent");
                for (id, value) in parameters(&sent) {
                    self.allow(id, value, false);
                }
            }
            (kind::PING, 0) => drop(
                self.send(&frame(kind::PING, ACK, 0, &received.payload))
                    .await,
            ),
            (kind::WINDOW_UPDATE, _) => {
                let increment = number(&received.payload);
                let room = self.room.entry(stream).or_insert(self.initial_room);
                *room += increment;
                let valid = increment > 0 && *room <= MAX_WINDOW;
                assert!(valid, "{}: {received:?}", self.name);
            }
            (kind::DATA, _) => {
                for stream in [0, stream] {
                    let window = self.windows.entry(stream).or_insert(self.initial_window);
                    *window -= received.payload.len() as i64;
                    let within = *window >= 0 || received.payload.is_empty();
                    assert!(within, "{}: too much on {stream}", self.name);
                }
            }
            _ => {}
        }
        if matches!(received.kind, kind::HEADERS | kind::CONTINUATION) {
            self.block = (received.flags & END_HEADERS == 0).then_some(stream);
        }
        let ends = matches!(received.kind, kind::HEADERS | kind::DATA);
        if received.kind == kind::RST_STREAM || ends && received.flags & END_STREAM != 0 {
            self.ended.insert(stream);
        }
    }

    /// What the other side sets, within its range.
    fn set(&mut self, id: u16, value: u32) {
        let valid = match id {
            // RFC 9113 section 8.4: a server sends no 1, and a client of ours takes no pushes.
            setting::ENABLE_PUSH => value == 0,
            setting::ENABLE_CONNECT_PROTOCOL => value <= 1,
            setting::INITIAL_WINDOW_SIZE => i64::from(value) <= MAX_WINDOW,
            setting::MAX_FRAME_SIZE => (1 << 14..1 << 24).contains(&value),
            _ => true,
        };
        assert!(valid, "{}: {id} set to {value}", self.name);
        if id == setting::INITIAL_WINDOW_SIZE {
            let change = i64::from(value) - self.initial_room;
            self.initial_room += change;
            for (stream, room) in &mut self.room {
                *room += if *stream == 0 { 0 } else { change };
            }
        }
        self.settings.insert(id, value);
    }
}

fn parameters(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload.chunks_exact(6).map(|parameter| {
        let id = u16::from_be_bytes([parameter[0], parameter[1]]);
        (id, number(&parameter[2..]) as u32)
    })
}
