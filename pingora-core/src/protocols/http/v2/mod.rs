//! HTTP/2 sessions, and the framing beneath them.
//!
//! [`server`] is the downstream side, [`client`] the upstream side. `engine/` frames, compresses and
//! keeps the windows; where a program makes its connections by the types of the `h2` crate, that does
//! so, and `stream.rs` makes the two one. `head.rs` is pure: what a valid message is and how heads are
//! translated; `output.rs` is the sending half of a stream, which waits for windows.

pub mod client;
pub mod server;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
// Our streams for programs that want those of the `h2` crate.
mod bridge;
// Framing of our own.
pub(crate) mod engine;
// Why a stream is no more.
mod error;
// Between heads of HTTP/2 and ours: pure.
mod head;
// What waits to be sent on a stream.
mod output;
// A stream, whoever frames it.
mod stream;
// When the task of a connection runs.
pub(crate) mod turn;
// The handshake of WebSocket that HTTP/1 needs and HTTP/2 does without.
mod websocket;

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use pingora_error::Result;

pub(crate) use self::error::{reset_error, stream_error};
use self::output::Output;

/// Sends a piece of a body, and its end when `end`, waiting for the windows of the peer.
///
/// # Errors
/// `WriteTimedout` when the peer takes nothing for `write_timeout`; `ConnectionClosed` or `H2Error`
/// when the stream is no more.
pub async fn write_body(
    writer: &mut SendStream<Bytes>,
    data: Bytes,
    end: bool,
    write_timeout: Option<Duration>,
) -> Result<()> {
    let mut output = Output::new();
    output.push(data);
    if end {
        output.finish(None)?;
    }
    poll_fn(|cx| output.poll_flush(writer, write_timeout, cx)).await
}
