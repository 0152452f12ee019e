//! Which peers are to be offered HTTP/1 only.

use std::collections::HashSet;

use parking_lot::RwLock;

/// The most peers remembered; beyond that, arbitrary ones are forgotten and asked anew.
const MAX_PEERS: usize = 16 * 1024;

/// The peers that turned out not to speak HTTP/2, by their reuse hashes.
#[derive(Debug, Default)]
pub(super) struct PreferredHttpVersion {
    h1_only: RwLock<HashSet<u64>>,
}

impl PreferredHttpVersion {
    /// Returns an empty memory.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Remembers that the peer with this reuse hash is to be offered HTTP/1 only.
    pub(super) fn prefer_h1(&self, peer: u64) {
        let mut h1_only = self.h1_only.write();
        if h1_only.len() >= MAX_PEERS
            && let Some(forgotten) = h1_only.iter().next().copied()
        {
            h1_only.remove(&forgotten);
        }
        h1_only.insert(peer);
    }

    /// Returns whether the peer with this reuse hash, made only if there are any, is to be offered
    /// HTTP/1 only.
    pub(super) fn is_h1_only(&self, peer: impl FnOnce() -> u64) -> bool {
        let h1_only = self.h1_only.read();
        !h1_only.is_empty() && h1_only.contains(&peer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let preferred = PreferredHttpVersion::new();
        for peer in 0..2 * MAX_PEERS as u64 {
            preferred.prefer_h1(peer);
            assert!(preferred.is_h1_only(|| peer));
        }
        assert_eq!(preferred.h1_only.read().len(), MAX_PEERS);
    }
}
