//! [`TcpSession`]: a connection of a client, and what was looked at of its first bytes.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use log::debug;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::tls::client_hello::{ClientHello, MAX_RECORD_BYTES};
use pingora_core::protocols::{SocketDigest, Stream};
use pingora_error::{
    Error,
    ErrorType::{ReadError, ReadTimedout, WriteError},
    OrErr, Result,
};
use pingora_timeout::fast_timeout::Deadline;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::relay::{Relay, Side};

/// How many first bytes can be looked at: as many as the longest ClientHello takes in records.
const MAX_PEEK_BYTES: usize = MAX_RECORD_BYTES;

/// How much is read at a time while looking.
const PEEK_READ_BYTES: usize = 2 * 1024;

/// A connection of a client.
///
/// Bytes that are looked at are passed on to the upstream all the same.
pub struct TcpSession {
    stream: Stream,
    digest: Option<Arc<SocketDigest>>,
    /// Received, not passed on yet.
    first: BytesMut,
    peek_timeout: Duration,
    hello: Option<Box<ClientHello>>,
    received: u64,
    sent: u64,
}

impl TcpSession {
    pub(super) fn new(stream: Stream, peek_timeout: Duration) -> Self {
        TcpSession {
            digest: stream.get_socket_digest(),
            stream,
            first: BytesMut::new(),
            peek_timeout,
            hello: None,
            received: 0,
            sent: 0,
        }
    }

    /// Returns the address of the client.
    pub fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest.as_ref()?.peer_addr()
    }

    /// Returns the address the client connected to.
    pub fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest.as_ref()?.local_addr()
    }

    /// Returns the facts of the client's socket.
    pub fn socket_digest(&self) -> Option<&Arc<SocketDigest>> {
        self.digest.as_ref()
    }

    /// Returns the facts of the client's TLS, when the listener ends it.
    pub fn ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    /// Returns the number of bytes the client sent that were passed on.
    pub fn bytes_received(&self) -> u64 {
        self.received
    }

    /// Returns the number of bytes the client was sent.
    pub fn bytes_sent(&self) -> u64 {
        self.sent
    }

    /// Returns at least `count` of the client's first bytes; fewer if it sends no more.
    ///
    /// They stay where they are: the upstream gets them. Cancel-safe. Do not wait for the client
    /// in a protocol in which the server speaks first.
    ///
    /// # Errors
    /// `ReadTimedout` after [`peek_timeout`](super::TcpProxyOptions::peek_timeout), `ReadError`
    /// when the connection breaks or `count` is more than 64 KiB.
    pub async fn peek(&mut self, count: usize) -> Result<&[u8]> {
        if count > MAX_PEEK_BYTES {
            return Error::e_explain(ReadError, "more than can be looked at");
        }
        let mut deadline = Deadline::new(self.peek_timeout);
        while self.first.len() < count {
            if self.read_more(&mut deadline).await? == 0 {
                break;
            }
        }
        Ok(&self.first)
    }

    /// Returns what the client says in its first TLS message; `None` when it does not speak TLS.
    ///
    /// For listeners without TLS. The message stays where it is: the upstream gets it. Cancel-safe.
    ///
    /// # Errors
    /// As [`peek`](Self::peek); `ReadError` for a message that is TLS but malformed.
    pub async fn client_hello(&mut self) -> Result<Option<&ClientHello>> {
        let mut deadline = Deadline::new(self.peek_timeout);
        // Each turn receives something, up to a limit.
        while self.hello.is_none() {
            match ClientHello::parse(&self.first) {
                Ok(Some(hello)) => self.hello = Some(Box::new(hello)),
                // TLS starts with this byte, and no protocol of text does.
                Err(_) if self.first.first() != Some(&22) => return Ok(None),
                Err(e) => return Error::e_because(ReadError, "while looking for TLS", e),
                Ok(None) if self.first.len() >= MAX_PEEK_BYTES => {
                    return Error::e_explain(ReadError, "ClientHello in too many bytes");
                }
                Ok(None) => {
                    if self.read_more(&mut deadline).await? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(self.hello.as_deref())
    }

    /// Sends bytes to the client, as a greeting or a refusal.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        sent.await
            .or_err(WriteError, "while writing to the client")
            .map_err(Error::into_down)?;
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// Receives something, before `deadline`, which bounds all that is looked at together.
    async fn read_more(&mut self, deadline: &mut Deadline) -> Result<usize> {
        self.first.reserve(PEEK_READ_BYTES);
        let mut reading = pin!(self.stream.read_buf(&mut self.first));
        poll_fn(|cx| match reading.as_mut().poll(cx) {
            Poll::Ready(read) => {
                Poll::Ready(read.or_err(ReadError, "while looking at a connection"))
            }
            Poll::Pending => {
                ready!(deadline.poll_elapsed(cx));
                Poll::Ready(Error::e_explain(
                    ReadTimedout,
                    "the client does not say what it wants",
                ))
            }
        })
        .await
        .map_err(Error::into_down)
    }

    /// Passes bytes on both ways until both sides have ended.
    pub(super) async fn relay(
        &mut self,
        mut upstream: Stream,
        idle_timeout: Option<Duration>,
    ) -> Result<()> {
        let first = std::mem::take(&mut self.first);
        let mut relay = Relay::new(&mut self.stream, &mut upstream, first, idle_timeout);
        let ended = relay.run().await;
        let (received, sent) = relay.counts();
        self.received += received;
        self.sent += sent;
        match ended {
            Ok(()) => Ok(()),
            Err((Side::Downstream, e)) => Err(e.into_down()),
            Err((Side::Upstream, e)) => Err(e.into_up()),
        }
    }

    /// Closes the connection; with a reset when it broke off, which nobody takes for the end of
    /// what was to come.
    pub(super) async fn close(&mut self, broken: bool) {
        if broken {
            let reset = self.digest.as_ref().map(|digest| digest.reset_on_close());
            debug!("connection broken off, reset: {reset:?}");
        } else {
            // Who is gone need not be told.
            let _ = self.stream.shutdown().await;
        }
    }
}

impl fmt::Debug for TcpSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSession")
            .field("client", &self.client_addr())
            .field("received", &self.received)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}
