//! [`HttpSession`]: one request to a server, whatever version of HTTP it speaks.

use std::time::Duration;

use bytes::Bytes;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::custom::client::Session;
use super::v1::client::HttpSession as Http1Session;
use super::v2::client::Http2Session;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, Stream};

/// One exchange with a server.
///
/// ```
/// use pingora_core::protocols::http::client::HttpSession;
/// use pingora_core::protocols::http::v1::client::HttpSession as Http1Session;
///
/// let (client, _server) = tokio::io::duplex(1024);
/// let session = HttpSession::<()>::H1(Http1Session::new(Box::new(client)));
/// assert!(session.as_http1().is_some());
/// ```
pub enum HttpSession<S = ()> {
    /// HTTP/1.0 or HTTP/1.1.
    H1(Http1Session),
    /// HTTP/2: one stream of a connection.
    H2(Http2Session),
    /// A protocol of the application's own.
    Custom(S),
}

impl<S: Session> HttpSession<S> {
    /// Returns the HTTP/1 session.
    pub fn as_http1(&self) -> Option<&Http1Session> {
        match self {
            Self::H1(session) => Some(session),
            _ => None,
        }
    }

    /// Returns the HTTP/2 session.
    pub fn as_http2(&self) -> Option<&Http2Session> {
        match self {
            Self::H2(session) => Some(session),
            _ => None,
        }
    }

    /// Returns the custom session.
    pub fn as_custom(&self) -> Option<&S> {
        match self {
            Self::Custom(session) => Some(session),
            _ => None,
        }
    }

    /// Returns the custom session, to change.
    pub fn as_custom_mut(&mut self) -> Option<&mut S> {
        match self {
            Self::Custom(session) => Some(session),
            _ => None,
        }
    }

    /// Sends the request head.
    pub async fn write_request_header(&mut self, req: Box<RequestHeader>) -> Result<()> {
        match self {
            Self::H1(session) => session.write_request_header(req).await.map(|_| ()),
            Self::H2(session) => session.write_request_header(req, false),
            Self::Custom(session) => session.write_request_header(req, false).await,
        }
    }

    /// Sends a piece of the request body, and its end when `end` is set.
    pub async fn write_request_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        match self {
            Self::H1(session) => {
                session.queue_body(data)?;
                if end {
                    session.finish_body().await?;
                } else {
                    session.write_body(b"").await?;
                }
                Ok(())
            }
            Self::H2(session) => session.write_request_body(data, end).await,
            Self::Custom(session) => session.write_request_body(data, end).await,
        }
    }

    /// Ends the request body.
    pub async fn finish_request_body(&mut self) -> Result<()> {
        match self {
            Self::H1(session) => session.finish_body().await.map(|_| ()),
            Self::H2(session) => session.finish_request_body(),
            Self::Custom(session) => session.finish_request_body().await,
        }
    }

    /// Sets how long the server may take for the next bytes.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        match self {
            Self::H1(session) => session.read_timeout = timeout,
            Self::H2(session) => session.read_timeout = timeout,
            Self::Custom(session) => session.set_read_timeout(timeout),
        }
    }

    /// Sets how long the server may take no bytes.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        match self {
            Self::H1(session) => session.write_timeout = timeout,
            Self::H2(session) => session.write_timeout = timeout,
            Self::Custom(session) => session.set_write_timeout(timeout),
        }
    }

    /// Reads the response head; an informational one may come first.
    pub async fn read_response_header(&mut self) -> Result<()> {
        match self {
            Self::H1(session) => session.read_response().await.map(|_| ()),
            Self::H2(session) => session.read_response_header().await,
            Self::Custom(session) => session.read_response_header().await,
        }
    }

    /// Reads the next piece of the response body; `None` at its end.
    pub async fn read_response_body(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::H1(session) => session.read_body_bytes().await,
            Self::H2(session) => session.read_response_body().await,
            Self::Custom(session) => session.read_response_body().await,
        }
    }

    /// Returns whether the whole response was read.
    pub fn response_done(&mut self) -> bool {
        match self {
            Self::H1(session) => session.is_body_done(),
            Self::H2(session) => session.response_finished(),
            Self::Custom(session) => session.response_finished(),
        }
    }

    /// Closes the connection, or the stream of it this session uses.
    pub async fn shutdown(&mut self) {
        match self {
            Self::H1(session) => session.shutdown().await,
            Self::H2(session) => session.shutdown(),
            Self::Custom(session) => session.shutdown(1, "shutdown").await,
        }
    }

    /// Returns the response head, once read.
    pub fn response_header(&self) -> Option<&ResponseHeader> {
        match self {
            Self::H1(session) => session.resp_header(),
            Self::H2(session) => session.response_header(),
            Self::Custom(session) => session.response_header(),
        }
    }

    /// Returns the facts of the connection.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::H1(session) => Some(session.digest()),
            Self::H2(session) => session.digest(),
            Self::Custom(session) => session.digest(),
        }
    }

    /// Returns the facts of the connection, to change.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        match self {
            Self::H1(session) => Some(session.digest_mut()),
            Self::H2(session) => session.digest_mut(),
            Self::Custom(session) => session.digest_mut(),
        }
    }

    /// Returns the address of the server.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        match self {
            Self::H1(session) => session.server_addr(),
            Self::H2(session) => session.server_addr(),
            Self::Custom(session) => session.server_addr(),
        }
    }

    /// Returns our address.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        match self {
            Self::H1(session) => session.client_addr(),
            Self::H2(session) => session.client_addr(),
            Self::Custom(session) => session.client_addr(),
        }
    }

    /// Returns the connection; only an HTTP/1 session has one for itself.
    pub fn stream(&self) -> Option<&Stream> {
        match self {
            Self::H1(session) => Some(session.stream()),
            _ => None,
        }
    }
}
