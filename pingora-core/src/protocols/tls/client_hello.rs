//! [`ClientHello`]: what a client says before TLS is decided on, read from the bytes it sent: pure.
//!
//! For routing connections without ending their TLS. A listener that ends it learns the same from
//! its library.

use std::fmt;

use bytes::Bytes;

/// The longest first message that is read. A usual one takes half a kilobyte, one with a
/// post-quantum key share 2 KiB.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// The most records that message may be spread over; more are a waste of everybody's time.
const MAX_RECORDS: usize = 64;

const RECORD_HANDSHAKE: u8 = 22;
const MESSAGE_CLIENT_HELLO: u8 = 1;

/// Extensions this file reads (RFC 6066, 7301, 8446).
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// The first message of a TLS client (RFC 8446 section 4.1.2).
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
    /// The name the client wants to talk to, in lower case, without a final dot.
    pub server_name: Option<String>,
    /// The protocols it offers, best first.
    pub alpn: Vec<Bytes>,
    /// The versions of TLS it offers, as `0x0304` for 1.3.
    pub versions: Vec<u16>,
    /// The cipher suites it offers, in its order.
    pub cipher_suites: Vec<u16>,
    /// The extensions it sends, in its order.
    pub extensions: Vec<u16>,
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

type Parsed<T> = Result<T, ClientHelloError>;

impl ClientHello {
    /// Reads the message at the start of what a client sent; `None` when more is needed.
    ///
    /// It may be spread over records in any way.
    ///
    /// # Errors
    /// The bytes are no TLS, or another message, or malformed, or longer than 16 KiB.
    pub fn parse(bytes: &[u8]) -> Result<Option<ClientHello>, ClientHelloError> {
        let Some(message) = message(bytes)? else {
            return Ok(None);
        };
        let mut reader = Reader(&message);
        read_hello(&mut reader)
            .ok_or(ClientHelloError("malformed ClientHello"))
            .map(Some)
    }
}

/// Joins the records until the message is whole; returns it without its header.
fn message(mut bytes: &[u8]) -> Parsed<Option<Vec<u8>>> {
    let mut message = Vec::new();
    for _ in 0..MAX_RECORDS {
        if bytes.first().is_some_and(|kind| *kind != RECORD_HANDSHAKE)
            || bytes.get(1).is_some_and(|major| *major != 3)
        {
            return Err(ClientHelloError("not a TLS handshake"));
        }
        let Some((head, rest)) = bytes.split_at_checked(5) else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if length == 0 || length > MAX_MESSAGE_BYTES {
            return Err(ClientHelloError("invalid length of a TLS record"));
        }
        let here = &rest[..rest.len().min(length)];
        message.extend_from_slice(here);
        if message
            .first()
            .is_some_and(|kind| *kind != MESSAGE_CLIENT_HELLO)
        {
            return Err(ClientHelloError("the first TLS message is no ClientHello"));
        }
        if let Some((head, _)) = message.split_at_checked(4) {
            let whole = 4 + u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
            if whole > MAX_MESSAGE_BYTES {
                return Err(ClientHelloError("ClientHello longer than 16 KiB"));
            }
            if message.len() >= whole {
                message.truncate(whole);
                message.drain(..4);
                return Ok(Some(message));
            }
        }
        if here.len() < length {
            return Ok(None);
        }
        bytes = &rest[length..];
    }
    Err(ClientHelloError("ClientHello in too many records"))
}

fn read_hello(reader: &mut Reader<'_>) -> Option<ClientHello> {
    let mut hello = ClientHello::default();
    let legacy_version = reader.u16()?;
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
    if !reader.0.is_empty() {
        return None;
    }
    if hello.versions.is_empty() {
        hello.versions.push(legacy_version);
    }
    Some(hello)
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
                hello.alpn.push(Bytes::copy_from_slice(protocol));
            }
        }
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
mod tests {
    use super::*;

    fn list(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &list(content)].concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        extension(SERVER_NAME, &list(&[&[0][..], &list(name)].concat()))
    }

    /// A message with these extensions, without its header.
    fn body(extensions: &[u8]) -> Vec<u8> {
        let fixed = [
            &[3, 3][..],
            &[7; 32],
            &[0],
            &list(&[0x13, 1, 0x13, 2]),
            &[1, 0],
        ]
        .concat();
        [fixed, list(extensions)].concat()
    }

    /// Records of at most `size` bytes that hold the message.
    fn records(body: &[u8], size: usize) -> Vec<u8> {
        let length = (body.len() as u32).to_be_bytes();
        let message = [&[1], &length[1..], body].concat();
        let record = |part: &[u8]| [&[22, 3, 1][..], &list(part)].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn name_in(extensions: &[u8]) -> Result<Option<String>, ()> {
        let parsed = ClientHello::parse(&records(&body(extensions), 10_000));
        parsed
            .map(|hello| hello.unwrap().server_name)
            .map_err(|_| ())
    }

    #[test]
    fn everything_is_read_however_it_is_cut() {
        let alpn = extension(ALPN, &list(b"\x02h2\x08http/1.1"));
        let versions = extension(SUPPORTED_VERSIONS, b"\x04\x03\x04\x03\x03");
        let unknown = extension(0xfafa, b"anything");
        let extensions = [sni(b"Example.COM"), alpn, versions, unknown].concat();
        let body = body(&extensions);
        for size in [3, 50, 10_000] {
            let wire = records(&body, size);
            let hello = ClientHello::parse(&wire).unwrap().unwrap();
            assert_eq!(hello.server_name.as_deref(), Some("example.com"));
            assert_eq!(hello.alpn, ["h2", "http/1.1"]);
            assert_eq!(hello.versions, [0x0304, 0x0303]);
            assert_eq!(hello.cipher_suites, [0x1301, 0x1302]);
            assert_eq!(hello.extensions, [0, 16, 43, 0xfafa]);
            for end in 0..wire.len() {
                assert_eq!(ClientHello::parse(&wire[..end]), Ok(None), "{size} {end}");
            }
        }
        let too_many = ClientHello::parse(&records(&body, 1));
        assert!(too_many.is_err());
    }

    #[test]
    fn an_old_client_says_less() {
        let fixed = [&[3, 1][..], &[7; 32], &[0], &list(&[0, 5]), &[1, 0]].concat();
        let hello = ClientHello::parse(&records(&fixed, 100)).unwrap().unwrap();
        assert_eq!((hello.server_name, hello.versions), (None, vec![0x0301]));
    }

    #[test]
    fn names_are_host_names() {
        let cases: [(&[u8], Result<Option<&str>, ()>); 8] = [
            (b"a.example", Ok(Some("a.example"))),
            (b"a.example.", Ok(Some("a.example"))),
            (b"_x.example", Ok(Some("_x.example"))),
            (b"a\0.example", Err(())),
            (b"a b", Err(())),
            (b"", Err(())),
            (b"\xc3\xa4.example", Err(())),
            (&[b'a'; 254], Err(())),
        ];
        for (name, expected) in cases {
            let expected = expected.map(|name| name.map(str::to_string));
            assert_eq!(name_in(&sni(name)), expected, "{name:?}");
        }
        // Two names, or one and something behind it.
        assert!(name_in(&[sni(b"a"), sni(b"b")].concat()).is_err());
        assert!(name_in(&extension(SERVER_NAME, b"\0\x04\0\0\x01ax")).is_err());
    }

    #[test]
    fn other_things_are_refused() {
        let hello = records(&body(&sni(b"a.example")), 10_000);
        let cases: [(&str, Vec<u8>); 8] = [
            ("plain HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("another record", [&[23], &hello[1..]].concat()),
            ("another version", [&[22, 2], &hello[2..]].concat()),
            ("another message", [&hello[..5], &[2], &hello[6..]].concat()),
            ("an empty record", vec![22, 3, 1, 0, 0]),
            ("a long record", vec![22, 3, 1, 0x40, 1]),
            ("a long message", vec![22, 3, 1, 0, 4, 1, 0, 0x40, 1]),
            (
                "bytes behind the extensions",
                records(&[body(&[]), vec![0]].concat(), 999),
            ),
        ];
        for (what, bytes) in cases {
            assert!(ClientHello::parse(&bytes).is_err(), "{what}");
        }
    }
}
