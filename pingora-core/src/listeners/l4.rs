//! Binding: from a configured address to a socket that listens.
//!
//! A first start fails at once, with a message an operator can act on. Only in an upgrade, where
//! the old process may still be closing its sockets, is an address in use tried again.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use pingora_error::{Error, ErrorType, Result};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{ServerAddress, TcpSocketOptions};
use crate::protocols::l4::listener::Listener;
use crate::protocols::l4::stream::Stream;
use crate::server::ListenFds;
use crate::sys;

/// How many connections may wait to be accepted; the system uses its own limit if that is lower.
const LISTEN_BACKLOG: i32 = 65535;

/// How often an address in use is tried in an upgrade, and the time between two tries: the old
/// process closes its sockets within seconds of handing them over.
const UPGRADE_BIND_TRIES: usize = 30;
const UPGRADE_BIND_PAUSE: Duration = Duration::from_secs(1);

/// Who may connect to a Unix socket when nothing else was said: everybody.
const DEFAULT_SOCKET_MODE: u32 = 0o666;

/// A socket that listens, and the options its connections get.
pub(super) struct BoundSocket {
    listener: Listener,
    options: TcpSocketOptions,
    /// Where the socket is entered for the next process.
    fds: Option<ListenFds>,
}

impl BoundSocket {
    /// Returns the address the socket has, as text.
    pub(super) fn address(&self) -> String {
        match &self.listener {
            Listener::Tcp(socket) => socket
                .local_addr()
                .map_or_else(|e| e.to_string(), |addr| addr.to_string()),
            Listener::Unix(socket) => {
                let address = socket.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or_else(String::new, |path| path.display().to_string())
            }
        }
    }

    pub(super) fn is_unix(&self) -> bool {
        matches!(self.listener, Listener::Unix(_))
    }

    /// Waits for the next connection. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        let stream = self.listener.accept().await?;
        if !sys::ACCEPTED_INHERIT && !self.is_unix() {
            apply_connection_options(stream.as_raw_fd(), &self.options)?;
        }
        Ok(stream)
    }

    /// Takes a connection out of the backlog; `None` when it is empty.
    ///
    /// Asks the system and not the runtime, which may not have noticed a connection yet.
    pub(super) fn accept_waiting(&self) -> io::Result<Option<Stream>> {
        let listener = sys::borrow(self.listener.as_raw_fd())?;
        let (socket, peer) = match listener.accept() {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            accepted => accepted?,
        };
        socket.set_nonblocking(true)?;
        let Some(peer) = peer.as_socket() else {
            let stream = tokio::net::UnixStream::from_std(socket.into())?;
            return Ok(Some(Stream::from(stream)));
        };
        if !sys::ACCEPTED_INHERIT {
            apply_connection_options(socket.as_raw_fd(), &self.options)?;
        }
        let stream = tokio::net::TcpStream::from_std(socket.into())?;
        Ok(Some(Stream::accepted(stream, peer)))
    }

    /// Keeps new connections from the backlog, as the socket is about to be closed: the system
    /// would reset them although their clients were told that they are connected. Those that are
    /// in it can still be accepted, and those in their handshake soon. Returns whether it did; not
    /// to a socket another process listens on as well.
    pub(super) fn stop_arrivals(&self) -> bool {
        let shared = |fds: &ListenFds| fds.lock().is_handed_over();
        if self.is_unix() || self.fds.as_ref().is_some_and(shared) {
            return false;
        }
        sys::drop_arriving(self.listener.as_raw_fd())
            .inspect_err(|e| log::debug!("connections may still arrive on {}: {e}", self.address()))
            .is_ok()
    }
}

/// An address about to be listened on, with the socket of the process before this one if it left
/// one.
pub(super) struct Plan {
    address: ServerAddress,
    fds: Option<ListenFds>,
    inherited: Option<Socket>,
}

impl Plan {
    /// Takes the socket for `address` out of `fds`, if there is one.
    pub(super) fn new(address: &ServerAddress, fds: Option<ListenFds>) -> Self {
        let claimed = fds
            .as_ref()
            .and_then(|fds| fds.lock().claim(address.as_ref()));
        // SAFETY: the table gives each inherited descriptor to one claimant, and does not close
        // those that were claimed.
        let inherited = claimed.map(|fd| Socket::from(unsafe { OwnedFd::from_raw_fd(fd) }));
        Plan {
            address: address.clone(),
            fds,
            inherited,
        }
    }

    pub(super) fn is_inherited(&self) -> bool {
        self.inherited.is_some()
    }

    /// Listens, on the inherited socket or on a new one, which is left for the next process.
    pub(super) async fn listen(mut self, in_upgrade: bool) -> Result<BoundSocket> {
        let inherited = self.inherited.take();
        let bound = match inherited {
            Some(socket) => self.adopt(socket),
            None => self.open(in_upgrade).await,
        };
        bound.map_err(|e| e.describe(self.address.as_ref()))
    }

    fn adopt(&self, socket: Socket) -> Result<BoundSocket, ListenError> {
        // It may be a blocking one.
        socket.set_nonblocking(true)?;
        self.finish(socket)
    }

    async fn open(&self, in_upgrade: bool) -> Result<BoundSocket, ListenError> {
        let tries = if in_upgrade { UPGRADE_BIND_TRIES } else { 1 };
        let mut failed = 0;
        let socket = loop {
            match open(&self.address).await {
                Err(e) if e.is_in_use() && failed + 1 < tries => {
                    failed += 1;
                    log::warn!("{} is still in use, try {failed}", self.address.as_ref());
                    tokio::time::sleep(UPGRADE_BIND_PAUSE).await;
                }
                done => break done?,
            }
        };
        let bound = self.finish(socket)?;
        if let Some(fds) = &self.fds {
            fds.lock().add(
                self.address.as_ref().to_string(),
                bound.listener.as_raw_fd(),
            );
        }
        Ok(bound)
    }

    /// Sets the options of connections and registers the socket with the runtime.
    fn finish(&self, socket: Socket) -> Result<BoundSocket, ListenError> {
        let ServerAddress::Tcp(_, options) = &self.address else {
            let listener = Listener::Unix(tokio::net::UnixListener::from_std(socket.into())?);
            return Ok(BoundSocket {
                listener,
                options: TcpSocketOptions::default(),
                fds: self.fds.clone(),
            });
        };
        let options = options.clone().unwrap_or_default();
        if let Some(backlog) = options.tcp_fastopen {
            sys::set_fastopen_backlog(socket.as_raw_fd(), backlog)?;
        }
        if sys::ACCEPTED_INHERIT {
            apply_connection_options(socket.as_raw_fd(), &options)?;
        }
        let listener = Listener::Tcp(tokio::net::TcpListener::from_std(socket.into())?);
        Ok(BoundSocket {
            listener,
            options,
            fds: self.fds.clone(),
        })
    }
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub(super) enum ListenError {
    Invalid(&'static str),
    System(io::Error),
}

impl From<io::Error> for ListenError {
    fn from(e: io::Error) -> Self {
        ListenError::System(e)
    }
}

impl ListenError {
    fn is_in_use(&self) -> bool {
        matches!(self, ListenError::System(e) if e.kind() == io::ErrorKind::AddrInUse)
    }

    /// Says it in a way that prints as one line for an operator.
    #[cold]
    pub(super) fn describe(self, address: &str) -> Box<Error> {
        let context = format!("cannot listen on {address}");
        let etype = ErrorType::BindError;
        let mut error = match self {
            ListenError::Invalid(why) => Error::because(etype, context, why),
            ListenError::System(e) => Error::because(etype, context, e),
        };
        error.as_in();
        error
    }
}

async fn open(address: &ServerAddress) -> Result<Socket, ListenError> {
    match address {
        ServerAddress::Tcp(addr, options) => {
            let resolved = resolve(addr).await?;
            Ok(open_tcp(resolved, options.as_ref())?)
        }
        ServerAddress::Uds(path, permissions) => open_unix(Path::new(path), permissions.as_ref()),
    }
}

/// Returns the IP address and port of `host:port`; of several, the first.
pub(super) async fn resolve(addr: &str) -> Result<SocketAddr, ListenError> {
    if let Ok(addr) = addr.parse() {
        return Ok(addr);
    }
    let Some((host, port)) = addr.rsplit_once(':') else {
        return Err(ListenError::Invalid("no port, expected host:port"));
    };
    let Ok(port) = port.parse::<u16>() else {
        return Err(ListenError::Invalid("invalid port"));
    };
    if host.contains(':') {
        return Err(ListenError::Invalid(
            "invalid IPv6 address, expected [address]:port",
        ));
    }
    let mut resolved = tokio::net::lookup_host((host, port))
        .await
        .map_err(|_| ListenError::Invalid("the host name cannot be resolved"))?;
    resolved
        .next()
        .ok_or(ListenError::Invalid("the host name has no address"))
}

fn open_tcp(addr: SocketAddr, options: Option<&TcpSocketOptions>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if let Some(options) = options {
        apply_bind_options(&socket, addr, options)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket)
}

/// Options that count only before binding or listening.
fn apply_bind_options(
    socket: &Socket,
    addr: SocketAddr,
    options: &TcpSocketOptions,
) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    if let Some(only) = options.ipv6_only.filter(|_| addr.is_ipv6()) {
        socket.set_only_v6(only)?;
    }
    if options.so_reuseport == Some(true) {
        sys::set_reuse_port(socket)?;
    }
    // The window a connection starts with follows from the buffer of the listening socket.
    if let Some(bytes) = options.tcp_recv_buf {
        sys::set_recv_buf(fd, bytes)?;
    }
    if let Some(bytes) = options.tcp_snd_buf {
        sys::set_snd_buf(fd, bytes)?;
    }
    Ok(())
}

/// Options of connections, set on the listening socket where connections inherit them.
fn apply_connection_options(fd: RawFd, options: &TcpSocketOptions) -> io::Result<()> {
    sys::set_nodelay(fd)?;
    if let Some(keepalive) = &options.tcp_keepalive {
        sys::set_keepalive(fd, keepalive)?;
    }
    if let Some(dscp) = options.dscp {
        sys::set_dscp(fd, dscp)?;
    }
    Ok(())
}

fn open_unix(path: &Path, permissions: Option<&Permissions>) -> Result<Socket, ListenError> {
    let addr = SockAddr::unix(path)
        .map_err(|_| ListenError::Invalid("the path is too long for a Unix socket"))?;
    remove_stale(path, &addr)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr)?;
    // Before listening, so that nobody connects who may not.
    let default = || Permissions::from_mode(DEFAULT_SOCKET_MODE);
    fs::set_permissions(path, permissions.cloned().unwrap_or_else(default))?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket)
}

/// Removes the socket file of a process that is gone. One that is served is left alone.
fn remove_stale(path: &Path, addr: &SockAddr) -> Result<(), ListenError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    if !found.file_type().is_socket() {
        return Err(ListenError::Invalid("the file exists and is not a socket"));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full backlog must not make this wait.
    probe.set_nonblocking(true)?;
    match probe.connect(addr) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(sys::address_in_use().into()),
    }
}

#[cfg(test)]
mod tests;
