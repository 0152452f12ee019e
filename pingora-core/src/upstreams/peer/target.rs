//! Where a peer is: an address, or a name to be looked up when a connection is made.
//!
//! [`Target`] is what the constructors parse their argument into. A name leaves a placeholder with a
//! number that stands for it in the address field of the peer (`names.rs`), and itself in
//! [`PeerOptions::unresolved`](super::PeerOptions); the lookup is in `connectors/resolve.rs`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr as InetAddr, SocketAddrV6};
use std::sync::Arc;

#[cfg(unix)]
use super::Proxy;
use super::{PeerOptions, names};
use crate::protocols::l4::socket::SocketAddr;

/// The longest host name accepted (RFC 1035: 253 characters and a final dot).
const MAX_HOST_NAME: usize = 254;

/// The first 64 bits of the address of a peer that is still a name; the rest is the number of that.
///
/// It is the discard-only block (RFC 6666), so that such an address connects to nothing.
const PLACEHOLDER_BLOCK: u64 = 0x0100 << 48;

/// The number of a peer whose place makes no sense. No name has it.
const NO_NAME: u64 = 0;

/// The name of a peer whose address is not known yet.
///
/// Kept in [`PeerOptions::unresolved`](super::PeerOptions) and looked up, without blocking, each
/// time a connection is made; the port is that of the peer's address. It only counts as long as
/// the address of the peer is the placeholder its constructor has put there: set another address
/// and the name is ignored. The placeholder says which name it stands for, so that one in options
/// that were made for another peer is ignored too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unresolved {
    /// A host name.
    Name(Arc<str>),
    /// What the peer was made from is no address; says why. Connecting fails with this text.
    Invalid(Arc<str>),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unresolved::Name(text) | Unresolved::Invalid(text) => f.write_str(text),
        }
    }
}

/// What the address argument of a peer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Address(SocketAddr),
    Name(Arc<str>, u16),
    Invalid(Arc<str>),
}

impl Target {
    /// Parses `host:port`, where the host is a name, an IPv4 or an IPv6 address.
    pub(super) fn parse(text: &str) -> Self {
        if let Ok(address) = text.parse::<InetAddr>() {
            return Target::from(address);
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Self::invalid(&format!("{text:?} has no port: host:port is needed"));
        };
        // u16 would parse "+80" too
        match port.parse() {
            Ok(number) if port.bytes().all(|b| b.is_ascii_digit()) => {
                Self::from_host_port(host, number)
            }
            _ => Self::invalid(&format!("{text:?} has no valid port: 0 to 65535 is needed")),
        }
    }

    /// Returns the target for a host, which may be a name or an IP address, and a port.
    pub(super) fn from_host_port(host: &str, port: u16) -> Self {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Target::from(InetAddr::new(ip, port));
        }
        if is_host_name(host) {
            Target::Name(host.into(), port)
        } else {
            Self::invalid(&format!("{host:?} is no host name"))
        }
    }

    /// Returns the target that cannot be connected to, with the reason.
    #[cold]
    pub(super) fn invalid(reason: &str) -> Self {
        Target::Invalid(reason.into())
    }

    /// Splits into the address of the peer and what is to be looked up.
    pub(super) fn into_parts(self) -> (SocketAddr, Option<Unresolved>) {
        match self {
            Target::Address(address) => (address, None),
            Target::Name(host, port) => {
                let address = placeholder(names::remember(&host), port);
                (address, Some(Unresolved::Name(host)))
            }
            Target::Invalid(why) => (placeholder(NO_NAME, 0), Some(Unresolved::Invalid(why))),
        }
    }
}

impl From<InetAddr> for Target {
    fn from(address: InetAddr) -> Self {
        Target::Address(SocketAddr::Inet(address))
    }
}

/// Returns the port of a placeholder, `None` for the address of a real peer.
pub(crate) fn placeholder_port(address: &SocketAddr) -> Option<u16> {
    placeholder_parts(address).map(|(_, port)| port)
}

/// Returns what a peer of this address and these options was made from; `None` if it has an address
/// of its own, or if its options were replaced and nobody has used its name for long.
pub(crate) fn unresolved_of(
    address: &SocketAddr,
    options: Option<&PeerOptions>,
) -> Option<Unresolved> {
    let (number, _) = placeholder_parts(address)?;
    let own = options.and_then(|options| options.unresolved.as_ref());
    let is_meant = |own: &&Unresolved| match own {
        Unresolved::Name(name) => names::number_of(name) == number,
        Unresolved::Invalid(_) => number == NO_NAME,
    };
    let recall = || names::recall(number).map(Unresolved::Name);
    own.filter(is_meant).cloned().or_else(recall)
}

/// Returns number and port of a placeholder.
fn placeholder_parts(address: &SocketAddr) -> Option<(u64, u16)> {
    let Some(InetAddr::V6(v6)) = address.as_inet() else {
        return None;
    };
    let bits = v6.ip().to_bits();
    let is_placeholder = (bits >> 64) as u64 == PLACEHOLDER_BLOCK;
    is_placeholder.then_some((bits as u64, v6.port()))
}

/// Writes where a peer is: `name:port` for a name, else its address.
pub(super) fn write_place(
    f: &mut fmt::Formatter<'_>,
    address: &SocketAddr,
    options: &PeerOptions,
) -> fmt::Result {
    match (
        placeholder_port(address),
        unresolved_of(address, Some(options)),
    ) {
        (Some(port), Some(Unresolved::Name(host))) => write!(f, "{host}:{port}"),
        (Some(_), Some(Unresolved::Invalid(_))) => f.write_str("invalid"),
        _ => write!(f, "{address}"),
    }
}

/// Returns whether the socket `fd` leads to `address`, or to the next hop of `proxy`.
#[cfg(unix)]
pub(super) fn leads_to(
    fd: std::os::fd::RawFd,
    address: &SocketAddr,
    proxy: Option<&Proxy>,
) -> bool {
    if proxy.is_none() && placeholder_port(address).is_some() {
        return true;
    }
    let Some(remote) = SocketAddr::from_raw_fd(fd, true) else {
        return false;
    };
    if let Some(proxy) = proxy {
        let remote = remote.as_unix().and_then(|a| a.as_pathname());
        return remote == Some(&*proxy.next_hop);
    }
    match (address.as_inet(), remote.as_inet()) {
        // connecting to the unspecified address reaches the local host
        (Some(wanted), Some(got)) if wanted.ip().is_unspecified() => wanted.port() == got.port(),
        (Some(wanted), Some(got)) => wanted.ip() == got.ip() && wanted.port() == got.port(),
        _ => *address == remote,
    }
}

/// Returns the address that stands for the name with this number.
fn placeholder(number: u64, port: u16) -> SocketAddr {
    let bits = u128::from(PLACEHOLDER_BLOCK) << 64 | u128::from(number);
    let address = SocketAddrV6::new(Ipv6Addr::from_bits(bits), port, 0, 0);
    SocketAddr::Inet(InetAddr::V6(address))
}

/// Returns whether `host` may be handed to the resolver: not empty, not longer than a name can
/// be, no byte that has a meaning elsewhere. Whether the name exists is the resolver's answer.
fn is_host_name(host: &str) -> bool {
    let forbidden = |b: u8| b <= b' ' || b == 0x7f || b"/\\@:[]?#%\"<>".contains(&b);
    !host.is_empty() && host.len() <= MAX_HOST_NAME && !host.bytes().any(forbidden)
}
