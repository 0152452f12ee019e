//! Makes a [`BasicPeer`].

use std::fmt;
use std::hash::{Hash, Hasher};
#[cfg(unix)]
use std::path::Path;

#[cfg(unix)]
use pingora_error::{ErrorType, OrErr, Result};

use super::reuse::{SeededHasher, hash_options};
use super::target::{Target, write_place};
use super::{BasicPeer, Peer, PeerOptions};
use crate::protocols::l4::socket::SocketAddr;

impl BasicPeer {
    /// Returns the peer at `address`, `host:port` with a host name or an IP address, without TLS.
    ///
    /// A name is looked up when a connection is made. When `address` is neither, connecting
    /// fails and says so.
    pub fn new(address: &str) -> Self {
        let (address, unresolved) = Target::parse(address).into_parts();
        let mut options = PeerOptions::new();
        options.unresolved = unresolved;
        BasicPeer {
            _address: address,
            sni: String::new(),
            options,
        }
    }

    /// Returns the peer behind the Unix socket at `path`, without TLS.
    ///
    /// Fails when `path` is longer than the address of a Unix socket may be (107 bytes on Linux).
    #[cfg(unix)]
    pub fn new_uds<P: AsRef<Path>>(path: P) -> Result<Self> {
        let address = unix_address(path.as_ref())?;
        Ok(BasicPeer {
            _address: address,
            sni: String::new(),
            options: PeerOptions::new(),
        })
    }
}

/// Returns the address of the Unix socket at `path`.
#[cfg(unix)]
pub(super) fn unix_address(path: &Path) -> Result<SocketAddr> {
    std::os::unix::net::SocketAddr::from_pathname(path)
        .map(SocketAddr::Unix)
        .or_err_with(ErrorType::InternalError, || {
            format!("{} cannot be the path of a unix socket", path.display())
        })
}

impl fmt::Display for BasicPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("addr: ")?;
        write_place(f, &self._address, &self.options)?;
        write!(f, ", sni: {}, {}", self.sni, self.options)
    }
}

impl Peer for BasicPeer {
    fn address(&self) -> &SocketAddr {
        &self._address
    }

    fn tls(&self) -> bool {
        !self.sni.is_empty()
    }

    fn sni(&self) -> &str {
        &self.sni
    }

    fn reuse_hash(&self) -> u64 {
        let mut state = SeededHasher::new();
        self._address.hash(&mut state);
        self.sni.hash(&mut state);
        hash_options(&self.options, &mut state);
        state.finish()
    }

    fn get_peer_options(&self) -> Option<&PeerOptions> {
        Some(&self.options)
    }

    fn get_mut_peer_options(&mut self) -> Option<&mut PeerOptions> {
        Some(&mut self.options)
    }

    fn get_tracer(&self) -> Option<super::Tracer> {
        self.options.tracer.clone()
    }
}
