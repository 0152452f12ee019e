//! The weight of all shards together, and the permission to evict.
//!
//! A weight is added before its entry can be found and taken off by whoever removes the entry.
//! Eviction takes it off first, and only while the total is above the limit: that step is the
//! permission to evict one entry, so threads that evict at once never evict more than needed.
//!
//! Nothing else is published through these numbers, so relaxed order is enough.

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub(crate) struct Totals {
    weight: AtomicUsize,
    limit: AtomicUsize,
    /// Counted only if there is a watermark: otherwise it is the sum over the shards.
    len: AtomicUsize,
    watermark: Option<usize>,
}

impl Totals {
    pub(crate) fn new(limit: usize, watermark: Option<usize>) -> Self {
        Totals {
            weight: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            len: AtomicUsize::new(0),
            watermark,
        }
    }

    #[inline]
    pub(crate) fn weight(&self) -> usize {
        self.weight.load(Relaxed)
    }

    #[inline]
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.weight() > self.limit()
            || self
                .watermark
                .is_some_and(|watermark| self.len.load(Relaxed) > watermark)
    }

    /// Counts an entry more.
    #[inline]
    pub(crate) fn count(&self) {
        if self.watermark.is_some() {
            self.len.fetch_add(1, Relaxed);
        }
    }

    /// Counts an entry less.
    #[inline]
    pub(crate) fn discount(&self) {
        if self.watermark.is_some() {
            self.len.fetch_sub(1, Relaxed);
        }
    }

    /// Adds `weight` and returns how much of it there was room for: the total stops at `usize::MAX`.
    ///
    /// It tries until nobody else was faster. An addition that is corrected when it overflows would
    /// show others a small total in between.
    #[inline]
    pub(crate) fn add(&self, weight: usize) -> usize {
        let mut total = self.weight();
        loop {
            let fitting = weight.min(usize::MAX - total);
            match self
                .weight
                .compare_exchange_weak(total, total + fitting, Relaxed, Relaxed)
            {
                Ok(_) => return fitting,
                Err(now) => total = now,
            }
        }
    }

    /// Takes off the weight of an entry, or a part of it.
    #[inline]
    pub(crate) fn sub(&self, weight: usize) {
        self.weight.fetch_sub(weight, Relaxed);
    }

    /// Takes one entry of `weight` off if there is more than there may be, and returns whether it did.
    #[inline]
    pub(crate) fn claim(&self, weight: usize) -> bool {
        if take_above(&self.weight, weight, self.limit()) {
            self.discount();
            return true;
        }
        let Some(watermark) = self.watermark else {
            return false;
        };
        let claimed = take_above(&self.len, 1, watermark);
        if claimed {
            self.sub(weight);
        }
        claimed
    }
}

/// Takes `amount` off `total` if it is above `limit`; it tries until nobody else was faster.
#[inline]
fn take_above(total: &AtomicUsize, amount: usize, limit: usize) -> bool {
    let mut now = total.load(Relaxed);
    while now > limit {
        match total.compare_exchange_weak(now, now.wrapping_sub(amount), Relaxed, Relaxed) {
            Ok(_) => return true,
            Err(other) => now = other,
        }
    }
    false
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Totals;

    #[test]
    fn a_claim_needs_an_excess() {
        // (limit, watermark, entries' weight, how many of three may be claimed)
        let cases = [
            (30, None, 10, 0),
            (29, None, 10, 1),
            (0, None, 10, 3),
            (usize::MAX, Some(3), 10, 0),
            (usize::MAX, Some(1), 10, 2),
            (15, Some(2), 10, 2),
            (0, None, 0, 0),
        ];
        for (limit, watermark, weight, expected) in cases {
            let totals = Totals::new(limit, watermark);
            for _ in 0..3 {
                assert_eq!(totals.add(weight), weight);
                totals.count();
            }
            let claimed = (0..3).filter(|_| totals.claim(weight)).count();
            assert_eq!(claimed, expected, "{limit} {watermark:?} {weight}");
            assert_eq!(totals.weight(), (3 - claimed) * weight);
            assert!(claimed == 3 || !totals.is_over());
        }
    }

    #[test]
    fn the_total_stops_at_the_largest_number() {
        let totals = Totals::new(10, None);
        assert_eq!(totals.add(usize::MAX - 1), usize::MAX - 1);
        assert_eq!(totals.add(3), 1);
        assert_eq!(totals.add(3), 0);
        assert_eq!(totals.weight(), usize::MAX);
        assert!(totals.claim(usize::MAX - 1));
        assert!(!totals.is_over());
    }
}

// RUSTFLAGS="--cfg loom" cargo test -p pingora-lru --lib loom
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::Totals;

    /// Three entries of 10 are there and 15 is the limit: two may go, whoever takes them.
    #[test]
    fn loom_threads_never_claim_more_than_the_excess() {
        loom::model(|| {
            let totals = Arc::new(Totals::new(15, None));
            for _ in 0..3 {
                totals.add(10);
            }
            let claims = |totals: &Totals| (0..2).filter(|_| totals.claim(10)).count();
            let other = Arc::clone(&totals);
            let there = thread::spawn(move || claims(&other));
            let here = claims(&totals);
            assert_eq!(here + there.join().expect("no panic"), 2);
            assert_eq!(totals.weight(), 10);
        });
    }

    #[test]
    fn loom_an_add_races_a_claim_under_a_watermark() {
        loom::model(|| {
            let totals = Arc::new(Totals::new(100, Some(1)));
            totals.add(10);
            totals.count();
            let other = Arc::clone(&totals);
            let adder = thread::spawn(move || {
                other.add(5);
                other.count();
                other.claim(5)
            });
            let here = totals.claim(10);
            let there = adder.join().expect("no panic");
            assert!(here != there);
            assert_eq!(totals.weight(), if here { 5 } else { 10 });
            assert!(!totals.is_over());
        });
    }

    #[test]
    fn loom_weights_that_do_not_fit_are_cut() {
        loom::model(|| {
            let totals = Arc::new(Totals::new(0, None));
            let other = Arc::clone(&totals);
            let adder = thread::spawn(move || other.add(usize::MAX - 1));
            let here = totals.add(usize::MAX - 1);
            let there = adder.join().expect("no panic");
            assert_eq!(here.checked_add(there), Some(totals.weight()));
        });
    }
}
