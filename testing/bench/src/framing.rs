//! Finds the borders of HTTP/1 messages, for the load generator and the origin.
//!
//! It trusts its peers' syntax (they are the programs under test, fed with our own requests) but
//! not their framing: a length that cannot be read is an error.

use crate::Result;

/// Which side's messages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests have no body unless they announce one.
    Request,
    /// Responses without a length end with the connection.
    Response,
    /// No HTTP: each message is so many bytes.
    Bytes(u64),
}

/// Reads one message after another out of a byte stream.
#[derive(Debug)]
pub struct Framer {
    kind: Kind,
    state: State,
    head: Vec<u8>,
    closes: bool,
    body_bytes: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Collecting a head; the previous one is dropped when the first byte arrives.
    Head {
        fresh: bool,
    },
    Length(u64),
    ChunkSize(u64),
    /// After the digits, up to the line feed.
    ChunkExtension(u64),
    /// The bytes of a chunk and the CRLF behind them.
    ChunkData(u64),
    /// Bytes of the current trailer line so far.
    Trailer(u64),
    UntilClose,
}

/// How far [`Framer::feed`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that belong to this message.
    pub used: usize,
    /// Whether the message ended with them.
    pub complete: bool,
}

/// A head larger than this is a program gone wrong.
const MAX_HEAD: usize = 64 * 1024;

impl Framer {
    /// Returns a reader at the start of a message.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            state: State::Head { fresh: true },
            head: Vec::new(),
            closes: false,
            body_bytes: 0,
        }
    }

    /// Takes bytes up to the end of the current message.
    pub fn feed(&mut self, input: &[u8]) -> Result<Progress> {
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            let complete = match (&self.state, self.kind) {
                (State::Head { .. }, Kind::Bytes(length)) => {
                    self.body_bytes = 0;
                    self.state = State::Length(length);
                    false
                }
                (State::Head { .. }, _) => {
                    used += self.take_head(rest)?;
                    self.state == State::Head { fresh: true }
                }
                (State::UntilClose, _) => {
                    used += rest.len();
                    self.body_bytes += rest.len() as u64;
                    false
                }
                (&State::Length(left), _) => {
                    let taken = left.min(rest.len() as u64);
                    used += taken as usize;
                    self.body_bytes += taken;
                    self.state = State::Length(left - taken);
                    left == taken
                }
                (&State::ChunkData(left), _) => {
                    let taken = left.min(rest.len() as u64);
                    used += taken as usize;
                    self.state = match left - taken {
                        0 => State::ChunkSize(0),
                        left => State::ChunkData(left),
                    };
                    false
                }
                _ => {
                    used += 1;
                    self.take_chunk_byte(rest[0])?
                }
            };
            if complete {
                self.state = State::Head { fresh: true };
                return Ok(Progress { used, complete });
            }
        }
        Ok(Progress {
            used,
            complete: false,
        })
    }

    /// Returns whether the end of the stream ends the current message.
    pub fn ends_with_stream(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Returns whether a message has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.state != State::Head { fresh: true }
    }

    /// Returns whether the sender of the last message closes after it.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// Returns the body bytes of the current or last message.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Returns the second word of the first line: a status or a target.
    pub fn second_word(&self) -> &[u8] {
        self.head.split(|byte| *byte == b' ').nth(1).unwrap_or(b"")
    }

    fn take_head(&mut self, rest: &[u8]) -> Result<usize> {
        if self.state == (State::Head { fresh: true }) {
            self.head.clear();
            self.body_bytes = 0;
            self.state = State::Head { fresh: false };
        }
        let before = self.head.len();
        // The usual case: the whole head is here, and what follows it need not be copied.
        let whole = (before == 0).then(|| head_end(rest)).flatten();
        let copied = whole.unwrap_or(rest.len().min(MAX_HEAD));
        self.head.extend_from_slice(&rest[..copied]);
        // The end may straddle two reads: look again at the last three bytes.
        let from = before.saturating_sub(3);
        let Some(end) = whole.or_else(|| head_end(&self.head[from..]).map(|end| from + end)) else {
            return match self.head.len() {
                MAX_HEAD.. => Err(String::from("a head of more than 64 KiB")),
                _ => Ok(rest.len()),
            };
        };
        self.head.truncate(end);
        self.state = self.body_state()?;
        Ok(end - before)
    }

    fn body_state(&mut self) -> Result<State> {
        let (mut length, mut chunked) = (None, false);
        self.closes = self.head.starts_with(b"HTTP/1.0");
        for line in self.head.split(|byte| *byte == b'\n').skip(1) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            match name.len() {
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    let digits = std::str::from_utf8(value).unwrap_or_default();
                    length = Some(digits.parse().map_err(|_| "an unreadable content-length")?);
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    chunked = value.eq_ignore_ascii_case(b"chunked");
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    self.closes = value.eq_ignore_ascii_case(b"close");
                }
                _ => {}
            }
        }
        let interim = self.kind == Kind::Response && self.second_word().starts_with(b"1");
        if interim {
            self.head.clear();
            return Ok(State::Head { fresh: false });
        }
        Ok(match length {
            _ if chunked => State::ChunkSize(0),
            Some(0) => State::Head { fresh: true },
            Some(length) => State::Length(length),
            None if self.kind == Kind::Response => State::UntilClose,
            None => State::Head { fresh: true },
        })
    }

    fn take_chunk_byte(&mut self, byte: u8) -> Result<bool> {
        self.state = match (&self.state, byte) {
            (State::ChunkSize(size) | State::ChunkExtension(size), b'\n') => match size {
                0 => State::Trailer(0),
                size => {
                    self.body_bytes += size;
                    State::ChunkData(size + 2)
                }
            },
            (State::ChunkSize(size), b';' | b'\r' | b' ') => State::ChunkExtension(*size),
            (State::ChunkSize(size), _) => {
                let digit = char::from(byte)
                    .to_digit(16)
                    .ok_or("a chunk size that is no number")?;
                State::ChunkSize(size.checked_mul(16).ok_or("a huge chunk")? + u64::from(digit))
            }
            (State::ChunkExtension(size), _) => State::ChunkExtension(*size),
            (State::Trailer(0), b'\n') => return Ok(true),
            (State::Trailer(_), b'\n') => State::Trailer(0),
            (State::Trailer(bytes), b'\r') => State::Trailer(*bytes),
            (State::Trailer(bytes), _) => State::Trailer(bytes + 1),
            _ => return Err(String::from("a chunk byte outside of a chunk line")),
        };
        Ok(false)
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

#[cfg(test)]
mod tests {
    use super::{Framer, Kind};

    /// Feeds `input` in pieces of every size; expects the body bytes of each message.
    fn check(kind: Kind, input: &str, bodies: &[u64]) {
        for size in 1..=input.len() {
            let (mut framer, mut found) = (Framer::new(kind), Vec::new());
            for mut piece in input.as_bytes().chunks(size) {
                while !piece.is_empty() {
                    let progress = framer.feed(piece).expect("a valid message");
                    piece = &piece[progress.used..];
                    if progress.complete {
                        found.push(framer.body_bytes());
                    }
                }
            }
            if framer.ends_with_stream() {
                found.push(framer.body_bytes());
            }
            assert_eq!(found, bodies, "{input:?} in pieces of {size}");
        }
    }

    #[test]
    fn finds_the_borders() {
        let get = "GET /small HTTP/1.1\r\nHost: a\r\n\r\n";
        check(Kind::Request, &get.repeat(3), &[0, 0, 0]);
        let post = "POST /u HTTP/1.1\r\ncontent-LENGTH: 5\r\n\r\nhello";
        check(Kind::Request, &format!("{post}{get}{post}"), &[5, 0, 5]);
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x\r\n0123456789\r\n0\r\n\r\n";
        check(Kind::Request, &format!("{chunked}{get}"), &[15, 0]);
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
        check(Kind::Response, &format!("{ok}{go_on}{ok}"), &[2, 2]);
        check(Kind::Response, "HTTP/1.1 200 OK\r\n\r\nabc", &[3]);
        check(Kind::Bytes(4), "abcdefgh", &[4, 4]);
        let trailer =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n";
        check(Kind::Response, &format!("{trailer}{ok}"), &[1, 2]);
    }

    #[test]
    fn reads_status_and_target() {
        let mut framer = Framer::new(Kind::Request);
        let progress = framer.feed(b"GET /64k HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(progress.is_ok_and(|progress| progress.complete));
        assert_eq!(framer.second_word(), b"/64k");
        assert!(framer.closes());
    }
}
