//! The pure parts of HTTP/1, reachable for fuzzing; compiled with `--cfg fuzzing` only.
//! Read next: `head.rs`, `framing.rs`, `body/`.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use tokio::io::{AsyncRead, ReadBuf};

pub use super::body::{BodyDecoder, Decoded};
pub use super::framing::{BodyLength, request_framing, response_framing};
pub use super::head::{HeadError, parse_request, parse_response};

use super::body::BodyEncoder;
use crate::protocols::http::wire::Wire;

/// Returns what is sent for a chunked body of these pieces: through the encoder and the queue of a
/// connection.
///
/// # Panics
/// If the encoder refuses a piece or the end.
pub fn encode_chunked(pieces: &[&[u8]], trailers: Option<&HeaderMap>) -> Vec<u8> {
    let body: usize = pieces.iter().map(|piece| piece.len()).sum();
    // Room for everything, so that nothing ever waits.
    let room = body + 32 * (pieces.len() + 1) + 64 * trailers.map_or(0, HeaderMap::len) + 1024;
    let (ours, mut theirs) = tokio::io::duplex(room);
    let mut wire = Wire::new(Box::new(ours));
    let mut encoder = BodyEncoder::new();
    encoder.start(BodyLength::Chunked);
    for piece in pieces {
        let taken = encoder.write(Bytes::copy_from_slice(piece), &mut wire.output);
        assert_eq!(taken.expect("the body was started"), piece.len());
    }
    encoder
        .finish(trailers, &mut wire.output)
        .expect("a chunked body ends anywhere");
    assert!(encoder.is_done());
    let queued = wire.output.len();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(
        matches!(wire.poll_flush(&mut cx), Poll::Ready(Ok(()))),
        "there is room"
    );
    let mut sent = vec![0; room];
    let mut buf = ReadBuf::new(&mut sent);
    assert!(matches!(
        Pin::new(&mut theirs).poll_read(&mut cx, &mut buf),
        Poll::Ready(Ok(()))
    ));
    let len = buf.filled().len();
    assert_eq!(len, queued);
    sent.truncate(len);
    sent
}
