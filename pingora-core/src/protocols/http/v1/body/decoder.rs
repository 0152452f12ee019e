//! [`BodyDecoder`]: received bytes to body bytes, whatever the framing. Pure.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::super::framing::BodyLength;
use super::super::head::HeadError;
use super::chunked::{ChunkDecoder, Found};
use crate::protocols::http::HttpLimits;

/// Finds the body in the bytes that follow a head.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    bytes: usize,
}

#[derive(Debug)]
enum State {
    Fixed { left: u64 },
    Chunked(Box<ChunkDecoder>),
    UntilClose,
    Done { trailers: Option<Box<HeaderMap>> },
}

/// What [`BodyDecoder::decode`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Bytes of the body; never empty.
    Data(Bytes),
    /// The body has ended.
    End,
    /// More must be received first.
    NeedInput,
}

impl BodyDecoder {
    /// Returns a decoder for a body of this length.
    pub fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::None | BodyLength::Fixed(0) => State::Done { trailers: None },
            BodyLength::Fixed(left) => State::Fixed { left },
            BodyLength::Chunked => State::Chunked(Box::new(ChunkDecoder::new())),
            BodyLength::UntilClose => State::UntilClose,
        };
        BodyDecoder { state, bytes: 0 }
    }

    /// Takes the next piece of the body off the front of `input`.
    pub fn decode(
        &mut self,
        input: &mut BytesMut,
        limits: &HttpLimits,
    ) -> Result<Decoded, HeadError> {
        match &mut self.state {
            State::Done { .. } => Ok(Decoded::End),
            _ if input.is_empty() => Ok(Decoded::NeedInput),
            State::UntilClose => {
                let data = input.split().freeze();
                self.bytes += data.len();
                Ok(Decoded::Data(data))
            }
            State::Fixed { left } => {
                let len = (*left).min(input.len() as u64) as usize;
                *left -= len as u64;
                if *left == 0 {
                    self.state = State::Done { trailers: None };
                }
                self.bytes += len;
                Ok(Decoded::Data(input.split_to(len).freeze()))
            }
            State::Chunked(chunks) => match chunks.next(input, limits)? {
                Found::Data { skip, len } => {
                    input.advance(skip);
                    self.bytes += len;
                    Ok(Decoded::Data(input.split_to(len).freeze()))
                }
                Found::End { skip } => {
                    input.advance(skip);
                    let trailers = chunks.take_trailers();
                    self.state = State::Done { trailers };
                    Ok(Decoded::End)
                }
                Found::More { skip } => {
                    input.advance(skip);
                    Ok(Decoded::NeedInput)
                }
            },
        }
    }

    /// Tells that nothing more will be received; an error when the body is cut short.
    pub fn close(&mut self) -> Result<(), HeadError> {
        match self.state {
            State::Done { .. } => Ok(()),
            State::UntilClose => {
                self.state = State::Done { trailers: None };
                Ok(())
            }
            State::Fixed { .. } | State::Chunked(_) => Err(HeadError::bad("body cut short")),
        }
    }

    /// Treats whatever follows as raw bytes until the connection ends (after a 101).
    pub fn upgrade(&mut self) {
        self.state = State::UntilClose;
    }

    /// Returns whether the whole body was decoded.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done { .. })
    }

    /// Returns the number of body bytes decoded.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of bytes still to come, when that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Fixed { left } => Some(left),
            State::Done { .. } => Some(0),
            State::Chunked(_) | State::UntilClose => None,
        }
    }

    /// Takes the trailers of a chunked body that has ended.
    pub fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        match &mut self.state {
            State::Done { trailers } => trailers.take(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
