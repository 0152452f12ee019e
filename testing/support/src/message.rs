//! HTTP/1 messages, read strictly: heads, fields and bodies exactly as RFC 9112 writes them.
//!
//! This is an independent reader, on purpose stricter than a proxy must be: what the stack sends
//! is judged by it, so it forgives nothing. Shared by [`crate::origin`] and [`crate::client`].

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::check::show;

/// The most a head may have before reading gives up: 1 MiB.
pub const MAX_HEAD: usize = 1 << 20;

/// Fields in the order received: names as sent, values without the surrounding blanks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, Vec<u8>)>);

impl Fields {
    /// Returns the value of the first field of this name (any case) as text, if it is UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Returns the values of every field of this name (any case); panics if one is not UTF-8.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = self
            .0
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        same.map(|(_, value)| std::str::from_utf8(value).expect("a field value is UTF-8"))
            .collect()
    }

    /// Returns whether a field of this name (any case) is there.
    pub fn has(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
    }
}

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Until the connection closes; responses only.
    Close,
}

/// A start line and its fields.
#[derive(Clone, Debug)]
pub struct Head {
    /// The start line without its CRLF.
    pub start: String,
    /// The fields.
    pub fields: Fields,
    /// The head as received, with the empty line.
    pub raw: Bytes,
}

impl Head {
    /// Reads a complete head, the empty line included.
    pub fn parse(raw: &Bytes) -> Result<Self, String> {
        let body = raw
            .strip_suffix(b"\r\n\r\n")
            .ok_or("the head does not end in CRLF CRLF")?;
        let mut lines = split_lines(body).into_iter();
        let start = lines.next().unwrap_or_default();
        let start = std::str::from_utf8(start).map_err(|_| "the start line is not UTF-8")?;
        if start.contains(['\r', '\n', '\0']) {
            return Err(format!("CR, LF or NUL in the start line {}", show(start)));
        }
        let start = start.to_owned();
        let fields = lines.map(field).collect::<Result<_, _>>()?;
        Ok(Self {
            start,
            fields: Fields(fields),
            raw: raw.clone(),
        })
    }

    /// Returns the framing the fields ask for; `None` where they say nothing.
    pub fn framing(&self) -> Result<Option<Framing>, String> {
        let lengths = self.fields.all("content-length");
        let encodings = self.fields.all("transfer-encoding");
        match (lengths.as_slice(), encodings.as_slice()) {
            ([], []) => Ok(None),
            ([], [one]) if one.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            ([one], []) if !one.is_empty() && one.bytes().all(|byte| byte.is_ascii_digit()) => one
                .parse()
                .map(|length| Some(Framing::Length(length)))
                .map_err(|e| e.to_string()),
            _ => Err(format!(
                "bad framing: Content-Length {lengths:?}, Transfer-Encoding {encodings:?}"
            )),
        }
    }
}

/// Splits at CRLF; a lone CR or LF stays in its line, to be refused there.
fn split_lines(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(at) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&bytes[..at]);
        bytes = &bytes[at + 2..];
    }
    lines.push(bytes);
    lines
}

/// Reads one field line (RFC 9110 section 5.1 and 5.5, RFC 9112 section 5.1). Bytes above 0x7f are
/// kept in values: they are obsolete but legal there.
fn field(line: &[u8]) -> Result<(String, Vec<u8>), String> {
    let colon = line.iter().position(|byte| *byte == b':');
    let colon = colon.ok_or_else(|| format!("no colon in field {}", show(line)))?;
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let name = &line[..colon];
    if name.is_empty() || !name.iter().all(is_token) {
        return Err(format!("bad field name in {}", show(line)));
    }
    let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let value = &line[colon + 1..];
    let start = value.iter().take_while(is_blank).count();
    let end = value.iter().rev().take_while(is_blank).count();
    let value = value.get(start..value.len() - end).unwrap_or_default();
    if value
        .iter()
        .any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f)
    {
        return Err(format!("control byte in field {}", show(line)));
    }
    Ok((String::from_utf8_lossy(name).into_owned(), value.to_vec()))
}

/// A stream with what was read from it and not yet used.
#[derive(Debug)]
pub struct Reader {
    buffer: BytesMut,
    total: u64,
    record: Option<BytesMut>,
}

impl Reader {
    /// Returns an empty reader; with `record`, it keeps a copy of everything it reads.
    pub fn new(record: bool) -> Self {
        Self {
            buffer: BytesMut::new(),
            total: 0,
            record: record.then(BytesMut::new),
        }
    }

    /// Returns the bytes read and not yet used.
    pub fn leftover(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes the bytes read and not yet used.
    pub fn take_leftover(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }

    /// Takes everything recorded since the last call.
    pub fn take_record(&mut self) -> Bytes {
        self.record
            .as_mut()
            .map(|record| record.split().freeze())
            .unwrap_or_default()
    }

    /// Returns how many bytes were read in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Reads some more; `Ok(false)` at the end of the stream. Cancel-safe.
    pub async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<bool, String> {
        let before = self.buffer.len();
        let read = from
            .read_buf(&mut self.buffer)
            .await
            .map_err(|e| format!("reading: {e}"))?;
        self.total += read as u64;
        if let Some(record) = &mut self.record {
            record.extend_from_slice(&self.buffer[before..]);
        }
        Ok(read > 0)
    }

    /// Reads up to and including `needle`; `Ok(None)` if the stream ends before its first byte.
    pub async fn until(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        needle: &[u8],
    ) -> Result<Option<Bytes>, String> {
        let mut searched = 0;
        loop {
            let found = self.buffer[searched..]
                .windows(needle.len())
                .position(|part| part == needle);
            if let Some(at) = found {
                return Ok(Some(
                    self.buffer.split_to(searched + at + needle.len()).freeze(),
                ));
            }
            searched = (self.buffer.len() + 1).saturating_sub(needle.len());
            if self.buffer.len() > MAX_HEAD {
                return Err(format!("no {} within {MAX_HEAD} bytes", show(needle)));
            }
            if !self.fill(from).await? {
                return match self.buffer.len() {
                    0 => Ok(None),
                    _ => Err(format!(
                        "closed inside {}, waiting for {}",
                        show(&self.buffer),
                        show(needle)
                    )),
                };
            }
        }
    }

    /// Reads exactly `count` bytes.
    pub async fn exactly(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        count: usize,
    ) -> Result<Bytes, String> {
        while self.buffer.len() < count {
            if !self.fill(from).await? {
                return Err(format!(
                    "closed after {} of {count} bytes",
                    self.buffer.len()
                ));
            }
        }
        Ok(self.buffer.split_to(count).freeze())
    }

    /// Reads a head; `Ok(None)` if the stream ends before its first byte.
    pub async fn head(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Head>, String> {
        let raw = self.until(from, b"\r\n\r\n").await?;
        raw.as_ref().map(Head::parse).transpose()
    }

    /// Reads a body of this framing, and the trailers of a chunked one.
    pub async fn body(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        framing: Framing,
    ) -> Result<(Bytes, Fields), String> {
        match framing {
            Framing::None => Ok((Bytes::new(), Fields::default())),
            Framing::Length(length) => {
                let length = usize::try_from(length).map_err(|e| e.to_string())?;
                Ok((self.exactly(from, length).await?, Fields::default()))
            }
            Framing::Chunked => self.chunked(from).await,
            Framing::Close => {
                while self.fill(from).await? {}
                Ok((self.take_leftover(), Fields::default()))
            }
        }
    }

    /// Reads chunks (RFC 9112 section 7.1): plain hexadecimal sizes, no extensions.
    async fn chunked(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<(Bytes, Fields), String> {
        let mut body = BytesMut::new();
        loop {
            let line = self.line(from).await?;
            let is_size =
                !line.is_empty() && line.len() <= 8 && line.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_size {
                return Err(format!("bad chunk size line {}", show(&line)));
            }
            let size = usize::from_str_radix(&line, 16).map_err(|e| e.to_string())?;
            if size == 0 {
                break;
            }
            let mut chunk = self.exactly(from, size + 2).await?;
            if !chunk.ends_with(b"\r\n") {
                return Err(String::from("a chunk does not end in CRLF"));
            }
            body.extend_from_slice(&chunk[..size]);
            chunk.advance(size);
        }
        let mut trailers = Fields::default();
        loop {
            let line = self.line(from).await?;
            if line.is_empty() {
                return Ok((body.freeze(), trailers));
            }
            trailers.0.push(field(line.as_bytes())?);
        }
    }

    async fn line(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<String, String> {
        let raw = self
            .until(from, b"\r\n")
            .await?
            .ok_or("closed inside a chunked body")?;
        String::from_utf8(raw[..raw.len() - 2].to_vec()).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Framing, Head, Reader};
    use crate::check;

    #[test]
    fn framing_of_heads() {
        let run = |fields: &str| {
            let raw = Bytes::from(format!("GET / HTTP/1.1\r\n{fields}\r\n"));
            Head::parse(&raw).and_then(|head| head.framing()).ok()
        };
        check::table(
            &[
                ("", Some(None)),
                ("Content-Length: 5\r\n", Some(Some(Framing::Length(5)))),
                (
                    "transfer-encoding: Chunked\r\n",
                    Some(Some(Framing::Chunked)),
                ),
                ("Content-Length: +5\r\n", None),
                ("Content-Length: 5\r\nContent-Length: 5\r\n", None),
                ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", None),
                ("Name : value\r\n", None),
                ("a: b\r\n c\r\n", None),
                ("a: b\rc\r\n", None),
                ("nocolon\r\n", None),
                ("blank: \t \r\n", Some(None)),
                ("latin: caf\u{e9}\r\n", Some(None)),
            ],
            run,
        );
    }

    #[tokio::test]
    async fn chunked_bodies() {
        for (input, expected) in [
            ("0\r\n\r\n", Some("")),
            ("3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", Some("abcd")),
            ("a\r\n0123456789\r\n0\r\nT: x\r\n\r\n", Some("0123456789")),
            ("3;x=y\r\nabc\r\n0\r\n\r\n", None),
            ("\r\n", None),
            ("0x3\r\nabc\r\n0\r\n\r\n", None),
            ("3\r\nabcd\r\n0\r\n\r\n", None),
            ("3\nabc\r\n0\r\n\r\n", None),
            ("3\r\nab", None),
        ] {
            let body = Reader::new(false)
                .body(&mut input.as_bytes(), Framing::Chunked)
                .await;
            let body = body
                .ok()
                .map(|(body, _)| String::from_utf8(body.to_vec()).unwrap());
            assert_eq!(body.as_deref(), expected, "{input:?}");
        }
    }
}
