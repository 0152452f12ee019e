use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use proptest::prelude::*;

use super::*;

#[test]
fn a_guard_counts_while_it_lives() {
    let inflight = Inflight::new();
    let (first, now) = inflight.incr("a", 1);
    assert_eq!(now, 1);
    let (second, now) = inflight.incr("a", 2);
    assert_eq!(now, 3);
    assert_eq!(inflight.incr("b", 1).1, 1, "another key");
    drop(first);
    assert_eq!(second.get(), 2);
    assert_eq!(second.incr(), 4);
    assert_eq!(
        format!("{second:?}"),
        "Guard { value: 2, in_flight: 4, .. }"
    );
    drop(second);
    assert_eq!(inflight.incr("a", 1).1, 1);
}

#[test]
fn a_guard_outlives_its_counter_and_moves_between_threads() {
    let guard = Inflight::new().incr(1, 1).0;
    let now = thread::spawn(move || guard.get()).join();
    assert_eq!(now.expect("no panic"), 1);
}

#[test]
fn a_panic_leaves_nothing_in_flight() {
    let inflight = Inflight::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _upload = inflight.incr("a", 1);
        panic!("on purpose");
    }));
    assert!(outcome.is_err());
    assert_eq!(inflight.incr("a", 1).1, 1);
}

#[test]
fn odd_values_are_taken_back_too() {
    for value in [0, -3, isize::MAX, isize::MIN] {
        let inflight = Inflight::new();
        let (guard, now) = inflight.incr("a", value);
        assert_eq!(now, value);
        guard.incr();
        drop(guard);
        assert_eq!(inflight.incr("a", 0).1, 0, "{value}");
    }
}

#[test]
fn threads_leave_nothing_behind() {
    let inflight = Inflight::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..2_000 {
                    let (guard, now) = inflight.incr(round % 5, 1);
                    assert!((1..=4).contains(&now), "{now}");
                    drop(guard);
                }
            });
        }
    });
    for key in 0..5 {
        assert_eq!(inflight.incr(key, 0).1, 0);
    }
}

proptest! {
    /// Guards come and go in any order, against exact counts.
    #[test]
    fn counts_what_lives(steps in proptest::collection::vec((any::<bool>(), 0..20_u8, 1..4_isize), 0..100)) {
        let inflight = Inflight::new();
        let mut living: Vec<(u8, isize, Guard)> = Vec::new();
        let mut exact = HashMap::<u8, isize>::new();
        for (comes, key, value) in steps {
            if comes {
                let count = exact.entry(key).or_default();
                *count += value;
                let (guard, now) = inflight.incr(key, value);
                prop_assert_eq!(now, *count);
                living.push((key, value, guard));
            } else if !living.is_empty() {
                let (key, value, _guard) = living.swap_remove(usize::from(key) % living.len());
                *exact.entry(key).or_default() -= value;
            }
            for (key, _, guard) in &living {
                prop_assert_eq!(guard.get(), exact[key]);
            }
        }
    }
}
