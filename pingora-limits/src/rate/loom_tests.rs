//! All interleavings at the end of an interval. Run with `RUSTFLAGS="--cfg loom"`.

use loom::sync::Arc;
use loom::thread;

use super::*;

const INTERVAL: u64 = 1_000;
const KEY: u64 = 1;

fn smallest() -> Arc<Rate> {
    Arc::new(Rate::new_with_estimator_config(
        Duration::from_nanos(INTERVAL),
        1,
        1,
    ))
}

fn observe_at(rate: &Rate, now: u64) -> isize {
    rate.counters[rate.turn_at(now).current].add(KEY, 1)
}

#[test]
fn two_threads_end_an_interval_once() {
    loom::model(|| {
        let rate = smallest();
        rate.counters[0].add(KEY, 5);
        let other = Arc::clone(&rate);
        let observer = thread::spawn(move || observe_at(&other, INTERVAL));
        let here = observe_at(&rate, INTERVAL + 1);
        let there = observer.join().expect("no panic");
        let known = rate.components_at(INTERVAL + 2, KEY);
        // The one that lost the race may still count for the interval that ended.
        let late = [here, there].iter().filter(|seen| **seen > 2).count() as isize;
        assert_eq!(known.prev_samples, 5 + late);
        assert_eq!(known.curr_samples, 2 - late);
        assert!(late <= 1);
    });
}

#[test]
fn nothing_is_lost_after_an_idle_interval() {
    loom::model(|| {
        let rate = smallest();
        rate.counters[0].add(KEY, 5);
        let other = Arc::clone(&rate);
        let observer = thread::spawn(move || observe_at(&other, 3 * INTERVAL));
        let here = observe_at(&rate, 3 * INTERVAL);
        let there = observer.join().expect("no panic");
        let known = rate.components_at(3 * INTERVAL + 1, KEY);
        assert!(here == 1 || there == 1, "{here} {there}");
        // Who met the change under way counted for an interval that is forgotten, unless it came
        // after that was cleared; it saw no less than its own event.
        assert!((1..=2).contains(&known.curr_samples));
        assert!((0..=1).contains(&known.prev_samples));
        assert!(here >= 1 && there >= 1);
        // Nobody is changing anything any more.
        assert!(!rate.load().is_changing);
    });
}

#[test]
fn a_late_event_disturbs_by_itself_at_most() {
    loom::model(|| {
        let rate = smallest();
        rate.counters[0].add(KEY, 5);
        let other = Arc::clone(&rate);
        let observer = thread::spawn(move || observe_at(&other, INTERVAL - 1));
        observe_at(&rate, INTERVAL);
        observe_at(&rate, 2 * INTERVAL);
        observer.join().expect("no panic");
        let known = rate.components_at(2 * INTERVAL, KEY);
        assert!((1..=2).contains(&known.curr_samples), "{known:?}");
        assert!((1..=2).contains(&known.prev_samples), "{known:?}");
    });
}
