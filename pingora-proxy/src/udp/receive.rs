//! What comes from clients: one task for each address receives, and passes on at once; who is new
//! gets a session.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use log::{debug, error, warn};
use pingora_core::listeners::udp::UdpListener;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::datagram::DatagramApp;
use pingora_runtime::current_handle;
use tokio::sync::oneshot;

use super::flow::Flow;
use super::stats::Dropped;
use super::table::{Key, Limits};
use super::{ProxyUdp, UdpProxy};

/// Room for any datagram: the length field of UDP has 16 bits.
const SCRATCH_BYTES: usize = 1 << 16;

/// How many datagrams are received before other tasks get their turn.
pub(super) const BATCH: usize = 64;

/// The pause after receiving failed. A socket that fails again and again must not spin.
const TROUBLE_PAUSE: Duration = Duration::from_millis(100);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// Lends the buffer of this thread.
pub(super) fn with_scratch<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| use_it(scratch))
}

/// Dropped with the last session of a socket.
pub(super) type Alive = Arc<oneshot::Sender<Infallible>>;

#[async_trait]
impl<SV> DatagramApp for UdpProxy<SV>
where
    SV: ProxyUdp + 'static,
{
    /// Receives until `shutdown`. Then no session begins, and those there are go on until they are
    /// silent: the client's datagrams still reach them, unless the next process has the socket.
    async fn serve(self: &Arc<Self>, listener: Arc<UdpListener>, mut shutdown: ShutdownWatch) {
        let (alive, mut all_ended) = oneshot::channel();
        let alive = Arc::new(alive);
        while !*shutdown.borrow() {
            // Both futures are cancel-safe: a datagram stays in the socket.
            let readable = tokio::select! {
                biased;
                changed = shutdown.changed() => match changed {
                    Ok(()) => continue,
                    // The server is gone.
                    Err(_) => return,
                },
                readable = listener.socket().readable() => readable,
            };
            self.receive(readable, &listener, Some(&alive)).await;
        }
        drop(alive);
        self.drain();
        while !listener.is_handed_over() {
            // Both futures are cancel-safe.
            let readable = tokio::select! {
                biased;
                // Nothing can be sent: the only outcome is that all sessions have ended.
                _ = &mut all_ended => return,
                readable = listener.socket().readable() => readable,
            };
            self.receive(readable, &listener, None).await;
        }
        let _ = all_ended.await;
    }
}

impl<SV> UdpProxy<SV>
where
    SV: ProxyUdp + 'static,
{
    fn drain(&self) {
        let mut table = self.table.lock();
        table.drain();
        for flow in table.values() {
            flow.wake.notify_one();
        }
    }

    /// Receives what is there. An error of the socket is logged and waited out.
    async fn receive(
        self: &Arc<Self>,
        readable: io::Result<()>,
        listener: &Arc<UdpListener>,
        alive: Option<&Alive>,
    ) {
        let received = readable
            .and_then(|()| with_scratch(|scratch| self.receive_batch(scratch, listener, alive)));
        if let Err(e) = received {
            error!("receiving on {}: {e}; trying on", listener.local_addr());
            tokio::time::sleep(TROUBLE_PAUSE).await;
        }
    }

    fn receive_batch(
        self: &Arc<Self>,
        scratch: &mut [u8],
        listener: &Arc<UdpListener>,
        alive: Option<&Alive>,
    ) -> io::Result<()> {
        for _ in 0..BATCH {
            match listener.socket().try_recv_from(scratch) {
                Ok((bytes, client)) => self.pass(&scratch[..bytes], client, listener, alive),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // What a client's host said about an earlier answer.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Passes a client's datagram to its session, or begins one with it.
    fn pass(
        self: &Arc<Self>,
        datagram: &[u8],
        client: SocketAddr,
        listener: &Arc<UdpListener>,
        alive: Option<&Alive>,
    ) {
        if !self.is_wanted(&client, datagram) {
            return self.stats.count_dropped(Dropped::Filtered, 1);
        }
        if datagram.len() > self.options.max_datagram_bytes {
            return self.stats.count_dropped(Dropped::TooLong, 1);
        }
        let server = listener.local_addr();
        let key = Key { client, server };
        if let Some(flow) = self.find(&key, datagram) {
            return self.pass_to(&flow, datagram);
        }
        match alive {
            Some(alive) => self.begin(key, datagram, listener, alive),
            None => self.stats.count_dropped(Dropped::ShuttingDown, 1),
        }
    }

    /// Asks the filter. One that panics must not end the service of everybody.
    fn is_wanted(&self, client: &SocketAddr, datagram: &[u8]) -> bool {
        let asked = AssertUnwindSafe(|| self.inner.datagram_filter(client, datagram));
        catch_unwind(asked).unwrap_or_else(|_| {
            error!("the datagram filter panicked, client: {client}");
            false
        })
    }

    /// Returns the session of a datagram, whose client counts as heard of from now on.
    fn find(&self, key: &Key, datagram: &[u8]) -> Option<Arc<Flow>> {
        let now = Instant::now();
        let table = self.table.lock();
        let flow = table.get(key)?;
        // Under both locks, so that the session does not end for silence right now.
        flow.state.lock().hear_client(datagram.len(), now);
        Some(flow.clone())
    }

    fn pass_to(&self, flow: &Flow, datagram: &[u8]) {
        let Some(upstream) = flow.upstream.get() else {
            return self.queue(flow, datagram);
        };
        match upstream.try_send(datagram) {
            Ok(_) => self.stats.count_to_upstream(),
            Err(e) => {
                self.stats.count_dropped(Dropped::NotSent, 1);
                if e.kind() == io::ErrorKind::ConnectionRefused {
                    flow.state.lock().refused = true;
                    flow.wake.notify_one();
                }
            }
        }
    }

    fn begin(
        self: &Arc<Self>,
        key: Key,
        datagram: &[u8],
        listener: &Arc<UdpListener>,
        alive: &Alive,
    ) {
        if !self.reserve(datagram.len()) {
            return self.stats.count_dropped(Dropped::QueueFull, 1);
        }
        let limits = Limits {
            sessions: self.options.max_sessions,
            per_client: self.options.max_sessions_per_client,
        };
        let begin = || Arc::new(Flow::new(key, datagram, Instant::now()));
        let entered = self.table.lock().insert(key, limits, begin);
        let flow = match entered {
            Ok(flow) => flow,
            Err(reason) => {
                self.release(datagram.len());
                if reason == Dropped::TooManySessions && self.stats.dropped(reason) == 0 {
                    warn!("a UDP proxy has all the sessions it may; more are refused");
                }
                return self.stats.count_dropped(reason, 1);
            }
        };
        self.stats.count_begin();
        debug!("a session begins, client: {}", key.client);
        let (proxy, listener, alive) = (self.clone(), listener.clone(), alive.clone());
        current_handle().spawn(async move {
            proxy.run(listener, flow).await;
            drop(alive);
        });
    }

    /// Keeps a datagram until the server is chosen; sends it if that is now.
    fn queue(&self, flow: &Flow, datagram: &[u8]) {
        let mut state = flow.state.lock();
        let Some(queue) = &mut state.queue else {
            drop(state);
            return match flow.upstream.get() {
                Some(_) => self.pass_to(flow, datagram),
                None => self.stats.count_dropped(Dropped::NoUpstream, 1),
            };
        };
        if queue.len() >= self.options.max_queued_datagrams || !self.reserve(datagram.len()) {
            return self.stats.count_dropped(Dropped::QueueFull, 1);
        }
        queue.push_back(Bytes::copy_from_slice(datagram));
    }
}
