//! The weighted table: each backend appears as often as its weight says, and an index picks an entry.
//!
//! The table is not stored. Entry `i` belongs to the first backend whose cumulative weight is above `i`, which a
//! binary search finds in memory proportional to the number of backends, however large the weights. With equal
//! weights it is a division. The obvious alternative, one entry per unit of weight, costs the sum of the weights.
//!
//! `algorithms.rs` makes the indexes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::Backend;
use crate::selection::{BackendIter, BackendSelection, SelectionAlgorithm};

/// Fallbacks ask the algorithm at least this often before they go through the backends one after the other.
const MIN_ASKED_FALLBACKS: u64 = 16;

/// A selector whose first pick follows the weights and whose fallbacks treat all backends alike.
///
/// * First pick: the algorithm's index for the key, modulo the sum of the weights, in the table of the backends in
///   set order, each repeated by its weight. With round robin each cycle of that many picks gives every backend
///   exactly its weight.
/// * Fallbacks: the algorithm is asked for an index for the previous one (its little-endian bytes), taken modulo
///   the number of backends; weights no longer matter. After as many of these as there are backends (at least 16),
///   the walk goes on in set order, so that it meets every backend. It never ends by itself.
/// * Weight 0: neither picked first nor as fallback. If that leaves nothing, the walk is empty.
///
/// Weights are summed up to `u64::MAX`; what is beyond is met in fallbacks only.
///
/// ```
/// use std::collections::BTreeSet;
/// use std::sync::Arc;
/// use pingora_load_balancing::Backend;
/// use pingora_load_balancing::selection::{BackendIter, BackendSelection, RoundRobin};
///
/// let (two, one) = (Backend::new_with_weight("10.0.0.1:80", 2)?, Backend::new("10.0.0.2:80")?);
/// let selector = Arc::new(RoundRobin::build(&BTreeSet::from([two.clone(), one.clone()])));
/// let picks: Vec<_> = (0..4).map(|_| selector.iter(b"").next().cloned()).collect();
/// assert_eq!(picks, [&two, &two, &one, &two].map(|b| Some(b.clone())));
/// # Ok::<(), pingora_error::BError>(())
/// ```
pub struct Weighted<H> {
    /// The backends of weight above 0, in set order.
    backends: Box<[Backend]>,
    entries: Entries,
    algorithm: H,
}

impl<H: SelectionAlgorithm> BackendSelection for Weighted<H> {
    type Config = ();
    type Iter = WeightedIterator<H>;

    /// Builds the table, in time and memory proportional to the number of backends.
    fn build(backends: &BTreeSet<Backend>) -> Self {
        let backends: Box<[Backend]> = backends.iter().filter(|b| b.weight > 0).cloned().collect();
        Weighted {
            entries: Entries::new(&backends),
            backends,
            algorithm: H::new(),
        }
    }

    /// Builds the table as [`build`](Self::build) does: there is nothing to configure.
    fn build_with_config(backends: &BTreeSet<Backend>, _config: &Self::Config) -> Self {
        Self::build(backends)
    }

    /// Returns the walk for `key` and asks the algorithm once.
    fn iter(self: &Arc<Self>, key: &[u8]) -> Self::Iter {
        WeightedIterator {
            index: self.algorithm.next(key),
            step: 0,
            selector: self.clone(),
        }
    }
}

/// The table's entries, as the border between one backend's and the next's.
enum Entries {
    /// All backends have this weight.
    Even { weight: u64, total: u64 },
    /// The sum of the weights up to and including each backend.
    Cumulative(Box<[u64]>),
}

impl Entries {
    fn new(backends: &[Backend]) -> Self {
        let first = backends.first().map_or(1, |b| b.weight as u64);
        let total = first.checked_mul(backends.len() as u64);
        if let Some(total) = total
            && backends.iter().all(|b| b.weight as u64 == first)
        {
            return Entries::Even {
                weight: first,
                total,
            };
        }
        let sums = backends.iter().scan(0u64, |sum, backend| {
            *sum = sum.saturating_add(backend.weight as u64);
            Some(*sum)
        });
        Entries::Cumulative(sums.collect())
    }

    /// Returns which backend the entry at `index`, modulo the table's length, belongs to. The table is not empty.
    fn owner(&self, index: u64) -> usize {
        match self {
            Entries::Even { weight: 1, total } => (index % total) as usize,
            Entries::Even { weight, total } => (index % total / weight) as usize,
            Entries::Cumulative(sums) => {
                let total = sums.last().copied().unwrap_or(1);
                sums.partition_point(|sum| *sum <= index % total)
            }
        }
    }
}

/// The walk of [`Weighted`] over the candidates of one key.
pub struct WeightedIterator<H> {
    /// The index of the last candidate, before the modulo.
    index: u64,
    step: u64,
    selector: Arc<Weighted<H>>,
}

impl<H: SelectionAlgorithm> BackendIter for WeightedIterator<H> {
    /// Returns the next candidate; `None` only if there is no backend of weight above 0.
    fn next(&mut self) -> Option<&Backend> {
        let selector = &*self.selector;
        let count = selector.backends.len();
        if count == 0 {
            return None;
        }
        let step = self.step;
        self.step += 1;
        if step == 0 {
            return selector.backends.get(selector.entries.owner(self.index));
        }
        self.index = match step <= MIN_ASKED_FALLBACKS.max(count as u64) {
            true => selector.algorithm.next(&self.index.to_le_bytes()),
            // Modulo first: a wrap of `index` must not skip backends.
            false => self.index % count as u64 + 1,
        };
        selector.backends.get((self.index % count as u64) as usize)
    }
}
