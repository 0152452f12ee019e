//! HTTP/2 sessions on the `h2` crate, which frames, compresses and keeps the windows.
//!
//! [`server`] is the downstream side, [`client`] the upstream side. `head.rs` is pure: what a valid message is and how heads are
//! translated; `output.rs` is the sending half of a stream, which waits for windows.

pub mod client;
pub mod server;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
// Between heads of HTTP/2 and ours: pure.
mod head;
// What waits to be sent on a stream.
mod output;
// When the task of a connection runs.
pub(crate) mod turn;
// The handshake of WebSocket that HTTP/1 needs and HTTP/2 does without.
mod websocket;

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use pingora_error::{
    BError, Error,
    ErrorType::{ConnectionClosed, H2Error},
    Result,
};

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

/// Returns the error of a stream or connection as ours; the caller says whose fault it is.
#[cold]
pub(crate) fn stream_error(e: h2::Error, what: &'static str) -> BError {
    let gone = e.is_io() || (e.is_remote() && (e.is_reset() || e.is_go_away()));
    let etype = if gone { ConnectionClosed } else { H2Error };
    Error::because(etype, what, e)
}

/// The error of a stream the peer has reset.
#[cold]
pub(crate) fn reset_error(reason: h2::Reason, what: &'static str) -> BError {
    Error::explain(
        ConnectionClosed,
        format!("{what}: stream reset, {}", reason.description()),
    )
}
