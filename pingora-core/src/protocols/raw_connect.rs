//! CONNECT: asking an HTTP/1 proxy for a connection to somewhere else (RFC 9110, section 9.3.6).
//!
//! The connector makes the connection to the proxy and calls [`generate_connect_header`] and
//! [`connect`]; after that the stream leads to the peer.

use std::any::Any;
use std::fmt;
use std::net::Ipv6Addr;

use http::{HeaderName, HeaderValue, Method, Request, Version, header};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Stream;
use crate::upstreams::peer::Peer;

/// The most bytes of the proxy's answers, interim ones included.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

/// The most fields of one answer.
const MAX_RESPONSE_FIELDS: usize = 128;

/// What the proxy answered to CONNECT.
///
/// ```
/// use pingora_core::protocols::raw_connect::ProxyDigest;
/// use pingora_http::ResponseHeader;
///
/// let answer = ResponseHeader::build(200, None)?;
/// let digest = ProxyDigest::new(Box::new(answer), Some(Box::new("egress-7")));
/// assert_eq!(digest.response.status, 200);
/// # Ok::<(), Box<pingora_core::Error>>(())
/// ```
#[derive(Debug)]
pub struct ProxyDigest {
    /// The head of the answer.
    pub response: Box<ResponseHeader>,
    /// What the peer's hook made of it.
    pub user_data: Option<Box<dyn Any + Send + Sync>>,
}

impl ProxyDigest {
    /// Returns the digest of an answer.
    pub fn new(
        response: Box<ResponseHeader>,
        user_data: Option<Box<dyn Any + Send + Sync>>,
    ) -> Self {
        ProxyDigest {
            response,
            user_data,
        }
    }
}

/// The answer of a proxy that did not connect: the cause of a `ConnectProxyFailure`.
///
/// ```
/// use pingora_core::protocols::raw_connect::ConnectProxyError;
/// use pingora_http::ResponseHeader;
///
/// let refusal = ResponseHeader::build(403, None)?;
/// let cause = ConnectProxyError::boxed_new(Box::new(refusal));
/// assert_eq!(cause.to_string(), "the proxy answered 403 Forbidden");
/// # Ok::<(), Box<pingora_core::Error>>(())
/// ```
#[derive(Debug)]
pub struct ConnectProxyError {
    /// The head of the answer.
    pub response: Box<ResponseHeader>,
}

impl ConnectProxyError {
    /// Returns the error of an answer, boxed.
    pub fn boxed_new(response: Box<ResponseHeader>) -> Box<Self> {
        Box::new(ConnectProxyError { response })
    }
}

impl fmt::Display for ConnectProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy answered {}", self.response.status)
    }
}

impl std::error::Error for ConnectProxyError {}

/// Returns the head of a CONNECT request for `host` and `port` with additional `headers`.
///
/// # Errors
/// `InvalidHTTPHeader` when the host or a header cannot be sent.
///
/// ```
/// use std::collections::BTreeMap;
/// use pingora_core::protocols::raw_connect::generate_connect_header;
///
/// let headers = BTreeMap::from([("X-Team".to_string(), b"search".to_vec())]);
/// let request = generate_connect_header("2001:db8::1", 443, headers.iter())?;
/// assert_eq!(request.uri, "[2001:db8::1]:443");
/// assert_eq!(request.headers["x-team"], "search");
/// # Ok::<(), Box<pingora_core::Error>>(())
/// ```
pub fn generate_connect_header<'a, H, S>(
    host: &str,
    port: u16,
    headers: H,
) -> Result<Box<http::request::Parts>>
where
    S: AsRef<[u8]>,
    H: Iterator<Item = (S, &'a Vec<u8>)>,
{
    let authority = if host.parse::<Ipv6Addr>().is_ok() {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let (mut parts, ()) = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_11)
        .uri(authority.as_str())
        .header(header::HOST, authority.as_str())
        .body(())
        .or_err_with(ErrorType::InvalidHTTPHeader, || {
            format!("cannot CONNECT to {authority:?}")
        })?
        .into_parts();
    // The builder takes paths and empty hosts too.
    let parsed = parts.uri.authority().map_or("", |a| a.as_str());
    if host.is_empty() || parsed != authority {
        return Error::e_explain(
            ErrorType::InvalidHTTPHeader,
            format!("cannot CONNECT to {authority:?}"),
        );
    }
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_ref()).or_err(
            ErrorType::InvalidHTTPHeader,
            "invalid name of a CONNECT header",
        )?;
        let value = HeaderValue::from_bytes(value)
            .or_err_with(ErrorType::InvalidHTTPHeader, || {
                format!("invalid value of {name}")
            })?;
        parts.headers.append(name, value);
    }
    Ok(Box::new(parts))
}

/// Asks the proxy at the other end of `stream` for the connection of `request_header` and returns
/// the stream, which now leads to `peer`, with the proxy's answer.
///
/// Not one byte after the answer is read. There is no timeout: the connector has one.
///
/// # Errors
/// `ConnectProxyFailure` when the proxy does not connect (the cause is a [`ConnectProxyError`]),
/// or when its answer is no valid HTTP/1 or longer than 64 KiB; `WriteError`, `ReadError` and
/// `ConnectionClosed` when the connection breaks.
pub async fn connect<P>(
    mut stream: Stream,
    request_header: &http::request::Parts,
    peer: &P,
) -> Result<(Stream, ProxyDigest)>
where
    P: Peer,
{
    let request = to_wire(request_header);
    stream
        .write_all(&request)
        .await
        .or_err(ErrorType::WriteError, "sending CONNECT")?;
    stream
        .flush()
        .await
        .or_err(ErrorType::WriteError, "sending CONNECT")?;

    let response = read_final_response(&mut stream).await?;
    if !response.status.is_success() {
        // not boxed: it would be boxed again, and no longer be found by a downcast
        let cause = ConnectProxyError { response };
        return Error::e_because(ErrorType::ConnectProxyFailure, "CONNECT refused", cause);
    }
    let user_data = peer
        .proxy_digest_user_data_hook()
        .and_then(|hook| hook(request_header, &response));
    Ok((stream, ProxyDigest::new(response, user_data)))
}

/// Returns the request as it is sent.
fn to_wire(request: &http::request::Parts) -> Vec<u8> {
    let mut wire = Vec::with_capacity(256);
    wire.extend_from_slice(b"CONNECT ");
    if let Some(authority) = request.uri.authority() {
        wire.extend_from_slice(authority.as_str().as_bytes());
    }
    wire.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &request.headers {
        wire.extend_from_slice(name.as_str().as_bytes());
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    wire
}

/// Reads heads until one is not interim (RFC 9110, section 15.2).
async fn read_final_response(stream: &mut Stream) -> Result<Box<ResponseHeader>> {
    let mut room = MAX_RESPONSE_HEAD;
    loop {
        let head = read_head(stream, room).await?;
        room -= head.len();
        let response = parse_head(&head)?;
        if response.status == 101 {
            return failure("101 Switching Protocols was not asked for");
        }
        if !response.status.is_informational() {
            return Ok(response);
        }
    }
}

/// Reads up to and including the empty line, at most `room` bytes.
///
/// Byte by byte, since what follows is not ours; the stream below is buffered.
async fn read_head(stream: &mut Stream, room: usize) -> Result<Vec<u8>> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == room {
            return failure("the head of the answer is too long");
        }
        let mut byte = [0];
        let count = stream
            .read(&mut byte)
            .await
            .or_err(ErrorType::ReadError, "reading the answer to CONNECT")?;
        if count == 0 {
            return Error::e_explain(
                ErrorType::ConnectionClosed,
                "the proxy closed the connection before it answered",
            );
        }
        head.push(byte[0]);
    }
    Ok(head)
}

/// Parses a complete head, strictly: no bare line feed, no folded line.
fn parse_head(head: &[u8]) -> Result<Box<ResponseHeader>> {
    if has_bare_line_feed(head) {
        return failure("a line of the answer ends without CR");
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_RESPONSE_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let complete = parsed
        .parse(head)
        .or_err(
            ErrorType::ConnectProxyFailure,
            "the answer is no valid HTTP/1",
        )?
        .is_complete();
    let (true, Some(code)) = (complete, parsed.code) else {
        return failure("the head of the answer is incomplete");
    };
    let mut response = ResponseHeader::build(code, Some(parsed.headers.len()))?;
    response.set_version(match parsed.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    });
    for field in parsed.headers.iter() {
        response.append_header(field.name.to_owned(), field.value)?;
    }
    Ok(Box::new(response))
}

fn has_bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

#[cold]
fn failure<T>(context: &'static str) -> Result<T> {
    Error::e_explain(ErrorType::ConnectProxyFailure, context)
}

#[cfg(test)]
mod tests;
