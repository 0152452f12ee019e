//! From a stream to HTTP requests: which protocol, which settings, and the time between requests.
//!
//! A connection spends most of its life waiting. It does so here, in a small future that holds no
//! buffer and no session; those are made when bytes arrive and dropped after the response.
//!
//! The application is known as an [`App`]: what was generic over it would be compiled again, with
//! HTTP/2 and all, in each program.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use pingora_timeout::fast_timeout::Deadline;

use super::{
    HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp, serve_h2,
};
use crate::protocols::http::v2::server::H2Options;
use crate::protocols::http::wire::{Input, poll_first_bytes};
use crate::protocols::http::{HttpLimits, ServerSession};
use crate::protocols::rewound::Rewound;
use crate::protocols::{ALPN, Stream};
use crate::server::ShutdownWatch;

/// How long a stopping server waits for requests that clients sent before they could know.
const LAST_REQUEST_GRACE: Duration = Duration::from_millis(500);

/// How long a connection is kept for a next request unless the application says otherwise.
const DEFAULT_KEEPALIVE_SECONDS: u64 = 60;

/// An application, as its connections know it; each method is that of [`HttpServerApp`].
pub(super) trait App: Send + Sync {
    fn process_new_http<'a>(
        &'a self,
        session: ServerSession,
        shutdown: &'a ShutdownWatch,
    ) -> BoxFuture<'a, Option<ReusedHttpStream>>;

    fn process_custom_session<'a>(
        &self,
        stream: Stream,
        shutdown: &'a ShutdownWatch,
    ) -> BoxFuture<'a, Option<Stream>>;

    fn server_options(&self) -> Option<&HttpServerOptions>;

    fn h2_options(&self) -> Option<H2Options>;

    /// Returns the same, for the streams of a connection of HTTP/2, which are tasks.
    fn share(&self) -> Arc<dyn App>;
}

impl<T: HttpServerApp + Send + Sync + 'static> App for Arc<T> {
    fn process_new_http<'a>(
        &'a self,
        session: ServerSession,
        shutdown: &'a ShutdownWatch,
    ) -> BoxFuture<'a, Option<ReusedHttpStream>> {
        HttpServerApp::process_new_http(self, session, shutdown)
    }

    fn process_custom_session<'a>(
        &self,
        stream: Stream,
        shutdown: &'a ShutdownWatch,
    ) -> BoxFuture<'a, Option<Stream>> {
        HttpServerApp::process_custom_session(Arc::clone(self), stream, shutdown)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        HttpServerApp::server_options(self.as_ref())
    }

    fn h2_options(&self) -> Option<H2Options> {
        HttpServerApp::h2_options(self.as_ref())
    }

    fn share(&self) -> Arc<dyn App> {
        Arc::new(Arc::clone(self))
    }
}

// Not by `async_trait`: the boxed future it would make around this one is this one.
impl<T> ServerApp for T
where
    T: HttpServerApp + Send + Sync + 'static,
{
    fn process_new<'life0, 'life1, 'async_trait>(
        self: &'life0 Arc<Self>,
        stream: Stream,
        shutdown: &'life1 ShutdownWatch,
    ) -> BoxFuture<'async_trait, Option<Stream>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        serve(self, stream, shutdown)
    }

    fn cleanup<'life0, 'async_trait>(&'life0 self) -> BoxFuture<'async_trait, ()>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        self.http_cleanup()
    }
}

/// Serves a connection; returns it when a custom protocol hands it back.
fn serve<'a>(
    app: &'a dyn App,
    stream: Stream,
    shutdown: &'a ShutdownWatch,
) -> BoxFuture<'a, Option<Stream>> {
    let custom = app.server_options().is_some_and(|o| o.force_custom);
    if custom {
        app.process_custom_session(stream, shutdown)
    } else if stream.selected_alpn_proto() == Some(ALPN::H2) {
        Box::pin(async move {
            serve_h2::serve(app.share(), stream, shutdown.clone()).await;
            None
        })
    } else {
        Box::pin(serve_h1(app, stream, shutdown))
    }
}

/// Serves a connection that has not chosen HTTP/2 in its TLS handshake.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps its arguments twice, in each idle connection"
)]
fn serve_h1<'a>(
    app: &'a dyn App,
    mut stream: Stream,
    shutdown: &'a ShutdownWatch,
) -> impl Future<Output = Option<Stream>> + Send + 'a {
    async move {
        let mut watch = shutdown.clone();
        let stopped = pin!(async move { watch.wait_for(|stop| *stop).await.is_ok() });
        let mut stop = Stop::new(shutdown, stopped);
        let mut settings: Option<HttpPersistentSettings> = None;
        loop {
            // Nothing of this is kept by a connection that waits.
            let mut first = if let Some(prefix) = prefix(settings.as_mut()) {
                Some(prefix)
            } else if let Idle::Wait(limit) = idle_limit(settings.as_ref(), app) {
                FirstBytes::new(&mut stream, limit, &mut stop).await
            } else {
                None
            };
            if first.is_none() {
                stream.shutdown().await;
                return None;
            }
            if settings.is_none() && app.server_options().is_some_and(|o| o.h2c) {
                let looked = Box::pin(starts_h2(&mut stream, &mut first, &mut stop));
                if let Some(start) = looked.await {
                    let stream = Box::new(Rewound::new(stream, start));
                    Box::pin(serve_h2::serve(app.share(), stream, shutdown.clone())).await;
                    return None;
                }
            }
            let first = first.unwrap_or_default();
            let session = new_session(stream, first, settings, app.server_options(), shutdown);
            let reused = app.process_new_http(session, shutdown).await?;
            (stream, settings) = reused.consume();
        }
    }
}

/// What tells HTTP/2 from any other request (RFC 9113 section 3.4).
const PREFACE_START: &[u8] = b"PRI ";

/// Returns what was received if the connection starts as one of HTTP/2 does; reads on while that
/// is open.
async fn starts_h2<F>(
    stream: &mut Stream,
    first: &mut Option<Input>,
    stop: &mut Stop<'_, F>,
) -> Option<Bytes>
where
    F: Future<Output = bool> + Send,
{
    let first = first.as_mut()?;
    while first.buf.len() < PREFACE_START.len() && PREFACE_START.starts_with(&first.buf) {
        let limit = Some(HttpLimits::default().head_timeout);
        let more = FirstBytes::new(stream, limit, stop).await?;
        first.append(&more.buf);
    }
    // Copied, so that the connection does not keep the buffer they came in.
    let is_h2 = first.buf.starts_with(PREFACE_START);
    is_h2.then(|| Bytes::copy_from_slice(&std::mem::take(first).buf))
}

/// Returns what the last request left of the next one.
fn prefix(settings: Option<&mut HttpPersistentSettings>) -> Option<Input> {
    settings?.take_prefix().map(Input::from)
}

/// How long a connection is kept while nothing comes.
enum Idle {
    Close,
    /// So long; `None`: without limit.
    Wait(Option<Duration>),
}

fn idle_limit(settings: Option<&HttpPersistentSettings>, app: &dyn App) -> Idle {
    let Some(settings) = settings else {
        let options = app.server_options();
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
/// Cancel-safe: bytes are only taken when the future is ready. This is all there is of an idle
/// connection, so it is no `async fn`: that would keep its arguments twice.
struct FirstBytes<'a, 'b, F> {
    stream: &'a mut Stream,
    timer: Option<Deadline>,
    stop: &'a mut Stop<'b, F>,
    /// The stop was not seen yet.
    watching: bool,
}

impl<'a, 'b, F> FirstBytes<'a, 'b, F> {
    /// Returns the wait, which ends after `limit`.
    fn new(stream: &'a mut Stream, limit: Option<Duration>, stop: &'a mut Stop<'b, F>) -> Self {
        FirstBytes {
            stream,
            timer: limit.map(Deadline::new),
            stop,
            watching: true,
        }
    }
}

impl<F: Future<Output = bool>> Future for FirstBytes<'_, '_, F> {
    type Output = Option<Input>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Input>> {
        let this = &mut *self;
        if let Poll::Ready(first) = poll_first_bytes(this.stream, cx) {
            return Poll::Ready(first.ok().filter(|first| !first.buf.is_empty()));
        }
        if this.watching && this.stop.is_due(cx) {
            this.watching = false;
            this.timer = Some(Deadline::new(LAST_REQUEST_GRACE));
        }
        match &mut this.timer {
            Some(timer) => timer.poll_elapsed(cx).map(|()| None),
            None => Poll::Pending,
        }
    }
}

/// The end of the server, as a connection looks out for it.
///
/// It is asked for by each wait for a request, but registered once: what is woken at the end is a list with a
/// lock, shared by all connections.
struct Stop<'a, F> {
    watch: &'a ShutdownWatch,
    /// Whether the server stops; `false` if nobody is left who could stop it.
    stopped: Pin<&'a mut F>,
    state: StopState,
}

enum StopState {
    Unknown,
    /// Not yet; then this task is woken.
    Waits(Waker),
    Known(bool),
}

impl<'a, F: Future<Output = bool>> Stop<'a, F> {
    fn new(watch: &'a ShutdownWatch, stopped: Pin<&'a mut F>) -> Self {
        let state = StopState::Unknown;
        Self {
            watch,
            stopped,
            state,
        }
    }

    /// Returns whether the server stops; if not, the task is woken when it does.
    fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        match &self.state {
            StopState::Known(due) => return *due,
            StopState::Waits(waker)
                if waker.will_wake(cx.waker()) && matches!(self.watch.has_changed(), Ok(false)) =>
            {
                return false;
            }
            StopState::Unknown | StopState::Waits(_) => {}
        }
        let stopped = self.stopped.as_mut().poll(cx);
        self.state = match stopped {
            Poll::Ready(due) => StopState::Known(due),
            Poll::Pending => StopState::Waits(cx.waker().clone()),
        };
        stopped == Poll::Ready(true)
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
