//! [`Bucket`]: one server and its weight, as they are given to a ring.

use std::net::SocketAddr;

/// A server and its share of the keys in proportion to the weights of the others.
///
/// ```
/// let bucket = pingora_ketama::Bucket::new(([127, 0, 0, 1], 80).into(), 2);
/// assert_eq!(bucket, bucket.clone());
/// ```
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Bucket {
    pub(crate) node: SocketAddr,
    pub(crate) weight: u32,
}

impl Bucket {
    /// Returns the server `node` with `weight`. A server of weight 0 gets no keys.
    pub fn new(node: SocketAddr, weight: u32) -> Self {
        Bucket { node, weight }
    }
}
