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
use pingora_timeout::fast_timeout::Deadline;

use super::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ServerApp, serve_h2};
use crate::protocols::http::v1::{Input, poll_first_bytes};
use crate::protocols::http::{HttpLimits, ServerSession};
use crate::protocols::rewound::Rewound;
use crate::protocols::{ALPN, Stream};
use crate::server::ShutdownWatch;

/// How long a stopping server waits for requests that clients sent before they could know.
const LAST_REQUEST_GRACE: Duration = Duration::from_millis(500);

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
        if self
            .server_options()
            .is_some_and(|options| options.force_custom)
        {
            return Arc::clone(self)
                .process_custom_session(stream, shutdown)
                .await;
        }
        if stream.selected_alpn_proto() == Some(ALPN::H2) {
            let app = Arc::clone(self);
            Box::pin(serve_h2::serve(app, stream, shutdown.clone())).await;
            return None;
        }
        let mut settings: Option<HttpPersistentSettings> = None;
        loop {
            let first = match settings
                .as_mut()
                .and_then(HttpPersistentSettings::take_prefix)
            {
                Some(prefix) => Some(Input::from(prefix)),
                None => match idle_limit(settings.as_ref(), self.server_options()) {
                    Idle::Close => None,
                    Idle::Wait(limit) => first_bytes(&mut stream, limit, shutdown.clone()).await,
                },
            };
            let Some(mut first) = first else {
                stream.shutdown().await;
                return None;
            };
            if settings.is_none() && self.server_options().is_some_and(|o| o.h2c) {
                let looked = Box::pin(starts_h2(&mut stream, &mut first, shutdown));
                if looked.await {
                    let stream = Box::new(Rewound::new(stream, first.take().freeze()));
                    let app = Arc::clone(self);
                    Box::pin(serve_h2::serve(app, stream, shutdown.clone())).await;
                    return None;
                }
            }
            let session = new_session(stream, first, settings, self.server_options(), shutdown);
            let reused = self.process_new_http(session, shutdown).await?;
            (stream, settings) = reused.consume();
        }
    }

    async fn cleanup(&self) {
        self.http_cleanup().await;
    }
}

/// What tells HTTP/2 from any other request (RFC 9113 section 3.4).
const PREFACE_START: &[u8] = b"PRI ";

/// Returns whether the connection starts as one of HTTP/2 does; reads on while that is open.
async fn starts_h2(stream: &mut Stream, first: &mut Input, shutdown: &ShutdownWatch) -> bool {
    while first.buf.len() < PREFACE_START.len() && PREFACE_START.starts_with(&first.buf) {
        let limit = Some(HttpLimits::default().head_timeout);
        match first_bytes(stream, limit, shutdown.clone()).await {
            Some(more) => first.append(&more.buf),
            None => return false,
        }
    }
    first.buf.starts_with(PREFACE_START)
}

/// How long a connection is kept while nothing comes.
enum Idle {
    Close,
    /// So long; `None`: without limit.
    Wait(Option<Duration>),
}

fn idle_limit(
    settings: Option<&HttpPersistentSettings>,
    options: Option<&HttpServerOptions>,
) -> Idle {
    let Some(settings) = settings else {
        let limits = options.map_or(HttpLimits::default(), |options| options.limits);
        return Idle::Wait(Some(limits.head_timeout));
    };
    match settings.keepalive_timeout() {
        None => Idle::Close,
        Some(0) => Idle::Wait(None),
        Some(seconds) => Idle::Wait(Some(Duration::from_secs(seconds))),
    }
}

/// Waits for the first bytes of a request; `None` when there will be none.
///
/// Ends when the client closes or the time is over. When the server stops, a request that is on
/// its way already has a moment to arrive: closing at once would lose it.
///
/// This is all there is of an idle connection, so it is no `async fn`: that would keep its
/// arguments twice.
fn first_bytes(
    stream: &mut Stream,
    limit: Option<Duration>,
    mut shutdown: ShutdownWatch,
) -> impl Future<Output = Option<Input>> + Send {
    let mut timer = limit.map(Deadline::new);
    async move {
        let mut watching = true;
        let mut stopping = pin!(shutdown.wait_for(|stop| *stop));
        // Cancel-safe: bytes are only taken when the future is ready.
        poll_fn(|cx| {
            if let Poll::Ready(first) = poll_first_bytes(stream, cx) {
                return Poll::Ready(first.ok().filter(|first| !first.buf.is_empty()));
            }
            if watching && let Poll::Ready(stop) = stopping.as_mut().poll(cx) {
                // An error: nobody is left who could stop us.
                watching = false;
                if stop.is_ok() {
                    timer = Some(Deadline::new(LAST_REQUEST_GRACE));
                }
            }
            match &mut timer {
                Some(timer) => timer.poll_elapsed(cx).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }
}

fn new_session(
    stream: Stream,
    first: Input,
    settings: Option<HttpPersistentSettings>,
    options: Option<&HttpServerOptions>,
    shutdown: &ShutdownWatch,
) -> ServerSession {
    let mut session = ServerSession::new_http1(stream);
    if let Some(session) = session.as_http1_mut() {
        session.resume(first);
        if let Some(options) = options {
            session.set_limits(options.limits);
        }
    }
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
