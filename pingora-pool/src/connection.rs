//! [`ConnectionPool`]: idle connections whose owner watches each of them with a task.
//!
//! One lock guards the whole pool; all that happens under it takes constant time. Callbacks,
//! wake-ups and drops of connections happen after it is released. The watching half is in
//! `idle.rs`, the order of entries in `shelf.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use crate::shelf::{KeyHashing, MAX_ENTRIES, Shelf};
use crate::sync::Mutex;

/// The name of one connection in a [`ConnectionPool`].
///
/// ```
/// let meta = pingora_pool::ConnectionMeta::new(42, 3);
/// assert_eq!((meta.key, meta.id), (42, 3));
/// ```
#[derive(Clone, Debug)]
pub struct ConnectionMeta {
    /// What makes connections interchangeable: connections of the same key may replace each other.
    pub key: u64,
    /// The number of this connection, unique within its key while it is in the pool.
    pub id: i32,
}

impl ConnectionMeta {
    /// Returns the name of connection `id` under `key`.
    pub fn new(key: u64, id: i32) -> Self {
        ConnectionMeta { key, id }
    }
}

/// A pool of idle connections of any type, found by key, bounded over all keys.
///
/// A full pool evicts the connection that has idled longest. Keys without connections take no
/// memory.
///
/// ```
/// use pingora_pool::{ConnectionMeta, ConnectionPool};
///
/// let pool = ConnectionPool::new(2);
/// for id in 1..=3 {
///     pool.put(&ConnectionMeta::new(7, id), id);
/// }
/// // Most recently used first; the first was evicted.
/// assert_eq!(pool.get(&7), Some(3));
/// assert_eq!(pool.get(&7), Some(2));
/// assert_eq!(pool.get(&7), None);
/// ```
pub struct ConnectionPool<S> {
    size: usize,
    shared: Mutex<Shared<S>>,
}

struct Shared<S> {
    shelf: Shelf<Pooled<S>>,
    /// The slot of each connection by key and id.
    slots: HashMap<(u64, i32), u32, KeyHashing>,
}

/// One idle connection.
pub(crate) struct Pooled<S> {
    meta: ConnectionMeta,
    connection: S,
    evicted: Arc<Notify>,
    used: oneshot::Sender<bool>,
    /// Made by the first [`ConnectionPool::watch`].
    gate: Option<Arc<Mutex<Gate>>>,
}

/// Who may touch the bytes of a watched connection. Its lock is held while the watcher reads, so
/// that no byte is ever read from a connection somebody has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The watcher may read.
    Idle,
    /// It was taken: the watcher must not read any more.
    Taken,
    /// The watcher has read data, an end or an error: it must not be taken any more.
    Spoilt,
}

impl<S> ConnectionPool<S> {
    /// Returns an empty pool that holds up to `size` connections. A pool of size 0 evicts each
    /// connection as it is put.
    #[must_use]
    pub fn new(size: usize) -> Self {
        ConnectionPool {
            size: size.min(MAX_ENTRIES),
            shared: Mutex::new(Shared {
                shelf: Shelf::new(),
                slots: HashMap::with_hasher(KeyHashing::new()),
            }),
        }
    }

    /// Removes and returns the connection of `key` that was put last, or `None` if there is none.
    ///
    /// The receiver [`put`](Self::put) returned for it gets `true`.
    pub fn get(&self, key: &u64) -> Option<S> {
        loop {
            let pooled = self.shared.lock().pop(*key)?;
            if let Some(gate) = &pooled.gate {
                // Waits for one non-blocking read at most.
                let mut gate = gate.lock();
                if *gate == Gate::Spoilt {
                    continue;
                }
                *gate = Gate::Taken;
            }
            // Nobody may be watching: that is fine.
            let _ = pooled.used.send(true);
            return Some(pooled.connection);
        }
    }

    /// Adds a connection and returns how its watcher learns what becomes of it.
    ///
    /// The [`Notify`] is notified once if the connection is evicted. The receiver gets `true` when
    /// the connection is taken, and fails if it leaves the pool in another way. A connection of the
    /// same key and id that is still here is evicted. Evicted connections are dropped before this
    /// returns.
    pub fn put(
        &self,
        meta: &ConnectionMeta,
        connection: S,
    ) -> (Arc<Notify>, oneshot::Receiver<bool>) {
        let evicted = Arc::new(Notify::new());
        let (used, watch_use) = oneshot::channel();
        let pooled = Pooled {
            meta: meta.clone(),
            connection,
            evicted: Arc::clone(&evicted),
            used,
            gate: None,
        };
        let (replaced, overflow) = {
            let mut shared = self.shared.lock();
            let replaced = shared.remove(meta);
            shared.insert(pooled);
            let overflow = match shared.slots.len() > self.size {
                true => shared.pop_oldest(),
                false => None,
            };
            (replaced, overflow)
        };
        for out in replaced.into_iter().chain(overflow) {
            log::debug!(
                "evicting idle connection, key={} id={}",
                out.meta.key,
                out.meta.id
            );
            out.evicted.notify_one();
        }
        (evicted, watch_use)
    }

    /// Removes and drops the connection named `meta`, which its owner found closed. Does nothing
    /// if it is not in the pool.
    pub fn pop_closed(&self, meta: &ConnectionMeta) {
        let closed = self.shared.lock().remove(meta);
        drop(closed);
    }

    /// Returns the gate of the connection that was put with this name and this notification, or
    /// `None` if it has left the pool. Another connection may have its name by then.
    pub(crate) fn watch(
        &self,
        meta: &ConnectionMeta,
        evicted: &Arc<Notify>,
    ) -> Option<Arc<Mutex<Gate>>> {
        let mut shared = self.shared.lock();
        let slot = *shared.slots.get(&(meta.key, meta.id))?;
        let pooled = shared.shelf.value_mut(slot);
        if !Arc::ptr_eq(&pooled.evicted, evicted) {
            return None;
        }
        let gate = pooled
            .gate
            .get_or_insert_with(|| Arc::new(Mutex::new(Gate::Idle)));
        Some(Arc::clone(gate))
    }

    /// Removes and drops the connection that was put with this name and this notification.
    /// Returns whether it was still in the pool.
    pub(crate) fn discard(&self, meta: &ConnectionMeta, evicted: &Arc<Notify>) -> bool {
        let mut shared = self.shared.lock();
        let Some(&slot) = shared.slots.get(&(meta.key, meta.id)) else {
            return false;
        };
        if !Arc::ptr_eq(&shared.shelf.value_mut(slot).evicted, evicted) {
            return false;
        }
        let discarded = shared.remove(meta);
        drop(shared);
        discarded.is_some()
    }

    /// The numbers of connections and of keys held.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn held(&self) -> (usize, usize) {
        let shared = self.shared.lock();
        (shared.slots.len(), shared.shelf.keys())
    }
}

impl<S> Shared<S> {
    fn insert(&mut self, pooled: Pooled<S>) {
        let name = (pooled.meta.key, pooled.meta.id);
        let slot = self.shelf.push(name.0, pooled);
        self.slots.insert(name, slot);
    }

    fn pop(&mut self, key: u64) -> Option<Pooled<S>> {
        let pooled = self.shelf.pop(key)?;
        self.slots.remove(&(pooled.meta.key, pooled.meta.id));
        Some(pooled)
    }

    fn pop_oldest(&mut self) -> Option<Pooled<S>> {
        let pooled = self.shelf.pop_oldest()?;
        self.slots.remove(&(pooled.meta.key, pooled.meta.id));
        Some(pooled)
    }

    fn remove(&mut self, meta: &ConnectionMeta) -> Option<Pooled<S>> {
        let slot = self.slots.remove(&(meta.key, meta.id))?;
        Some(self.shelf.remove(slot))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
