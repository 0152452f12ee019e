use std::collections::HashMap;
use std::thread;

use proptest::prelude::*;

use super::*;

const INTERVAL: u64 = 1_000;
const KEY: u64 = 0x1234_5678_9ABC_DEF0;

fn rate() -> Rate {
    Rate::new(Duration::from_nanos(INTERVAL))
}

impl Rate {
    /// `observe` with the time and the hash given.
    fn observe_at(&self, now: u64, hash: u64, events: isize) -> isize {
        self.counters[self.turn_at(now).current].add(hash, events)
    }
}

#[test]
fn intervals_follow_each_other() {
    // When, how many events; how many then in this interval and in the last.
    let steps: &[(u64, isize, isize, isize)] = &[
        (0, 1, 1, 0),
        (999, 2, 3, 0),
        (1_000, 1, 1, 3),
        (1_999, 0, 1, 3),
        // The grid stands while there are events: this interval began at 2000.
        (2_500, 4, 4, 1),
        (2_999, 0, 4, 1),
        (3_000, 0, 0, 4),
        // An idle interval: the next begins with the first event.
        (5_400, 7, 7, 0),
        (6_399, 1, 8, 0),
        (6_400, 1, 1, 8),
        (1 << 61, 1, 1, 0),
    ];
    let rate = rate();
    for (now, events, current, last) in steps {
        assert_eq!(rate.observe_at(*now, KEY, *events), *current, "at {now}");
        let known = rate.components_at(*now, KEY);
        assert_eq!(known.curr_samples, *current, "at {now}");
        assert_eq!(known.prev_samples, *last, "at {now}");
    }
}

#[test]
fn looking_ends_an_interval_as_observing_does() {
    let rate = rate();
    rate.observe_at(0, KEY, 5);
    let cases = [
        (999, 0, 5, 0.999),
        (1_000, 5, 0, 0.0),
        (1_250, 5, 0, 0.25),
        (2_000, 0, 0, 0.0),
    ];
    for (now, last, current, fraction) in cases {
        let known = rate.components_at(now, KEY);
        assert_eq!(known.prev_samples, last, "at {now}");
        assert_eq!(known.curr_samples, current, "at {now}");
        assert!((known.current_interval_fraction - fraction).abs() < 1e-9);
        assert_eq!(known.interval, Duration::from_nanos(INTERVAL));
    }
}

#[test]
fn the_proportional_estimate() {
    let cases = [
        // last, current, fraction, seconds; per second
        (0, 0, 0.0, 1.0, 0.0),
        (10, 0, 0.0, 1.0, 10.0),
        (10, 0, 0.5, 1.0, 5.0),
        (10, 20, 0.75, 1.0, 22.5),
        (10, 20, 1.0, 10.0, 2.0),
    ];
    for (prev_samples, curr_samples, fraction, seconds, expected) in cases {
        let known = RateComponents {
            prev_samples,
            curr_samples,
            interval: Duration::from_secs_f64(seconds),
            current_interval_fraction: fraction,
        };
        let per_second = PROPORTIONAL_RATE_ESTIMATE_CALC_FN(known);
        assert!((per_second - expected).abs() < 1e-9, "{known:?}");
    }
}

#[test]
fn odd_intervals() {
    for interval in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let rate = Rate::new_with_estimator_config(interval, 0, 0);
        assert!(rate.observe(&"a", 1) >= 1);
        assert!(rate.rate(&"a").is_finite());
        assert!(
            rate.rate_with(&"a", PROPORTIONAL_RATE_ESTIMATE_CALC_FN)
                .is_finite()
        );
    }
}

#[test]
fn a_custom_function_may_return_anything() {
    let rate = Rate::new(Duration::from_secs(1_000));
    rate.observe(&"a", 3);
    let text = rate.rate_with(&"a", |known| format!("{} now", known.curr_samples));
    assert_eq!(text, "3 now");
    assert_eq!(rate.rate(&"a"), 0.0, "the last interval has seen nothing");
    assert_eq!(format!("{rate:?}"), "Rate { interval: 1000s, .. }");
}

/// Each event lands in one interval; a change of the interval under way loses none.
#[test]
fn threads_at_the_end_of_an_interval() {
    const THREADS: isize = 4;
    let rate = rate();
    for round in 1..200 {
        let ends = round * INTERVAL;
        thread::scope(|scope| {
            for early in 0..THREADS as u64 {
                let rate = &rate;
                scope.spawn(move || {
                    rate.observe_at(ends - 2 + early, KEY, 1);
                });
            }
        });
        let known = rate.components_at(ends + 1, KEY);
        let first_round = round == 1;
        let counted = known.curr_samples + known.prev_samples;
        assert!(counted >= THREADS, "round {round}: {known:?}");
        assert!(!first_round || counted == THREADS, "{known:?}");
    }
}

/// The same with exact counts in maps.
#[derive(Default)]
struct Twin {
    began: u64,
    current: HashMap<u64, isize>,
    last: HashMap<u64, isize>,
}

impl Twin {
    fn at(&mut self, now: u64) {
        if now < self.began + INTERVAL {
            return;
        }
        self.last = std::mem::take(&mut self.current);
        self.began += INTERVAL;
        if now >= self.began + INTERVAL {
            self.last.clear();
            self.began = now;
        }
    }
}

proptest! {
    #[test]
    fn as_its_twin(steps in proptest::collection::vec((0..600_u64, 0..30_u64, 0..9_isize), 0..200)) {
        let rate = rate();
        let mut twin = Twin::default();
        let mut now = 0;
        for (later, key, events) in steps {
            // Now and then a long time passes.
            now += if later > 590 { 5 * INTERVAL + later } else { later };
            twin.at(now);
            let hash = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let expected = twin.current.entry(key).or_default();
            *expected += events;
            prop_assert_eq!(rate.observe_at(now, hash, events), *expected);
            let known = rate.components_at(now, hash);
            prop_assert_eq!(known.curr_samples, *expected);
            prop_assert_eq!(known.prev_samples, twin.last.get(&key).copied().unwrap_or(0));
            let fraction = (now - twin.began) as f64 / INTERVAL as f64;
            prop_assert!((known.current_interval_fraction - fraction).abs() < 1e-9);
        }
    }
}
