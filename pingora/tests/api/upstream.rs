//! Peers and transports of one's own.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::{L4Connect, TransportConnector};
use pingora::prelude::*;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::upstreams::peer::{Peer, PeerOptions, Proxy, Tracer, Tracing};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use crate::Calls;

/// A socket that is a pipe in memory.
#[derive(Debug)]
struct Pipe(DuplexStream);

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl VirtualSocket for Pipe {
    fn set_socket_option(&self, opt: VirtualSockOpt) -> io::Result<()> {
        match opt {
            VirtualSockOpt::NoDelay | VirtualSockOpt::KeepAlive(_) => Ok(()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Connects to a server in memory that gives one answer to whatever is sent.
#[derive(Debug)]
pub(crate) struct Answers(pub(crate) &'static str);

#[async_trait]
impl L4Connect for Answers {
    async fn connect(&self, _addr: &SocketAddr) -> Result<Stream> {
        let (near, mut far) = tokio::io::duplex(1024);
        let answer = self.0;
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while far.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                if far.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        Ok(Stream::from(VirtualSocketStream::new(Box::new(Pipe(near)))))
    }
}

/// Sees connections open and close.
#[derive(Clone, Debug)]
pub(crate) struct Watches(pub(crate) &'static Calls);

impl Tracing for Watches {
    fn on_connected(&self) {
        self.0.count();
    }

    fn on_disconnected(&self) {
        self.0.count();
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}

/// A peer of one's own.
#[derive(Clone)]
struct Shard {
    address: SocketAddr,
    options: PeerOptions,
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}", self.address)
    }
}

impl Peer for Shard {
    fn address(&self) -> &SocketAddr {
        &self.address
    }

    fn tls(&self) -> bool {
        false
    }

    fn sni(&self) -> &str {
        ""
    }

    fn reuse_hash(&self) -> u64 {
        1
    }

    fn get_proxy(&self) -> Option<&Proxy> {
        None
    }

    fn get_peer_options(&self) -> Option<&PeerOptions> {
        Some(&self.options)
    }

    fn get_mut_peer_options(&mut self) -> Option<&mut PeerOptions> {
        Some(&mut self.options)
    }

    fn idle_timeout(&self) -> Option<Duration> {
        Some(Duration::from_secs(30))
    }

    fn get_tracer(&self) -> Option<Tracer> {
        self.options.tracer.clone()
    }
}

#[tokio::test]
async fn a_peer_of_ones_own_is_connected_to() -> Result<()> {
    static SEEN: Calls = Calls::new();
    let mut options = PeerOptions::new();
    options.custom_l4 = Some(Arc::new(Answers("pong")));
    options.tracer = Some(Tracer(Box::new(Watches(&SEEN))));
    options.upstream_tcp_sock_tweak_hook = Some(Arc::new(|socket| {
        socket
            .set_keepalive(true)
            .or_err(SocketError, "set keepalive")
    }));
    options.proxy_digest_user_data_hook = Some(Arc::new(|_request, _response| None));
    let peer = Shard {
        address: "127.0.0.1:1".parse().expect("an address"),
        options,
    };

    let connector = TransportConnector::new(None);
    let (mut stream, reused) = connector.get_stream(&peer).await?;
    assert!(!reused);
    stream.write_all(b"ping").await.or_err(WriteError, "ping")?;
    stream.flush().await.or_err(WriteError, "ping")?;
    let mut answer = [0; 4];
    stream
        .read_exact(&mut answer)
        .await
        .or_err(ReadError, "pong")?;
    assert_eq!(&answer, b"pong");
    assert_eq!(SEEN.seen(), 1);

    connector.release_stream(stream, peer.reuse_hash(), peer.idle_timeout());
    let (stream, reused) = connector.get_stream(&peer).await?;
    assert!(reused);
    drop(stream);
    assert_eq!(SEEN.seen(), 2);
    Ok(())
}
