//! The chunked transfer coding (RFC 9112 section 7.1), line by line.

use pingora_core::protocols::http::HttpLimits;

use super::cursor::{Cursor, Stop, is_token_byte, is_value_byte, refuse};
use super::fields::trimmed;

/// The most digits of a chunk size.
const MAX_DIGITS: usize = 15;

/// The most trailer fields that are kept.
const MAX_TRAILERS: usize = 32;

/// Fields that are dropped from trailers, beside `if-*` and `x-forwarded-*` (RFC 9110 section 6.5.1:
/// those needed for framing, routing, authentication, request modifiers, response control data,
/// and to understand the content).
const DROPPED: &str = "transfer-encoding content-length host connection keep-alive proxy-connection \
    upgrade te trailer expect max-forwards range content-encoding content-type content-range \
    cache-control pragma age expires date location retry-after vary warning authorization \
    proxy-authorization proxy-authenticate www-authenticate cookie set-cookie";

/// A body, as far as it goes.
#[derive(Debug)]
pub struct Body {
    /// The bytes of all chunks.
    pub body: Vec<u8>,
    /// What is after them.
    pub end: End,
}

/// How a body ends.
#[derive(Debug)]
pub enum End {
    /// More is to come.
    Incomplete,
    /// It is not well-formed.
    Refused(&'static str),
    /// With the last chunk.
    Complete {
        /// What follows the body.
        rest: Vec<u8>,
        /// Names in lower case, in order.
        trailers: Vec<(String, Vec<u8>)>,
    },
}

/// Returns the chunked body at the front of `bytes`.
pub fn decode(bytes: &[u8], limits: &HttpLimits) -> Body {
    let mut body = Vec::new();
    let mut input = Cursor::new(bytes);
    let ended = chunks(&mut input, limits, &mut body)
        .and_then(|()| trailers(&input.rest(), limits.max_trailer_bytes));
    let end = match ended {
        Ok((rest, trailers)) => End::Complete { rest, trailers },
        Err(Stop::Incomplete) => End::Incomplete,
        Err(Stop::Refused(why)) => End::Refused(why),
    };
    Body { body, end }
}

/// Takes chunks up to and including the line of the last one.
fn chunks(input: &mut Cursor<'_>, limits: &HttpLimits, body: &mut Vec<u8>) -> Result<(), Stop> {
    let mut extension_bytes = 0;
    loop {
        let size = size_line(input, limits, &mut extension_bytes)?;
        if size == 0 {
            return Ok(());
        }
        for _ in 0..size {
            body.push(input.next()?);
        }
        input.crlf()?;
    }
}

fn size_line(
    input: &mut Cursor<'_>,
    limits: &HttpLimits,
    extension_bytes: &mut usize,
) -> Result<u64, Stop> {
    let mut digits = String::new();
    while input.peek()?.is_ascii_hexdigit() {
        digits.push(char::from(input.next()?));
        if digits.len() > MAX_DIGITS {
            return refuse("too many digits");
        }
    }
    let Ok(size) = u64::from_str_radix(&digits, 16) else {
        return refuse("no digits");
    };
    if input.peek()? == b';' {
        input.next()?;
        while input.peek()? != b'\r' {
            if !is_value_byte(input.next()?) {
                return refuse("invalid byte in an extension");
            }
            *extension_bytes += 1;
            if *extension_bytes > limits.max_chunk_extension_bytes {
                return refuse("too many extensions");
            }
        }
    }
    input.crlf()?;
    Ok(size)
}

type Trailers = (Vec<u8>, Vec<(String, Vec<u8>)>);

/// Takes whole lines up to an empty one.
fn trailers(bytes: &[u8], max_bytes: usize) -> Result<Trailers, Stop> {
    let mut kept = Vec::new();
    let mut read = 0;
    loop {
        let Some(end) = bytes[read..].iter().position(|byte| *byte == b'\n') else {
            return match bytes.len() > max_bytes {
                true => refuse("trailers too large"),
                false => Err(Stop::Incomplete),
            };
        };
        let line = &bytes[read..read + end];
        read += end + 1;
        if read > max_bytes {
            return refuse("trailers too large");
        }
        match line {
            b"\r" => return Ok((bytes[read..].to_vec(), kept)),
            [line @ .., b'\r'] => kept.extend(trailer(line)?),
            _ => return refuse("bare LF"),
        }
        if kept.len() > MAX_TRAILERS {
            return refuse("too many trailers");
        }
    }
}

fn trailer(line: &[u8]) -> Result<Option<(String, Vec<u8>)>, Stop> {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return refuse("no colon");
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte)) {
        return refuse("invalid trailer name");
    }
    if !value.iter().all(|byte| is_value_byte(*byte)) {
        return refuse("invalid trailer value");
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let dropped = DROPPED.split_whitespace().any(|dropped| dropped == name)
        || name.starts_with("if-")
        || name.starts_with("x-forwarded-");
    Ok((!dropped).then(|| (name, trimmed(value).to_vec())))
}
