//! A bound address and what is done to each of its connections before the application.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pingora_error::{Error, ErrorType, Result};
use pingora_timeout::timeout;
use tokio::runtime::Handle;

use super::l4::BoundSocket;
use super::tls::Acceptor;
use super::{ConnectionFilter, PreTlsCallback};
use crate::protocols::Stream;
use crate::protocols::l4::stream::{L4BufferSettings, Stream as L4Stream};

/// A listening socket with its layers: sockets below, TLS above.
pub(crate) struct TransportStack {
    socket: BoundSocket,
    buffers: L4BufferSettings,
    preparation: Arc<Preparation>,
}

impl TransportStack {
    pub(super) fn new(
        socket: BoundSocket,
        buffers: L4BufferSettings,
        preparation: Preparation,
    ) -> Self {
        TransportStack {
            socket,
            buffers,
            preparation: Arc::new(preparation),
        }
    }

    /// Returns the address the system chose, where the configured one left it a choice.
    pub(crate) fn local_addr_string(&self) -> String {
        self.socket.address()
    }

    /// Returns `tcp`, `unix`, `tls` or `unix+tls`.
    pub(crate) fn protocol(&self) -> &'static str {
        match (self.socket.is_unix(), self.preparation.tls.is_some()) {
            (false, false) => "tcp",
            (false, true) => "tls",
            (true, false) => "unix",
            (true, true) => "unix+tls",
        }
    }

    /// Returns what is done to accepted connections.
    pub(crate) fn preparation(&self) -> &Arc<Preparation> {
        &self.preparation
    }

    /// Waits for the next connection and registers it with the runtime `home`, where it is to be
    /// served: bytes that arrive then wake its task without a detour over another thread. Nothing
    /// was read from it, and no filter asked. Cancel-safe.
    pub(crate) async fn accept(&self, home: &Handle) -> io::Result<Box<L4Stream>> {
        let mut accepting = pin!(self.socket.accept());
        let stream = poll_fn(|cx| {
            let _registers_with = home.enter();
            accepting.as_mut().poll(cx)
        })
        .await?;
        Ok(self.layered(stream))
    }

    /// Takes a connection out of the backlog, as [`accept`](Self::accept) does; `None` when it is
    /// empty.
    pub(crate) fn accept_waiting(&self, home: &Handle) -> io::Result<Option<Box<L4Stream>>> {
        let _registers_with = home.enter();
        let waiting = self.socket.accept_waiting()?;
        Ok(waiting.map(|stream| self.layered(stream)))
    }

    fn layered(&self, mut stream: L4Stream) -> Box<L4Stream> {
        stream.set_buffers(&self.buffers);
        Box::new(stream)
    }

    /// Keeps new connections from the backlog; returns whether the system can. See
    /// [`BoundSocket`].
    pub(crate) fn stop_arrivals(&self) -> bool {
        self.socket.stop_arrivals()
    }
}

/// What is done to a connection between accepting it and giving it to the application.
pub(crate) struct Preparation {
    pub(super) filter: Option<Arc<dyn ConnectionFilter>>,
    pub(super) pre_tls: Option<PreTlsCallback>,
    pub(super) tls: Option<Acceptor>,
    pub(super) timeout: Option<Duration>,
}

impl Preparation {
    /// Returns whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.filter.is_none() && self.pre_tls.is_none() && self.tls.is_none()
    }

    /// Asks the filter, runs the callback, does the handshake. `None` if the filter refused.
    ///
    /// # Errors
    /// Those of the callback and the handshake; `TLSHandshakeTimedout` if all took too long.
    pub(crate) async fn handshake(&self, stream: Box<L4Stream>) -> Result<Option<Stream>> {
        let Some(limit) = self.timeout else {
            return self.steps(stream).await;
        };
        match timeout(limit, self.steps(stream)).await {
            Ok(done) => done,
            Err(_) => Err(handshake_timeout(limit)),
        }
    }

    async fn steps(&self, mut stream: Box<L4Stream>) -> Result<Option<Stream>> {
        if let Some(filter) = &self.filter {
            let peer: Option<SocketAddr> = stream.accepted_from().copied();
            if !filter.should_accept(peer.as_ref()).await {
                return Ok(None);
            }
        }
        if let Some(callback) = &self.pre_tls {
            callback.process(&mut stream).await?;
        }
        match &self.tls {
            Some(acceptor) => Ok(Some(Box::new(acceptor.tls_handshake(*stream).await?))),
            None => Ok(Some(stream)),
        }
    }
}

#[cold]
fn handshake_timeout(limit: Duration) -> Box<Error> {
    let context = format!("handshake not done in {limit:?}");
    Error::explain(ErrorType::TLSHandshakeTimedout, context).into_down()
}
