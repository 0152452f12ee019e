//! [`AcceptProxyProtocol`]: takes the header from the connections of trusted proxies.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora_error::{
    Error,
    ErrorType::{ConnectionClosed, HandshakeError, ReadError},
    OrErr, Result,
};
use tokio::io::AsyncReadExt;

use super::{Network, NetworkError, ProxyHeader};
use crate::listeners::PreTlsProcess;
use crate::protocols::l4::stream::Stream;
use crate::protocols::{GetSocketDigest, SocketDigest};

/// How much is read at a time; a usual header is a tenth of that.
const READ_BYTES: usize = 512;

/// Takes the PROXY protocol header from connections that come from trusted proxies, before TLS.
///
/// The client's address of such a connection is then the one the proxy tells: in
/// `session.client_addr()`, the digest, and whatever looks at them. Anybody else's connection is
/// left as it is, so a header it sends is taken for a part of its request, and refused as that.
/// A trusted proxy must send a header, within the time the listener has for handshakes;
/// [`optional`](Self::optional) changes that.
///
/// ```
/// use std::sync::Arc;
/// use pingora_core::listeners::Listeners;
/// use pingora_core::protocols::proxy_protocol::AcceptProxyProtocol;
///
/// let mut listeners = Listeners::tcp("127.0.0.1:8080");
/// let accept = AcceptProxyProtocol::from_trusted(["10.0.0.0/8", "127.0.0.1"]).unwrap();
/// listeners.set_pre_tls_callback(Arc::new(accept));
/// ```
#[derive(Clone, Debug)]
pub struct AcceptProxyProtocol {
    trusted: Vec<Network>,
    optional: bool,
}

impl AcceptProxyProtocol {
    /// Returns one that trusts proxies of these networks; an empty list trusts nobody.
    ///
    /// # Errors
    /// A text that names no network.
    pub fn from_trusted<'a>(
        networks: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, NetworkError> {
        let trusted = networks.into_iter().map(str::parse);
        Ok(AcceptProxyProtocol {
            trusted: trusted.collect::<Result<_, _>>()?,
            optional: false,
        })
    }

    /// Serves trusted proxies that send no header as clients.
    ///
    /// Only for a change-over: who is trusted can then leave the header away. It still needs the
    /// client to speak first.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    fn trusts(&self, peer: Option<SocketAddr>) -> bool {
        peer.is_some_and(|peer| self.trusted.iter().any(|n| n.contains(peer.ip())))
    }
}

#[async_trait]
impl PreTlsProcess for AcceptProxyProtocol {
    async fn process(&self, stream: &mut Stream) -> Result<()> {
        let digest = stream.get_socket_digest();
        let peer = digest.as_ref().and_then(|digest| digest.peer_addr());
        if !self.trusts(peer.and_then(|peer| peer.as_inet()).copied()) {
            return Ok(());
        }
        let mut received = BytesMut::with_capacity(READ_BYTES);
        // A header is found, or refused for its length, after a few turns.
        loop {
            match ProxyHeader::parse(&received) {
                Ok(Some((header, length))) => {
                    stream.rewind(&received[length..]);
                    set_addresses(stream, &header);
                    return Ok(());
                }
                Ok(None) => (),
                Err(_) if self.optional => {
                    stream.rewind(&received);
                    return Ok(());
                }
                Err(e) => {
                    return Error::e_because(HandshakeError, "PROXY protocol", e)
                        .map_err(Error::into_down);
                }
            }
            received.reserve(READ_BYTES);
            let read = stream.read_buf(&mut received).await;
            if read.or_err(ReadError, "while reading a PROXY protocol header")? == 0 {
                return Error::e_explain(ConnectionClosed, "before a PROXY protocol header")
                    .map_err(Error::into_down);
            }
        }
    }
}

/// Makes the digest of the connection tell what the proxy told.
fn set_addresses(stream: &mut Stream, header: &ProxyHeader) {
    let (Some(source), Some(destination)) = (header.source(), header.destination()) else {
        return;
    };
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    // A new digest knows no addresses yet.
    let _ = digest.peer_addr.set(Some(source.into()));
    let _ = digest.local_addr.set(Some(destination.into()));
    stream.set_socket_digest(digest);
}
