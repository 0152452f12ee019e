//! Field lines (RFC 9112 section 5), and what their values say about the body and the connection.

use super::cursor::{Cursor, Stop, is_token_byte, is_value_byte, refuse};
use super::{Length, MAX_FIELDS};

/// Fields in order, names as received.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Takes field lines and the empty line after them.
pub fn fields(input: &mut Cursor<'_>) -> Result<Fields, Stop> {
    let mut fields = Fields::new();
    while input.peek()? != b'\r' {
        let name = input.until(b':', is_token_byte, "invalid field name")?;
        if name.is_empty() {
            return refuse("empty field name");
        }
        let value = input.until(b'\r', is_value_byte, "invalid field value")?;
        input.expect(b"\n", "bare CR")?;
        fields.push((name, trimmed(&value).to_vec()));
        if fields.len() > MAX_FIELDS {
            return refuse("too many fields");
        }
    }
    input.crlf()?;
    Ok(fields)
}

/// Returns `value` without optional white space around it: spaces and tabs.
pub fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Returns the values of all fields of this name.
pub fn all<'f>(fields: &'f Fields, name: &str) -> Vec<&'f [u8]> {
    fields
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| &value[..])
        .collect()
}

/// Returns the length the fields state; `None` if they state none (RFC 9112 section 6).
pub fn length(fields: &Fields, minor_version: u8) -> Result<Option<Length>, Stop> {
    let codings = all(fields, "transfer-encoding");
    let lengths = all(fields, "content-length");
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(None),
        ([], [length]) => number(length).map(|bytes| Some(Length::Bytes(bytes))),
        ([coding], []) if minor_version == 0 || !coding.eq_ignore_ascii_case(b"chunked") => {
            refuse("transfer coding")
        }
        ([_], []) => Ok(Some(Length::Chunked)),
        _ => refuse("several lengths"),
    }
}

/// Returns whether the connection persists (RFC 9112 section 9.3).
pub fn persists(fields: &Fields, minor_version: u8) -> bool {
    let values = all(fields, "connection");
    let has = |option: &str| {
        values.iter().any(|value| {
            value
                .split(|byte| *byte == b',')
                .any(|other| trimmed(other).eq_ignore_ascii_case(option.as_bytes()))
        })
    };
    !has("close") && (minor_version == 1 || has("keep-alive"))
}

fn number(digits: &[u8]) -> Result<u64, Stop> {
    if digits.is_empty() || digits.len() > 19 {
        return refuse("Content-Length of no or too many digits");
    }
    if digits.starts_with(b"0") && digits != b"0" {
        return refuse("Content-Length with leading zeros");
    }
    let mut number = 0u64;
    for digit in digits {
        match digit {
            b'0'..=b'9' => number = number * 10 + u64::from(digit - b'0'),
            _ => return refuse("Content-Length is no number"),
        }
    }
    Ok(number)
}
