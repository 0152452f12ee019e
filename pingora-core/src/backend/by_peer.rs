//! What a connector keeps for each of the peers it talks to: pure.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// For how many peers something is kept unless said otherwise. Configurations and sessions take some
/// kilobytes, mostly certificates.
pub(super) const MAX_PEERS: usize = 1024;

/// Values by peer; those of the peers that came first go first.
pub(super) struct ByPeer<K, V> {
    max_peers: usize,
    of_peer: HashMap<K, V>,
    /// The keys in the order in which they came.
    order: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, V> ByPeer<K, V> {
    /// Returns a place for the values of so many peers.
    pub(super) fn new(max_peers: usize) -> Self {
        ByPeer {
            max_peers,
            of_peer: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Keeps `value` if there is none for `key`.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.max_peers == 0 || self.of_peer.contains_key(&key) {
            return;
        }
        while self.order.len() >= self.max_peers {
            if let Some(oldest) = self.order.pop_front() {
                self.of_peer.remove(&oldest);
            }
        }
        self.order.push_back(key);
        self.of_peer.insert(key, value);
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.of_peer.get_mut(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_go_first() {
        for (max, expected) in [
            (0, vec![]),
            (1, vec![4]),
            (2, vec![3, 4]),
            (9, vec![1, 2, 3, 4]),
        ] {
            let mut kept = ByPeer::new(max);
            for key in [1, 2, 1, 3, 3, 4] {
                kept.insert(key, key * 10);
            }
            kept.insert(4, 0);
            let found = (0..9).filter(|key| kept.get_mut(key).is_some());
            assert_eq!(found.collect::<Vec<_>>(), expected, "{max}");
            assert!(
                expected
                    .iter()
                    .all(|key| kept.get_mut(key) == Some(&mut (key * 10)))
            );
            assert_eq!(kept.order.len(), kept.of_peer.len());
        }
    }
}
