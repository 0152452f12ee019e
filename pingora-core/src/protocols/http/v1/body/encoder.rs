//! [`BodyEncoder`]: body bytes to bytes on the wire, whatever the framing. Pure.
//!
//! Every chunk and every end passes through here once, so a terminator cannot be written twice
//! and a body cannot be longer than its head said.

use bytes::Bytes;
use http::HeaderMap;
use pingora_error::{Error, ErrorType::WriteError, Result};

use super::super::framing::BodyLength;
use super::chunked::put_size_line;
use crate::protocols::http::wire::Output;

/// Frames a body.
#[derive(Debug)]
pub(crate) struct BodyEncoder {
    state: State,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No head was written yet.
    Unset,
    Fixed {
        left: u64,
    },
    Chunked,
    UntilClose,
    /// The body has ended as its framing says.
    Done,
}

impl BodyEncoder {
    /// Returns an encoder that takes no body before [`start`](Self::start).
    pub(crate) fn new() -> Self {
        BodyEncoder {
            state: State::Unset,
            bytes: 0,
        }
    }

    /// Starts a body of this length.
    pub(crate) fn start(&mut self, length: BodyLength) {
        self.state = match length {
            BodyLength::None | BodyLength::Fixed(0) => State::Done,
            BodyLength::Fixed(left) => State::Fixed { left },
            BodyLength::Chunked => State::Chunked,
            BodyLength::UntilClose => State::UntilClose,
        };
    }

    /// Queues a piece of the body; returns how many bytes were taken.
    ///
    /// What exceeds the length in the head is dropped: the peer would take it for the next message.
    pub(crate) fn write(&mut self, mut data: Bytes, out: &mut Output) -> Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        match &mut self.state {
            State::Unset => return Error::e_explain(WriteError, "body before its head"),
            State::Done => return Ok(0),
            State::Fixed { left } => {
                data.truncate((*left).min(data.len() as u64) as usize);
                *left -= data.len() as u64;
                if *left == 0 {
                    self.state = State::Done;
                }
            }
            State::Chunked => put_size_line(out.control(), data.len()),
            State::UntilClose => (),
        }
        let len = data.len();
        self.bytes += len;
        out.push(data);
        if self.state == State::Chunked {
            out.control().extend_from_slice(b"\r\n");
        }
        Ok(len)
    }

    /// Ends the body, with `trailers` where the framing has a place for them.
    ///
    /// An error when the body is shorter than its head said.
    pub(crate) fn finish(&mut self, trailers: Option<&HeaderMap>, out: &mut Output) -> Result<()> {
        match self.state {
            State::Done | State::Unset => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Fixed { left } => {
                self.state = State::Done;
                Error::e_explain(
                    WriteError,
                    format!("body ended {left} bytes short of its Content-Length"),
                )
            }
            State::Chunked => {
                self.state = State::Done;
                let control = out.control();
                control.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    control.extend_from_slice(name.as_str().as_bytes());
                    control.extend_from_slice(b": ");
                    control.extend_from_slice(value.as_bytes());
                    control.extend_from_slice(b"\r\n");
                }
                control.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }

    /// Passes whatever follows as raw bytes until the connection ends (after a 101).
    pub(crate) fn upgrade(&mut self) {
        self.state = State::UntilClose;
    }

    /// Returns whether the body has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Returns whether the end of the body is the end of the connection.
    pub(crate) fn is_until_close(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Returns whether the framing can carry trailers.
    pub(crate) fn is_chunked(&self) -> bool {
        self.state == State::Chunked
    }

    /// Returns the number of body bytes taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
