//! From a connection to sessions: the handshake, protecting defaults, and requests that are refused
//! before anybody sees them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, StatusCode};
use log::debug;
use pingora_error::{Error, ErrorType::HandshakeError, Result};
use pingora_http::ResponseHeader;

use super::super::engine::{Driver, Incoming, Local};
use super::super::head::{Refusal, accept_parts, accept_request};
use super::super::stream::Downstream;
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

/// As [`H2Accept`].
pub(crate) enum Arrival {
    /// A request.
    Session(HttpSession),
    /// One that was answered or reset already.
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

/// Returns what a connection tells its client, as `options` say; `None`: as [`default_h2_options`].
///
/// The numbers of resets and of bytes to send that options may have are the concern of the `h2` crate:
/// here a client has budgets that fill up with time, and no more waits to be sent than 128 KiB.
pub(crate) fn local_settings(options: Option<H2Options>) -> Local {
    match options {
        None => Local {
            max_streams: MAX_STREAMS,
            stream_window: STREAM_WINDOW,
            connection_window: CONNECTION_WINDOW,
            max_header_list: MAX_HEADER_LIST_BYTES,
            connect_protocol: true,
        },
        Some(options) => Local::told_by(protected(options)),
    }
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
        match poll_fn(|cx| conn.poll_accept(cx)).await {
            Some(Ok((request, respond))) => Ok(Some(accept_h2(request, respond, digest))),
            Some(Err(e)) => Err(stream_error(e, "while waiting for a request").into_down()),
            None => Ok(None),
        }
    }

    /// Polls for the next request on a connection we frame, held to `limits`; `Ready(None)` when
    /// there will be no more.
    pub(crate) fn poll_next(
        driver: &mut Driver,
        digest: &Arc<Digest>,
        limits: &HttpLimits,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Arrival>>> {
        Poll::Ready(match ready!(driver.poll_accept(cx)) {
            Some(Ok(incoming)) => Ok(Some(accept(incoming, digest, limits))),
            Some(Err(e)) => Err(stream_error(e, "while waiting for a request").into_down()),
            None => Ok(None),
        })
    }
}

fn accept(incoming: Incoming, digest: &Arc<Digest>, limits: &HttpLimits) -> Arrival {
    let Incoming { head, mut stream } = incoming;
    match accept_request(head, limits) {
        Ok(head) => {
            let stream = Downstream::Ours(stream);
            Arrival::Session(HttpSession::new(head, stream, *limits, Arc::clone(digest)))
        }
        Err(Refusal::Malformed(why)) => {
            stream.refuse_malformed(why);
            Arrival::Refused
        }
        Err(Refusal::Status(status)) => {
            refuse(&mut Downstream::Ours(stream), status);
            Arrival::Refused
        }
    }
}

fn accept_h2(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    digest: Arc<Digest>,
) -> H2Accept {
    let limits = HttpLimits::default();
    let (parts, body) = request.into_parts();
    match accept_parts(parts, &limits) {
        Ok(head) => {
            let stream = Downstream::of_h2(respond, body);
            H2Accept::Session(HttpSession::new(head, stream, limits, digest))
        }
        Err(Refusal::Malformed(why)) => {
            debug!("request reset: {why}");
            respond.send_reset(Reason::PROTOCOL_ERROR);
            H2Accept::Rejected
        }
        Err(Refusal::Status(status)) => {
            refuse(&mut Downstream::of_h2(respond, body), status);
            H2Accept::Rejected
        }
    }
}

fn refuse(stream: &mut Downstream, status: StatusCode) {
    debug!("request refused: {status}");
    let refused = ResponseHeader::build(status, Some(0));
    let sent = refused.map(|mut head| stream.send_response(&mut head, true));
    if let Ok(Err(e)) = sent {
        debug!("request could not be refused: {e}");
    }
}
