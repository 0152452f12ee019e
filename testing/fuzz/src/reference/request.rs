//! Request heads and their framing (RFC 9112 sections 3 and 6).

use super::cursor::{Cursor, Stop, is_token_byte, refuse};
use super::fields::{Fields, all, fields, length, persists};
use super::host::{is_authority, is_host, is_host_with_port};
use super::{Length, MAX_HEAD_BYTES, MAX_METHOD_BYTES, MAX_TARGET_BYTES, Message};

/// Returns the request at the front of `bytes`.
pub fn request(bytes: &[u8]) -> Result<Message, Stop> {
    let mut input = Cursor::new(bytes);
    if input.peek()? == b'\r' {
        input.crlf()?;
    }
    let start = input.at();
    let method = input.until(b' ', is_token_byte, "invalid method")?;
    let target = input.until(b' ', is_target_byte, "invalid byte in the target")?;
    input.expect(b"HTTP/1.", "invalid version")?;
    let minor_version = match input.next()? {
        b'0' => 0,
        b'1' => 1,
        _ => return refuse("unsupported version"),
    };
    input.crlf()?;
    let fields = fields(&mut input)?;
    if input.at() - start > MAX_HEAD_BYTES || target.len() > MAX_TARGET_BYTES {
        return refuse("too large");
    }
    check_target(&method, &target)?;
    check_host(&fields, minor_version)?;
    check_expect(&fields, minor_version)?;
    let length = length(&fields, minor_version)?.unwrap_or(Length::Bytes(0));
    if method == b"CONNECT" && length != Length::Bytes(0) {
        // Content has no meaning there (RFC 9110 section 9.3.6): it may be the tunnel's.
        return refuse("CONNECT with content");
    }
    Ok(Message {
        length,
        keep_alive: persists(&fields, minor_version),
        start: vec![method, target],
        minor_version,
        fields,
        rest: input.rest(),
    })
}

/// Printable ASCII and UTF-8; not the `#` of a fragment, which is never sent.
fn is_target_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0x80..=0xff) && byte != b'#'
}

/// One of the four forms, and one the method may have (RFC 9112 section 3.2).
fn check_target(method: &[u8], target: &[u8]) -> Result<(), Stop> {
    let valid = (1..=MAX_METHOD_BYTES).contains(&method.len())
        && std::str::from_utf8(target).is_ok()
        && match target {
            target if method == b"CONNECT" => is_host_with_port(target),
            [b'/', ..] => true,
            b"*" => method == b"OPTIONS",
            target => is_absolute(target),
        };
    if valid {
        Ok(())
    } else {
        refuse("invalid target")
    }
}

fn is_absolute(target: &[u8]) -> bool {
    let Some(colon) = target.iter().position(|byte| *byte == b':') else {
        return false;
    };
    let (scheme, rest) = target.split_at(colon);
    let known = [&b"http"[..], b"https", b"ws", b"wss"];
    let Some(rest) = rest.strip_prefix(b"://") else {
        return false;
    };
    let end = rest
        .iter()
        .position(|byte| b"/?".contains(byte))
        .unwrap_or(rest.len());
    known.iter().any(|known| scheme.eq_ignore_ascii_case(known)) && is_authority(&rest[..end])
}

/// HTTP/1.1 has one `Host`, HTTP/1.0 at most one.
fn check_host(fields: &Fields, minor_version: u8) -> Result<(), Stop> {
    match &all(fields, "host")[..] {
        [] if minor_version == 0 => Ok(()),
        [host] if is_host(host) => Ok(()),
        _ => refuse("invalid Host"),
    }
}

fn check_expect(fields: &Fields, minor_version: u8) -> Result<(), Stop> {
    match &all(fields, "expect")[..] {
        [] => Ok(()),
        _ if minor_version == 0 => Ok(()),
        [expectation] if expectation.eq_ignore_ascii_case(b"100-continue") => Ok(()),
        _ => refuse("unknown expectation"),
    }
}
