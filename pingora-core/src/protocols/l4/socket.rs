//! The address of a socket: IP and port, or a path.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::iter;
use std::net::{SocketAddr as InetAddr, ToSocketAddrs};
use std::os::fd::RawFd;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::Path;
use std::str::FromStr;

use pingora_error::{Error, ErrorType, OrErr};

use crate::sys;

/// What comes before the path when an address is parsed.
const UNIX_PREFIX: &str = "unix:";

/// The address of a TCP or Unix socket.
///
/// ```
/// use pingora_core::protocols::l4::socket::SocketAddr;
///
/// let addr: SocketAddr = "127.0.0.1:80".parse()?;
/// assert_eq!(addr.as_inet().map(|a| a.port()), Some(80));
/// let path: SocketAddr = "unix:/run/app.sock".parse()?;
/// assert_eq!(path.to_string(), "/run/app.sock");
/// # Ok::<(), Box<pingora_core::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub enum SocketAddr {
    /// An IP address and a port.
    Inet(InetAddr),
    /// A path, an abstract name, or nothing for an unnamed Unix socket.
    Unix(UnixAddr),
}

impl SocketAddr {
    /// Returns the address of the remote (`peer_addr`) or the local side of the socket `fd`,
    /// `None` if it has none or is neither IP nor Unix.
    pub fn from_raw_fd(fd: RawFd, peer_addr: bool) -> Option<SocketAddr> {
        let address = sys::address(fd, peer_addr).ok()?;
        match address.as_socket() {
            Some(inet) => Some(SocketAddr::Inet(inet)),
            None => address.as_unix().map(SocketAddr::Unix),
        }
    }

    /// Sets the port of an IP address; does nothing for a Unix socket.
    pub fn set_port(&mut self, port: u16) {
        if let SocketAddr::Inet(addr) = self {
            addr.set_port(port);
        }
    }

    /// Returns the IP address and port.
    pub fn as_inet(&self) -> Option<&InetAddr> {
        match self {
            SocketAddr::Inet(addr) => Some(addr),
            SocketAddr::Unix(_) => None,
        }
    }

    /// Returns the Unix socket address.
    pub fn as_unix(&self) -> Option<&UnixAddr> {
        match self {
            SocketAddr::Unix(addr) => Some(addr),
            SocketAddr::Inet(_) => None,
        }
    }

    /// The path of a Unix socket; nothing for an unnamed one.
    fn unix_path(addr: &UnixAddr) -> Option<&Path> {
        addr.as_pathname()
    }
}

impl fmt::Display for SocketAddr {
    /// Prints `ip:port`, or the path alone; an unnamed or abstract Unix socket as the system
    /// describes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketAddr::Inet(addr) => write!(f, "{addr}"),
            SocketAddr::Unix(addr) => match SocketAddr::unix_path(addr) {
                Some(path) => write!(f, "{}", path.display()),
                None => write!(f, "{addr:?}"),
            },
        }
    }
}

impl Hash for SocketAddr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            SocketAddr::Inet(addr) => {
                state.write_u8(0);
                addr.hash(state);
            }
            SocketAddr::Unix(addr) => {
                state.write_u8(1);
                SocketAddr::unix_path(addr).hash(state);
            }
        }
    }
}

impl PartialEq for SocketAddr {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for SocketAddr {}

impl PartialOrd for SocketAddr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SocketAddr {
    /// Orders IP before Unix addresses, the latter by path.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (SocketAddr::Inet(a), SocketAddr::Inet(b)) => a.cmp(b),
            (SocketAddr::Inet(_), SocketAddr::Unix(_)) => Ordering::Less,
            (SocketAddr::Unix(_), SocketAddr::Inet(_)) => Ordering::Greater,
            (SocketAddr::Unix(a), SocketAddr::Unix(b)) => {
                SocketAddr::unix_path(a).cmp(&SocketAddr::unix_path(b))
            }
        }
    }
}

impl From<InetAddr> for SocketAddr {
    fn from(sockaddr: InetAddr) -> Self {
        SocketAddr::Inet(sockaddr)
    }
}

impl From<UnixAddr> for SocketAddr {
    fn from(sockaddr: UnixAddr) -> Self {
        SocketAddr::Unix(sockaddr)
    }
}

impl TryFrom<tokio::net::unix::SocketAddr> for SocketAddr {
    type Error = String;

    /// Never fails; the error type is part of the API.
    fn try_from(value: tokio::net::unix::SocketAddr) -> Result<Self, Self::Error> {
        Ok(SocketAddr::Unix(value.into()))
    }
}

impl FromStr for SocketAddr {
    type Err = Box<Error>;

    /// Parses `ip:port`, `[ip6]:port` or `unix:/path`. Names are not resolved.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if let Some(path) = s.strip_prefix(UNIX_PREFIX) {
            let addr = UnixAddr::from_pathname(path.trim())
                .or_err_with(ErrorType::BindError, || {
                    format!("invalid socket path {path:?}")
                })?;
            return Ok(SocketAddr::Unix(addr));
        }
        let addr = s
            .parse::<InetAddr>()
            .or_err_with(ErrorType::BindError, || {
                format!("invalid socket address {s:?}")
            })?;
        Ok(SocketAddr::Inet(addr))
    }
}

impl ToSocketAddrs for SocketAddr {
    type Iter = iter::Once<InetAddr>;

    /// Returns the IP address; an `Other` error for a Unix socket.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match self {
            SocketAddr::Inet(addr) => Ok(iter::once(*addr)),
            SocketAddr::Unix(_) => Err(io::Error::other("a Unix socket has no IP address")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::hash_map::DefaultHasher;

    fn hash(addr: &SocketAddr) -> u64 {
        let mut state = DefaultHasher::new();
        addr.hash(&mut state);
        state.finish()
    }

    #[test]
    fn parses_and_prints() {
        let cases = [
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("[::1]:443", Some("[::1]:443")),
            ("unix:/tmp/a.sock", Some("/tmp/a.sock")),
            ("127.0.0.1", None),
            ("127.0.0.1:80x", None),
            ("localhost:80", None),
            ("", None),
        ];
        for (input, expected) in cases {
            let parsed = input.parse::<SocketAddr>().ok().map(|a| a.to_string());
            assert_eq!(parsed.as_deref(), expected, "{input}");
        }
        let too_long = format!("unix:/{}", "a".repeat(200));
        assert!(too_long.parse::<SocketAddr>().is_err());
    }

    #[test]
    fn orders_and_hashes_by_content() {
        let parse = |s: &str| s.parse::<SocketAddr>().unwrap();
        let sorted = ["1.1.1.1:1", "1.1.1.1:2", "[::1]:1", "unix:/a", "unix:/b"].map(parse);
        for pair in sorted.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
            assert_ne!(hash(&pair[0]), hash(&pair[1]));
        }
        assert_eq!(parse("unix:/a"), parse("unix:/a"));
        assert_eq!(hash(&parse("unix:/a")), hash(&parse("unix:/a")));
    }

    #[test]
    fn port_and_resolution() {
        let mut addr: SocketAddr = "127.0.0.1:80".parse().unwrap();
        addr.set_port(81);
        assert_eq!(addr.to_socket_addrs().unwrap().next().unwrap().port(), 81);
        let mut path: SocketAddr = "unix:/a".parse().unwrap();
        path.set_port(81);
        assert!(path.to_socket_addrs().is_err());
        assert!(path.as_unix().is_some() && path.as_inet().is_none());
    }

    #[test]
    fn address_of_a_descriptor() {
        use std::os::fd::AsRawFd;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let expected = SocketAddr::from(listener.local_addr().unwrap());
        assert_eq!(
            SocketAddr::from_raw_fd(listener.as_raw_fd(), false),
            Some(expected)
        );
        assert_eq!(SocketAddr::from_raw_fd(listener.as_raw_fd(), true), None);
        assert_eq!(SocketAddr::from_raw_fd(-1, true), None);
    }
}
