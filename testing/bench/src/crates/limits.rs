//! pingora-limits beside the original, a keyed rate limiter and exact counters in maps.
//!
//! The maps know no time and grow with their keys; governor knows time, and grows. The sketches
//! (ours and the original) neither grow nor lock.

use std::collections::HashMap;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use ahash::RandomState;
use dashmap::DashMap;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use pingora_limits as ours;
use pingora_limits_peer as original;

use super::report::{Candidate, OURS, Report};

const INTERVAL: Duration = Duration::from_secs(10);

type Map<K> = Mutex<HashMap<K, isize, RandomState>>;
type Shards<K> = DashMap<K, isize, RandomState>;

/// Measures the crate.
pub fn run(report: &mut Report) {
    for count in [256, 1024, 10_000] {
        let keys: Vec<String> = (0..count).map(|n| format!("client-{n}.example")).collect();
        observe(report, &keys);
    }
    observe_numbers(report);
    for keys in [1, 256] {
        threads(report, keys);
    }
    rate(report);
    estimator(report);
    inflight(report);
    errors(report);
}

fn observe(report: &mut Report, keys: &[String]) {
    let (ours, original) = (
        ours::rate::Rate::new(INTERVAL),
        original::rate::Rate::new(INTERVAL),
    );
    let (map, shards) = (Map::default(), Shards::default());
    for key in keys {
        map.lock().insert(key.clone(), 0);
        shards.insert(key.clone(), 0);
    }
    let governor = RateLimiter::keyed(quota());
    report.compare(
        &format!("Rate::observe, {} strings", keys.len()),
        vec![
            repeat(OURS, keys, |key| {
                black_box(ours.observe(key, 1));
            }),
            repeat("original", keys, |key| {
                black_box(original.observe(key, 1));
            }),
            repeat("governor", keys, |key| {
                let _ = black_box(governor.check_key(key));
            }),
            repeat("dashmap(ahash), no time", keys, |key| count(&shards, key)),
            repeat("mutexed ahash map, no time", keys, |key| {
                *map.lock().get_mut(key).expect("it was put in") += 1;
            }),
        ],
    );
}

fn observe_numbers(report: &mut Report) {
    let (ours, original) = (
        ours::rate::Rate::new(INTERVAL),
        original::rate::Rate::new(INTERVAL),
    );
    let keys: Vec<u64> = (0..256).collect();
    let (map, shards) = (Map::default(), Shards::default());
    for key in &keys {
        map.lock().insert(*key, 0);
        shards.insert(*key, 0);
    }
    let governor = RateLimiter::keyed(quota());
    report.compare(
        "Rate::observe, 256 numbers",
        vec![
            repeat(OURS, &keys, |key| {
                black_box(ours.observe(key, 1));
            }),
            repeat("original", &keys, |key| {
                black_box(original.observe(key, 1));
            }),
            repeat("governor", &keys, |key| {
                let _ = black_box(governor.check_key(key));
            }),
            repeat("dashmap(ahash), no time", &keys, |key| count(&shards, key)),
            repeat("mutexed ahash map, no time", &keys, |key| {
                *map.lock().get_mut(key).expect("it was put in") += 1;
            }),
        ],
    );
}

/// Two threads that count the same keys.
fn threads(report: &mut Report, keys: u64) {
    let (ours, original) = (
        ours::rate::Rate::new(INTERVAL),
        original::rate::Rate::new(INTERVAL),
    );
    let (map, shards) = (Map::default(), Shards::default());
    for key in 0..keys {
        map.lock().insert(key, 0);
        shards.insert(key, 0);
    }
    // Threads that go through the keys in step would meet at each of them.
    let key = move |thread: usize, number: u64| (number * (2 * thread as u64 + 1)) % keys;
    report.compare(
        &format!("Rate::observe, {keys} numbers, on 2 threads"),
        vec![
            Candidate::threads(OURS, 2, |thread, iterations| {
                for number in 0..iterations {
                    black_box(ours.observe(&key(thread, number), 1));
                }
            }),
            Candidate::threads("original", 2, |thread, iterations| {
                for number in 0..iterations {
                    black_box(original.observe(&key(thread, number), 1));
                }
            }),
            Candidate::threads("dashmap(ahash), no time", 2, |thread, iterations| {
                (0..iterations).for_each(|number| count(&shards, &key(thread, number)));
            }),
            Candidate::threads("mutexed ahash map, no time", 2, |thread, iterations| {
                for number in 0..iterations {
                    let key = key(thread, number);
                    *map.lock().get_mut(&key).expect("it was put in") += 1;
                }
            }),
        ],
    );
}

fn rate(report: &mut Report) {
    let (ours, original) = (
        ours::rate::Rate::new(INTERVAL),
        original::rate::Rate::new(INTERVAL),
    );
    let keys: Vec<u64> = (0..256).collect();
    for key in &keys {
        ours.observe(key, 1);
        original.observe(key, 1);
    }
    report.compare(
        "Rate::rate",
        vec![
            repeat(OURS, &keys, |key| {
                black_box(ours.rate(key));
            }),
            repeat("original", &keys, |key| {
                black_box(original.rate(key));
            }),
        ],
    );
    report.compare(
        "Rate::rate_with, proportional",
        vec![
            repeat(OURS, &keys, |key| {
                black_box(ours.rate_with(key, ours::rate::PROPORTIONAL_RATE_ESTIMATE_CALC_FN));
            }),
            repeat("original", &keys, |key| {
                let proportional = original::rate::PROPORTIONAL_RATE_ESTIMATE_CALC_FN;
                black_box(original.rate_with(key, proportional));
            }),
        ],
    );
}

fn estimator(report: &mut Report) {
    let (ours, original) = (
        ours::estimator::Estimator::new(4, 1024),
        original::estimator::Estimator::new(4, 1024),
    );
    let keys: Vec<u64> = (0..256).collect();
    report.compare(
        "Estimator::incr",
        vec![
            repeat(OURS, &keys, |key| {
                black_box(ours.incr(key, 1));
            }),
            repeat("original", &keys, |key| {
                black_box(original.incr(key, 1));
            }),
        ],
    );
    report.compare(
        "Estimator::get",
        vec![
            repeat(OURS, &keys, |key| {
                black_box(ours.get(key));
            }),
            repeat("original", &keys, |key| {
                black_box(original.get(key));
            }),
        ],
    );
}

fn inflight(report: &mut Report) {
    let (ours, original) = (
        ours::inflight::Inflight::new(),
        original::inflight::Inflight::new(),
    );
    let keys: Vec<String> = (0..256).map(|n| format!("client-{n}.example")).collect();
    report.compare(
        "Inflight::incr + drop",
        vec![
            repeat(OURS, &keys, |key| {
                black_box(ours.incr(key.as_str(), 1));
            }),
            repeat("original", &keys, |key| {
                black_box(original.incr(key.as_str(), 1));
            }),
        ],
    );
}

/// How far estimates are above the true counts, with as many slots as `Rate` has.
fn errors(report: &mut Report) {
    let mut rows = Vec::new();
    for keys in [500_u64, 1_000, 2_000, 5_000, 20_000] {
        let (ours, original) = (
            ours::estimator::Estimator::new(4, 1024),
            original::estimator::Estimator::new(4, 1024),
        );
        for key in 0..keys {
            ours.incr(key, 100);
            original.incr(key, 100);
        }
        let errors = |estimate: &dyn Fn(u64) -> isize| {
            let errors: Vec<isize> = (0..keys).map(|key| estimate(key) - 100).collect();
            let wrong = errors.iter().filter(|error| **error > 0).count();
            let mean = errors.iter().sum::<isize>() as f64 / keys as f64;
            (wrong as f64 * 100.0 / keys as f64, mean)
        };
        let (our_wrong, our_mean) = errors(&|key| ours.get(key));
        let (wrong, mean) = errors(&|key| original.get(key));
        rows.push(vec![
            keys.to_string(),
            format!("{our_wrong:.1} %"),
            format!("{wrong:.1} %"),
            format!("{our_mean:.1}"),
            format!("{mean:.1}"),
        ]);
    }
    report.table(
        "pingora-limits: keys with too high an estimate, and the mean error of a count of 100",
        &["keys", "ours", "original", "ours, mean", "original, mean"],
        &rows,
    );
}

/// More than is asked for here, so that nothing is refused.
fn quota() -> Quota {
    Quota::per_second(NonZeroU32::MAX)
}

fn count<K: Eq + std::hash::Hash>(shards: &Shards<K>, key: &K) {
    *shards.get_mut(key).expect("it was put in") += 1;
}

/// Goes round the keys.
fn repeat<'a, K>(name: &'a str, keys: &'a [K], operation: impl Fn(&K) + 'a) -> Candidate<'a> {
    Candidate::new(name, move |iterations| {
        let mut all = keys.iter().cycle();
        for _ in 0..iterations {
            operation(black_box(all.next().expect("keys go round for ever")));
        }
    })
}
