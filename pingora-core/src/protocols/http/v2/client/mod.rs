//! [`Http2Session`]: one request to an HTTP/2 server and its answer: a stream of a connection.
//!
//! `request.rs` sends, `response.rs` reads, `drive.rs` does the I/O of a
//! connection; this file has the state. Connections are made and shared in
//! [`connectors::http::v2`](crate::connectors::http::v2).

mod drive;
mod request;
mod response;

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use pingora_error::ErrorType::{ConnectionClosed, H2Downgrade, H2Error};
use pingora_error::{BError, Error, ErrorType, RetryType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::fast_timeout::Deadline;

use super::error::StreamError;
use super::output::Output;
use super::stream::Upstream;
use crate::connectors::http::v2::ConnectionRef;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, UniqueIDType};

pub(crate) use self::drive::drive;
pub use self::drive::drive_connection;
#[cfg(fuzzing)]
pub(super) use self::request::request_to_h2;

/// The server did not answer a PING in time.
pub const PING_TIMEDOUT: ErrorType = ErrorType::new("PingTimedout");

/// One exchange with an HTTP/2 server.
///
/// ```
/// use pingora_core::connectors::http::v2::Connector;
/// use pingora_core::protocols::http::client::HttpSession;
/// use pingora_core::upstreams::peer::HttpPeer;
/// use pingora_http::RequestHeader;
///
/// # async fn example() -> pingora_core::Result<()> {
/// let mut peer = HttpPeer::new("127.0.0.1:8080", false, String::new());
/// peer.options.set_http_version(2, 2);
/// let connector = Connector::new(None);
/// let session = connector.new_http_session::<_, ()>(&peer).await?;
/// let HttpSession::H2(mut session) = session else { return Ok(()) };
/// let mut request = RequestHeader::build("GET", b"/", None)?;
/// request.insert_header("Host", "example.com")?;
/// session.write_request_header(Box::new(request), true)?;
/// session.read_response_header().await?;
/// while session.read_response_body().await?.is_some() {}
/// # Ok(())
/// # }
/// ```
pub struct Http2Session {
    /// Boxed: a session moves through many hands.
    state: Box<State>,
    /// The connection this is a stream of.
    pub conn: ConnectionRef,
    /// How long the server may send nothing it owes; `None`: without limit.
    pub read_timeout: Option<Duration>,
    /// How long the server may take nothing of the request; `None`: without limit.
    pub write_timeout: Option<Duration>,
}

/// What opens the stream.
pub(crate) enum Opener {
    /// The connection.
    Ours,
    /// The `h2` crate, by which a program has made the connection.
    H2(SendRequest<Bytes>),
}

struct State {
    opener: Opener,
    req: Option<Box<RequestHeader>>,
    /// The request asks for an upgrade, which is an extended CONNECT.
    is_upgrade: bool,
    /// The head in `req` waits for what comes with it.
    head_queued: bool,
    stream: Option<Upstream>,
    output: Output,
    interim_responses: u8,
    resp: Option<Box<ResponseHeader>>,
    /// The final head was read.
    head_read: bool,
    body_received: usize,
    body_ended: bool,
    trailers_read: bool,
    /// Asks for a tunnel: CONNECT, or an upgrade by extended CONNECT (RFC 8441).
    is_connect: bool,
    /// The key of a WebSocket upgrade, which HTTP/1 wants answered.
    websocket_key: Option<Bytes>,
    upgraded: bool,
    /// The stream is no more.
    broken: bool,
    read_timer: Option<Box<Deadline>>,
    waits_since: Option<std::time::Instant>,
    write_pending: Duration,
}

impl Http2Session {
    /// Returns a session that has sent nothing yet, on a slot of `conn` reserved for it.
    pub(crate) fn new(opener: Opener, conn: ConnectionRef) -> Self {
        let state = State {
            opener,
            req: None,
            is_upgrade: false,
            head_queued: false,
            stream: None,
            output: Output::new(),
            interim_responses: 0,
            resp: None,
            head_read: false,
            body_received: 0,
            body_ended: false,
            trailers_read: false,
            is_connect: false,
            websocket_key: None,
            upgraded: false,
            broken: false,
            read_timer: None,
            waits_since: None,
            write_pending: Duration::ZERO,
        };
        Http2Session {
            state: Box::new(state),
            conn,
            read_timeout: None,
            write_timeout: None,
        }
    }

    /// Returns the request head, once written.
    pub fn request_header(&self) -> Option<&RequestHeader> {
        self.state.req.as_deref()
    }

    /// Returns the response head, once read.
    pub fn response_header(&self) -> Option<&ResponseHeader> {
        self.state.resp.as_deref()
    }

    /// Returns whether the whole response was read.
    pub fn response_finished(&self) -> bool {
        self.state.body_ended
    }

    /// Returns the number of response body bytes read.
    pub fn body_bytes_received(&self) -> usize {
        self.state.body_received
    }

    /// Returns the number of request body bytes sent or waiting for a window.
    pub fn body_bytes_sent(&self) -> usize {
        self.state.output.body_len()
    }

    /// Returns how long the request waited for the windows of the server.
    pub fn write_pending_time(&self) -> Duration {
        self.state.write_pending
    }

    /// Returns whether the stream has become a tunnel.
    pub fn was_upgraded(&self) -> bool {
        self.state.upgraded
    }

    /// Returns whether the request asks for a tunnel that was not granted yet.
    pub fn awaits_tunnel(&self) -> bool {
        self.state.is_connect && !self.state.upgraded
    }

    /// Returns the facts of the connection.
    pub fn digest(&self) -> Option<&Digest> {
        Some(self.conn.digest())
    }

    /// Returns the facts of the connection, to change; `None` while it is shared.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.conn.digest_mut()
    }

    /// Returns the address of the server.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        self.conn.digest().socket_digest.as_ref()?.peer_addr()
    }

    /// Returns our address.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        self.conn.digest().socket_digest.as_ref()?.local_addr()
    }

    /// Returns the identifier of the connection; its streams share it.
    pub fn fd(&self) -> UniqueIDType {
        self.conn.id()
    }

    /// Gives the exchange up: the server is told to stop.
    pub fn shutdown(&mut self) {
        self.reset(Reason::CANCEL);
    }

    fn reset(&mut self, reason: Reason) {
        let state = &mut *self.state;
        state.broken = true;
        state.head_queued = false;
        state.output.clear();
        if let Some(stream) = &mut state.stream {
            stream.reset(reason);
        }
    }

    /// Marks the stream as gone; returns the error as one of the server's side, which may be tried
    /// again only if the server cannot have seen the request (RFC 9113 section 8.7).
    #[cold]
    fn failed(&mut self, e: impl Into<StreamError>, what: &'static str) -> BError {
        let e = e.into();
        self.state.broken = true;
        let unseen = (e.is_remote() && e.is_go_away())
            || (e.is_remote() && e.is_reset() && e.reason() == Some(Reason::REFUSED_STREAM));
        if e.is_go_away() || e.is_io() {
            self.conn.mark_shutdown();
        }
        let closed = e.is_io() || e.is_remote();
        let etype = match e.reason() {
            _ if self.conn.ping_timedout() => PING_TIMEDOUT,
            Some(Reason::HTTP_1_1_REQUIRED) if e.is_remote() => H2Downgrade,
            _ if closed => ConnectionClosed,
            _ => H2Error,
        };
        // HTTP_1_1_REQUIRED too comes in place of an answer.
        let instead = unseen || etype == H2Downgrade;
        let retry = match self.answered() {
            true => RetryType::Decided(false),
            // The server may have closed an idle connection before it saw the request.
            false if e.is_io() && !instead => RetryType::ReusedOnly,
            false => RetryType::Decided(instead),
        };
        let mut e = Error::because(etype, what, e).into_up();
        e.retry = retry;
        e
    }

    /// Returns whether any of an answer came, whoever has it now.
    fn answered(&self) -> bool {
        let state = &self.state;
        state.resp.is_some() || state.head_read || state.interim_responses > 0
    }
}

/// Gives the slot of the stream back to its connection, however the exchange ended.
impl Drop for Http2Session {
    fn drop(&mut self) {
        // The stream first: what it still holds belongs to the exchange that ends here.
        self.state.stream = None;
        self.conn.release_stream();
    }
}

#[cfg(test)]
mod tests;
