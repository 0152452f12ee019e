//! [`Continuum`]: the ring with the addresses its points belong to.

use std::net::SocketAddr;

use crate::bucket::Bucket;
use crate::points::{self, Lane, MAX_POINTS};
use crate::ring::{Point, Ring};

/// Points per unit of weight of [`Version::V1`], the number nginx uses.
pub const DEFAULT_POINT_MULTIPLE: u32 = 160;

/// How many points servers have.
///
/// ```
/// use pingora_ketama::{Continuum, Version};
///
/// let empty = Continuum::new_with_version(&[], Version::V1);
/// assert_eq!(empty.node(b"key"), None);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Version {
    /// [`DEFAULT_POINT_MULTIPLE`] points per unit of weight: the ring of nginx.
    #[default]
    V1,
    /// A chosen number of points per unit of weight. More points spread keys more evenly and take
    /// more memory; [`DEFAULT_POINT_MULTIPLE`] makes the ring of [`Version::V1`].
    #[cfg(feature = "v2")]
    V2 {
        /// Points per unit of weight. With 0 the ring is empty.
        point_multiple: u32,
    },
}

impl Version {
    fn point_multiple(self) -> u32 {
        match self {
            Version::V1 => DEFAULT_POINT_MULTIPLE,
            #[cfg(feature = "v2")]
            Version::V2 { point_multiple } => point_multiple,
        }
    }
}

/// A consistent hash ring: says which server a key belongs to.
///
/// It never changes; build another when servers do. A ring has 16 million points at most: beyond
/// that all servers get fewer points than their weight asks for, in proportion.
///
/// ```
/// use pingora_ketama::{Bucket, Continuum};
///
/// let [a, b] = [1, 2].map(|last| ([127, 0, 0, last], 80).into());
/// let ring = Continuum::new(&[Bucket::new(a, 1), Bucket::new(b, 0)]);
/// assert_eq!(ring.node(b"any key"), Some(a));
/// ```
pub struct Continuum {
    ring: Ring,
    addresses: Box<[SocketAddr]>,
}

impl Continuum {
    /// Returns the ring of nginx's `hash … consistent` for these servers.
    pub fn new(buckets: &[Bucket]) -> Self {
        Self::new_with_version(buckets, Version::V1)
    }

    /// Returns the ring of `version` for these servers. Without servers, or with weights of 0 only,
    /// it is empty.
    pub fn new_with_version(buckets: &[Bucket], version: Version) -> Self {
        Self::with_limit(buckets, version.point_multiple(), MAX_POINTS)
    }

    /// Returns the server of `hash_key`, `None` if the ring is empty.
    pub fn node(&self, hash_key: &[u8]) -> Option<SocketAddr> {
        self.address(self.node_idx(hash_key)).copied()
    }

    /// Returns the number of the first point at or after the hash of `input`, for
    /// [`get_addr`](Self::get_addr); 0 if the ring is empty.
    pub fn node_idx(&self, input: &[u8]) -> usize {
        self.ring.find(crc32fast::hash(input))
    }

    /// Returns the servers of the points from the hash of `hash_key` on, round and round. A server
    /// comes up once per point, so skip those already seen; the iterator ends only if the ring is
    /// empty.
    pub fn node_iter(&self, hash_key: &[u8]) -> NodeIterator<'_> {
        NodeIterator {
            point: self.node_idx(hash_key),
            continuum: self,
        }
    }

    /// Returns the server of point `idx` and advances `idx` to the next point, which is 0 after the
    /// last. Returns `None` and leaves `idx` alone if there is no such point.
    pub fn get_addr(&self, idx: &mut usize) -> Option<&SocketAddr> {
        let address = self.address(*idx)?;
        *idx += 1;
        if *idx == self.ring.len() {
            *idx = 0;
        }
        Some(address)
    }

    fn with_limit(buckets: &[Bucket], point_multiple: u32, limit: u64) -> Self {
        let counts = points::counts(buckets, point_multiple, limit);
        let total: u64 = counts.iter().sum();
        let mut points = vec![Point::default(); total as usize];
        let mut rest = points.as_mut_slice();
        let mut lanes = Vec::with_capacity(buckets.len());
        for ((bucket, count), owner) in buckets.iter().zip(&counts).zip(0u32..) {
            if *count > 0 {
                let (own, others) = rest.split_at_mut(*count as usize);
                lanes.push(Lane::new(&bucket.node, owner, own));
                rest = others;
            }
        }
        points::fill(&mut lanes);
        Continuum {
            ring: Ring::new(points),
            addresses: buckets.iter().map(|bucket| bucket.node).collect(),
        }
    }

    #[inline]
    fn address(&self, point: usize) -> Option<&SocketAddr> {
        self.ring.owner(point).map(|owner| &self.addresses[owner])
    }
}

/// The servers of successive points of a [`Continuum`], from [`Continuum::node_iter`].
///
/// ```
/// use pingora_ketama::{Bucket, Continuum};
///
/// let [a, b] = [1, 2].map(|last| ([127, 0, 0, last], 80).into());
/// let ring = Continuum::new(&[Bucket::new(a, 1), Bucket::new(b, 1)]);
/// let seen: std::collections::HashSet<_> = ring.node_iter(b"key").take(320).collect();
/// assert_eq!(seen.len(), 2);
/// ```
pub struct NodeIterator<'a> {
    point: usize,
    continuum: &'a Continuum,
}

impl<'a> Iterator for NodeIterator<'a> {
    type Item = &'a SocketAddr;

    fn next(&mut self) -> Option<Self::Item> {
        self.continuum.get_addr(&mut self.point)
    }
}

#[cfg(test)]
mod tests;
