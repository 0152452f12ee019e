//! From bytes to a header. What is not exactly a header is an error: it comes from a proxy that
//! was trusted, so a mistake is a fault in the set-up or an attack.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::{
    MAX_V1_BYTES, MAX_V2_BYTES, PP2_TYPE_CRC32C, ProxyField, ProxyHeader, SIGNATURE, crc32c,
};

/// Why bytes are no header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeaderError(&'static str);

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ProxyHeaderError {}

type Parsed<T> = Result<T, ProxyHeaderError>;

const fn bad<T>(why: &'static str) -> Parsed<T> {
    Err(ProxyHeaderError(why))
}

impl ProxyHeader {
    /// Reads a header of either version at the start of `bytes`.
    ///
    /// Returns it and its length; `None` when more bytes are needed to tell.
    ///
    /// # Errors
    /// There is no header, or it is malformed, or longer than 107 bytes (version 1) or 4 KiB
    /// (version 2), or for another transport than TCP and UDP over IP.
    pub fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
        let starts = |wanted: &[u8]| {
            let known = bytes.len().min(wanted.len());
            bytes[..known] == wanted[..known]
        };
        if starts(SIGNATURE) {
            parse_v2(bytes)
        } else if starts(b"PROXY ") {
            parse_v1(bytes)
        } else {
            bad("no PROXY protocol header")
        }
    }
}

fn parse_v1(bytes: &[u8]) -> Parsed<Option<(ProxyHeader, usize)>> {
    let within = &bytes[..bytes.len().min(MAX_V1_BYTES)];
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() >= MAX_V1_BYTES {
            bad("header of version 1 longer than 107 bytes")
        } else {
            Ok(None)
        };
    };
    let line = std::str::from_utf8(&within[..end]);
    let line = line.map_err(|_| ProxyHeaderError("header of version 1 is not text"))?;
    let mut words = line.split(' ').skip(1);
    let header = match words.next() {
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => ProxyHeader::local(),
        Some("TCP4") => v1_addresses(words, |word| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4))?,
        Some("TCP6") => v1_addresses(words, |word| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6))?,
        _ => return bad("unknown transport in a header of version 1"),
    };
    Ok(Some((header, end + 2)))
}

fn v1_addresses<'a>(
    words: impl Iterator<Item = &'a str>,
    ip: impl Fn(&str) -> Option<IpAddr>,
) -> Parsed<ProxyHeader> {
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else {
        return bad("a header of version 1 has two addresses and two ports");
    };
    let address = |word, port| Some(SocketAddr::new(ip(word)?, v1_port(port)?));
    match (
        address(source, source_port),
        address(destination, destination_port),
    ) {
        (Some(source), Some(destination)) => Ok(ProxyHeader::new(source, destination)),
        _ => bad("invalid address or port in a header of version 1"),
    }
}

/// Digits only, without a leading zero.
fn v1_port(word: &str) -> Option<u16> {
    let canonical =
        word.bytes().all(|b| b.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| canonical)
}

fn parse_v2(bytes: &[u8]) -> Parsed<Option<(ProxyHeader, usize)>> {
    let Some((fixed, _)) = bytes.split_at_checked(16) else {
        return Ok(None);
    };
    let (command, family) = (fixed[12], fixed[13]);
    let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if command >> 4 != 2 {
        return bad("unknown version of the PROXY protocol");
    }
    if 16 + rest > MAX_V2_BYTES {
        return bad("header of version 2 longer than 4 KiB");
    }
    let Some((header, _)) = bytes.split_at_checked(16 + rest) else {
        return Ok(None);
    };
    let content = &header[16..];
    let (addresses, fields) = match (command & 0xf, family) {
        // The proxy speaks for itself: the addresses, if any, are to be ignored.
        (0, family) => (
            None,
            content
                .split_at_checked(v2_length(family))
                .map(|(_, rest)| rest),
        ),
        // Nothing is told of the transport.
        (1, 0x00) => (None, Some(content)),
        (1, 0x11 | 0x12) => v2_addresses::<4>(content),
        (1, 0x21 | 0x22) => v2_addresses::<16>(content),
        (1, 0x31 | 0x32) => (None, content.split_at_checked(216).map(|(_, rest)| rest)),
        (1, _) => return bad("unknown transport in a header of version 2"),
        _ => return bad("unknown command in a header of version 2"),
    };
    let Some(fields) = fields else {
        return bad("header of version 2 too short for its addresses");
    };
    let fields = v2_fields(header, header.len() - fields.len())?;
    Ok(Some((ProxyHeader { addresses, fields }, header.len())))
}

/// Returns how many bytes the addresses of a family take; 0 for one that is not known.
fn v2_length(family: u8) -> usize {
    match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    }
}

/// Splits the addresses off; `N` is the length of an IP address.
fn v2_addresses<const N: usize>(content: &[u8]) -> (Option<(SocketAddr, SocketAddr)>, Option<&[u8]>)
where
    IpAddr: From<[u8; N]>,
{
    let Some((addresses, rest)) = content.split_at_checked(2 * N + 4) else {
        return (None, None);
    };
    let ip = |at: usize| {
        let octets: [u8; N] = addresses[at..at + N]
            .try_into()
            .expect("as long as asked for");
        IpAddr::from(octets)
    };
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let source = SocketAddr::new(ip(0), port(2 * N));
    let destination = SocketAddr::new(ip(N), port(2 * N + 2));
    (Some((source, destination)), Some(rest))
}

/// Reads the fields, which fill a header from `at` to its end, and checks its checksum.
fn v2_fields(header: &[u8], mut at: usize) -> Parsed<Vec<ProxyField>> {
    let mut fields = Vec::new();
    // Each turn takes three bytes at least.
    while at < header.len() {
        let Some(head) = header.get(at..at + 3) else {
            return bad("a field of version 2 breaks off");
        };
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let Some(value) = header.get(at + 3..at + 3 + length) else {
            return bad("a field of version 2 is longer than its header");
        };
        if head[0] == PP2_TYPE_CRC32C {
            let told = <[u8; 4]>::try_from(value).ok().map(u32::from_be_bytes);
            if told != Some(crc32c(header, at + 3)) {
                return bad("wrong checksum in a header of version 2");
            }
        }
        fields.push(ProxyField {
            kind: head[0],
            value: Bytes::copy_from_slice(value),
        });
        at += 3 + length;
    }
    Ok(fields)
}
