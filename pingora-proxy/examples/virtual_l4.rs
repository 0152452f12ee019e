//! A transport of your own beneath HTTP: the upstream is a task in this process, reached through
//! memory instead of a socket. A tunnel or a multiplexed link is plugged in the same way.
//!
//! `cargo run --release --example virtual_l4`
//!
//! ```text
//! curl http://127.0.0.1:6198/ http://127.0.0.1:6198/
//! ```

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use http::Response;
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::connectors::L4Connect;
use pingora_core::prelude::*;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::services::listening::Service;
use pingora_proxy::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::watch;

/// How many bytes may be on their way in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// One end of a pipe in memory, as a socket.
#[derive(Debug)]
struct Pipe(DuplexStream);

impl VirtualSocket for Pipe {
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        // A pipe neither delays small writes nor needs probing.
        Ok(())
    }
}

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

/// Answers requests that come through a pipe.
struct Inside;

#[async_trait]
impl ServeHttp for Inside {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let uri = &session.req_header().uri;
        Response::new(format!("{uri}, answered without a socket\n").into_bytes())
    }
}

/// Makes a pipe for each connection, with a task that serves its other end.
#[derive(Debug)]
struct IntoProcess;

#[async_trait]
impl L4Connect for IntoProcess {
    async fn connect(&self, _address: &SocketAddr) -> Result<Stream> {
        println!("new pipe");
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        tokio::spawn(async move {
            // The far end finishes when the near one is closed; nothing else ends it.
            let (_running, shutdown) = watch::channel(false);
            Service::handle_event(Box::new(far), Arc::new(Inside), shutdown).await;
        });
        Ok(VirtualSocketStream::new(Box::new(Pipe(near))).into())
    }
}

struct Forward {
    transport: Arc<IntoProcess>,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        // The address is only a name here: it says which connections are alike.
        let mut peer = HttpPeer::new("192.0.2.1:80", false, String::new());
        peer.options.custom_l4 = Some(self.transport.clone());
        Ok(Box::new(peer))
    }
}

fn main() -> Result<()> {
    let mut server = Server::new(Opt::parse_args())?;
    server.bootstrap();
    let forward = Forward {
        transport: Arc::new(IntoProcess),
    };
    let mut proxy = http_proxy_service(&server.configuration, forward);
    proxy.add_tcp("127.0.0.1:6198");
    server.add_service(proxy);
    server.run_forever()
}
