//! How one backend of a set is picked: the traits, the aliases users name and the walk over candidates.
//!
//! `weighted.rs` holds the table, `algorithms.rs` what indexes it, `consistent.rs` the hash ring.

pub mod algorithms;
pub mod consistent;
mod seen;
pub mod weighted;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::Backend;
pub(crate) use crate::selection::seen::KeyMap;
use crate::selection::seen::Seen;

/// A selector: built from a set of backends, it proposes them in the order a key asks for.
///
/// ```
/// use std::collections::BTreeSet;
/// use std::sync::Arc;
/// use pingora_load_balancing::Backend;
/// use pingora_load_balancing::selection::{BackendIter, BackendSelection};
///
/// /// Proposes the backends in the order of their addresses, whatever the key.
/// struct Failover(Box<[Backend]>);
///
/// struct InOrder(Arc<Failover>, usize);
///
/// impl BackendIter for InOrder {
///     fn next(&mut self) -> Option<&Backend> {
///         let backend = self.0.0.get(self.1)?;
///         self.1 += 1;
///         Some(backend)
///     }
/// }
///
/// impl BackendSelection for Failover {
///     type Iter = InOrder;
///     type Config = ();
///
///     fn build(backends: &BTreeSet<Backend>) -> Self {
///         Failover(backends.iter().cloned().collect())
///     }
///
///     fn iter(self: &Arc<Self>, _key: &[u8]) -> InOrder {
///         InOrder(self.clone(), 0)
///     }
/// }
///
/// let backends = BTreeSet::from([Backend::new("10.0.0.2:80")?, Backend::new("10.0.0.1:80")?]);
/// let selector = Arc::new(Failover::build(&backends));
/// assert_eq!(selector.iter(b"any").next(), Some(&Backend::new("10.0.0.1:80")?));
/// # Ok::<(), pingora_error::BError>(())
/// ```
pub trait BackendSelection: Sized {
    /// The walk over the candidates of one key; a [`BackendIter`].
    type Iter;
    /// What [`build_with_config`](Self::build_with_config) can be told.
    type Config: Send + Sync;

    /// Builds the selector of a set. Must not panic on an empty set or on weight 0.
    fn build(backends: &BTreeSet<Backend>) -> Self;

    /// Builds the selector of a set as `_config` asks for. Ignores it by default.
    fn build_with_config(backends: &BTreeSet<Backend>, _config: &Self::Config) -> Self {
        Self::build(backends)
    }

    /// Returns the candidates for `key`, the best first, then the fallbacks.
    fn iter(self: &Arc<Self>, key: &[u8]) -> Self::Iter
    where
        Self::Iter: BackendIter;
}

/// A walk over candidates which may repeat and need not end. Not an [`Iterator`], as it lends its items.
///
/// An example stands at [`BackendSelection`].
pub trait BackendIter {
    /// Returns the next candidate, or `None` if there is no other one.
    fn next(&mut self) -> Option<&Backend>;
}

/// What turns a key into an index of the weighted table.
///
/// Every `Default + Hasher` type is one: a new hasher takes the key, so the index is the key's hash.
///
/// ```
/// use std::hash::DefaultHasher;
/// use pingora_load_balancing::LoadBalancer;
/// use pingora_load_balancing::selection::weighted::Weighted;
///
/// let balancer = LoadBalancer::<Weighted<DefaultHasher>>::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"])?;
/// assert_eq!(balancer.select(b"key", 8), balancer.select(b"key", 8));
/// # std::io::Result::Ok(())
/// ```
pub trait SelectionAlgorithm {
    /// Creates the algorithm in its first state.
    fn new() -> Self;

    /// Returns the index for `key`; the table takes it modulo its length.
    fn next(&self, key: &[u8]) -> u64;
}

/// Picks by the FNV-1a hash of the key: the same key gets the same backend while the set does not change.
pub type FNVHash = weighted::Weighted<fnv::FnvHasher>;

/// The misspelt first name of [`FNVHash`].
#[doc(hidden)]
pub type FVNHash = weighted::Weighted<fnv::FnvHasher>;

/// Picks at random, in proportion to the weights, whatever the key.
pub type Random = weighted::Weighted<algorithms::Random>;

/// Picks in turns, in proportion to the weights, whatever the key.
pub type RoundRobin = weighted::Weighted<algorithms::RoundRobin>;

/// Picks on a Ketama ring: when the set changes, few keys get another backend.
pub type Consistent = consistent::KetamaHashing;

/// A walk over candidates without the repeats, of bounded length.
///
/// ```
/// use std::collections::BTreeSet;
/// use std::sync::Arc;
/// use pingora_load_balancing::Backend;
/// use pingora_load_balancing::selection::{BackendSelection, FNVHash, UniqueIterator};
///
/// let backends = BTreeSet::from([Backend::new("10.0.0.1:80")?, Backend::new("10.0.0.2:80")?]);
/// let selector = Arc::new(FNVHash::build(&backends));
/// let mut candidates = UniqueIterator::new(selector.iter(b"key"), 64);
/// assert!(candidates.get_next().is_some());
/// assert!(candidates.get_next().is_some());
/// assert!(candidates.get_next().is_none());
/// # Ok::<(), pingora_error::BError>(())
/// ```
pub struct UniqueIterator<I>
where
    I: BackendIter,
{
    candidates: I,
    seen: Seen,
    steps_left: usize,
}

impl<I> UniqueIterator<I>
where
    I: BackendIter,
{
    /// Creates a walk that looks at no more than `max_iterations` candidates, repeats included.
    pub fn new(iter: I, max_iterations: usize) -> Self {
        UniqueIterator {
            candidates: iter,
            seen: Seen::default(),
            steps_left: max_iterations,
        }
    }

    /// Returns a candidate that was not returned before, or `None` once the walk or its bound has ended.
    pub fn get_next(&mut self) -> Option<Backend> {
        self.find(|_, _| Verdict::Take)
    }

    /// Returns the first new candidate `judge` (given its hash) takes; only that one is cloned.
    pub(crate) fn find(
        &mut self,
        mut judge: impl FnMut(u64, &Backend) -> Verdict,
    ) -> Option<Backend> {
        while self.steps_left > 0 {
            self.steps_left -= 1;
            let backend = self.candidates.next()?;
            let key = backend.hash_key();
            if !self.seen.insert(key) {
                continue;
            }
            match judge(key, backend) {
                Verdict::Take => return Some(backend.clone()),
                Verdict::Skip => {}
                Verdict::GiveUp => return None,
            }
        }
        None
    }
}

/// What to do with a candidate.
pub(crate) enum Verdict {
    Take,
    Skip,
    /// There is no other one.
    GiveUp,
}

#[cfg(test)]
mod tests;
