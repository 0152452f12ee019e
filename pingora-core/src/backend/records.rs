//! How the parts of a write become TLS records, for libraries that take one part at a time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// The plaintext of a TLS record (RFC 8446, section 5.1): more in one write makes two records.
const MAX_RECORD: usize = 16 * 1024;

/// Parts at least as long as this are worth a record of their own; shorter ones are copied together.
const GATHER_BELOW: usize = 4 * 1024;

/// Writes what is to be sent first of `parts` to a stream that takes one.
pub(super) fn poll_write_gathered<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    parts: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    match gather(parts) {
        Gathered::One(part) => Pin::new(stream).poll_write(cx, part),
        Gathered::Copy(parts) => Pin::new(stream).poll_write(cx, &parts),
    }
}

/// How to send several parts in as few records as is sensible.
enum Gathered<'a> {
    /// This part alone.
    One(&'a [u8]),
    /// These parts, copied together.
    Copy(Vec<u8>),
}

/// Returns what to send first of `parts`.
///
/// A head of some hundred bytes would otherwise travel in a record of its own before the body.
/// Given the same parts it returns the same bytes, as libraries want of a write that is tried again.
fn gather<'a>(parts: &'a [IoSlice<'_>]) -> Gathered<'a> {
    let mut rest = parts
        .iter()
        .map(|part| &**part)
        .filter(|part| !part.is_empty());
    let first = rest.next().unwrap_or_default();
    if first.len() >= GATHER_BELOW {
        return Gathered::One(first);
    }
    let Some(second) = rest.next() else {
        return Gathered::One(first);
    };
    let mut all = Vec::with_capacity(MAX_RECORD.min(first.len() + second.len()));
    all.extend_from_slice(first);
    for part in std::iter::once(second).chain(rest) {
        let room = MAX_RECORD - all.len();
        all.extend_from_slice(&part[..part.len().min(room)]);
        if part.len() >= room {
            break;
        }
    }
    Gathered::Copy(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_parts_are_gathered() {
        let long = vec![b'x'; MAX_RECORD * 2];
        let cases: &[(&[&[u8]], usize)] = &[
            (&[], 0),
            (&[b"", b"abc", b""], 3),
            (&[b"ab", b"", b"cd"], 4),
            (&[&long[..GATHER_BELOW], b"cd"], GATHER_BELOW),
            (&[b"head", &long], MAX_RECORD),
            (&[b"head", &long[..MAX_RECORD - 4], b"tail"], MAX_RECORD),
        ];
        for (parts, expected) in cases {
            let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let all = parts.concat();
            let sent = match gather(&slices) {
                Gathered::One(part) => part.to_vec(),
                Gathered::Copy(parts) => parts,
            };
            assert_eq!(sent.len(), *expected);
            assert!(all.starts_with(&sent));
        }
    }
}
