//! Consistent hashing: the Ketama ring of pingora-ketama over backends.
//!
//! The ring knows IP addresses only; this file maps backends to it and back.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr, SocketAddr as InetAddr};
use std::sync::Arc;

use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_ketama::{Bucket, Continuum, Version};

use crate::Backend;
use crate::selection::{BackendIter, BackendSelection};

/// How a Ketama ring is laid out.
///
/// ```
/// use pingora_load_balancing::selection::consistent::{KetamaConfig, KetamaHashing};
/// use pingora_load_balancing::{Backends, LoadBalancer, discovery::Static};
///
/// let backends = Backends::new(Static::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"])?);
/// let config = KetamaConfig { point_multiple: Some(200) };
/// let balancer = LoadBalancer::<KetamaHashing>::from_backends_with_config(backends, Some(config));
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct KetamaConfig {
    /// How many points a backend gets on the ring per unit of weight: more make the shares more even and the ring
    /// larger.
    ///
    /// `None`, the default, lays the ring out as nginx does, with 160. `Some` needs the
    /// feature `v2`; without it the ring is nginx's and a warning is logged when it is built.
    pub point_multiple: Option<u32>,
}

/// A selector on a Ketama ring: when a backend comes or goes, only its share of the keys moves.
///
/// The ring is nginx's `hash … consistent` for the same addresses and weights. Fallbacks are the next points of the
/// ring; the walk ends after one lap. Backends of weight 0 have no point. A unix socket takes part under an address
/// made from its path. Of several backends with one address, the heaviest is returned and their weights add up.
///
/// ```
/// use pingora_load_balancing::{LoadBalancer, selection::Consistent};
///
/// let balancer = LoadBalancer::<Consistent>::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"])?;
/// assert_eq!(balancer.select(b"user 7", 64), balancer.select(b"user 7", 64));
/// # std::io::Result::Ok(())
/// ```
pub struct KetamaHashing {
    ring: Continuum,
    backends: HashMap<InetAddr, Backend, fnv::FnvBuildHasher>,
}

impl BackendSelection for KetamaHashing {
    type Config = KetamaConfig;
    type Iter = OwnedNodeIterator;

    /// Builds nginx's ring.
    fn build(backends: &BTreeSet<Backend>) -> Self {
        Self::build_with_config(backends, &KetamaConfig::default())
    }

    /// Builds the ring `config` describes.
    fn build_with_config(backends: &BTreeSet<Backend>, config: &Self::Config) -> Self {
        let mut by_addr = HashMap::<_, Backend, _>::default();
        let mut buckets = Vec::<(InetAddr, u32)>::with_capacity(backends.len());
        for backend in backends.iter().filter(|b| b.weight > 0) {
            let addr = ring_addr(&backend.addr);
            let weight = u32::try_from(backend.weight).unwrap_or(u32::MAX);
            // The set is in the order of addresses, then weights.
            match buckets.last_mut() {
                Some((last, sum)) if *last == addr => *sum = sum.saturating_add(weight),
                _ => buckets.push((addr, weight)),
            }
            by_addr.insert(addr, backend.clone());
        }
        let buckets: Vec<_> = buckets
            .into_iter()
            .map(|(addr, weight)| Bucket::new(addr, weight))
            .collect();
        KetamaHashing {
            ring: Continuum::new_with_version(&buckets, version(config)),
            backends: by_addr,
        }
    }

    /// Returns the walk that starts at the point of `key`.
    fn iter(self: &Arc<Self>, key: &[u8]) -> Self::Iter {
        OwnedNodeIterator {
            index: self.ring.node_idx(key),
            lap: Lap::NotStarted,
            selector: self.clone(),
        }
    }
}

#[cfg(feature = "v2")]
fn version(config: &KetamaConfig) -> Version {
    match config.point_multiple {
        Some(point_multiple) => Version::V2 { point_multiple },
        None => Version::V1,
    }
}

#[cfg(not(feature = "v2"))]
fn version(config: &KetamaConfig) -> Version {
    if config.point_multiple.is_some() {
        log::warn!("ketama point_multiple needs the feature v2: using the nginx ring");
    }
    Version::V1
}

/// Returns the address a backend has on the ring.
///
/// A unix socket's is in the discard-only block (RFC 6666), which no server has: the FNV-1a hash of its name fills
/// the low 64 bits, so that it is the same in every process.
fn ring_addr(addr: &SocketAddr) -> InetAddr {
    if let Some(inet) = addr.as_inet() {
        return *inet;
    }
    let mut hasher = fnv::FnvHasher::default();
    hasher.write(addr.to_string().as_bytes());
    let discard_only = 0x0100_u128 << 112;
    let ip = Ipv6Addr::from_bits(discard_only | u128::from(hasher.finish()));
    InetAddr::new(IpAddr::V6(ip), 0)
}

/// The walk of [`KetamaHashing`] along the ring, one lap at most.
pub struct OwnedNodeIterator {
    /// The point to look at next.
    index: usize,
    lap: Lap,
    selector: Arc<KetamaHashing>,
}

enum Lap {
    NotStarted,
    Running { after_first: usize },
}

impl BackendIter for OwnedNodeIterator {
    /// Returns the backend of the next point; `None` after a lap or if the ring is empty.
    fn next(&mut self) -> Option<&Backend> {
        let at = self.index;
        let addr = self.selector.ring.get_addr(&mut self.index)?;
        match self.lap {
            Lap::NotStarted => {
                self.lap = Lap::Running {
                    after_first: self.index,
                }
            }
            Lap::Running { after_first } if self.index == after_first => {
                // Stay on the point, so that the walk has ended for good.
                self.index = at;
                return None;
            }
            Lap::Running { .. } => {}
        }
        self.selector.backends.get(addr)
    }
}
