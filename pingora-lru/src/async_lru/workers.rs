//! The tasks of an [`AsyncLru`](super::AsyncLru): some take entries out, some await the callback.
//!
//! They hold the state of the LRU but not the LRU, so that dropping it ends them. Eviction workers end
//! first and close the queue by that; callback workers end when it is empty.

use std::future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_channel::{Receiver, Sender, TrySendError};
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::coop;

use super::{AsyncEvictionCallback, State};

/// Takes entries out while there is too much and queues them.
pub(super) struct Evictor<K, const N: usize> {
    pub(super) state: Arc<State<K, N>>,
    pub(super) queue: Sender<(K, usize)>,
    pub(super) stop: Stop,
}

/// Whether eviction is to end: shutdown is announced, or the LRU was dropped.
pub(super) struct Stop {
    shutdown: watch::Receiver<bool>,
    owned: watch::Receiver<()>,
}

impl Stop {
    pub(super) fn new(shutdown: watch::Receiver<bool>, owned: watch::Receiver<()>) -> Self {
        Stop { shutdown, owned }
    }

    /// Waits for either. Cancel-safe: it only looks.
    async fn requested(&mut self) {
        tokio::select! {
            // cancel-safe: watch::Receiver::wait_for
            () = announced(&mut self.shutdown) => {}
            // cancel-safe: watch::Receiver::changed; nothing is ever sent, so it ends when the LRU does
            _ = self.owned.changed() => {}
        }
    }

    fn is_requested(&self) -> bool {
        *self.shutdown.borrow() || self.owned.has_changed().is_err()
    }
}

/// Waits for a shutdown, for ever if nobody can announce one any more.
async fn announced(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|announced| *announced).await.is_err() {
        future::pending().await
    }
}

impl<K, const N: usize> Evictor<K, N>
where
    K: Send + Sync + Hash + Eq + Clone + 'static,
{
    pub(super) async fn run(mut self) {
        while self.has_work().await {
            // Ends: each turn takes an entry out, and the shutdown ends it too.
            while self.evict_one().await {
                // A long run lets other tasks of the thread have their turn.
                coop::consume_budget().await;
            }
        }
    }

    /// Waits for excess; false if eviction is to end.
    async fn has_work(&mut self) -> bool {
        tokio::select! {
            biased;
            // cancel-safe: Stop::requested
            () = self.stop.requested() => false,
            // cancel-safe: Notified gives the wake-up to another worker when it is dropped
            () = self.state.excess.notified() => true,
        }
    }

    /// Evicts one entry if there is too much; false if there is not, or eviction is to end.
    async fn evict_one(&mut self) -> bool {
        if self.stop.is_requested() {
            return false;
        }
        let Some((hash, slot)) = self.state.store.evict_excess(None) else {
            return false;
        };
        let victim = (slot.data.key.clone(), slot.weight);
        let victim = match self.queue.try_send(victim) {
            Ok(()) => return true,
            // Nobody wants to know: the limit still holds.
            Err(TrySendError::Closed(_)) => return true,
            Err(TrySendError::Full(victim)) => victim,
        };
        let queued = tokio::select! {
            biased;
            // The victim is lost with this future if it has not been queued; `slot` still has it.
            _ = self.queue.send(victim) => true,
            // cancel-safe: Stop::requested
            () = self.stop.requested() => false,
        };
        if !queued {
            self.state.restore(hash, slot);
        }
        queued
    }
}

/// Awaits the callback for each evicted entry until the queue is closed and empty.
pub(super) async fn run_callbacks<K, C>(callback: Arc<C>, evicted: Receiver<(K, usize)>)
where
    K: Send + 'static,
    C: AsyncEvictionCallback<K>,
{
    while let Ok((key, weight)) = evicted.recv().await {
        // In a block, so that a panic before the first await is caught too.
        let call = async { callback.call(key, weight).await };
        if AssertUnwindSafe(call).catch_unwind().await.is_err() {
            log::error!("an eviction callback panicked; the next one runs");
        }
    }
}
