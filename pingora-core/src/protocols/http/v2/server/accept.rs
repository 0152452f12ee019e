//! From a connection to sessions: the handshake, protecting defaults, and requests that are refused
//! before anybody sees them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};
use log::debug;
use pingora_error::{Error, ErrorType::HandshakeError, Result};

use super::super::head::{Accepted, Refusal, accept_request};
use super::super::stream_error;
use super::{H2Options, HttpSession};
use crate::protocols::http::HttpLimits;
use crate::protocols::{Digest, Stream};

/// Bytes of a header list, each field counted with 32 more (RFC 9113 section 6.5.2).
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;

/// Requests a client may have open at once.
const MAX_STREAMS: u32 = 100;

/// Bytes of a request body a client may send before they are read: a stream that is not read holds
/// this much.
const STREAM_WINDOW: u32 = 64 * 1024;

/// As many streams may hold all of theirs, so that none of them stops another.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS;

/// Bytes of a response `h2` holds for a client that has a window and does not read.
const SEND_BUFFER: usize = 128 * 1024;

/// Streams we may have to reset because of what the client did to them ("MadeYouReset",
/// CVE-2025-8671); one more ends the connection.
const MAX_LOCAL_RESETS: usize = 100;

/// How long a client has for the preface.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection may be without a request unless the options say otherwise.
pub(crate) const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a client has sent on a new stream.
pub enum H2Accept {
    /// A request.
    Session(HttpSession),
    /// No valid request: its stream was reset or answered already.
    Rejected,
}

/// As [`H2Accept`], telling a client that breaks the protocol from one that asks too much.
pub(crate) enum Arrival {
    /// A request.
    Session(HttpSession),
    /// No valid request: its stream was reset.
    Malformed,
    /// A request that was answered already.
    Refused,
}

/// Returns the options of a connection that faces the internet.
///
/// 64 KiB of header list, 100 streams at once, 64 KiB of unread body per stream, extended CONNECT
/// (RFC 8441).
pub fn default_h2_options() -> H2Options {
    let mut options = H2Options::new();
    options
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
        .enable_connect_protocol();
    options
}

/// Answers the preface of a client; `None`: with [`default_h2_options`].
///
/// Options that leave the number of streams, the size of header lists or the window of the connection
/// open get the default one.
///
/// # Errors
/// `HandshakeError` when the client does not speak HTTP/2 or takes more than 60 s.
pub async fn handshake(
    io: Stream,
    options: Option<H2Options>,
) -> Result<Connection<Stream, Bytes>> {
    let options = options.map_or_else(default_h2_options, protected);
    let shaken = pingora_timeout::timeout(HANDSHAKE_TIMEOUT, options.handshake(io));
    match shaken.await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(e)) => Err(Error::because(HandshakeError, "HTTP/2 preface", e).into_down()),
        Err(_) => {
            Error::e_explain(HandshakeError, "no HTTP/2 preface in time").map_err(Error::into_down)
        }
    }
}

/// Sets the limits without which a client decides how much memory it gets, and the window without
/// which one stream that is not read stops all others.
pub(super) fn protected(mut options: Builder) -> Builder {
    // There is no getter; the unit test tells if this stops working.
    let set = format!("{options:?}");
    if !set.contains("max_header_list_size") {
        options.max_header_list_size(MAX_HEADER_LIST_BYTES);
    }
    if !set.contains("max_concurrent_streams") {
        options.max_concurrent_streams(MAX_STREAMS);
    }
    if set.contains("initial_target_connection_window_size: None") {
        options.initial_connection_window_size(CONNECTION_WINDOW);
    }
    options
}

/// Returns how many sessions of a connection may be alive: those of streams that were reset count
/// until they end.
pub(crate) fn sessions_at_most(connection: &Connection<Stream, Bytes>) -> usize {
    connection.max_concurrent_recv_streams().min(4096) + MAX_STREAMS as usize
}

impl HttpSession {
    /// Waits for the next request on a connection; `None` when there will be no more.
    ///
    /// Other streams of the connection make progress only while somebody waits here.
    /// Cancel-safe.
    pub async fn from_h2_conn(
        conn: &mut Connection<Stream, Bytes>,
        digest: Arc<Digest>,
    ) -> Result<Option<H2Accept>> {
        let limits = HttpLimits::default();
        let arrived = poll_fn(|cx| Self::poll_from_h2_conn(conn, &digest, &limits, cx)).await?;
        Ok(arrived.map(|arrival| match arrival {
            Arrival::Session(session) => H2Accept::Session(session),
            Arrival::Malformed | Arrival::Refused => H2Accept::Rejected,
        }))
    }

    /// Polls for the next request, held to `limits`.
    pub(crate) fn poll_from_h2_conn(
        conn: &mut Connection<Stream, Bytes>,
        digest: &Arc<Digest>,
        limits: &HttpLimits,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Arrival>>> {
        Poll::Ready(match ready!(conn.poll_accept(cx)) {
            Some(Ok((request, respond))) => Ok(Some(accept(request, respond, digest, limits))),
            Some(Err(e)) => Err(stream_error(e, "while waiting for a request").into_down()),
            None => Ok(None),
        })
    }

    pub(crate) fn set_guard(&mut self, guard: super::StreamGuard) {
        self.state.guard = Some(guard);
    }
}

fn accept(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    digest: &Arc<Digest>,
    limits: &HttpLimits,
) -> Arrival {
    let (parts, body) = request.into_parts();
    match accept_request(parts, limits) {
        Ok(head) => Arrival::Session(session(head, body, respond, limits, digest)),
        Err(Refusal::Malformed(why)) => {
            debug!("request reset: {why}");
            respond.send_reset(Reason::PROTOCOL_ERROR);
            Arrival::Malformed
        }
        Err(Refusal::Status(status)) => {
            debug!("request refused: {status}");
            refuse(&mut respond, status);
            Arrival::Refused
        }
    }
}

fn session(
    head: Accepted,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    limits: &HttpLimits,
    digest: &Arc<Digest>,
) -> HttpSession {
    HttpSession::new(head, body, respond, *limits, Arc::clone(digest))
}

fn refuse(respond: &mut SendResponse<Bytes>, status: StatusCode) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    if let Err(e) = respond.send_response(response, true) {
        debug!("request could not be refused: {e}");
    }
}
