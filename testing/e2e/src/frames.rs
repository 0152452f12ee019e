//! Frames of HTTP/2 byte by byte (RFC 9113 section 4.1), for peers that do not behave.

use std::net::SocketAddr;

use pingora_test_support::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Types of frames.
pub mod kind {
    #![allow(missing_docs, reason = "the names of RFC 9113 section 6")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The flags of a HEADERS frame that is the whole request.
pub const WHOLE: u8 = END_STREAM | END_HEADERS;
/// The stream ends with this frame.
pub const END_STREAM: u8 = 1;
/// The header block ends with this frame.
pub const END_HEADERS: u8 = 4;

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
        let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
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
