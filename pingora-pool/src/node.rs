//! The connections of one key, for users who keep a map of their own. The pools of this crate keep
//! the same order in one store for all keys (`shelf.rs`).

use crate::sync::Mutex;

/// A stack of connections that have a number each: the most recently inserted is used first, so
/// that the others age and can be closed.
///
/// ```
/// let node = pingora_pool::PoolNode::new();
/// node.insert(1, "a");
/// node.insert(2, "b");
/// node.insert(3, "c");
/// assert_eq!(node.remove(1), Some("a"));
/// assert_eq!(node.get_any(), Some((3, "c")));
/// assert_eq!(node.get_any(), Some((2, "b")));
/// assert!(node.is_empty());
/// ```
pub struct PoolNode<T> {
    connections: Mutex<Vec<(i32, T)>>,
}

impl<T> PoolNode<T> {
    /// Returns an empty node.
    #[must_use]
    pub fn new() -> Self {
        PoolNode {
            connections: Mutex::new(Vec::new()),
        }
    }

    /// Removes and returns the most recently inserted connection and its number, or `None` if the
    /// node is empty.
    pub fn get_any(&self) -> Option<(i32, T)> {
        self.connections.lock().pop()
    }

    /// Adds a connection under the number `id`. A connection that had this number is dropped.
    pub fn insert(&self, id: i32, conn: T) {
        let mut connections = self.connections.lock();
        let replaced = position(&connections, id).map(|place| connections.remove(place));
        connections.push((id, conn));
        drop(connections);
        // Dropped outside of the lock: closing may take its time.
        drop(replaced);
    }

    /// Returns whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.lock().is_empty()
    }

    /// Removes and returns the connection numbered `id`, or `None` if it is not here.
    pub fn remove(&self, id: i32) -> Option<T> {
        let mut connections = self.connections.lock();
        let place = position(&connections, id)?;
        Some(connections.remove(place).1)
    }
}

impl<T> Default for PoolNode<T> {
    fn default() -> Self {
        Self::new()
    }
}

fn position<T>(connections: &[(i32, T)], id: i32) -> Option<usize> {
    connections.iter().rposition(|(other, _)| *other == id)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn inserting_a_number_again_replaces_and_renews() {
        let node = PoolNode::default();
        node.insert(1, 'a');
        node.insert(2, 'b');
        node.insert(1, 'c');
        assert_eq!(node.get_any(), Some((1, 'c')));
        assert_eq!(node.get_any(), Some((2, 'b')));
        assert_eq!(node.get_any(), None);
    }

    #[test]
    fn remove_takes_only_its_number() {
        let node = PoolNode::new();
        node.insert(-1, 'a');
        assert_eq!(node.remove(1), None);
        assert!(!node.is_empty());
        assert_eq!(node.remove(-1), Some('a'));
        assert_eq!(node.remove(-1), None);
        assert!(node.is_empty());
    }
}
