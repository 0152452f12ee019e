use std::collections::HashMap;
use std::thread;

use proptest::prelude::*;

use super::*;

/// A hash of a test's key: the same in every run.
fn hash(key: u64) -> u64 {
    let mixed = (key ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

#[test]
fn sums_wrap_and_never_panic() {
    let cases: &[(&[isize], isize)] = &[
        (&[isize::MAX, 1], isize::MIN),
        (&[isize::MAX, isize::MAX], -2),
        (&[isize::MIN], isize::MIN),
        (&[1, isize::MIN], isize::MIN + 1),
        (&[isize::MIN, isize::MIN], 0),
        (&[-1], -1),
        (&[-1, 3], 2),
        (&[5, -7, 2], 0),
        (&[1 << 40], 1 << 40),
        (&[(1 << 40) - 1, 1], 1 << 40),
        (&[(1 << 40) - 1, 1, -(1 << 40)], 0),
        (&[0], 0),
    ];
    for (values, expected) in cases {
        let (added, taken) = (Counter::new(4, 8), Counter::new(4, 8));
        for value in *values {
            added.add(hash(1), *value);
            taken.take(hash(1), value.wrapping_neg());
        }
        assert_eq!(added.get(hash(1)), *expected, "{values:?}");
        assert_eq!(taken.get(hash(1)), *expected, "{values:?}");
    }
}

#[test]
fn no_room_at_all_is_room_for_a_few() {
    let counter = Counter::new(0, 0);
    for key in 0..4 {
        assert_eq!(counter.add(0, 1), key + 1);
    }
    counter.clear();
    assert_eq!(counter.get(0), 0);
}

/// Keys on a heavy tail, many more than there are cells.
fn crowd() -> Vec<(u64, isize)> {
    let mut random = fastrand::Rng::with_seed(7);
    let key = |random: &mut fastrand::Rng| (50_000.0 * random.f64().powi(3)) as u64;
    (0..200_000)
        .map(|_| (key(&mut random), random.isize(1..5)))
        .collect()
}

#[test]
fn estimates_stay_within_the_bound() {
    let (hashes, slots) = (4, 1024);
    let counter = Counter::new(hashes, slots);
    let mut exact = HashMap::<u64, isize>::new();
    for (key, events) in crowd() {
        counter.add(hash(key), events);
        *exact.entry(key).or_default() += events;
    }
    let total: isize = exact.values().sum();
    let bound = (std::f64::consts::E / slots as f64 * total as f64) as isize;
    let mut beyond = 0;
    for (key, count) in &exact {
        let error = counter.get(hash(*key)) - count;
        assert!(error >= 0, "key {key} is counted {} too low", -error);
        beyond += usize::from(error > bound);
    }
    assert!(exact.len() > 10 * slots, "a crowd: {}", exact.len());
    let allowed = (-(hashes as f64)).exp() * exact.len() as f64;
    assert!(beyond as f64 <= allowed, "{beyond} of {}", exact.len());

    for (key, events) in crowd() {
        counter.take(hash(key), events);
    }
    for key in exact.keys() {
        assert_eq!(counter.get(hash(*key)), 0, "what came in is out again");
    }
}

#[test]
fn as_many_keys_as_slots_are_almost_all_exact() {
    let slots = 1024;
    let counter = Counter::new(4, slots);
    for key in 0..slots as u64 {
        counter.add(hash(key), key as isize + 1);
    }
    let exact = (0..slots as u64).filter(|key| counter.get(hash(*key)) == *key as isize + 1);
    assert!(exact.count() >= slots * 95 / 100);
}

#[test]
fn threads_lose_nothing() {
    const THREADS: u64 = 4;
    // One cell's worth of room and keys that fight for it; and room for all.
    for slots in [1, 64] {
        let counter = Counter::new(2, slots);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let counter = &counter;
                scope.spawn(move || {
                    for round in 0..5_000 {
                        let key = hash((round + thread) % 7);
                        counter.add(key, 3);
                        counter.take(key, 2);
                    }
                });
            }
        });
        let estimates = (0..7).map(|key| counter.get(hash(key)));
        let total: isize = estimates.sum();
        let exact = THREADS as isize * 5_000;
        match slots {
            1 => assert!(total >= exact, "{total}"),
            _ => assert_eq!(total, exact),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add(u64, isize),
    Take(u64, isize),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..40_u64, 0..9_isize).prop_map(|(key, value)| Step::Add(key, value)),
        8 => (0..40_u64, 0..9_isize).prop_map(|(key, value)| Step::Take(key, value)),
        1 => Just(Step::Clear),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    /// Against exact counts that never go below zero.
    #[test]
    fn never_too_low(steps in steps(), hashes in 1..4_usize, slots in 1..12_usize) {
        let counter = Counter::new(hashes, slots);
        let mut exact = HashMap::<u64, isize>::new();
        for step in steps {
            match step {
                Step::Add(key, value) => {
                    let count = exact.entry(key).or_default();
                    *count += value;
                    prop_assert!(counter.add(hash(key), value) >= *count);
                }
                Step::Take(key, value) => {
                    let count = exact.entry(key).or_default();
                    let value = value.min(*count);
                    *count -= value;
                    counter.take(hash(key), value);
                }
                Step::Clear => {
                    counter.clear();
                    exact.clear();
                }
            }
            for (key, count) in &exact {
                prop_assert!(counter.get(hash(*key)) >= *count);
            }
            if exact.values().all(|count| *count == 0) {
                for key in exact.keys() {
                    prop_assert_eq!(counter.get(hash(*key)), 0);
                }
            }
        }
    }
}
