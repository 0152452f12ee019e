//! From a stream to HTTP requests: which protocol, which settings, and the time between requests.
//!
//! A connection spends most of its life waiting. It does so here, in a small future that holds no
//! buffer and no session; those are made when bytes arrive and dropped after the response.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora_timeout::fast_timeout::Deadline;

use super::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ServerApp};
use crate::protocols::Stream;
use crate::protocols::http::{HttpLimits, ServerSession};
use crate::protocols::http::v1::poll_first_bytes;
use crate::server::ShutdownWatch;

/// How long a connection is kept for a next request unless the application says otherwise.
const DEFAULT_KEEPALIVE_SECONDS: u64 = 60;

#[async_trait]
impl<T> ServerApp for T
where
    T: HttpServerApp + Send + Sync + 'static,
{
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        if self.server_options().is_some_and(|options| options.force_custom) {
            return Arc::clone(self).process_custom_session(stream, shutdown).await;
        }
        let mut settings = None;
        loop {
            let first_byte_timeout =
                self.server_options().map_or(HttpLimits::default(), |o| o.limits).head_timeout;
            let next = next_request(&mut stream, &mut settings, first_byte_timeout, shutdown);
            let Some(first) = next.await else {
                stream.shutdown().await;
                return None;
            };
            let session = new_session(stream, first, settings, self.server_options(), shutdown);
            let reused = self.process_new_http(session, shutdown).await?;
            (stream, settings) = reused.consume();
        }
    }

    async fn cleanup(&self) {
        self.http_cleanup().await;
    }
}

/// Waits for the first bytes of a request; `None` when there will be none.
///
/// Ends when the client closes, the time is over, or the server stops.
async fn next_request(
    stream: &mut Stream,
    settings: &mut Option<HttpPersistentSettings>,
    first_byte_timeout: Duration,
    shutdown: &ShutdownWatch,
) -> Option<BytesMut> {
    if let Some(prefix) = settings.as_mut().and_then(HttpPersistentSettings::take_prefix) {
        return Some(prefix);
    }
    let limit = match settings {
        None => Some(first_byte_timeout),
        Some(settings) => match settings.keepalive_timeout()? {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        },
    };
    first_bytes(stream, limit, shutdown.clone()).await
}

/// Waits for bytes, for the end of the time, or for the end of the server.
///
/// This is all there is of an idle connection, so it is no `async fn`: that would keep its
/// arguments twice.
fn first_bytes(
    stream: &mut Stream,
    limit: Option<Duration>,
    mut shutdown: ShutdownWatch,
) -> impl Future<Output = Option<BytesMut>> + Send {
    let mut first = BytesMut::new();
    let mut timer = limit.map(Deadline::new);
    async move {
        let mut can_stop = true;
        let mut stopping = pin!(shutdown.wait_for(|stop| *stop));
        // Cancel-safe: bytes are only taken when the future is ready.
        let received = poll_fn(|cx| {
            if let Poll::Ready(received) = poll_first_bytes(stream, &mut first, cx) {
                return Poll::Ready(received.unwrap_or(0));
            }
            if let Some(timer) = &mut timer
                && timer.poll_elapsed(cx).is_ready()
            {
                return Poll::Ready(0);
            }
            if can_stop && let Poll::Ready(stop) = stopping.as_mut().poll(cx) {
                if stop.is_ok() {
                    return Poll::Ready(0);
                }
                // Nobody is left who could stop us.
                can_stop = false;
            }
            Poll::Pending
        })
        .await;
        (received > 0).then_some(first)
    }
}

fn new_session(
    stream: Stream,
    first: BytesMut,
    settings: Option<HttpPersistentSettings>,
    options: Option<&HttpServerOptions>,
    shutdown: &ShutdownWatch,
) -> ServerSession {
    let mut session = ServerSession::new_http1(stream);
    if let (Some(options), Some(session)) = (options, session.as_http1_mut()) {
        session.set_limits(options.limits);
    }
    session.set_pipelined_prefix(first);
    match settings {
        Some(settings) => settings.apply_to_session(&mut session),
        None => {
            session.set_keepalive(Some(DEFAULT_KEEPALIVE_SECONDS));
            session.set_pipelining_enabled(true);
            let limit = options.and_then(|options| options.keepalive_request_limit);
            session.set_keepalive_reuses_remaining(limit.map(|limit| limit.saturating_sub(1)));
        }
    }
    if *shutdown.borrow() {
        session.set_keepalive(None);
    }
    session
}
