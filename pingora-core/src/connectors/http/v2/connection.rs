//! [`ConnectionRef`]: a connection as its streams and the pools share it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use h2::client::SendRequest;
use parking_lot::Mutex;
use pingora_error::{Error, ErrorType::HandshakeError, Result};
use pingora_timeout::fast_timeout::Deadline;
use tokio::sync::watch;

use super::pools::Pools;
use crate::protocols::http::v2::client::{Http2Session, Opener, drive};
use crate::protocols::http::v2::engine::hpack::Encoder;
use crate::protocols::http::v2::engine::{Asked, Driver, Failure, Local, Sender, StreamRef};
use crate::protocols::{Digest, Stream, UniqueIDType};
use crate::upstreams::peer::Peer;

/// Bytes all streams of a connection together may send before they are read.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// Bytes a stream may send before they are read, unless many share the connection: a client that
/// takes nothing makes us hold this much.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// The least a stream gets.
const MIN_STREAM_WINDOW: u32 = 64 * 1024;

/// Bytes of a header list, each field counted with 32 more (RFC 9113 section 6.5.2): as many as a
/// head of HTTP/1 may have, see [`HttpLimits::for_responses`](crate::protocols::http::HttpLimits).
const MAX_HEADER_LIST_BYTES: u32 = 1024 * 1024;

/// How long a server has for its SETTINGS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a connection is set up.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct H2HandshakeSettings {
    /// The most streams at once; the server may allow fewer.
    pub max_streams: usize,
    /// How often to send a PING; `None`: never.
    pub ping_interval: Option<Duration>,
    /// Bytes a stream may send before they are read; `None`: 1 MiB, or less when many streams
    /// share the connection.
    pub stream_window_size: Option<u32>,
    /// Bytes all streams together may send before they are read; `None`: 8 MiB, or what the
    /// streams need so that none stops another.
    pub connection_window_size: Option<u32>,
}

impl H2HandshakeSettings {
    /// Returns the settings of a connection with one stream at a time.
    pub fn new() -> Self {
        H2HandshakeSettings {
            max_streams: 1,
            ..Self::default()
        }
    }

    /// Returns the settings a peer wants.
    pub(super) fn of<P: Peer>(peer: &P) -> Self {
        let mut settings = Self::new();
        settings.ping_interval = peer.h2_ping_interval();
        if let Some(options) = peer.get_peer_options() {
            settings.max_streams = options.max_h2_streams.max(1);
            settings.stream_window_size = options.h2_stream_window_size;
            settings.connection_window_size = options.h2_connection_window_size;
        }
        settings
    }

    /// Returns the windows of a stream and of the connection.
    pub(super) fn windows(&self) -> (u32, u32) {
        let streams = u32::try_from(self.max_streams.max(1)).unwrap_or(u32::MAX);
        let share = CONNECTION_WINDOW / streams;
        let stream = share.clamp(MIN_STREAM_WINDOW, STREAM_WINDOW);
        let stream = self.stream_window_size.unwrap_or(stream).min(MAX_WINDOW);
        let needed = stream.saturating_mul(streams).max(CONNECTION_WINDOW);
        let connection = self.connection_window_size.unwrap_or(needed);
        (stream, connection.min(MAX_WINDOW))
    }
}

impl H2HandshakeSettings {
    /// Returns what the server is told.
    fn local(&self) -> Local {
        let (stream_window, connection_window) = self.windows();
        Local {
            // Servers open none.
            max_streams: 0,
            stream_window,
            connection_window,
            max_header_list: MAX_HEADER_LIST_BYTES,
            connect_protocol: false,
        }
    }
}

/// The largest window there is (RFC 9113 section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// A connection, of which clones are the same connection.
#[derive(Clone)]
pub struct ConnectionRef(Arc<Inner>);

/// What opens streams on a connection.
enum Send {
    Ours(Sender),
    /// The `h2` crate, by which a program has made the connection.
    H2(SendRequest<Bytes>),
}

struct Inner {
    send: Send,
    closed: watch::Receiver<bool>,
    ping_timeout_occurred: Arc<AtomicBool>,
    id: UniqueIDType,
    max_streams: usize,
    streams: AtomicUsize,
    shutting_down: AtomicBool,
    digest: Digest,
    /// Where it goes when its last stream has ended.
    home: OnceLock<Home>,
    idle: Arc<IdleClock>,
}

struct Home {
    pools: Weak<Pools>,
    key: u64,
}

/// How long a connection may be unused, and since when it is.
struct IdleClock(Mutex<(Option<Duration>, Instant)>);

impl ConnectionRef {
    /// Returns a connection without streams.
    ///
    /// `closed` turns true when it has ended, `ping_timeout_occurred` when that was because a PING
    /// was not answered: see
    /// [`drive_connection`](crate::protocols::http::v2::client::drive_connection).
    pub fn new(
        send_req: SendRequest<Bytes>,
        closed: watch::Receiver<bool>,
        ping_timeout_occurred: Arc<AtomicBool>,
        id: UniqueIDType,
        max_streams: usize,
        digest: Digest,
    ) -> Self {
        let send = Send::H2(send_req);
        Self::with(send, closed, ping_timeout_occurred, id, max_streams, digest)
    }

    fn with(
        send: Send,
        closed: watch::Receiver<bool>,
        ping_timeout_occurred: Arc<AtomicBool>,
        id: UniqueIDType,
        max_streams: usize,
        digest: Digest,
    ) -> Self {
        ConnectionRef(Arc::new(Inner {
            send,
            closed,
            ping_timeout_occurred,
            id,
            max_streams,
            streams: AtomicUsize::new(0),
            shutting_down: AtomicBool::new(false),
            digest,
            home: OnceLock::new(),
            idle: Arc::new(IdleClock(Mutex::new((None, Instant::now())))),
        }))
    }

    /// Opens a stream; `None` when the connection takes no more.
    pub async fn spawn_stream(&self) -> Result<Option<Http2Session>> {
        if !self.reserve_stream() {
            return Ok(None);
        }
        Ok(self.session_on_reserved())
    }

    /// Counts a stream as ended, which a dropped session does by itself.
    pub fn release_stream(&self) {
        // AcqRel: whoever sees 0 sees all that the streams did.
        let before = self
            .0
            .streams
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |streams| {
                streams.checked_sub(1)
            });
        if (before == Ok(1) || !self.is_usable())
            && let Some(home) = self.0.home.get()
            && let Some(pools) = home.pools.upgrade()
        {
            pools.stream_ended(home.key, self.0.id);
        }
    }

    /// Takes no more streams from now on; those open go on.
    pub fn mark_shutdown(&self) {
        self.0.shutting_down.store(true, Ordering::Relaxed);
    }

    /// Returns whether no more streams are taken.
    pub fn is_shutting_down(&self) -> bool {
        self.0.shutting_down.load(Ordering::Relaxed)
    }

    /// Returns whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        *self.0.closed.borrow() || self.0.closed.has_changed().is_err()
    }

    /// Returns whether a PING was not answered.
    pub fn ping_timedout(&self) -> bool {
        // Acquire: pairs with the Release of the driver.
        self.0.ping_timeout_occurred.load(Ordering::Acquire)
    }

    /// Returns whether there is no stream.
    pub fn is_idle(&self) -> bool {
        self.0.streams.load(Ordering::Acquire) == 0
    }

    /// Returns how many more streams both sides allow now.
    pub fn free_stream_slots(&self) -> usize {
        let used = self.0.streams.load(Ordering::Acquire);
        self.stream_limit().saturating_sub(used)
    }

    /// Returns whether that many more streams can be opened.
    pub fn can_accept_streams(&self, streams: usize) -> bool {
        self.is_usable() && self.free_stream_slots() >= streams
    }

    /// Returns whether another stream can be opened.
    pub fn more_streams_allowed(&self) -> bool {
        self.can_accept_streams(1)
    }

    /// Returns the identifier of the connection.
    pub fn id(&self) -> UniqueIDType {
        self.0.id
    }

    /// Returns the facts of the connection.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// Returns the facts of the connection, to change; `None` while somebody shares it.
    pub fn digest_mut(&mut self) -> Option<&mut Digest> {
        Arc::get_mut(&mut self.0).map(|inner| &mut inner.digest)
    }

    /// Returns whether streams may be opened, if there is a free one.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_shutting_down() && !self.is_closed()
    }

    /// Counts a stream that will be opened; `false` when none may be.
    pub(super) fn reserve_stream(&self) -> bool {
        if !self.is_usable() {
            return false;
        }
        let limit = self.stream_limit();
        let reserved = self
            .0
            .streams
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                (used < limit).then_some(used + 1)
            });
        reserved.is_ok()
    }

    /// Returns the session of a reserved stream; `None`, and the reservation is given back, when
    /// the connection turns out to take no more.
    pub(super) fn session_on_reserved(&self) -> Option<Http2Session> {
        let opener = match &self.0.send {
            Send::Ours(sender) => sender.is_open().then_some(Opener::Ours),
            Send::H2(send) => {
                let mut send = send.clone();
                let mut cx = Context::from_waker(Waker::noop());
                // Pending or an error: it has failed, or the server said GOAWAY.
                let is_open = matches!(send.poll_ready(&mut cx), Poll::Ready(Ok(())));
                is_open.then_some(Opener::H2(send))
            }
        };
        if opener.is_none() {
            self.mark_shutdown();
            self.release_stream();
        }
        Some(Http2Session::new(opener?, self.clone()))
    }

    /// Opens a stream we frame, with the head `encode` writes.
    pub(crate) fn open(
        &self,
        ends: bool,
        asked: Asked,
        encode: impl FnOnce(&mut Encoder, &mut BytesMut),
    ) -> Result<StreamRef, Failure> {
        match &self.0.send {
            Send::Ours(sender) => sender.open(ends, asked, encode),
            Send::H2(_) => Err(Failure::Io(io::ErrorKind::Unsupported)),
        }
    }

    /// Returns whether the connection is known to go on, whatever one stream says.
    pub(crate) fn takes_streams(&self) -> bool {
        match &self.0.send {
            Send::Ours(sender) => sender.is_open(),
            Send::H2(_) => false,
        }
    }

    /// Returns whether the server grants tunnels in streams (RFC 8441).
    pub(crate) fn grants_tunnels(&self) -> bool {
        match &self.0.send {
            Send::Ours(sender) => sender.grants_tunnels(),
            Send::H2(send) => send.is_extended_connect_protocol_enabled(),
        }
    }

    /// Sets how long the connection may be unused.
    pub(super) fn set_idle_timeout(&self, timeout: Option<Duration>) {
        self.0.idle.0.lock().0 = timeout;
    }

    /// Returns whether the connection may be unused at all.
    pub(super) fn may_idle(&self) -> bool {
        self.0.idle.limit() != Some(Duration::ZERO)
    }

    /// The last stream has ended.
    pub(super) fn idles_from_now(&self) {
        self.0.idle.0.lock().1 = Instant::now();
    }

    /// The server's limit and ours, whichever is lower.
    pub(super) fn stream_limit(&self) -> usize {
        let servers = match &self.0.send {
            Send::Ours(sender) => sender.max_streams(),
            Send::H2(send) => send.current_max_send_streams(),
        };
        self.0.max_streams.min(servers)
    }
}

/// Starts HTTP/2 on a connection and spawns the task that does its I/O.
///
/// Returns once the server's SETTINGS have come.
///
/// # Errors
/// `HandshakeError` when the server does not speak HTTP/2 or says nothing for 10 s.
pub async fn handshake(stream: Stream, settings: H2HandshakeSettings) -> Result<ConnectionRef> {
    open(stream, settings, None).await
}

/// Does what [`handshake`] does, for a connection that belongs in the pools of `home`, under a key
/// and no longer than an idle timeout.
pub(super) async fn open(
    stream: Stream,
    settings: H2HandshakeSettings,
    home: Option<(&Arc<Pools>, u64, Option<Duration>)>,
) -> Result<ConnectionRef> {
    let id = stream.id();
    let digest = Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    };
    let (sender, mut driver) = Driver::client(stream, settings.local());
    match pingora_timeout::timeout(HANDSHAKE_TIMEOUT, shake_hands(&mut driver)).await {
        Ok(Ok(())) => (),
        Ok(Err(e)) => {
            return Err(Error::because(HandshakeError, "HTTP/2 with a server", e).into_up());
        }
        Err(_) => {
            return Error::e_explain(HandshakeError, "no HTTP/2 SETTINGS in time")
                .map_err(Error::into_up);
        }
    }
    let (ended, closed) = watch::channel(false);
    let ping_timeout = Arc::new(AtomicBool::new(false));
    let conn = ConnectionRef::with(
        Send::Ours(sender),
        closed,
        Arc::clone(&ping_timeout),
        id,
        settings.max_streams.max(1),
        digest,
    );
    let drive = drive(driver, id, ended, settings.ping_interval, ping_timeout);
    match home {
        None => drop(tokio::spawn(drive.boxed())),
        Some((pools, key, idle_timeout)) => {
            conn.set_idle_timeout(idle_timeout);
            let pools = Arc::downgrade(pools);
            let home = Home {
                pools: Weak::clone(&pools),
                key,
            };
            assert!(conn.0.home.set(home).is_ok(), "nobody else has it yet");
            let idle = Arc::clone(&conn.0.idle);
            let used = async move {
                let expire = || {
                    if let Some(pools) = pools.upgrade() {
                        pools.expire(key, id);
                    }
                };
                drive_while_used(drive, idle, expire).await;
                if let Some(pools) = pools.upgrade() {
                    pools.forget(key, id);
                }
            };
            tokio::spawn(used.boxed());
        }
    }
    Ok(conn)
}

/// Drives a connection; calls `give_up` when it was unused for too long. Without anybody who could
/// open a stream it then ends by itself.
async fn drive_while_used(
    drive: impl Future<Output = ()>,
    idle: Arc<IdleClock>,
    give_up: impl Fn(),
) {
    /// How often a connection without a limit is looked at for one.
    const LOOK: Duration = Duration::from_secs(10);
    const MIN_LOOK: Duration = Duration::from_millis(10);
    let mut drive = pin!(drive);
    let mut timer = Deadline::new(idle.left().unwrap_or(LOOK));
    // Cancel-safe: the state is in the connection.
    poll_fn(|cx| {
        loop {
            if drive.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if timer.poll_elapsed(cx).is_pending() {
                return Poll::Pending;
            }
            let next = match idle.left() {
                None => LOOK,
                Some(left) if left.is_zero() => {
                    give_up();
                    // It may be in use: look again when it could have been unused so long.
                    idle.limit().unwrap_or(LOOK)
                }
                Some(left) => left,
            };
            // Not at once, even for a limit of zero.
            timer.reset(next.max(MIN_LOOK));
        }
    })
    .await;
}

impl IdleClock {
    fn limit(&self) -> Option<Duration> {
        self.0.lock().0
    }

    /// Returns how much longer the connection may be unused; `None`: without limit.
    fn left(&self) -> Option<Duration> {
        let (limit, since) = *self.0.lock();
        Some(limit?.saturating_sub(since.elapsed()))
    }
}

/// Sends the preface, then reads until the server's SETTINGS have come.
async fn shake_hands(driver: &mut Driver) -> Result<(), Failure> {
    poll_fn(|cx| {
        let ended = driver.poll_work(cx);
        if driver.is_set_up() {
            return Poll::Ready(Ok(()));
        }
        ended.map(|ended| ended.and(Err(Failure::Io(io::ErrorKind::UnexpectedEof))))
    })
    .await
}
