//! Frames of HTTP/2 (RFC 9113 section 4), right and wrong, out of a fuzzer's bytes, and the stream
//! that delivers them. Read next: `h2_session.rs`, `h2_client_session.rs`.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use arbitrary::Arbitrary;
use async_trait::async_trait;
use http::HeaderMap;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What every client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The most bytes of a connection: more only makes the fuzzer slow.
const MAX_BYTES: usize = 1 << 20;

/// The most frames that the steps of a connection stand for.
const MAX_FRAMES: usize = 600;

/// Bytes of a header list that is taken, as both sides count it.
const MAX_HEADER_LIST_BYTES: usize = 64 * 1024;

/// What one side of a connection sends, and how the network carries it.
#[derive(Arbitrary, Debug)]
pub struct Script {
    /// The connection does not begin as it must.
    without_start: bool,
    frames: Vec<Frame>,
    /// The most bytes of a read, one after the other and again.
    reads: Vec<u8>,
    /// The most bytes of a write, in 64; 0: all.
    writes: u8,
    /// After how many written bytes writing fails, in 16.
    broken_after: Option<u16>,
}

/// What is sent, or a pause.
#[derive(Arbitrary, Debug)]
enum Frame {
    /// A head that is right.
    Head {
        stream: u8,
        kind: u8,
        end: bool,
        length: Option<u8>,
    },
    /// A head of anything, in a frame or several.
    Headers {
        stream: u8,
        flags: u8,
        padding: u8,
        cut: u8,
        fields: Vec<Field>,
    },
    Data {
        stream: u8,
        flags: u8,
        padding: u8,
        length: u16,
    },
    Reset {
        stream: u8,
        code: u8,
    },
    Settings {
        flags: u8,
        values: Vec<(u8, u32)>,
    },
    Window {
        stream: u8,
        by: u32,
    },
    Ping {
        flags: u8,
    },
    GoAway {
        last: u8,
        code: u8,
    },
    Priority {
        stream: u8,
        on: u8,
    },
    /// Streams that are opened and reset at once.
    Rapid {
        first: u8,
        count: u8,
    },
    Any {
        kind: u8,
        flags: u8,
        stream: u8,
        payload: Vec<u8>,
    },
    /// No frame at all.
    Bytes(Vec<u8>),
    /// Nothing comes for so many polls.
    Pause(u8),
}

/// A field as HPACK has it (RFC 7541 section 6).
#[derive(Arbitrary, Debug)]
enum Field {
    Indexed(u8),
    Known {
        name: u8,
        value: u8,
        indexing: u8,
    },
    Literal {
        name: Vec<u8>,
        value: Vec<u8>,
        indexing: u8,
        huffman: bool,
    },
    /// A value of so many times 256 bytes, which becomes an entry of the table.
    Long(u8),
    TableSize(u8),
    Bytes(Vec<u8>),
}

const NAMES: &[&str] = &[
    ":method",
    ":path",
    ":scheme",
    ":authority",
    ":protocol",
    ":status",
    ":unknown",
    "content-length",
    "cookie",
    "te",
    "connection",
    "upgrade",
    "transfer-encoding",
    "host",
    "expect",
    "X-Upper",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "sec-websocket-key",
    "sec-websocket-version",
    "x",
];

const VALUES: &[&str] = &[
    "GET",
    "POST",
    "CONNECT",
    "HEAD",
    "OPTIONS",
    "/",
    "/a?b",
    "*",
    "https",
    "http",
    "a.example",
    "a.example:1",
    "websocket",
    "200",
    "103",
    "101",
    "204",
    "304",
    "999",
    "",
    "0",
    "5",
    "99999999999999999999",
    "5, 5",
    "trailers",
    "gzip",
    "close",
    "chunked",
    "100-continue",
    "a=1",
    "a\r\nb",
    "a b",
    " 5",
    "user@host",
];

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const PRIORITY: u8 = 2;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 32;

/// Who sends a script.
#[derive(Clone, Copy, PartialEq)]
pub enum Sender {
    /// A client, whose heads are requests.
    Client,
    /// A server, whose heads are responses.
    Server,
}

impl Script {
    /// Returns the stream at whose other end `sender` is.
    pub fn stream(&self, sender: Sender) -> Scripted {
        let mut wire = Wire {
            steps: VecDeque::new(),
            bytes: 0,
            frames: 0,
            sender,
        };
        if !self.without_start {
            if sender == Sender::Client {
                wire.bytes(PREFACE);
            }
            wire.frame(kind::SETTINGS, 0, 0, b"");
            if sender == Sender::Server {
                // Until the client has sent its requests.
                wire.steps.push_back(Step::Pause(32));
            }
        }
        for frame in &self.frames {
            wire.add(frame);
        }
        let reads = self.reads.iter().map(|read| usize::from(*read));
        Scripted {
            received: wire.bytes,
            steps: wire.steps,
            reads: reads.filter(|read| *read > 0).collect(),
            next_read: 0,
            writes: usize::from(self.writes) * 64,
            is_write_put_off: false,
            broken_after: self.broken_after.map(|after| usize::from(after) * 16),
            written: Arc::default(),
        }
    }
}

enum Step {
    Bytes(VecDeque<u8>),
    Pause(u8),
}

/// Collects what is sent.
struct Wire {
    steps: VecDeque<Step>,
    bytes: usize,
    frames: usize,
    sender: Sender,
}

impl Wire {
    fn add(&mut self, frame: &Frame) {
        if self.bytes > MAX_BYTES || self.frames > MAX_FRAMES {
            return;
        }
        match frame {
            Frame::Head {
                stream,
                kind,
                end,
                length,
            } => self.head(*stream, *kind, *end, *length),
            Frame::Headers {
                stream,
                flags,
                padding,
                cut,
                fields,
            } => {
                self.headers(*stream, *flags, *padding, *cut, fields);
            }
            Frame::Data {
                stream,
                flags,
                padding,
                length,
            } => {
                let payload = vec![b'd'; usize::from(*length)];
                let payload = padded(&payload, *flags, *padding);
                self.frame(kind::DATA, *flags, id(*stream), &payload);
            }
            Frame::Reset { stream, code } => self.reset(id(*stream), *code),
            Frame::Settings { flags, values } => self.settings(*flags, values),
            Frame::Window { stream, by } => {
                self.frame(kind::WINDOW_UPDATE, 0, id(*stream), &by.to_be_bytes());
            }
            Frame::Ping { flags } => self.frame(kind::PING, *flags, 0, b"12345678"),
            Frame::GoAway { last, code } => {
                let mut payload = id(*last).to_be_bytes().to_vec();
                payload.extend_from_slice(&u32::from(*code).to_be_bytes());
                self.frame(kind::GOAWAY, 0, 0, &payload);
            }
            Frame::Priority { stream, on } => {
                let mut payload = id(*on).to_be_bytes().to_vec();
                payload.push(16);
                self.frame(kind::PRIORITY, 0, id(*stream), &payload);
            }
            Frame::Rapid { first, count } => {
                for at in 0..*count {
                    let stream = first.saturating_add(at);
                    self.head(stream, 0, true, None);
                    self.reset(id(stream), 8);
                }
            }
            Frame::Any {
                kind,
                flags,
                stream,
                payload,
            } => {
                self.frame(*kind, *flags, id(*stream), payload);
            }
            Frame::Bytes(bytes) => self.bytes(bytes),
            Frame::Pause(polls) => self.steps.push_back(Step::Pause(*polls)),
        }
    }

    fn head(&mut self, stream: u8, kind: u8, end: bool, length: Option<u8>) {
        let length = length.map(|length| length.to_string());
        let mut fields = match self.sender {
            Sender::Client => vec![
                (
                    ":method",
                    ["GET", "POST", "HEAD", "CONNECT"][usize::from(kind % 4)],
                ),
                (":scheme", "https"),
                (":authority", "a.example"),
                (":path", "/a"),
            ],
            Sender::Server => {
                vec![(
                    ":status",
                    ["200", "204", "103", "304", "500"][usize::from(kind % 5)],
                )]
            }
        };
        if kind % 4 == 3 && self.sender == Sender::Client {
            fields.push((":protocol", "websocket"));
        }
        if let Some(length) = &length {
            fields.push(("content-length", length));
        }
        let mut block = Vec::new();
        for (name, value) in fields {
            literal(&mut block, 0, name.as_bytes(), value.as_bytes(), false);
        }
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.frame(kind::HEADERS, flags, id(stream), &block);
    }

    fn headers(&mut self, stream: u8, flags: u8, padding: u8, cut: u8, fields: &[Field]) {
        let mut block = Vec::new();
        for field in fields {
            field.write(&mut block);
        }
        let cut = match cut {
            0 => block.len(),
            cut => usize::from(cut),
        };
        let mut pieces: Vec<&[u8]> = block.chunks(cut.clamp(1, 16_000)).collect();
        if pieces.is_empty() {
            pieces.push(b"");
        }
        let last = pieces.len() - 1;
        for (at, piece) in pieces.into_iter().enumerate() {
            // It ends where its fields end, unless the flags say that it does not.
            let end = if at == last { END_HEADERS } else { 0 };
            if at > 0 {
                self.frame(kind::CONTINUATION, end, id(stream), piece);
                continue;
            }
            let mut payload = Vec::new();
            if flags & WITH_PRIORITY != 0 {
                payload.extend_from_slice(&[0, 0, 0, 1, 16]);
            }
            payload.extend_from_slice(piece);
            let payload = padded(&payload, flags, padding);
            self.frame(
                kind::HEADERS,
                flags & !END_HEADERS | end,
                id(stream),
                &payload,
            );
        }
    }

    fn reset(&mut self, stream: u32, code: u8) {
        self.frame(kind::RST_STREAM, 0, stream, &u32::from(code).to_be_bytes());
    }

    fn settings(&mut self, flags: u8, values: &[(u8, u32)]) {
        let mut payload = Vec::new();
        for (name, value) in values {
            payload.extend_from_slice(&u16::from(name % 10).to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.frame(kind::SETTINGS, flags, 0, &payload);
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.frames += 1;
        let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
        let mut head = length[1..].to_vec();
        head.extend_from_slice(&[kind, flags]);
        head.extend_from_slice(&stream.to_be_bytes());
        self.bytes(&head);
        self.bytes(payload);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        match self.steps.back_mut() {
            Some(Step::Bytes(step)) => step.extend(bytes),
            _ => self
                .steps
                .push_back(Step::Bytes(bytes.iter().copied().collect())),
        }
    }
}

/// Mostly one of the first streams of a client.
fn id(stream: u8) -> u32 {
    match stream {
        0..=199 => u32::from(stream) * 2 + 1,
        200..=239 => u32::from(stream - 200),
        240..=249 => u32::MAX >> 1,
        _ => u32::MAX,
    }
}

fn padded(payload: &[u8], flags: u8, padding: u8) -> Vec<u8> {
    if flags & PADDED == 0 {
        return payload.to_vec();
    }
    let mut whole = vec![padding];
    whole.extend_from_slice(payload);
    // An odd one is more than there is.
    whole.resize(whole.len() + usize::from(padding & !1), 0);
    whole
}

impl Field {
    fn write(&self, block: &mut Vec<u8>) {
        match self {
            Field::Indexed(index) => block.push(0x80 | index),
            Field::Known {
                name,
                value,
                indexing,
            } => {
                let name = NAMES[usize::from(*name) % NAMES.len()];
                let value = VALUES[usize::from(*value) % VALUES.len()];
                literal(block, *indexing, name.as_bytes(), value.as_bytes(), false);
            }
            Field::Literal {
                name,
                value,
                indexing,
                huffman,
            } => {
                literal(block, *indexing, name, value, *huffman);
            }
            Field::Long(times) => {
                // 2: it becomes an entry.
                literal(
                    block,
                    2,
                    b"x-long",
                    &vec![b'v'; usize::from(*times % 64) * 256],
                    false,
                );
            }
            Field::TableSize(size) => integer(block, 0x20, 5, usize::from(*size) * 64),
            Field::Bytes(bytes) => block.extend_from_slice(bytes),
        }
    }
}

/// Appends a field with a literal name; `huffman` says that it is coded, which it hardly is.
fn literal(block: &mut Vec<u8>, indexing: u8, name: &[u8], value: &[u8], huffman: bool) {
    block.push([0, 0x10, 0x40][usize::from(indexing) % 3]);
    let first = if huffman { 0x80 } else { 0 };
    for text in [name, value] {
        integer(block, first, 7, text.len());
        block.extend_from_slice(text);
    }
}

/// Appends an integer (RFC 7541 section 5.1).
fn integer(block: &mut Vec<u8>, first: u8, bits: u8, mut value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        block.push(first | value as u8);
        return;
    }
    block.push(first | most as u8);
    value -= most;
    while value >= 128 {
        block.push(value as u8 | 128);
        value >>= 7;
    }
    block.push(value as u8);
}

/// A stream that delivers a script, and then the end.
pub struct Scripted {
    /// How many bytes will be read in all.
    pub received: usize,
    /// How many bytes were written.
    pub written: Arc<AtomicUsize>,
    steps: VecDeque<Step>,
    reads: Vec<usize>,
    next_read: usize,
    writes: usize,
    is_write_put_off: bool,
    broken_after: Option<usize>,
}

impl AsyncRead for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while let Some(step) = this.steps.front_mut() {
            match step {
                Step::Pause(left @ 1..) => {
                    *left -= 1;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Step::Bytes(bytes) if !bytes.is_empty() => {
                    let mut most = bytes.len().min(buf.remaining());
                    if !this.reads.is_empty() {
                        most = most.min(this.reads[this.next_read % this.reads.len()]);
                        this.next_read += 1;
                    }
                    let piece: Vec<u8> = bytes.drain(..most).collect();
                    buf.put_slice(&piece);
                    return Poll::Ready(Ok(()));
                }
                _ => {
                    this.steps.pop_front();
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let before = self.written.load(Ordering::Relaxed);
        if self.broken_after.is_some_and(|after| before >= after) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut taken = buf.len();
        if self.writes > 0 {
            self.is_write_put_off = !self.is_write_put_off;
            if self.is_write_put_off {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            taken = taken.min(self.writes);
        }
        self.written.store(before + taken, Ordering::Relaxed);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").finish_non_exhaustive()
    }
}

#[async_trait]
impl Shutdown for Scripted {
    async fn shutdown(&mut self) {}
}

impl UniqueID for Scripted {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for Scripted {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(ALPN::H2)
    }
}

impl Peek for Scripted {}

impl GetTimingDigest for Scripted {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Scripted {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Scripted {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

/// Checks that fields are no more than was allowed, and none that HTTP/2 forbids (RFC 9113 section
/// 8.2), but for those that `is_upgrade` stands for.
pub fn check_fields(fields: &HeaderMap, is_upgrade: bool) {
    let mut size = 0;
    for (name, value) in fields {
        let (name, value) = (name.as_str(), value.as_bytes());
        size += name.len() + value.len() + 32;
        assert!(!name.is_empty() && !name.starts_with(':'), "{name}");
        let is_bad = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
        assert!(
            !value.iter().any(is_bad),
            "{name}: {}",
            value.escape_ascii()
        );
        match name {
            "connection" | "upgrade" => assert!(is_upgrade, "{name}"),
            "keep-alive" | "proxy-connection" | "transfer-encoding" => panic!("{name}"),
            "te" => assert!(
                value.eq_ignore_ascii_case(b"trailers"),
                "{}",
                value.escape_ascii()
            ),
            _ => {}
        }
    }
    // What an upgrade stands for is ours, and cookies are joined.
    assert!(size <= MAX_HEADER_LIST_BYTES + 512, "{size}");
    let lengths: Vec<_> = fields.get_all("content-length").iter().collect();
    assert!(lengths.len() <= 1, "{lengths:?}");
}
