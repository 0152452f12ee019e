//! Frames of HTTP/2 byte by byte (RFC 9113 section 4.1), for peers that do not behave. [`Client`] and
//! [`origin`] take what comes, [`Peer`] holds the other side to the rules.

mod blocks;
mod peer;

use std::net::SocketAddr;

use pingora_test_support::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

pub use blocks::{Field, Table, fields, literal, status};
pub use peer::Peer;

/// Types of frames.
pub mod kind {
    #![allow(missing_docs, reason = "the names of RFC 9113 section 6")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Reasons of RST_STREAM and GOAWAY.
pub mod code {
    #![allow(missing_docs, reason = "the names of RFC 9113 section 7")]
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL: u32 = 1;
    pub const FLOW_CONTROL: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION: u32 = 9;
}

/// Parameters of SETTINGS.
pub mod setting {
    #![allow(missing_docs, reason = "the names of RFC 9113 section 6.5.2")]
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// What a client begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A window where nobody said otherwise.
pub const DEFAULT_WINDOW: i64 = 65_535;
/// The largest frame where nobody said otherwise.
pub const DEFAULT_FRAME: usize = 16_384;
/// The largest window.
pub const MAX_WINDOW: i64 = (1 << 31) - 1;

/// The flags of a HEADERS frame that is the whole request.
pub const WHOLE: u8 = END_STREAM | END_HEADERS;
/// The stream ends with this frame.
pub const END_STREAM: u8 = 1;
/// The header block ends with this frame.
pub const END_HEADERS: u8 = 4;
/// SETTINGS or PING as an answer.
pub const ACK: u8 = 1;
/// There is padding; the first byte is its length.
pub const PADDED: u8 = 8;
/// There are five bytes of priority.
pub const PRIORITY: u8 = 0x20;

/// `GET / HTTP/2`, `http`, `:authority: x`.
pub const GET: &[u8] = b"\x82\x84\x86\x41\x01x";
/// The same as a `POST`.
pub const POST: &[u8] = b"\x83\x84\x86\x41\x01x";

/// The reason of a connection that asks for too much.
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// Returns a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Returns SETTINGS.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload = values.iter().flat_map(|(id, value)| {
        let (id, value) = (id.to_be_bytes(), value.to_be_bytes());
        [id[0], id[1], value[0], value[1], value[2], value[3]]
    });
    frame(kind::SETTINGS, 0, 0, &payload.collect::<Vec<_>>())
}

/// Returns a RST_STREAM.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// Returns a WINDOW_UPDATE.
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// Returns a GOAWAY.
pub fn goaway(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(kind::GOAWAY, 0, 0, &payload)
}

/// A frame received.
#[derive(Debug)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream it is of.
    pub stream: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

/// A client of frames.
pub struct Client {
    /// Where frames are sent.
    pub send: OwnedWriteHalf,
    /// Where they come from.
    pub receive: OwnedReadHalf,
}

impl Client {
    /// Connects, and sends the preface with these SETTINGS.
    pub async fn connect(addr: SocketAddr, settings: &[u8]) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the server listens");
        let (receive, send) = stream.into_split();
        let mut client = Client { send, receive };
        let mut preface = PREFACE.to_vec();
        preface.extend(frame(kind::SETTINGS, 0, 0, settings));
        preface.extend(frame(kind::SETTINGS, 1, 0, b""));
        assert!(client.send(&preface).await);
        client
    }

    /// Sends bytes; returns whether the server still takes them.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        within("sending", self.send.write_all(bytes)).await.is_ok()
    }

    /// Returns the next frame; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        next(&mut self.receive).await
    }

    /// Reads until GOAWAY; returns its reason. `None` if the connection ends without.
    pub async fn goaway(mut self) -> Option<u32> {
        // It may have to be told that nobody sends any more.
        while let Some(frame) = self.next().await {
            if frame.kind == kind::GOAWAY {
                let reason = frame.payload[4..8].try_into().expect("four bytes");
                return Some(u32::from_be_bytes(reason));
            }
        }
        None
    }
}

/// Starts an origin of frames, for one connection after the other: SETTINGS are exchanged, then
/// `answer` returns what each frame is answered with, perhaps nothing. `None` closes the connection.
pub async fn origin(
    mut answer: impl FnMut(Frame) -> Option<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut preface = [0; 24];
            let read = stream.read_exact(&mut preface).await;
            read.expect("the client begins with the preface");
            let (mut receive, mut send) = stream.into_split();
            let mut bytes = frame(kind::SETTINGS, 0, 0, b"");
            loop {
                // An error: the client has gone, which the next read tells.
                let _ = send.write_all(&bytes).await;
                let Some(received) = next(&mut receive).await else {
                    break;
                };
                let answered = match (received.kind, received.flags) {
                    (kind::SETTINGS, 0) => Some(frame(kind::SETTINGS, 1, 0, b"")),
                    _ => answer(received),
                };
                match answered {
                    Some(answered) => bytes = answered,
                    None => break,
                }
            }
        }
    });
    addr
}

/// Returns the next frame from a connection.
pub async fn next(receive: &mut OwnedReadHalf) -> Option<Frame> {
    let mut head = [0; 9];
    within("a frame", receive.read_exact(&mut head))
        .await
        .ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    within("a frame", receive.read_exact(&mut payload))
        .await
        .ok()?;
    Some(Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload,
    })
}

/// Returns the payload of DATA or HEADERS without padding and priority.
pub fn unpadded(frame: &Frame) -> &[u8] {
    let mut payload = &frame.payload[..];
    if frame.flags & PADDED != 0 {
        let padding = payload[0] as usize;
        payload = &payload[1..payload.len() - padding];
    }
    match frame.kind == kind::HEADERS && frame.flags & PRIORITY != 0 {
        true => &payload[5..],
        false => payload,
    }
}

/// Returns the four bytes at the start of a payload as a number.
pub fn number(payload: &[u8]) -> i64 {
    let bytes = payload[..4].try_into().expect("four bytes");
    i64::from(u32::from_be_bytes(bytes))
}
