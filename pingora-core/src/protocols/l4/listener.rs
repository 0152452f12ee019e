//! A listening socket of either kind.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use tokio::net::{TcpListener, UnixListener};

use super::stream::Stream;

/// A socket that accepts TCP or Unix connections.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use pingora_core::protocols::l4::listener::Listener;
///
/// let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let address = socket.local_addr()?;
/// let listener = Listener::from(socket);
/// let client = tokio::net::TcpStream::connect(address).await?;
/// let stream = listener.accept().await?;
/// # Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Waits for the next connection. Cancel-safe: no connection is lost.
    ///
    /// # Errors
    /// Those of the system; about one connection (`ECONNABORTED`) or about this process (`EMFILE`).
    pub async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Stream::accepted(stream, peer))
            }
            Listener::Unix(listener) => {
                let (stream, _unnamed) = listener.accept().await?;
                Ok(Stream::from(stream))
            }
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(s: TcpListener) -> Self {
        Listener::Tcp(s)
    }
}

impl From<UnixListener> for Listener {
    fn from(s: UnixListener) -> Self {
        Listener::Unix(s)
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Listener::Tcp(listener) => listener.as_raw_fd(),
            Listener::Unix(listener) => listener.as_raw_fd(),
        }
    }
}
