//! A doubly linked list in one allocation, whose items are named by index.
//!
//! All nodes lie in one vector and point at each other with 32 bit indices. Node 0 is the end of the
//! list on both sides: it closes the list to a ring, so that linking and unlinking have no special
//! cases. Removed nodes form a second, singly linked list and are used again first.
//!
//! Rejected: one allocation per node (slower by an allocation, 16 bytes of pointers and their cache
//! misses) and keeping the vector dense (indices would move).
//!
//! Read next: `shard.rs`, which keeps the order of an LRU in one.

use std::iter::FusedIterator;

/// The node before the first and after the last item; it holds no item.
const END: u32 = 0;

/// What `prev` of a node says that holds no item.
const FREE: u32 = u32::MAX;

/// A list can name this many items: indices have 32 bits, two of them have another meaning.
const MAX_ITEMS: usize = (u32::MAX - 1) as usize;

/// A list of `u64`, such as hashes: 16 bytes per item.
pub type LinkedListU64 = LinkedList<u64>;

/// A doubly linked list whose items keep their index until they are removed.
///
/// Everything takes constant time but [`exist_near_head`](Self::exist_near_head) and iteration. An
/// item takes 8 bytes besides itself; the memory of removed items is used again, not returned.
///
/// ```
/// use pingora_lru::linked_list::LinkedList;
///
/// let mut list = LinkedList::with_capacity(3);
/// let a = list.push_head("a");
/// list.push_head("b");
/// list.push_tail("c");
/// list.promote(a);
/// assert!(list.iter().eq(&["a", "b", "c"]));
/// assert_eq!(list.remove(a), "a");
/// assert_eq!(list.pop_tail(), Some("c"));
/// assert_eq!(list.len(), 1);
/// ```
pub struct LinkedList<K> {
    /// The first is [`END`].
    nodes: Vec<Node<K>>,
    /// The first node without an item, [`END`] if there is none; the next one is in its `next`.
    free: u32,
    len: usize,
}

struct Node<K> {
    value: K,
    prev: u32,
    next: u32,
}

impl<K: Default + Clone> LinkedList<K> {
    /// Returns an empty list with room for `capacity` items before it allocates again.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut nodes = Vec::with_capacity(capacity.saturating_add(1));
        nodes.push(Node {
            value: K::default(),
            prev: END,
            next: END,
        });
        LinkedList {
            nodes,
            free: END,
            len: 0,
        }
    }

    /// Makes room for `additional` more items.
    pub fn reserve(&mut self, additional: usize) {
        let unused = self.nodes.len() - 1 - self.len;
        self.nodes.reserve(additional.saturating_sub(unused));
    }

    /// Adds an item at the head and returns its index.
    ///
    /// # Panics
    ///
    /// If there are 2³² - 2 items already.
    pub fn push_head(&mut self, data: K) -> usize {
        self.insert(data, End::Head) as usize
    }

    /// Adds an item at the tail and returns its index.
    ///
    /// # Panics
    ///
    /// If there are 2³² - 2 items already.
    pub fn push_tail(&mut self, data: K) -> usize {
        self.insert(data, End::Tail) as usize
    }

    /// Removes and returns the item at `index`. The index may be given to another item later.
    ///
    /// # Panics
    ///
    /// If there is no item at `index`.
    pub fn remove(&mut self, index: usize) -> K {
        let index = self.checked(index);
        self.take(index)
    }

    /// Removes and returns the item at the tail, if there is one.
    pub fn pop_tail(&mut self) -> Option<K> {
        let tail = self.last()?;
        Some(self.take(tail))
    }

    /// Moves the item at `index` to the head.
    ///
    /// # Panics
    ///
    /// If there is no item at `index`.
    pub fn promote(&mut self, index: usize) {
        let index = self.checked(index);
        self.move_to_head(index);
    }

    /// Returns the item at `index` for changing it, if there is one.
    pub fn peek_mut(&mut self, index: usize) -> Option<&mut K> {
        let index = self.live(index)?;
        Some(&mut self.node_mut(index).value)
    }

    /// Returns the item at `index`, if there is one.
    pub fn peek(&self, index: usize) -> Option<&K> {
        let index = self.live(index)?;
        Some(&self.node(index).value)
    }

    /// Returns the index of the first item, if there is one.
    pub fn head(&self) -> Option<usize> {
        self.first().map(|index| index as usize)
    }

    /// Returns the index of the last item, if there is one.
    pub fn tail(&self) -> Option<usize> {
        self.last().map(|index| index as usize)
    }

    /// Returns the index of the item after the one at `index`, towards the tail.
    ///
    /// After the last item, and where there is no item, that is an index without an item: [`peek`](Self::peek)
    /// returns `None` for it.
    ///
    /// ```
    /// use pingora_lru::linked_list::LinkedListU64;
    ///
    /// let mut list = LinkedListU64::with_capacity(2);
    /// let last = list.push_head(7);
    /// let first = list.push_head(8);
    /// assert_eq!(list.next_index(first), last);
    /// assert_eq!(list.peek(list.next_index(last)), None);
    /// ```
    pub fn next_index(&self, index: usize) -> usize {
        self.live(index).map_or(END, |index| self.node(index).next) as usize
    }

    /// Returns the index of the item before the one at `index`, towards the head.
    ///
    /// Before the first item, and where there is no item, that is an index without an item.
    pub fn prev_index(&self, index: usize) -> usize {
        self.live(index).map_or(END, |index| self.node(index).prev) as usize
    }

    /// Returns the number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns an iterator over the items from head to tail.
    pub fn iter(&self) -> LinkedListIter<'_, K> {
        LinkedListIter {
            list: self,
            head: self.node(END).next,
            tail: self.node(END).prev,
            left: self.len,
        }
    }
}

impl<K: Default + Clone + PartialEq> LinkedList<K> {
    /// Returns whether `value` is among the first `search_limit` items: that many comparisons.
    pub fn exist_near_head(&self, value: &K, search_limit: usize) -> bool {
        self.iter().take(search_limit).any(|item| item == value)
    }
}

impl<'a, K: Default + Clone> IntoIterator for &'a LinkedList<K> {
    type Item = &'a K;
    type IntoIter = LinkedListIter<'a, K>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Where an item is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Head,
    Tail,
}

// What an LRU needs: the same in 32 bit indices, of which the caller knows that they hold an item.
impl<K: Default + Clone> LinkedList<K> {
    #[inline]
    pub(crate) fn insert(&mut self, value: K, end: End) -> u32 {
        let index = match self.free {
            END => self.grow(value),
            free => {
                let node = self.node_mut(free);
                node.value = value;
                self.free = node.next;
                free
            }
        };
        match end {
            End::Head => self.link(index, END, self.node(END).next),
            End::Tail => self.link(index, self.node(END).prev, END),
        }
        self.len += 1;
        index
    }

    pub(crate) fn take(&mut self, index: u32) -> K {
        self.unlink(index);
        self.len -= 1;
        let free = self.free;
        let node = self.node_mut(index);
        node.prev = FREE;
        node.next = free;
        let value = std::mem::take(&mut node.value);
        self.free = index;
        value
    }

    pub(crate) fn move_to_head(&mut self, index: u32) {
        let first = self.node(END).next;
        if first != index {
            self.unlink(index);
            self.link(index, END, first);
        }
    }

    pub(crate) fn at(&self, index: u32) -> &K {
        debug_assert_ne!(self.node(index).prev, FREE);
        &self.node(index).value
    }

    pub(crate) fn first(&self) -> Option<u32> {
        Some(self.node(END).next).filter(|index| *index != END)
    }

    pub(crate) fn last(&self) -> Option<u32> {
        Some(self.node(END).prev).filter(|index| *index != END)
    }

    /// The indices of the items from head to tail.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> {
        std::iter::successors(self.first(), |index| {
            Some(self.node(*index).next).filter(|next| *next != END)
        })
    }

    fn grow(&mut self, value: K) -> u32 {
        assert!(self.nodes.len() <= MAX_ITEMS, "a list has 2^32 - 2 items");
        let index = self.nodes.len() as u32;
        self.nodes.push(Node {
            value,
            prev: FREE,
            next: END,
        });
        index
    }

    fn link(&mut self, index: u32, prev: u32, next: u32) {
        self.node_mut(prev).next = index;
        self.node_mut(next).prev = index;
        let node = self.node_mut(index);
        node.prev = prev;
        node.next = next;
    }

    fn unlink(&mut self, index: u32) {
        let &Node { prev, next, .. } = self.node(index);
        self.node_mut(prev).next = next;
        self.node_mut(next).prev = prev;
    }

    fn live(&self, index: usize) -> Option<u32> {
        let node = self.nodes.get(index)?;
        (index != END as usize && node.prev != FREE).then_some(index as u32)
    }

    fn checked(&self, index: usize) -> u32 {
        match self.live(index) {
            Some(index) => index,
            None => panic!("no item at index {index} of the list"),
        }
    }

    fn node(&self, index: u32) -> &Node<K> {
        &self.nodes[index as usize]
    }

    fn node_mut(&mut self, index: u32) -> &mut Node<K> {
        &mut self.nodes[index as usize]
    }
}

/// An iterator over the items of a [`LinkedList`] from head to tail; reversed, from tail to head.
pub struct LinkedListIter<'a, K> {
    list: &'a LinkedList<K>,
    head: u32,
    tail: u32,
    left: usize,
}

impl<'a, K: Default + Clone> Iterator for LinkedListIter<'a, K> {
    type Item = &'a K;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let node = self.list.node(self.head);
        self.head = node.next;
        Some(&node.value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K: Default + Clone> DoubleEndedIterator for LinkedListIter<'_, K> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let node = self.list.node(self.tail);
        self.tail = node.prev;
        Some(&node.value)
    }
}

impl<K: Default + Clone> ExactSizeIterator for LinkedListIter<'_, K> {}

impl<K: Default + Clone> FusedIterator for LinkedListIter<'_, K> {}

#[cfg(test)]
mod tests;
