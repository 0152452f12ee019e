//! [`AsyncLruBuilder`]: what an [`AsyncLru`] needs before its workers start.

use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::workers::{Evictor, Stop, run_callbacks};
use super::{AsyncEvictionCallback, AsyncLru, State};
use crate::sharded::Sharded;

/// Evicted entries that wait for a callback worker. More would be memory that no limit counts; fewer
/// would make eviction wait for every single callback.
const EVICTION_QUEUE: usize = 1024;

/// Taking entries out is quick: one worker keeps up with many threads that admit.
const DEFAULT_EVICTION_WORKERS: usize = 1;

/// Callbacks mostly wait, for a disk or another server.
const DEFAULT_CALLBACK_WORKERS: usize = 4;

/// Made by [`AsyncLru::builder`].
pub struct AsyncLruBuilder<K: Send + Hash + Eq + 'static, C, const N: usize> {
    weight_limit: usize,
    callback: Arc<C>,
    shutdown: watch::Receiver<bool>,
    runtime: Handle,
    capacity: usize,
    len_watermark: Option<usize>,
    eviction_workers: usize,
    callback_workers: usize,
    key: PhantomData<fn() -> K>,
}

impl<K, C, const N: usize> AsyncLruBuilder<K, C, N>
where
    K: Send + Sync + Hash + Eq + Default + Clone + 'static,
    C: AsyncEvictionCallback<K>,
{
    pub(super) fn new(
        weight_limit: usize,
        callback: Arc<C>,
        shutdown: watch::Receiver<bool>,
        runtime: Handle,
    ) -> Self {
        AsyncLruBuilder {
            weight_limit,
            callback,
            shutdown,
            runtime,
            capacity: 0,
            len_watermark: None,
            eviction_workers: DEFAULT_EVICTION_WORKERS,
            callback_workers: DEFAULT_CALLBACK_WORKERS,
            key: PhantomData,
        }
    }

    /// Makes room for so many keys, in equal parts in the shards. By default there is none.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Evicts also when there are more keys than this. By default only the weight matters.
    pub fn len_watermark(mut self, watermark: usize) -> Self {
        self.len_watermark = Some(watermark);
        self
    }

    /// Sets how many callbacks may run at once, at least one. The default is 4.
    pub fn num_callback_workers(mut self, n: usize) -> Self {
        self.callback_workers = n.max(1);
        self
    }

    /// Sets how many tasks take entries out, at least one. The default is 1.
    pub fn num_eviction_workers(mut self, n: usize) -> Self {
        self.eviction_workers = n.max(1);
        self
    }

    /// Returns the LRU and starts its workers.
    pub fn build(self) -> AsyncLru<K, N> {
        let (callback, callback_workers) = (Arc::clone(&self.callback), self.callback_workers);
        let (lru, evicted) = self.build_with_eviction_receiver();
        for _ in 0..callback_workers {
            lru.runtime
                .spawn(run_callbacks(Arc::clone(&callback), evicted.clone()));
        }
        lru
    }

    /// Returns the LRU and, in place of calling the callback, the queue of what is evicted: keys and
    /// weights, 1024 at most. Eviction waits while it is full.
    ///
    /// The queue is closed after a shutdown. If the receiver is dropped, entries are evicted and
    /// forgotten.
    pub fn build_with_eviction_receiver(
        self,
    ) -> (AsyncLru<K, N>, async_channel::Receiver<(K, usize)>) {
        let (owner, owned) = watch::channel(());
        let (queue, evicted) = async_channel::bounded(EVICTION_QUEUE);
        let state = Arc::new(State {
            store: Sharded::new(self.weight_limit, self.capacity, self.len_watermark),
            excess: Notify::new(),
        });
        for _ in 0..self.eviction_workers {
            let evictor = Evictor {
                state: Arc::clone(&state),
                queue: queue.clone(),
                stop: Stop::new(self.shutdown.clone(), owned.clone()),
            };
            self.runtime.spawn(evictor.run());
        }
        let lru = AsyncLru {
            state,
            runtime: self.runtime,
            _owner: owner,
        };
        (lru, evicted)
    }
}
