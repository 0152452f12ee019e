//! The ClientHello before the library sees it: a pure parser, and what shows it to a hook.
//!
//! The libraries tell different parts of it, or none; so it is read from the bytes that wait on the
//! connection, which stay there. A ClientHello may come in any number of records, and a record in
//! any number of packets (RFC 8446, section 5.1).

use std::fmt;
use std::sync::Arc;

use pingora_error::{Error, Result};

use super::handshake::accept_error;
use crate::protocols::Peek;

/// The most bytes of a ClientHello. Real ones have some hundred, with post-quantum keys two
/// thousand.
const MAX_HELLO: usize = 32 * 1024;

/// Length of the head of a record: type, version, length.
const RECORD_HEAD: usize = 5;
/// The type of records with handshake messages.
const HANDSHAKE: u8 = 22;
/// The type of the handshake message.
const CLIENT_HELLO: u8 = 1;

// Numbers of extensions.
const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// Looks at each ClientHello before a certificate is chosen; an error closes the connection.
///
/// ```
/// use std::sync::Arc;
/// use pingora_core::listeners::tls::{ClientHello, ClientHelloHook};
///
/// let hook: ClientHelloHook = Arc::new(|hello: &ClientHello| match &hello.server_name {
///     Some(_) => Ok(()),
///     None => pingora_core::Error::e_explain(pingora_core::TLSHandshakeFailure, "no name"),
/// });
/// ```
pub type ClientHelloHook = Arc<dyn Fn(&ClientHello) -> Result<()> + Send + Sync>;

/// What a client offers and asks for, in its order. Fingerprints like JA3 and JA4 are made of this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientHello {
    /// The version in the head of the message, 0x0303 since TLS 1.2.
    pub legacy_version: u16,
    /// The versions offered since TLS 1.3; empty before.
    pub versions: Vec<u16>,
    /// The cipher suites.
    pub cipher_suites: Vec<u16>,
    /// The numbers of the extensions.
    pub extensions: Vec<u16>,
    /// The key exchange groups.
    pub groups: Vec<u16>,
    /// The signature algorithms.
    pub signature_algorithms: Vec<u16>,
    /// The protocols offered by ALPN.
    pub alpn: Vec<Vec<u8>>,
    /// The server name asked for.
    pub server_name: Option<String>,
}

impl ClientHello {
    /// Returns what is in the body of the handshake message; `None` when it is malformed.
    ///
    /// ```
    /// use pingora_core::listeners::tls::ClientHello;
    ///
    /// assert_eq!(ClientHello::parse(b"no ClientHello"), None);
    /// ```
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut input = Input(body);
        let mut hello = ClientHello {
            legacy_version: input.u16()?,
            ..ClientHello::default()
        };
        input.take(32)?; // random
        input.vector8()?; // session id
        hello.cipher_suites = numbers(input.vector16()?)?;
        input.vector8()?; // compression methods
        if input.0.is_empty() {
            return Some(hello);
        }
        let mut extensions = Input(input.vector16()?);
        while !extensions.0.is_empty() {
            let (number, body) = (extensions.u16()?, extensions.vector16()?);
            hello.extensions.push(number);
            hello.extension(number, Input(body))?;
        }
        input.0.is_empty().then_some(hello)
    }

    fn extension(&mut self, number: u16, mut body: Input<'_>) -> Option<()> {
        match number {
            SERVER_NAME => {
                let mut names = Input(body.vector16()?);
                while !names.0.is_empty() {
                    let (kind, name) = (names.u8()?, names.vector16()?);
                    if kind == 0 && self.server_name.is_none() {
                        self.server_name = Some(std::str::from_utf8(name).ok()?.to_owned());
                    }
                }
            }
            SUPPORTED_GROUPS => self.groups = numbers(body.vector16()?)?,
            SIGNATURE_ALGORITHMS => self.signature_algorithms = numbers(body.vector16()?)?,
            SUPPORTED_VERSIONS => self.versions = numbers(body.vector8()?)?,
            ALPN => {
                let mut names = Input(body.vector16()?);
                while !names.0.is_empty() {
                    self.alpn.push(names.vector8()?.to_vec());
                }
            }
            _ => return Some(()),
        }
        body.0.is_empty().then_some(())
    }
}

/// Bytes yet to be parsed.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
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

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

fn numbers(bytes: &[u8]) -> Option<Vec<u16>> {
    let pairs = bytes.chunks_exact(2);
    pairs.remainder().is_empty().then(|| {
        let number = |pair: &[u8]| u16::from_be_bytes([pair[0], pair[1]]);
        pairs.map(number).collect()
    })
}

/// What the records received so far say about the ClientHello.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// At least this many bytes of the connection are needed to say more.
    Need(usize),
    /// The body of the whole message.
    Whole(Vec<u8>),
    /// It is none.
    Malformed(&'static str),
}

/// Joins the records at the beginning of a connection.
fn join(received: &[u8]) -> Progress {
    let mut message: Vec<u8> = Vec::new();
    let mut at = 0;
    loop {
        if let Some((&[kind, a, b, c], body)) = message.split_first_chunk::<4>() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if kind != CLIENT_HELLO {
                return Progress::Malformed("the first message is no ClientHello");
            }
            if length > MAX_HELLO {
                return Progress::Malformed("the ClientHello is too long");
            }
            if body.len() >= length {
                return Progress::Whole(body[..length].to_vec());
            }
        }
        let Some(head) = received[at..].first_chunk::<RECORD_HEAD>() else {
            return Progress::Need(at + RECORD_HEAD);
        };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if head[0] != HANDSHAKE || head[1] != 3 || length == 0 {
            return Progress::Malformed("this is no TLS");
        }
        let end = at + RECORD_HEAD + length;
        // An empty record or one byte each would otherwise go on for ever.
        if end > 2 * MAX_HELLO {
            return Progress::Malformed("the ClientHello is too long");
        }
        let Some(fragment) = received.get(at + RECORD_HEAD..end) else {
            return Progress::Need(end);
        };
        message.extend_from_slice(fragment);
        at = end;
    }
}

/// Shows the ClientHello that waits on `stream` to `hook`, and leaves it there.
///
/// # Errors
/// That of the hook; `TLSHandshakeFailure` for what is no ClientHello.
pub(super) async fn show<S: Peek + Send>(stream: &mut S, hook: &ClientHelloHook) -> Result<()> {
    let mut received = vec![0; RECORD_HEAD];
    // Each turn asks for more bytes than the last, of which there is a limit.
    loop {
        let peeked = stream.try_peek(&mut received).await;
        if !peeked.map_err(|e| accept_error(e.to_string()))? {
            return Err(accept_error(
                "the connection was closed before the ClientHello",
            ));
        }
        match join(&received) {
            Progress::Need(count) => received.resize(count, 0),
            Progress::Malformed(why) => return Err(accept_error(why)),
            Progress::Whole(body) => {
                let hello = ClientHello::parse(&body);
                let hello = hello.ok_or_else(|| accept_error("the ClientHello is malformed"))?;
                return hook(&hello).map_err(|e| refused(&hello, e));
            }
        }
    }
}

#[cold]
fn refused(hello: &ClientHello, mut e: Box<Error>) -> Box<Error> {
    e.as_down();
    e.more_context(format!("the ClientHello for {} was refused", Name(hello)))
}

struct Name<'a>(&'a ClientHello);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.server_name {
            Some(name) => write!(f, "{name:?}"),
            None => f.write_str("no name"),
        }
    }
}

#[cfg(test)]
mod tests;
