//! HTTP/2 framing of our own (RFC 9113): what the connections we serve and open speak.
//!
//! ```text
//!   socket -> Driver -> Machine <- StreamRef <- session
//!             I/O       state      one stream
//! ```
//!
//! [`machine`] is pure: bytes come in, frames to send pile up, streams change, tasks are woken. The
//! [`Driver`] moves bytes between it and the connection; a [`StreamRef`] is one stream, as its session
//! sees it. `frame.rs`, `settings.rs` and `hpack/` are the encodings, `block.rs` makes heads of header
//! blocks, `budget.rs` says what a peer may waste.
//!
//! Connections a program has made itself, by the types of the `h2` crate, are framed by that crate:
//! see `../stream.rs`.

mod block;
mod budget;
mod driver;
mod frame;
pub(crate) mod hpack;
mod machine;
mod settings;
mod streams;

use std::fmt;
use std::io;

use h2::Reason;

pub(crate) use self::block::RawHead;
#[cfg(fuzzing)]
pub(crate) use self::block::decode_request;
#[cfg(fuzzing)]
pub(crate) use self::budget::Budget;
pub(crate) use self::driver::{Driver, Incoming, Sender, StreamRef};
pub(crate) use self::settings::Local;
pub(crate) use self::streams::Asked;

/// Why a stream, or its connection, is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// One side has reset the stream.
    Reset { reason: Reason, by_peer: bool },
    /// One side has ended the connection; if the peer, it has not seen the stream.
    GoAway { reason: Reason, by_peer: bool },
    /// The connection broke.
    Io(io::ErrorKind),
}

impl Failure {
    /// Returns the error code, if one was sent.
    pub(crate) fn reason(self) -> Option<Reason> {
        match self {
            Failure::Reset { reason, .. } | Failure::GoAway { reason, .. } => Some(reason),
            Failure::Io(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = |by_peer: &bool| if *by_peer { "the peer" } else { "us" };
        match self {
            Failure::Reset { reason, by_peer } => {
                write!(f, "stream reset by {}: {reason}", whose(by_peer))
            }
            Failure::GoAway { reason, by_peer } => {
                write!(f, "connection ended by {}: {reason}", whose(by_peer))
            }
            Failure::Io(kind) => write!(f, "connection broke: {kind}"),
        }
    }
}

impl std::error::Error for Failure {}
