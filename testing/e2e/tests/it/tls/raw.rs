//! A client that speaks TLS by hand, up to where encryption begins: a ClientHello in any form, and what
//! the server answers in TLS 1.2, where that is all in the clear.

use pingora_test_support::within;
use tokio::net::TcpStream;

use super::*;

/// Messages of a handshake (RFC 5246, section 7.4).
const CLIENT_HELLO: u8 = 1;
const CERTIFICATE: u8 = 11;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_STATUS: u8 = 22;

/// What a server says before it wants an answer.
pub(super) struct Flight(Vec<(u8, Vec<u8>)>);

impl Flight {
    /// Returns the stapled OCSP response.
    pub(super) fn staple(&self) -> Option<&[u8]> {
        // Its type, 1 for OCSP, and the length.
        let message = self.message(CERTIFICATE_STATUS)?;
        assert_eq!(message[0], 1);
        Some(&message[4..])
    }

    /// Returns whether a certificate came, and everything else that belongs to the flight.
    pub(super) fn is_whole(&self) -> bool {
        self.message(CERTIFICATE).is_some() && self.message(SERVER_HELLO_DONE).is_some()
    }

    fn message(&self, wanted: u8) -> Option<&[u8]> {
        let mut all = self.0.iter();
        all.find_map(|(kind, body)| (*kind == wanted).then_some(&**body))
    }
}

/// Returns `bytes` with their length before them, in two bytes.
fn list(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &list(content)].concat()
}

/// Returns the ClientHello of TLS 1.2 for `name`, a whole message; one with `status` asks for a staple.
pub(super) fn hello(name: &str, status: bool) -> Vec<u8> {
    let name = [&[0][..], &list(name.as_bytes())].concat();
    let mut extensions = vec![
        extension(0, &list(&name)),
        // X25519 and P-256, and points as they are.
        extension(10, &list(&[0, 29, 0, 23])),
        extension(11, &[1, 0]),
        extension(13, &list(&[4, 3, 8, 4, 4, 1])),
        extension(23, &[]),
        extension(0xff01, &[0]),
    ];
    if status {
        extensions.push(extension(5, &[1, 0, 0, 0, 0]));
    }
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        // ECDHE with ECDSA and RSA, AES-128-GCM.
        &list(&[0xc0, 0x2b, 0xc0, 0x2f]),
        &[1, 0],
        &list(&extensions.concat()),
    ]
    .concat();
    let length = (body.len() as u32).to_be_bytes();
    [&[CLIENT_HELLO], &length[1..], &body].concat()
}

/// Returns `message` in records of at most `size` bytes.
pub(super) fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1][..], &list(part)].concat();
    message.chunks(size).flat_map(record).collect()
}

/// Sends `records` in writes of `piece` bytes, and returns what the server answers.
pub(super) async fn ask(addr: SocketAddr, records: &[u8], piece: usize) -> Flight {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for part in records.chunks(piece) {
        stream.write_all(part).await.unwrap();
        // So that the server may see them one by one.
        tokio::task::yield_now().await;
    }
    let mut messages = vec![];
    let mut handshake = vec![];
    while messages
        .last()
        .is_none_or(|(kind, _)| *kind != SERVER_HELLO_DONE)
    {
        let mut head = [0; 5];
        let read = within("a record", stream.read_exact(&mut head)).await;
        read.expect("the server answers");
        let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        within("the record", stream.read_exact(&mut body))
            .await
            .unwrap();
        assert_eq!(head[0], 22, "no handshake but {body:?}");
        handshake.extend(body);
        while let Some((&[kind, a, b, c], rest)) = handshake.split_first_chunk::<4>() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let Some((body, rest)) = rest.split_at_checked(length) else {
                break;
            };
            messages.push((kind, body.to_vec()));
            handshake = rest.to_vec();
        }
    }
    Flight(messages)
}
