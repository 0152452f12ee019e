//! One backend: where it is, its share of the traffic and what the user attached to it.
//!
//! Membership and health live in `backends.rs`.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::ToSocketAddrs;
use std::ops::{Deref, DerefMut};

use http::Extensions;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::Result;

/// A server requests can be sent to.
///
/// Two backends are the same one if address and weight are equal; [`ext`](Self::ext) is carried along and never
/// compared, ordered or hashed. Sets of backends are ordered by address, then weight.
///
/// Discovery and health key a backend by its hash: feed it to [`DefaultHasher::new`], see
/// [`ServiceDiscovery::discover`](crate::discovery::ServiceDiscovery::discover).
///
/// Cloning copies the address and, only if something is attached, clones the extensions.
///
/// ```
/// use pingora_load_balancing::{Backend, Extensions};
///
/// let mut backend = Backend::new_with_weight("10.0.0.1:80", 3)?;
/// backend.ext.insert("rack 7");
/// let literal = Backend { addr: backend.addr.clone(), weight: 3, ext: Extensions::new() };
/// assert_eq!(backend, literal);
/// # Ok::<(), pingora_error::BError>(())
/// ```
pub struct Backend {
    /// Where to connect: an IP address and port, or a unix socket.
    pub addr: SocketAddr,
    /// The share of the traffic relative to the other backends of the set. 1 by default.
    ///
    /// Weight 0 drains the backend: it stays in the set and is health checked, but no algorithm of this crate picks it.
    pub weight: usize,
    /// Anything the user wants to find again on the selected backend: a host name, a zone, TLS settings.
    ///
    /// A discovery that changes nothing but this does not count as a change of the set.
    pub ext: Extensions,
}

impl Backend {
    /// Creates a backend of weight 1 from `IP:port` or `unix:` and the path of a unix socket.
    ///
    /// Errors if `addr` is neither; host names are not resolved here, see
    /// [`Static::try_from_iter`](crate::discovery::Static::try_from_iter).
    pub fn new(addr: &str) -> Result<Self> {
        Self::new_with_weight(addr, 1)
    }

    /// Creates a backend as [`new`](Self::new) does, with the given weight.
    pub fn new_with_weight(addr: &str, weight: usize) -> Result<Self> {
        Ok(Backend {
            addr: addr.parse()?,
            weight,
            ext: Extensions::new(),
        })
    }

    /// Returns what health and enablement are keyed by.
    pub(crate) fn hash_key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl Clone for Backend {
    fn clone(&self) -> Self {
        Backend {
            addr: self.addr.clone(),
            weight: self.weight,
            // Without any, nothing is allocated.
            ext: self.ext.clone(),
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("addr", &self.addr)
            .field("weight", &self.weight)
            .field("ext", &self.ext)
            .finish()
    }
}

impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        self.addr == other.addr && self.weight == other.weight
    }
}

impl Eq for Backend {}

impl PartialOrd for Backend {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Backend {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_addr = self.addr.cmp(&other.addr);
        by_addr.then_with(|| self.weight.cmp(&other.weight))
    }
}

impl Hash for Backend {
    // The parameter is called as in the recorded API.
    fn hash<__H>(&self, state: &mut __H)
    where
        __H: Hasher,
    {
        self.addr.hash(state);
        self.weight.hash(state);
    }
}

impl Deref for Backend {
    type Target = SocketAddr;

    fn deref(&self) -> &Self::Target {
        &self.addr
    }
}

impl DerefMut for Backend {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.addr
    }
}

impl ToSocketAddrs for Backend {
    type Iter = std::iter::Once<std::net::SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.addr.to_socket_addrs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_address_and_weight() {
        let plain = Backend::new("1.1.1.1:80").unwrap();
        let mut tagged = plain.clone();
        tagged.ext.insert(7u8);
        let heavy = Backend::new_with_weight("1.1.1.1:80", 2).unwrap();
        let other = Backend::new("1.0.0.1:80").unwrap();

        assert_eq!(plain, tagged);
        assert_eq!(plain.hash_key(), tagged.hash_key());
        assert_eq!(plain.cmp(&tagged), Ordering::Equal);
        assert_ne!(plain, heavy);
        assert_ne!(plain.hash_key(), heavy.hash_key());
        assert!(other < plain && plain < heavy);
        assert_eq!(tagged.clone().ext.get::<u8>(), Some(&7));
    }

    #[test]
    fn addresses() {
        for addr in ["1.1.1.1:80", "[::1]:8080"] {
            let backend = Backend::new(addr).unwrap();
            assert_eq!(backend.to_string(), addr);
            assert_eq!(backend.weight, 1);
            let resolved: Vec<_> = backend.to_socket_addrs().unwrap().collect();
            assert_eq!(resolved, [addr.parse().unwrap()]);
        }
        let mut moved = Backend::new("1.1.1.1:80").unwrap();
        moved.set_port(81);
        assert_eq!(moved.addr.to_string(), "1.1.1.1:81");
    }

    #[cfg(unix)]
    #[test]
    fn unix_addresses() {
        let backend = Backend::new("unix:/run/app.sock").unwrap();
        assert!(backend.as_unix().is_some());
        assert!(backend.to_socket_addrs().is_err());
    }
}
