//! All interleavings of a few operations on `Counter`. Run with `RUSTFLAGS="--cfg loom"`.

use loom::sync::Arc;
use loom::thread;

use super::*;

/// One bucket of four cells and a sketch of one counter.
fn smallest() -> Arc<Counter> {
    Arc::new(Counter::new(1, 1))
}

/// A hash: these are all of the one bucket.
fn tagged(key: u64) -> u64 {
    key
}

#[test]
fn two_additions_are_both_counted() {
    for other_key in [1, 2] {
        loom::model(move || {
            let counter = smallest();
            let other = Arc::clone(&counter);
            let adder = thread::spawn(move || other.add(tagged(other_key), 1));
            let here = counter.add(tagged(1), 1);
            let there = adder.join().expect("no panic");
            if other_key == 1 {
                assert_eq!(counter.get(tagged(1)), 2);
                assert!(here.max(there) == 2, "one of them saw both: {here} {there}");
            } else {
                assert_eq!((here, there), (1, 1));
            }
        });
    }
}

#[test]
fn a_freed_cell_is_taken_over_by_one_key() {
    loom::model(|| {
        let counter = smallest();
        for key in 1..=4 {
            counter.add(tagged(key), 1);
        }
        let other = Arc::clone(&counter);
        let adder = thread::spawn(move || {
            other.take(tagged(1), 1);
            other.add(tagged(5), 1)
        });
        let here = counter.add(tagged(5), 1);
        let there = adder.join().expect("no panic");
        // In a cell, or in the sketch, or one in each: two in all. Each saw itself at least.
        assert_eq!(counter.get(tagged(5)), 2);
        assert!(here >= 1 && there >= 1, "{here} {there}");
        // The sketch has a single counter, so keys of this full bucket see what spilled; not less
        // than their own.
        assert!(counter.get(tagged(1)) >= 0);
        counter.take(tagged(5), 2);
        assert_eq!(counter.get(tagged(5)), 0);
        assert_eq!(counter.get(tagged(1)), 0);
        assert_eq!(counter.get(tagged(2)), 1);
    });
}

#[test]
fn clearing_forgets_whole_additions() {
    loom::model(|| {
        let counter = smallest();
        counter.add(tagged(1), 5);
        let other = Arc::clone(&counter);
        let adder = thread::spawn(move || other.add(tagged(1), 1));
        counter.clear();
        let there = adder.join().expect("no panic");
        let left = counter.get(tagged(1));
        assert!(matches!((there, left), (6, 0) | (1, 1)), "{there} {left}");
    });
}

#[test]
fn clearing_leaves_no_hidden_spill() {
    loom::model(|| {
        let counter = smallest();
        for key in 1..=5 {
            counter.add(tagged(key), 1);
        }
        let other = Arc::clone(&counter);
        let adder = thread::spawn(move || {
            other.add(tagged(5), 1);
        });
        counter.clear();
        adder.join().expect("no panic");
        let left = counter.get(tagged(5));
        assert!((0..=1).contains(&left), "{left}");
    });
}
