//! Takes a head apart into its words: where method, target, version and fields are. Pure.
//!
//! One pass, eight bytes at a time where it can: a byte that ends a value is found with three
//! operations per word, and a name the engine knows needs no check of its letters. Strict as RFC
//! 9112 is: lines end in CRLF, a name touches its colon, a value does not continue on another
//! line. What the words mean is [`head`](super::head)'s business; its tests compare this with an
//! independent tokeniser.

use pingora_http::fields::{FieldSpan, KnownName, ParsedFields};

use crate::protocols::http::byte_set::alphanumeric_and;

/// The longest name a table of fields holds, whatever the limit of the head.
const MAX_NAME_BYTES: usize = u16::MAX as usize;

/// Fields there is room for at once: more than most heads have, with some to be added.
const ROOM: usize = 20;

/// Where something is, as (start, length) in bytes.
pub(super) type Span = (u32, u32);

/// The first thing that is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    RequestLine,
    Version,
    Status,
    LineEnd,
    Name,
    NameTooLong,
    Value,
    TooManyFields,
}

/// The words of a request head.
pub(super) struct Request {
    pub(super) head_len: usize,
    pub(super) method: Span,
    pub(super) target: Span,
    /// The digit after `HTTP/1.`
    pub(super) minor: u8,
    pub(super) fields: ParsedFields,
}

/// The words of a response head.
pub(super) struct Response {
    pub(super) head_len: usize,
    pub(super) status: u16,
    /// `None` also when it holds more than ASCII.
    pub(super) reason: Option<Span>,
    /// The digit after `HTTP/1.`
    pub(super) minor: u8,
    pub(super) fields: ParsedFields,
}

/// What a step found: `Err` ends it, `Ok(None)` wants more input.
type Step<T> = Result<Option<T>, Malformed>;

/// Goes on with what a step found, or returns that more input is wanted.
macro_rules! found {
    ($step:expr) => {
        match $step? {
            Some(found) => found,
            None => return Ok(None),
        }
    };
}

/// Takes a request head apart; `None` while it is incomplete and nothing is wrong so far.
pub(super) fn request(input: &[u8], max_fields: usize) -> Step<Request> {
    let method_end = found!(method_end(input));
    let target_at = method_end + 1;
    let target_end = found!(target_end(input, target_at));
    let (minor, version_end) = found!(version(input, target_end + 1));
    let fields_at = found!(line_end(input, version_end, Malformed::LineEnd));
    let (fields, head_len) = found!(fields(input, fields_at, max_fields));
    Ok(Some(Request {
        head_len,
        method: span(0, method_end),
        target: span(target_at, target_end),
        minor,
        fields,
    }))
}

/// Takes a response head apart; `None` while it is incomplete and nothing is wrong so far.
pub(super) fn response(input: &[u8], max_fields: usize) -> Step<Response> {
    let (minor, version_end) = found!(version(input, 0));
    match input.get(version_end) {
        None => return Ok(None),
        Some(b' ') => (),
        Some(_) => return Err(Malformed::Version),
    }
    let mut at = version_end + 1;
    let mut status = 0;
    for _ in 0..3 {
        match input.get(at) {
            None => return Ok(None),
            Some(digit @ b'0'..=b'9') => status = status * 10 + u16::from(digit - b'0'),
            Some(_) => return Err(Malformed::Status),
        }
        at += 1;
    }
    let (reason, line_at) = match input.get(at) {
        Some(b' ') => {
            let end = found!(Ok(text_end(input, at + 1)));
            let reason = &input[at + 1..end];
            let is_told = !reason.is_empty() && reason.is_ascii();
            (is_told.then(|| span(at + 1, end)), end)
        }
        _ => (None, at),
    };
    let fields_at = found!(line_end(input, line_at, Malformed::Status));
    let (fields, head_len) = found!(fields(input, fields_at, max_fields));
    Ok(Some(Response {
        head_len,
        status,
        reason,
        minor,
        fields,
    }))
}

/// Returns where the method ends: at the first space.
fn method_end(input: &[u8]) -> Step<usize> {
    if input.starts_with(b"GET ") {
        return Ok(Some(3));
    }
    match input.iter().position(|&b| !is_token_byte(b)) {
        None => Ok(None),
        // An empty line that may become the tolerated one before a request.
        Some(0) if b"\r\n".starts_with(input) => Ok(None),
        Some(at) if at > 0 && input[at] == b' ' => Ok(Some(at)),
        Some(_) => Err(Malformed::RequestLine),
    }
}

/// Returns where the target ends: at the next space.
fn target_end(input: &[u8], at: usize) -> Step<usize> {
    let Some(end) = find_below(input, at, b'!') else {
        return Ok(None);
    };
    let target = &input[at..end];
    let is_text = target.is_ascii() || std::str::from_utf8(target).is_ok();
    if input[end] != b' ' || target.is_empty() || !is_text {
        return Err(Malformed::RequestLine);
    }
    Ok(Some(end))
}

/// Returns the minor version and where the version ends.
fn version(input: &[u8], at: usize) -> Step<(u8, usize)> {
    const MAJOR: &[u8] = b"HTTP/1.";
    let rest = &input[at..];
    match rest.strip_prefix(MAJOR) {
        Some([b'0', ..]) => Ok(Some((0, at + 8))),
        Some([b'1', ..]) => Ok(Some((1, at + 8))),
        Some([]) => Ok(None),
        None if MAJOR.starts_with(rest) => Ok(None),
        _ => Err(Malformed::Version),
    }
}

/// Returns where the next line starts; `otherwise` is wrong when there is no CRLF.
fn line_end(input: &[u8], at: usize, otherwise: Malformed) -> Step<usize> {
    match input.get(at..) {
        Some([b'\r', b'\n', ..]) => Ok(Some(at + 2)),
        Some([] | [b'\r']) | None => Ok(None),
        // A proxy that took a bare LF for the end would read another message than the next parser
        // (RFC 9112 section 2.2).
        Some([b'\n', ..]) => Err(Malformed::LineEnd),
        Some(_) => Err(otherwise),
    }
}

/// Returns the fields and where the head ends.
fn fields(input: &[u8], mut at: usize, max_fields: usize) -> Step<(ParsedFields, usize)> {
    let mut fields = ParsedFields::with_capacity(max_fields.min(ROOM));
    // Ends: each round consumes a line.
    loop {
        match input.get(at) {
            None => return Ok(None),
            Some(b'\r' | b'\n') => {
                let end = found!(line_end(input, at, Malformed::LineEnd));
                return Ok(Some((fields, end)));
            }
            Some(&first) if fields.len() == max_fields => {
                let is_name = is_token_byte(first);
                return Err(if is_name {
                    Malformed::TooManyFields
                } else {
                    Malformed::Name
                });
            }
            Some(_) => at = found!(field(input, at, &mut fields)),
        }
    }
}

/// Notes the field whose line starts at `at`; returns where the next line starts.
fn field(input: &[u8], at: usize, fields: &mut ParsedFields) -> Step<usize> {
    let Some(name_end) = find(input, at, b':') else {
        let is_name = input[at..].iter().copied().all(is_token_byte);
        return if is_name {
            Ok(None)
        } else {
            Err(Malformed::Name)
        };
    };
    let name = &input[at..name_end];
    let known = KnownName::of(name);
    if known.is_none() && (name.is_empty() || !name.iter().copied().all(is_token_byte)) {
        return Err(Malformed::Name);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(Malformed::NameTooLong);
    }
    let mut value_at = name_end + 1;
    while matches!(input.get(value_at), Some(b' ' | b'\t')) {
        value_at += 1;
    }
    let Some(text_end) = text_end(input, value_at) else {
        return Ok(None);
    };
    let next = found!(line_end(input, text_end, Malformed::Value));
    let mut value_end = text_end;
    while value_end > value_at && matches!(input[value_end - 1], b' ' | b'\t') {
        value_end -= 1;
    }
    // An empty value may be anywhere; behind the name is as good.
    let value = match value_end - value_at {
        0 => span(name_end, name_end),
        _ => span(value_at, value_end),
    };
    let is_line = value.1 > 0
        && value_at == name_end + 2
        && input[name_end + 1] == b' '
        && value_end == text_end;
    let name = span(at, name_end);
    fields.push(FieldSpan { name, value }, known, is_line);
    Ok(Some(next))
}

/// Heads are far shorter than 4 GiB: callers bound them.
fn span(start: usize, end: usize) -> Span {
    (start as u32, (end - start) as u32)
}

fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// The bytes of a token (RFC 9110 section 5.6.2).
static TOKEN: [bool; 256] = alphanumeric_and(b"!#$%&'*+-.^_`|~");

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Returns where text ends: at the first control character that is no tab.
fn text_end(input: &[u8], mut at: usize) -> Option<usize> {
    // Ends: `at` grows.
    loop {
        let end = find_below(input, at, b' ')?;
        if input[end] != b'\t' {
            return Some(end);
        }
        at = end + 1;
    }
}

/// Returns where the first byte below `limit` (at most 0x80), or DEL, is at or after `at`.
#[inline]
fn find_below(input: &[u8], at: usize, limit: u8) -> Option<usize> {
    const DEL: u8 = 0x7f;
    find_with(
        input,
        at,
        |word| below(word, limit) | zeros(word ^ (ONES * u64::from(DEL))),
        |byte| byte < limit || byte == DEL,
    )
}

/// Returns where the first `wanted` is at or after `at`.
#[inline]
fn find(input: &[u8], at: usize, wanted: u8) -> Option<usize> {
    find_with(
        input,
        at,
        |word| zeros(word ^ (ONES * u64::from(wanted))),
        |byte| byte == wanted,
    )
}

/// Searches eight bytes at a time: `in_word` sets the high bit of each byte looked for. Bits above
/// the lowest one that is right may be wrong.
#[inline]
fn find_with(
    input: &[u8],
    at: usize,
    in_word: impl Fn(u64) -> u64,
    is_it: impl Fn(u8) -> bool,
) -> Option<usize> {
    let mut rest = input.get(at..)?;
    while let Some((word, behind)) = rest.split_first_chunk() {
        let found = in_word(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(input.len() - rest.len() + found.trailing_zeros() as usize / 8);
        }
        rest = behind;
    }
    let found = rest.iter().position(|&byte| is_it(byte))?;
    Some(input.len() - rest.len() + found)
}

/// Marks the bytes of `word` that are below `limit`.
#[inline]
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGHS
}

/// Marks the bytes of `word` that are zero.
#[inline]
fn zeros(word: u64) -> u64 {
    below(word, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with looking at each byte, at every place in and between words.
    #[test]
    fn finds_the_first_byte_of_its_kind() {
        for byte in 0..=255u8 {
            for at in 0..20 {
                for filler in [b'a', 0x80, 0xff, b' ', b'~'] {
                    let mut input = [filler; 24];
                    input[at] = byte;
                    input[22] = byte;
                    for from in 0..24 {
                        let slow =
                            |wanted: &dyn Fn(u8) -> bool| (from..24).find(|&i| wanted(input[i]));
                        assert_eq!(find(&input, from, byte), slow(&|b| b == byte));
                        let text = slow(&|b| (b < b' ' && b != b'\t') || b == 0x7f);
                        assert_eq!(text_end(&input, from), text);
                        let word = slow(&|b| b <= b' ' || b == 0x7f);
                        assert_eq!(find_below(&input, from, b'!'), word);
                    }
                }
            }
        }
        assert_eq!(find(b"", 0, b'a'), None);
        assert_eq!(find(b"a", 5, b'a'), None);
    }
}
