//! Reading a `Range` field (RFC 9110 section 14.2): bytes in, parts out.

use std::ops::Range;

/// What a `Range` field asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Requested {
    /// The field is to be ignored.
    Everything,
    /// Only parts that do not exist.
    Nothing,
    /// These parts, in the order asked for; at least one, none empty.
    Parts(Vec<Range<usize>>),
}

/// Reads the value of a `Range` field for a response of `length` bytes.
///
/// Another unit, a malformed member, more than `max` of them, and parts that are longer together
/// than the whole have the field ignored, as the RFC allows: none of them is worth more work than
/// the whole response is.
pub(super) fn parse_range(value: &[u8], length: usize, max: usize) -> Requested {
    let Some(set) = strip_unit(value) else {
        return Requested::Everything;
    };
    let mut parts = Vec::new();
    let mut members = 0;
    let mut total = 0usize;
    for member in set.split(|&b| b == b',') {
        let member = member.trim_ascii();
        if member.is_empty() {
            // Lists may have empty members (section 5.6.1.2).
            continue;
        }
        members += 1;
        if members > max {
            return Requested::Everything;
        }
        match parse_member(member, length) {
            None => return Requested::Everything,
            Some(part) if part.is_empty() => (),
            Some(part) => {
                total = total.saturating_add(part.len());
                parts.push(part);
            }
        }
    }
    match (members, parts.is_empty()) {
        (0, _) => Requested::Everything,
        (_, true) => Requested::Nothing,
        _ if total > length => Requested::Everything,
        _ => Requested::Parts(parts),
    }
}

fn strip_unit(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let (unit, set) = value.split_at_checked(6)?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

/// Returns the part one member names, empty when there is no such part; `None` when malformed.
fn parse_member(member: &[u8], length: usize) -> Option<Range<usize>> {
    let dash = member.iter().position(|&b| b == b'-')?;
    let (first, last) = (&member[..dash], &member[dash + 1..]);
    if first.is_empty() {
        let suffix = parse_number(last)?;
        return Some(length.saturating_sub(suffix)..length);
    }
    let first = parse_number(first)?;
    let end = match last {
        b"" => length,
        last => {
            let last = parse_number(last)?;
            if last < first {
                return None;
            }
            last.saturating_add(1).min(length)
        }
    };
    Some(first.min(end)..end)
}

/// Returns a number of digits only; what is larger than any length counts as the largest.
fn parse_number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0usize, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'))
    }))
}
