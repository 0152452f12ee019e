//! The life of a session: its server is chosen, what waited is sent, answers go to the client, and
//! silence ends it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::{debug, error, warn};
use pingora_core::listeners::udp::UdpListener;
use pingora_error::{
    Error, ErrorSource,
    ErrorType::{ConnectError, ConnectRefused, ConnectTimedout, ReadError},
    OrErr, Result,
};
use pingora_timeout::fast_timeout::{Deadline, fast_timeout};
use tokio::io::{Interest, Ready};
use tokio::net::UdpSocket;

use super::flow::{Account, Flow};
use super::receive::{BATCH, with_scratch};
use super::stats::Dropped;
use super::{ProxyUdp, UdpPeer, UdpProxy, UdpProxyOptions};

/// A session of a client.
pub struct UdpSession {
    flow: Arc<Flow>,
    first: Bytes,
}

impl UdpSession {
    fn new(flow: Arc<Flow>) -> Self {
        let state = flow.state.lock();
        let first = state.queue.as_ref().and_then(|queue| queue.front());
        let first = first.cloned().unwrap_or_default();
        drop(state);
        UdpSession { flow, first }
    }

    /// Returns the address of the client, as its datagrams have it.
    pub fn client_addr(&self) -> SocketAddr {
        self.flow.key.client
    }

    /// Returns the address of the socket that receives from the client.
    pub fn server_addr(&self) -> SocketAddr {
        self.flow.key.server
    }

    /// Returns the datagram that began the session. It stays where it is: the server gets it.
    pub fn first_datagram(&self) -> &Bytes {
        &self.first
    }

    /// Returns the address of the server, once it is chosen.
    pub fn upstream_addr(&self) -> Option<SocketAddr> {
        self.flow.upstream.get()?.peer_addr().ok()
    }

    /// Returns how many datagrams of the client came.
    pub fn datagrams_received(&self) -> u64 {
        self.account().asked
    }

    /// Returns how many bytes they had.
    pub fn bytes_received(&self) -> u64 {
        self.account().asked_bytes
    }

    /// Returns how many datagrams the client was sent.
    pub fn datagrams_sent(&self) -> u64 {
        self.account().replied
    }

    /// Returns how many bytes they had.
    pub fn bytes_sent(&self) -> u64 {
        self.account().replied_bytes
    }

    fn account(&self) -> Account {
        self.flow.state.lock().account
    }
}

impl fmt::Debug for UdpSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSession")
            .field("client", &self.client_addr())
            .field("upstream", &self.upstream_addr())
            .finish_non_exhaustive()
    }
}

impl<SV> UdpProxy<SV>
where
    SV: ProxyUdp + 'static,
{
    /// Runs a session that is in the table, and takes it out.
    pub(super) async fn run(self: Arc<Self>, listener: Arc<UdpListener>, flow: Arc<Flow>) {
        // Also when a hook panics.
        let entered = Entered {
            proxy: &self,
            flow: &flow,
        };
        let mut session = UdpSession::new(flow.clone());
        let mut ctx = self.inner.new_ctx();
        let result = self.exchange(&listener, &mut session, &mut ctx).await;
        drop(entered);
        if let Err(e) = &result {
            log_failure(&session, e);
        }
        let e = result.err();
        self.inner
            .logging(&mut session, e.as_deref(), &mut ctx)
            .await;
    }

    async fn exchange(
        &self,
        listener: &UdpListener,
        session: &mut UdpSession,
        ctx: &mut SV::CTX,
    ) -> Result<()> {
        let connecting = self.connect(session, ctx);
        let connected = fast_timeout(self.options.select_timeout, connecting).await;
        let Ok(connected) = connected else {
            return Error::e_explain(ConnectTimedout, "while choosing a UDP server");
        };
        let Some(upstream) = connected? else {
            debug!("session refused by the filter");
            return Ok(());
        };
        let flow = session.flow.clone();
        let upstream = self.open(&flow, upstream);
        Replies {
            proxy: self,
            listener,
            flow: &flow,
            upstream,
        }
        .run()
        .await
        .map_err(Error::into_up)
    }

    /// Returns a socket to the server that is chosen; `None` when the session is refused.
    async fn connect(
        &self,
        session: &mut UdpSession,
        ctx: &mut SV::CTX,
    ) -> Result<Option<UdpSocket>> {
        if !self.inner.session_filter(session, ctx).await? {
            return Ok(None);
        }
        let mut tries = 0;
        // Bounded by the number of tries.
        loop {
            tries += 1;
            let peer = self.inner.upstream_peer(session, ctx).await?;
            let e = match connect_to(&peer).await {
                Ok(socket) => return Ok(Some(socket)),
                Err(e) => e.into_up(),
            };
            let e = self.inner.fail_to_connect(session, &peer, ctx, e);
            if !e.retry() || tries >= self.max_retries.max(1) {
                return Err(e);
            }
            warn!("trying again: {e}, tries: {tries}");
        }
    }

    /// Sends what waits, and lets what comes later go the short way.
    fn open<'a>(&self, flow: &'a Flow, socket: UdpSocket) -> &'a UdpSocket {
        let mut state = flow.state.lock();
        let upstream = flow.upstream.get_or_init(|| socket);
        for datagram in state.queue.take().into_iter().flatten() {
            self.release(datagram.len());
            match upstream.try_send(&datagram) {
                Ok(_) => self.stats.count_to_upstream(),
                Err(e) => {
                    self.stats.count_dropped(Dropped::NotSent, 1);
                    state.refused |= e.kind() == io::ErrorKind::ConnectionRefused;
                }
            }
        }
        if state.refused {
            flow.wake.notify_one();
        }
        upstream
    }
}

async fn connect_to(peer: &UdpPeer) -> Result<UdpSocket> {
    let any: SocketAddr = match peer.address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let connected = async {
        let socket = UdpSocket::bind(peer.bind_to.unwrap_or(any)).await?;
        // From now on the system drops what anybody else sends to it.
        socket.connect(peer.address).await?;
        // At once; but before that the runtime does not know that it can be sent to.
        socket.writable().await?;
        io::Result::Ok(socket)
    };
    connected
        .await
        .or_err_with(ConnectError, || format!("UDP server {}", peer.address))
}

/// A session in the table. Dropping it takes the session out, with what still waits in it.
struct Entered<'a, SV> {
    proxy: &'a UdpProxy<SV>,
    flow: &'a Arc<Flow>,
}

impl<SV> Drop for Entered<'_, SV> {
    fn drop(&mut self) {
        let mut table = self.proxy.table.lock();
        // After silence it is out already, and another one may have its place.
        if table
            .get(&self.flow.key)
            .is_some_and(|there| Arc::ptr_eq(there, self.flow))
        {
            table.remove(&self.flow.key);
        }
        drop(table);
        self.proxy.stats.count_end();
        let waiting = self.flow.state.lock().queue.take().unwrap_or_default();
        let bytes: usize = waiting.iter().map(Bytes::len).sum();
        self.proxy.release(bytes);
        self.proxy
            .stats
            .count_dropped(Dropped::NoUpstream, waiting.len());
    }
}

/// The way back: from the server to the client.
struct Replies<'a, SV> {
    proxy: &'a UdpProxy<SV>,
    listener: &'a UdpListener,
    flow: &'a Arc<Flow>,
    upstream: &'a UdpSocket,
}

const REPLY_OR_ERROR: Interest = Interest::READABLE.add(Interest::ERROR);

/// What a session waits for.
enum Event {
    Ready(io::Result<Ready>),
    Woken,
    Silence,
}

impl<SV: ProxyUdp> Replies<'_, SV> {
    /// Ends well with silence, or when all is answered.
    async fn run(&self) -> Result<()> {
        let mut silence = Deadline::new(self.allowed_silence());
        // Ends with the session.
        loop {
            // All three are cancel-safe: a datagram stays in the socket, a wake-up is kept.
            let event = tokio::select! {
                ready = self.upstream.ready(REPLY_OR_ERROR) => Event::Ready(ready),
                () = self.flow.wake.notified() => Event::Woken,
                () = poll_fn(|cx| silence.poll_elapsed(cx)) => Event::Silence,
            };
            match event {
                Event::Ready(ready) => {
                    let receive = |scratch: &mut [u8]| self.receive(scratch);
                    let received = ready.and_then(|ready| {
                        self.look_for_error(ready)?;
                        with_scratch(receive)
                    });
                    received.map_err(broken)?;
                    if self.is_answered() {
                        return Ok(());
                    }
                }
                Event::Woken if self.flow.state.lock().refused => {
                    return Err(broken(io::ErrorKind::ConnectionRefused.into()));
                }
                // The server shuts down, which allows less silence.
                Event::Woken => silence.reset(self.left().unwrap_or_default()),
                Event::Silence => match self.end_or_wait() {
                    Some(left) => silence.reset(left),
                    None => return Ok(()),
                },
            }
        }
    }

    /// Returns what the network said of the server, if it did: no datagram shows it.
    fn look_for_error(&self, ready: Ready) -> io::Result<()> {
        if !ready.is_error() {
            return Ok(());
        }
        let look = || match self.upstream.take_error()? {
            Some(e) => Err(e),
            None => Err(io::ErrorKind::WouldBlock.into()),
        };
        match self.upstream.try_io(Interest::ERROR, look) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            done => done,
        }
    }

    /// Passes on what is there.
    fn receive(&self, scratch: &mut [u8]) -> io::Result<()> {
        for _ in 0..BATCH {
            match self.upstream.try_recv(scratch) {
                Ok(bytes) => self.pass(&scratch[..bytes]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn pass(&self, datagram: &[u8]) {
        let UdpProxyOptions {
            max_datagram_bytes,
            max_amplification,
            ..
        } = self.proxy.options;
        let stats = &self.proxy.stats;
        if datagram.len() > max_datagram_bytes {
            return stats.count_dropped(Dropped::TooLong, 1);
        }
        let may_reply = {
            let mut state = self.flow.state.lock();
            state.last = Instant::now();
            let may_reply = state.account.may_reply(datagram.len(), max_amplification);
            if may_reply {
                state.account.reply(datagram.len());
            }
            may_reply
        };
        if !may_reply {
            return stats.count_dropped(Dropped::Amplified, 1);
        }
        let client = self.flow.key.client;
        match self.listener.socket().try_send_to(datagram, client) {
            Ok(_) => stats.count_to_client(),
            Err(_) => stats.count_dropped(Dropped::NotSent, 1),
        }
    }

    fn is_answered(&self) -> bool {
        let replies = self.proxy.options.replies_per_datagram;
        if replies.is_none() {
            return false;
        }
        // With the table locked no datagram of the client comes in between.
        let mut table = self.proxy.table.lock();
        let answered = self.flow.state.lock().account.is_answered(replies);
        if answered {
            table.remove(&self.flow.key);
        }
        answered
    }

    /// Ends the session, unless there was something to hear meanwhile; then returns how long it
    /// may be silent still.
    fn end_or_wait(&self) -> Option<Duration> {
        // With the table locked no datagram of the client comes in between.
        let mut table = self.proxy.table.lock();
        let left = self.left_with(table.is_draining());
        if left.is_none() {
            table.remove(&self.flow.key);
        }
        left
    }

    fn left(&self) -> Option<Duration> {
        let draining = self.proxy.table.lock().is_draining();
        self.left_with(draining)
    }

    /// Returns how long the session may be silent still.
    fn left_with(&self, draining: bool) -> Option<Duration> {
        let silent = self.flow.state.lock().last.elapsed();
        let allowed = self.allowed(draining);
        allowed.checked_sub(silent).filter(|left| !left.is_zero())
    }

    fn allowed_silence(&self) -> Duration {
        let draining = self.proxy.table.lock().is_draining();
        self.allowed(draining)
    }

    fn allowed(&self, draining: bool) -> Duration {
        let options = &self.proxy.options;
        let confirmed = self.flow.state.lock().account.confirmed;
        let allowed = match confirmed {
            true => options.idle_timeout,
            false => options.unconfirmed_timeout.min(options.idle_timeout),
        };
        match draining {
            true => allowed.min(options.drain_timeout),
            false => allowed,
        }
    }
}

#[cold]
fn broken(e: io::Error) -> Box<Error> {
    let etype = match e.kind() {
        io::ErrorKind::ConnectionRefused => ConnectRefused,
        _ => ReadError,
    };
    Error::because(etype, "while waiting for a UDP server", e)
}

fn log_failure(session: &UdpSession, e: &Error) {
    let (client, upstream) = (session.client_addr(), session.upstream_addr());
    match e.esource() {
        ErrorSource::Downstream => debug!("client failed: {e}, client: {client}"),
        _ => error!("fail to proxy datagrams: {e}, client: {client}, server: {upstream:?}"),
    }
}
