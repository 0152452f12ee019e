//! Transport connections: TCP, Unix sockets, a CONNECT proxy, or what the peer supplies.
//!
//! The private `L4Connector` decides which and where to; the system calls are in
//! [`protocols::l4::ext`](crate::protocols::l4::ext), CONNECT in
//! [`protocols::raw_connect`](crate::protocols::raw_connect).

use std::fmt;
use std::net::SocketAddr as InetAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_error::{Error, ErrorType, Result};
use tokio::net::TcpSocket;

use super::race::connect_first;
use super::resolve::{Resolve, lookup};
use crate::protocols::l4::ext;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::l4::stream::Stream as L4Stream;
use crate::protocols::{GetProxyDigest, GetSocketDigest, SocketDigest, raw_connect};
use crate::upstreams::peer::{Peer, Proxy, Unresolved, placeholder_port, unresolved_of};

/// How long a transport connection may take when the peer has no timeout at all.
const DEFAULT_CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes transport connections in place of the connector; see
/// [`PeerOptions::custom_l4`](crate::upstreams::peer::PeerOptions).
///
/// ```
/// use async_trait::async_trait;
/// use pingora_core::connectors::L4Connect;
/// use pingora_core::protocols::l4::{ext, socket::SocketAddr, stream::Stream};
///
/// /// Connects to the same port on this host, whatever the address.
/// #[derive(Debug)]
/// struct Local;
///
/// #[async_trait]
/// impl L4Connect for Local {
///     async fn connect(&self, addr: &SocketAddr) -> pingora_core::Result<Stream> {
///         let port = addr.as_inet().map_or(80, |a| a.port());
///         let local = ([127, 0, 0, 1], port).into();
///         Ok(ext::connect(&local, None).await?.into())
///     }
/// }
/// ```
#[async_trait]
pub trait Connect: fmt::Debug {
    /// Returns a connection for `addr`.
    async fn connect(&self, addr: &SocketAddr) -> Result<L4Stream>;
}

/// The local address and ports to connect from.
///
/// ```
/// use pingora_core::connectors::l4::BindTo;
///
/// let mut from = BindTo::default();
/// from.addr = Some("127.0.0.1:0".parse().unwrap());
/// from.set_port_range(Some((20_000, 29_999)))?;
/// from.set_fallback(true);
/// assert_eq!(from.port_range(), Some((20_000, 29_999)));
/// # Ok::<(), Box<pingora_core::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BindTo {
    /// The address. Its family decides which addresses of a host name are tried.
    pub addr: Option<InetAddr>,
    port_range: Option<(u16, u16)>,
    fallback: bool,
}

impl BindTo {
    /// Sets the ports to choose from, the first and the last.
    ///
    /// # Errors
    /// `BindError` when the first is 0 or greater than the last.
    pub fn set_port_range(&mut self, range: Option<(u16, u16)>) -> Result<()> {
        if let Some((first, last)) = range
            && (first == 0 || first > last)
        {
            return Error::e_explain(
                ErrorType::BindError,
                format!("{first} to {last} is no range of ports"),
            );
        }
        self.port_range = range;
        Ok(())
    }

    /// Sets whether any port will do when those of the range are all in use.
    pub fn set_fallback(&mut self, fallback: bool) {
        self.fallback = fallback;
    }

    /// Returns the ports to choose from, the first and the last.
    pub fn port_range(&self) -> Option<(u16, u16)> {
        self.port_range
    }

    /// Returns whether any port will do when those of the range are all in use.
    pub fn will_fallback(&self) -> bool {
        self.fallback
    }
}

/// What the error of a failed connection attempt knows about it.
pub trait ConnectErrorExt {
    /// Returns the local address the attempt was made from; `None` when it was the system's
    /// choice or the error is of another kind.
    fn connect_local_addr(&self) -> Option<InetAddr>;
}

impl ConnectErrorExt for Error {
    fn connect_local_addr(&self) -> Option<InetAddr> {
        let mut cause = self
            .cause
            .as_deref()
            .map(|e| e as &(dyn std::error::Error + 'static));
        while let Some(e) = cause {
            if let Some(bound) = e.downcast_ref::<BoundAttempt>() {
                return Some(bound.local);
            }
            cause = match e.downcast_ref::<Box<Error>>() {
                Some(e) => e.cause.as_deref().map(|e| e as _),
                None => e.source(),
            };
        }
        None
    }
}

/// The cause of an attempt made from a chosen local address.
#[derive(Debug)]
struct BoundAttempt {
    local: InetAddr,
    cause: Box<Error>,
}

impl fmt::Display for BoundAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {}: {}", self.local, self.cause)
    }
}

impl std::error::Error for BoundAttempt {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Makes the transport connections of one connector.
#[derive(Debug)]
pub(super) struct L4Connector {
    bind_to_v4: Vec<InetAddr>,
    bind_to_v6: Vec<InetAddr>,
    resolver: Arc<dyn Resolve>,
}

impl L4Connector {
    /// Returns a connector that binds to one of the addresses of the right family, if there are
    /// any and the peer has none of its own.
    pub(super) fn new(
        bind_to_v4: Vec<InetAddr>,
        bind_to_v6: Vec<InetAddr>,
        resolver: Arc<dyn Resolve>,
    ) -> Self {
        L4Connector {
            bind_to_v4,
            bind_to_v6,
            resolver,
        }
    }

    /// Returns a connection to `peer`, through its proxy if it has one, within the connection
    /// timeout.
    pub(super) async fn connect<P: Peer + Send + Sync>(&self, peer: &P) -> Result<Box<L4Stream>> {
        let limit = match (peer.connection_timeout(), peer.total_connection_timeout()) {
            (Some(limit), _) => limit,
            (None, Some(_)) => return self.connect_unlimited(peer).await,
            (None, None) => DEFAULT_CONNECTION_TIMEOUT,
        };
        match pingora_timeout::timeout(limit, self.connect_unlimited(peer)).await {
            Ok(done) => done,
            Err(_) => {
                let context = format!("not connected after {limit:?}");
                Error::e_explain(ErrorType::ConnectTimedout, context)
            }
        }
    }

    async fn connect_unlimited<P: Peer + Send + Sync>(&self, peer: &P) -> Result<Box<L4Stream>> {
        match peer.get_proxy() {
            Some(proxy) => connect_by_proxy(peer, proxy).await,
            None => Ok(Box::new(self.connect_directly(peer).await?)),
        }
    }

    async fn connect_directly<P: Peer + Send + Sync>(&self, peer: &P) -> Result<L4Stream> {
        let mut stream = match peer.address() {
            SocketAddr::Unix(address) => connect_unix(peer, address).await?,
            SocketAddr::Inet(address) => match placeholder_port(peer.address()) {
                None => self.connect_inet(peer, *address).await?,
                Some(port) => self.connect_name(peer, port).await?,
            },
        };
        trace(peer, &mut stream);
        Ok(stream)
    }

    /// Looks the name of `peer` up and connects to the first of its addresses that answers.
    async fn connect_name<P: Peer + Send + Sync>(&self, peer: &P, port: u16) -> Result<L4Stream> {
        let host = name_of(peer)?;
        let mut addresses = lookup(&*self.resolver, &host, port).await?;
        if let Some(local) = peer.bind_to().and_then(|b| b.addr) {
            addresses.retain(|a| a.is_ipv4() == local.is_ipv4());
        }
        connect_first(&addresses, |address| self.connect_inet(peer, address)).await
    }

    /// Connects to one address, over TCP or in the peer's own way.
    async fn connect_inet<P: Peer + Send + Sync>(
        &self,
        peer: &P,
        address: InetAddr,
    ) -> Result<L4Stream> {
        if let Some(custom) = peer.get_peer_options().and_then(|o| o.custom_l4.as_ref()) {
            return custom.connect(&SocketAddr::Inet(address)).await;
        }
        let chosen = match peer.bind_to() {
            Some(_) => None,
            None => self.local_address(&address),
        };
        let bind_to = peer.bind_to().or(chosen.as_ref());
        let local = Mutex::new(None);
        let prepare = |socket: &TcpSocket| {
            if bind_to.is_some() {
                *local.lock() = socket.local_addr().ok();
            }
            prepare_socket(peer, socket)
        };
        let socket = match ext::connect_with(&address, bind_to, prepare).await {
            Ok(socket) => socket,
            Err(e) => return Err(bound_error(e, local.into_inner())),
        };
        let mut stream = L4Stream::from(socket);
        stream.set_nodelay()?;
        if let Some(keepalive) = peer.tcp_keepalive() {
            stream.set_keepalive(keepalive)?;
        }
        remember_remote(&mut stream, SocketAddr::Inet(address));
        Ok(stream)
    }

    /// Chooses one of the connector's local addresses, of the family of `remote`.
    fn local_address(&self, remote: &InetAddr) -> Option<BindTo> {
        let choices = if remote.is_ipv4() {
            &self.bind_to_v4
        } else {
            &self.bind_to_v6
        };
        let addr = match choices.as_slice() {
            [] => return None,
            [only] => *only,
            several => several[fastrand::usize(..several.len())],
        };
        Some(BindTo {
            addr: Some(addr),
            ..BindTo::default()
        })
    }
}

/// Returns the host name of a peer whose address is the placeholder of one.
fn name_of<P: Peer>(peer: &P) -> Result<Arc<str>> {
    match unresolved_of(peer.address(), peer.get_peer_options()) {
        Some(Unresolved::Name(name)) => Ok(name),
        Some(Unresolved::Invalid(reason)) => {
            Error::e_explain(ErrorType::ConnectNoRoute, reason.to_string())
        }
        None => Error::e_explain(
            ErrorType::ConnectNoRoute,
            "the host name is gone: the options of the peer were replaced after it was made",
        ),
    }
}

async fn connect_unix<P: Peer + Send + Sync>(
    peer: &P,
    address: &std::os::unix::net::SocketAddr,
) -> Result<L4Stream> {
    if let Some(custom) = peer.get_peer_options().and_then(|o| o.custom_l4.as_ref()) {
        return custom.connect(peer.address()).await;
    }
    let Some(path) = address.as_pathname() else {
        return Error::e_explain(ErrorType::ConnectNoRoute, "the unix socket has no path");
    };
    let mut stream = L4Stream::from(ext::connect_uds(path).await?);
    remember_remote(&mut stream, peer.address().clone());
    Ok(stream)
}

/// Connects to the proxy and has it connect to the peer.
async fn connect_by_proxy<P: Peer + Send + Sync>(peer: &P, proxy: &Proxy) -> Result<Box<L4Stream>> {
    let extra_headers = peer.get_peer_options().map(|o| &o.extra_proxy_headers);
    let headers = proxy
        .headers
        .iter()
        .chain(extra_headers.into_iter().flatten());
    let request = raw_connect::generate_connect_header(&proxy.host, proxy.port, headers)?;

    let mut socket = L4Stream::from(ext::connect_uds(&proxy.next_hop).await?);
    trace(peer, &mut socket);
    let (stream, digest) = raw_connect::connect(Box::new(socket), &request, peer).await?;
    let mut stream: Box<L4Stream> = stream
        .into_any()
        .downcast()
        .expect("raw_connect gives back the stream it was given");
    stream.set_proxy_digest(digest);
    Ok(stream)
}

/// Sets what must be set before connecting.
fn prepare_socket<P: Peer>(peer: &P, socket: &TcpSocket) -> Result<()> {
    let fd = socket.as_raw_fd();
    if peer.tcp_fast_open() {
        ext::set_tcp_fastopen_connect(fd)?;
    }
    if let Some(bytes) = peer.tcp_recv_buf() {
        ext::set_recv_buf(fd, bytes)?;
    }
    if let Some(dscp) = peer.dscp() {
        ext::set_dscp(fd, dscp)?;
    }
    match peer.upstream_tcp_sock_tweak_hook() {
        Some(hook) => hook(socket),
        None => Ok(()),
    }
}

/// Tells the peer's tracer now, and when the stream is dropped.
fn trace<P: Peer>(peer: &P, stream: &mut L4Stream) {
    if let Some(tracer) = peer.get_tracer() {
        tracer.0.on_connected();
        stream.tracer = Some(tracer);
    }
}

/// Spares the system call that would ask for the remote address, which fails after a reset.
fn remember_remote(stream: &mut L4Stream, remote: SocketAddr) {
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    digest.peer_addr.set(Some(remote)).expect("the cell is new");
    stream.set_socket_digest(digest);
}

/// Adds the local address to the error of an attempt that was bound to one.
#[cold]
fn bound_error(cause: Box<Error>, local: Option<InetAddr>) -> Box<Error> {
    let Some(local) = local else { return cause };
    let etype = cause.etype().clone();
    let context = cause.context.clone();
    let mut e = Error::new(etype);
    e.context = context;
    e.set_cause(BoundAttempt { local, cause });
    e
}

#[cfg(test)]
mod tests;
