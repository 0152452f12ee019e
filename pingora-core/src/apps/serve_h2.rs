//! From a connection of HTTP/2 to requests: accepts streams, spawns a task for each, and ends the
//! connection when it is idle, when the server stops, or when the client misbehaves.
//!
//! The task of a connection does all its I/O; those of its streams wake it when they have something
//! to send. `v2/engine/budget.rs` says what a client may waste.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use log::debug;
use pingora_error::BError;
use pingora_timeout::fast_timeout::Deadline;

use super::HttpServerOptions;
use super::serve::App;
use crate::protocols::http::v2::engine::Driver;
use crate::protocols::http::v2::server::{
    Arrival, DEFAULT_IDLE_TIMEOUT, HttpSession, local_settings,
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
    let driver = Driver::server(stream, local_settings(app.h2_options()));
    let mut serving = Serving::new(driver, digest, app.server_options());
    let requests = shutdown.clone();
    let mut stopping = pin!(shutdown.wait_for(|stop| *stop));
    let mut watching = true;
    // Something was just taken: there may be more of it, and nothing else is new.
    let mut more = false;
    loop {
        // Cancel-safe: what is taken is returned.
        let event = poll_fn(|cx| {
            if !std::mem::take(&mut more) {
                ready!(turn.poll_wait(cx));
                if watching && let Poll::Ready(stop) = stopping.as_mut().poll(cx) {
                    // An error: nobody is left who could stop us.
                    watching = false;
                    if stop.is_ok() {
                        return Poll::Ready(Event::Stop);
                    }
                }
            }
            serving.poll_event(cx)
        })
        .await;
        more = true;
        match event {
            Event::Request(session) => {
                serving.count_request();
                let (app, shutdown) = (Arc::clone(&app), requests.clone());
                tokio::spawn(async move {
                    let session = ServerSession::new_http2(session);
                    app.process_new_http(session, &shutdown).await;
                });
            }
            Event::Refused => (),
            Event::Stop => serving.end_gracefully(),
            Event::Idle if serving.ending => return,
            Event::Idle => serving.end_gracefully(),
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
    /// A request was answered or reset without a session.
    Refused,
    /// The server stops.
    Stop,
    /// There was no request for too long.
    Idle,
    Ended,
    Failed(BError),
}

struct Serving {
    driver: Driver,
    digest: Arc<Digest>,
    limits: HttpLimits,
    requests_left: Option<u32>,
    idle_limit: Duration,
    /// Runs while there is no stream.
    idle: Option<Deadline>,
    /// How long it runs.
    idle_limit_now: Duration,
    /// The client was told to open no more streams.
    ending: bool,
}

impl Serving {
    fn new(driver: Driver, digest: Arc<Digest>, options: Option<&HttpServerOptions>) -> Self {
        Serving {
            driver,
            digest,
            limits: options.map_or_else(HttpLimits::default, |options| options.limits),
            requests_left: options.and_then(|options| options.keepalive_request_limit),
            idle_limit: idle_limit(options),
            idle: None,
            idle_limit_now: Duration::ZERO,
            ending: false,
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        match HttpSession::poll_next(&mut self.driver, &self.digest, &self.limits, cx) {
            Poll::Ready(Ok(Some(Arrival::Session(session)))) => {
                return Poll::Ready(Event::Request(session));
            }
            Poll::Ready(Ok(Some(Arrival::Refused))) => return Poll::Ready(Event::Refused),
            Poll::Ready(Ok(None)) => return Poll::Ready(Event::Ended),
            Poll::Ready(Err(e)) => return Poll::Ready(Event::Failed(e)),
            Poll::Pending => (),
        }
        self.poll_idle(cx)
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.driver.live() > 0 {
            self.idle = None;
            return Poll::Pending;
        }
        // Without a stream there may still be the rest of a response for a slow client.
        let wait = match self.driver.has_unsent() {
            false if self.ending => LAST_WORDS,
            _ if !self.driver.is_set_up() => self.limits.head_timeout,
            _ => self.idle_limit,
        };
        if self.idle_limit_now != wait {
            (self.idle, self.idle_limit_now) = (None, wait);
        }
        let timer = self.idle.get_or_insert_with(|| Deadline::new(wait));
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

    /// Lets the requests that came end, and tells the client to send no more here.
    fn end_gracefully(&mut self) {
        if !self.ending {
            self.ending = true;
            self.idle = None;
            self.driver.end_gracefully();
        }
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
