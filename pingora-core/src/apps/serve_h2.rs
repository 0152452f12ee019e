//! From a connection of HTTP/2 to requests: accepts streams, spawns a task for each, and ends the
//! connection when it is idle, when the server stops, or when the client misbehaves.
//!
//! The task of a connection does all its I/O; those of its streams wake it when they have something
//! to send. `v2/server/budget.rs` says what a client may waste.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use h2::server::Connection;
use log::debug;
use pingora_error::BError;
use pingora_timeout::fast_timeout::Deadline;

use super::HttpServerOptions;
use super::serve::App;
use crate::protocols::http::v2::server::{
    Arrival, Budget, Counters, DEFAULT_IDLE_TIMEOUT, HttpSession, handshake, sessions_at_most,
};
use crate::protocols::http::v2::turn::Turn;
use crate::protocols::http::{HttpLimits, ServerSession};
use crate::protocols::{Digest, Stream};
use crate::server::ShutdownWatch;

/// How long a connection that was told to end may go on without a request.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Serves a connection until it ends.
pub(super) async fn serve(app: Arc<dyn App>, stream: Stream, mut shutdown: ShutdownWatch) {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let mut turn = Turn::default();
    let stream = Box::new(turn.gather(stream));
    let connection = match handshake(stream, app.h2_options()).await {
        Ok(connection) => connection,
        Err(e) => {
            debug!("no HTTP/2 connection: {e}");
            return;
        }
    };
    let mut serving = Serving::new(connection, digest, app.server_options());
    let requests = shutdown.clone();
    let mut stopping = pin!(shutdown.wait_for(|stop| *stop));
    let mut watching = true;
    // A request was just taken: there may be another, and nothing else is new.
    let mut more = false;
    loop {
        // Cancel-safe: what is taken is returned.
        let event = poll_fn(|cx| {
            turn.poll_last(cx, |cx| {
                if std::mem::take(&mut more) {
                    return serving.poll_connection(cx);
                }
                if watching && let Poll::Ready(stop) = stopping.as_mut().poll(cx) {
                    // An error: nobody is left who could stop us.
                    watching = false;
                    if stop.is_ok() {
                        return Poll::Ready(Event::Stop);
                    }
                }
                serving.poll_event(cx)
            })
        })
        .await;
        match event {
            Event::Request(session) => {
                more = true;
                serving.count_request();
                let (app, shutdown) = (Arc::clone(&app), requests.clone());
                tokio::spawn(async move {
                    let session = ServerSession::new_http2(session);
                    app.process_new_http(session, &shutdown).await;
                });
            }
            Event::Malformed => serving.count_malformed(),
            Event::Refused => (),
            Event::Stop => serving.end_gracefully(),
            Event::Idle if serving.ending => return,
            Event::Idle => serving.end_gracefully(),
            Event::TooManyResets => serving.refuse_more("too many resets"),
            Event::Ended => return,
            Event::Failed(e) => {
                debug!("HTTP/2 connection ended: {e}");
                return;
            }
        }
    }
}

/// What happened on a connection.
enum Event {
    Request(HttpSession),
    /// A stream brought no valid request.
    Malformed,
    /// A request was answered without a session.
    Refused,
    /// The server stops.
    Stop,
    /// There was no request for too long.
    Idle,
    TooManyResets,
    Ended,
    Failed(BError),
}

struct Serving {
    connection: Connection<Stream, Bytes>,
    digest: Arc<Digest>,
    limits: HttpLimits,
    requests_left: Option<u32>,
    /// Of the sessions; when there are too many further streams wait, and those reset meanwhile are
    /// counted by `h2`.
    counters: Arc<Counters>,
    resets: Budget,
    malformed: Budget,
    idle_limit: Duration,
    /// Runs while there is no session.
    idle: Option<Deadline>,
    /// The client was told to open no more streams.
    ending: bool,
}

impl Serving {
    fn new(
        connection: Connection<Stream, Bytes>,
        digest: Arc<Digest>,
        options: Option<&HttpServerOptions>,
    ) -> Self {
        Serving {
            counters: Arc::new(Counters::new(sessions_at_most(&connection))),
            connection,
            digest,
            limits: options.map_or_else(HttpLimits::default, |options| options.limits),
            requests_left: options.and_then(|options| options.keepalive_request_limit),
            idle_limit: idle_limit(options),
            resets: Budget::of_resets(Instant::now()),
            malformed: Budget::of_malformed(Instant::now()),
            idle: None,
            ending: false,
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.counters.register(cx.waker());
        let broken = self.counters.take_broken();
        let event = self.poll_connection(cx);
        for (mut stream, reason) in broken {
            stream.send_reset(reason);
        }
        event
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let resets = self.counters.take_resets();
        if resets > 0 && !self.resets.charge(resets, Instant::now()) {
            return Poll::Ready(Event::TooManyResets);
        }
        if self.counters.is_full() {
            return match self.connection.poll_closed(cx) {
                Poll::Ready(_) => Poll::Ready(Event::Ended),
                Poll::Pending => Poll::Pending,
            };
        }
        let accepted =
            HttpSession::poll_from_h2_conn(&mut self.connection, &self.digest, &self.limits, cx);
        match accepted {
            Poll::Ready(Ok(Some(Arrival::Session(mut session)))) => {
                session.set_guard(self.counters.guard());
                return Poll::Ready(Event::Request(session));
            }
            Poll::Ready(Ok(Some(Arrival::Malformed))) => return Poll::Ready(Event::Malformed),
            Poll::Ready(Ok(Some(Arrival::Refused))) => return Poll::Ready(Event::Refused),
            Poll::Ready(Ok(None)) => return Poll::Ready(Event::Ended),
            Poll::Ready(Err(e)) => return Poll::Ready(Event::Failed(e)),
            Poll::Pending => (),
        }
        self.poll_idle(cx)
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.counters.live() > 0 {
            self.idle = None;
            return Poll::Pending;
        }
        // Without a session there may still be the rest of a response for a slow client.
        let limit = match self.ending && !self.connection.has_streams() {
            true => LAST_WORDS,
            false => self.idle_limit,
        };
        let timer = self.idle.get_or_insert_with(|| Deadline::new(limit));
        timer.poll_elapsed(cx).map(|()| Event::Idle)
    }

    fn count_request(&mut self) {
        self.idle = None;
        if let Some(left) = &mut self.requests_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.end_gracefully();
            }
        }
    }

    fn count_malformed(&mut self) {
        if !self.malformed.charge(1, Instant::now()) {
            self.refuse_more("too many malformed requests");
        }
    }

    /// Lets the requests that came end, and tells the client to send no more here.
    fn end_gracefully(&mut self) {
        if !self.ending {
            self.ending = true;
            self.idle = None;
            self.connection.graceful_shutdown();
        }
    }

    /// Ends the connection and everything on it.
    #[cold]
    fn refuse_more(&mut self, why: &str) {
        debug!("HTTP/2 connection closed: {why}");
        self.ending = true;
        self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    }
}

/// Returns how long a connection may be without a request: there is always a limit.
fn idle_limit(options: Option<&HttpServerOptions>) -> Duration {
    options
        .and_then(|options| options.h2_idle_timeout)
        .unwrap_or(DEFAULT_IDLE_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_have_a_limit_by_default() {
        let mut options = HttpServerOptions::default();
        assert_eq!(idle_limit(None), Duration::from_secs(60));
        assert_eq!(idle_limit(Some(&options)), Duration::from_secs(60));
        options.h2_idle_timeout = Some(Duration::from_secs(1));
        assert_eq!(idle_limit(Some(&options)), Duration::from_secs(1));
    }
}
