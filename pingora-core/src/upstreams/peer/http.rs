//! Makes an [`HttpPeer`].

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr as InetAddr, ToSocketAddrs};
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(unix)]
use pingora_error::Result;

#[cfg(unix)]
use super::basic::unix_address;
use super::reuse::{SeededHasher, hash_options};
use super::target::{Target, write_place};
use super::typed::target_of;
use super::{HttpPeer, Peer, PeerOptions, Proxy, Tracer};
use crate::protocols::l4::socket::SocketAddr;
use crate::utils::tls::CertKey;

/// Whether HTTP is spoken over TLS.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Scheme {
    /// Without TLS.
    HTTP,
    /// With TLS.
    HTTPS,
}

impl Scheme {
    /// Returns [`HTTPS`](Scheme::HTTPS) for `true`.
    pub fn from_tls_bool(tls: bool) -> Self {
        if tls { Scheme::HTTPS } else { Scheme::HTTP }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::HTTP => "HTTP",
            Scheme::HTTPS => "HTTPS",
        })
    }
}

impl HttpPeer {
    /// Returns the peer at `address`, with TLS when `tls`, where [`sni`](Self::sni) is the server name.
    ///
    /// `address` is `"host:port"`, `("host", port)`, a socket address, or any other type with
    /// socket addresses, of which the first is taken. A host name is not looked up here but when
    /// a connection is made, so this neither blocks nor fails; when `address` makes no sense,
    /// connecting fails and says why.
    pub fn new<A: ToSocketAddrs>(address: A, tls: bool, sni: String) -> Self {
        Self::from_target(target_of(&address), Scheme::from_tls_bool(tls), sni)
    }

    /// Returns the peer behind the Unix socket at `path`, with TLS when `tls`.
    ///
    /// Fails when `path` is longer than the address of a Unix socket may be (107 bytes on Linux).
    #[cfg(unix)]
    pub fn new_uds(path: &str, tls: bool, sni: String) -> Result<Self> {
        let address = unix_address(Path::new(path))?;
        Ok(Self::from_target(
            Target::Address(address),
            Scheme::from_tls_bool(tls),
            sni,
        ))
    }

    /// Returns the peer at `ip_addr` and `port` behind a CONNECT proxy.
    ///
    /// The proxy listens on the Unix socket at the path `next_hop` and is sent `headers`.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use pingora_core::upstreams::peer::HttpPeer;
    ///
    /// let headers = BTreeMap::from([("X-Team".to_string(), b"edge".to_vec())]);
    /// let address = [192, 0, 2, 7].into();
    /// let peer = HttpPeer::new_proxy("/run/egress.sock", address, 443, true, "a.example", headers);
    /// assert!(peer.is_tls() && peer.proxy.is_some());
    /// ```
    pub fn new_proxy(
        next_hop: &str,
        ip_addr: IpAddr,
        port: u16,
        tls: bool,
        sni: &str,
        headers: BTreeMap<String, Vec<u8>>,
    ) -> Self {
        let address = Target::from(InetAddr::new(ip_addr, port));
        let mut peer = Self::from_target(address, Scheme::from_tls_bool(tls), sni.to_owned());
        peer.proxy = Some(Proxy {
            next_hop: PathBuf::from(next_hop).into(),
            host: ip_addr.to_string(),
            port,
            headers,
        });
        peer
    }

    /// Returns the TLS peer at `address` that is shown a client certificate.
    ///
    /// `address` is as in [`new`](Self::new).
    pub fn new_mtls<A: ToSocketAddrs>(
        address: A,
        sni: String,
        client_cert_key: Arc<CertKey>,
    ) -> Self {
        let mut peer = Self::from_target(target_of(&address), Scheme::HTTPS, sni);
        peer.client_cert_key = Some(client_cert_key);
        peer
    }

    /// Returns whether TLS is used.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    fn from_target(target: Target, scheme: Scheme, sni: String) -> Self {
        let (address, unresolved) = target.into_parts();
        let mut options = PeerOptions::new();
        options.unresolved = unresolved;
        HttpPeer {
            _address: address,
            scheme,
            sni,
            proxy: None,
            client_cert_key: None,
            group_key: 0,
            options,
        }
    }
}

impl Hash for HttpPeer {
    /// Adds everything that keeps two peers from sharing a connection.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self._address.hash(state);
        self.scheme.hash(state);
        self.sni.hash(state);
        self.proxy.hash(state);
        self.client_cert_key.hash(state);
        self.group_key.hash(state);
        hash_options(&self.options, state);
    }
}

impl fmt::Display for HttpPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("addr: ")?;
        write_place(f, &self._address, &self.options)?;
        write!(f, ", scheme: {}", self.scheme)?;
        if !self.sni.is_empty() {
            write!(f, ", sni: {}", self.sni)?;
        }
        if let Some(proxy) = &self.proxy {
            write!(f, ", proxy: {{{proxy}}}")?;
        }
        if let Some(cert) = &self.client_cert_key {
            write!(f, ", client cert: {cert}")?;
        }
        if self.group_key != 0 {
            write!(f, ", group: {}", self.group_key)?;
        }
        write!(f, ", {}", self.options)
    }
}

impl Peer for HttpPeer {
    fn address(&self) -> &SocketAddr {
        &self._address
    }

    fn tls(&self) -> bool {
        self.is_tls()
    }

    fn sni(&self) -> &str {
        &self.sni
    }

    fn reuse_hash(&self) -> u64 {
        let mut state = SeededHasher::new();
        self.hash(&mut state);
        state.finish()
    }

    fn get_proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    fn get_peer_options(&self) -> Option<&PeerOptions> {
        Some(&self.options)
    }

    fn get_mut_peer_options(&mut self) -> Option<&mut PeerOptions> {
        Some(&mut self.options)
    }

    fn get_client_cert_key(&self) -> Option<&Arc<CertKey>> {
        self.client_cert_key.as_ref()
    }

    fn get_tracer(&self) -> Option<Tracer> {
        self.options.tracer.clone()
    }
}
