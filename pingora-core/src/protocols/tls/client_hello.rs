//! [`ClientHello`]: what a client says before TLS is decided on, read from the bytes it sent: pure.
//!
//! For routing connections without ending their TLS, and for hooks that look before a listener does:
//! the libraries tell different parts of it, or none. It may come in any number of records, and a
//! record in any number of packets (RFC 8446 section 5.1).

mod ja4;

use std::fmt;

/// The longest first message that is read. A usual one takes half a kilobyte, one with a
/// post-quantum key share 2 KiB.
const MAX_MESSAGE_BYTES: usize = 32 * 1024;

/// The most bytes its records take; shorter records than that allows only waste time.
pub const MAX_RECORD_BYTES: usize = 2 * MAX_MESSAGE_BYTES;

/// The most records it is read from: each look at the connection reads all of them again.
const MAX_RECORDS: usize = 1024;

/// Length of the head of a record: type, version, length.
const RECORD_HEAD: usize = 5;
const RECORD_HANDSHAKE: u8 = 22;
const MESSAGE_CLIENT_HELLO: u8 = 1;

/// Extensions this file reads (RFC 6066, 7301, 8446).
const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// The first message of a TLS client (RFC 8446 section 4.1.2): what it offers and asks for, in its
/// order. Fingerprints are made of this, as [`ja4`](Self::ja4).
///
/// ```
/// use pingora_core::protocols::tls::client_hello::ClientHello;
///
/// // Nothing can be said of the first bytes of a record.
/// assert_eq!(ClientHello::parse(&[22, 3, 1]), Ok(None));
/// // This is no TLS.
/// assert!(ClientHello::parse(b"GET / HTTP/1.1\r\n").is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientHello {
    /// The version in the head of the message, `0x0303` since TLS 1.2.
    pub legacy_version: u16,
    /// The versions offered since TLS 1.3, as `0x0304`; empty before.
    pub versions: Vec<u16>,
    /// The cipher suites.
    pub cipher_suites: Vec<u16>,
    /// The numbers of the extensions.
    pub extensions: Vec<u16>,
    /// The key exchange groups.
    pub groups: Vec<u16>,
    /// The signature algorithms.
    pub signature_algorithms: Vec<u16>,
    /// The protocols offered by ALPN, best first.
    pub alpn: Vec<Vec<u8>>,
    /// The name the client wants to talk to, in lower case, without a final dot.
    pub server_name: Option<String>,
}

/// Why bytes are no first message of a TLS client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHelloError(&'static str);

impl fmt::Display for ClientHelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ClientHelloError {}

impl ClientHello {
    /// Reads the message at the start of what a client sent; `None` when more is needed.
    ///
    /// It may be spread over records in any way.
    ///
    /// # Errors
    /// The bytes are no TLS, or another message, or malformed, or longer than 32 KiB.
    pub fn parse(bytes: &[u8]) -> Result<Option<ClientHello>, ClientHelloError> {
        match read(bytes) {
            Progress::Need(_) => Ok(None),
            Progress::Whole(hello) => Ok(Some(hello)),
            Progress::Malformed(why) => Err(ClientHelloError(why)),
        }
    }

    /// Returns the JA4 fingerprint of the client, which tells programs and libraries from each other.
    ///
    /// It is the same whatever the order of ciphers and extensions; the name that is asked for is not
    /// in it.
    ///
    /// ```
    /// use pingora_core::protocols::tls::client_hello::ClientHello;
    ///
    /// let nothing = ClientHello::default();
    /// assert_eq!(nothing.ja4(), "t00i000000_000000000000_000000000000");
    /// ```
    pub fn ja4(&self) -> String {
        ja4::ja4(self)
    }
}

/// What the bytes received so far say about the message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// At least this many bytes of the connection are needed to say more.
    Need(usize),
    Whole(ClientHello),
    /// It is none.
    Malformed(&'static str),
}

/// Reads the records at the beginning of a connection.
pub(crate) fn read(received: &[u8]) -> Progress {
    let mut message: Vec<u8> = Vec::new();
    let mut at = 0;
    for _ in 0..=MAX_RECORDS {
        if message
            .first()
            .is_some_and(|kind| *kind != MESSAGE_CLIENT_HELLO)
        {
            return Progress::Malformed("the first TLS message is no ClientHello");
        }
        if let Some((&[_, a, b, c], body)) = message.split_first_chunk::<4>() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > MAX_MESSAGE_BYTES {
                return Progress::Malformed("the ClientHello is longer than 32 KiB");
            }
            if let Some((body, _)) = body.split_at_checked(length) {
                return match read_hello(&mut Reader(body)) {
                    Some(hello) => Progress::Whole(hello),
                    None => Progress::Malformed("the ClientHello is malformed"),
                };
            }
        }
        let rest = &received[at..];
        if rest.first().is_some_and(|kind| *kind != RECORD_HANDSHAKE)
            || rest.get(1).is_some_and(|major| *major != 3)
        {
            return Progress::Malformed("this is no TLS handshake");
        }
        let Some(head) = rest.first_chunk::<RECORD_HEAD>() else {
            return Progress::Need(at + RECORD_HEAD);
        };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let end = at + RECORD_HEAD + length;
        if length == 0 || end > MAX_RECORD_BYTES {
            return Progress::Malformed("the ClientHello is in too many records");
        }
        let Some(fragment) = received.get(at + RECORD_HEAD..end) else {
            return Progress::Need(end);
        };
        message.extend_from_slice(fragment);
        at = end;
    }
    Progress::Malformed("the ClientHello is in too many records")
}

fn read_hello(reader: &mut Reader<'_>) -> Option<ClientHello> {
    let mut hello = ClientHello {
        legacy_version: reader.u16()?,
        ..ClientHello::default()
    };
    let _random = reader.take(32)?;
    let _session = reader.short()?;
    hello.cipher_suites = reader.long()?.numbers()?;
    let _compression = reader.short()?;
    if !reader.0.is_empty() {
        let mut extensions = reader.long()?;
        // Each turn takes four bytes at least.
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let content = extensions.long()?;
            if hello.extensions.contains(&kind) {
                // Not allowed (RFC 8446 section 4.2), and which one would count?
                return None;
            }
            hello.extensions.push(kind);
            read_extension(&mut hello, kind, content)?;
        }
    }
    reader.0.is_empty().then_some(hello)
}

fn read_extension(hello: &mut ClientHello, kind: u16, mut content: Reader<'_>) -> Option<()> {
    match kind {
        SERVER_NAME => {
            let mut names = content.long()?;
            // Only host names exist (type 0), and one of a type is allowed (RFC 6066 section 3).
            if names.u8()? == 0 {
                hello.server_name = Some(host_name(names.long()?.0)?);
            }
        }
        ALPN => {
            let mut protocols = content.long()?;
            while !protocols.0.is_empty() {
                let protocol = protocols.short()?.0;
                if protocol.is_empty() {
                    return None;
                }
                hello.alpn.push(protocol.to_vec());
            }
        }
        SUPPORTED_GROUPS => hello.groups = content.long()?.numbers()?,
        SIGNATURE_ALGORITHMS => hello.signature_algorithms = content.long()?.numbers()?,
        SUPPORTED_VERSIONS => hello.versions = content.short()?.numbers()?,
        _ => return Some(()),
    }
    // All of these have nothing behind their list.
    content.0.is_empty().then_some(())
}

/// Returns a name fit to route by; `None` for what is no host name, as one with a NUL in it.
fn host_name(name: &[u8]) -> Option<String> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let valid = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if name.is_empty() || name.len() > 253 || !name.iter().all(valid) {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    Some(name.to_ascii_lowercase())
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A list with its length in one byte.
    fn short(&mut self) -> Option<Reader<'a>> {
        let length = self.u8()?;
        self.take(length.into()).map(Reader)
    }

    /// A list with its length in two bytes.
    fn long(&mut self) -> Option<Reader<'a>> {
        let length = self.u16()?;
        self.take(length.into()).map(Reader)
    }

    /// A list of numbers of two bytes, all of what is left.
    fn numbers(self) -> Option<Vec<u16>> {
        let (pairs, rest) = self.0.as_chunks::<2>();
        let numbers = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
        rest.is_empty().then(|| numbers.collect())
    }
}

#[cfg(test)]
mod tests;
