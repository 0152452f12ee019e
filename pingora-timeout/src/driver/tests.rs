//! The arithmetic of ticks, and the precision of timers by a clock that stands still; what the
//! driver does is tested through `deadline`.

use std::{collections::BTreeMap, sync::Arc, task::Wake};

use parking_lot::Mutex;

use super::*;

/// What the crate promises.
const PRECISION: Duration = Duration::from_millis(10);
const TICK: Duration = Duration::from_nanos(TICK_NANOS as u64);

/// A clock that moves when it is told to, and a shard that turns by it.
struct Bench {
    shard: Shard,
    now: Duration,
    fired: Arc<Mutex<Vec<u64>>>,
}

struct Timer(u64, Arc<Mutex<Vec<u64>>>);

impl Wake for Timer {
    fn wake(self: Arc<Self>) {
        self.1.lock().push(self.0);
    }
}

impl Bench {
    fn new() -> Self {
        Self {
            shard: Shard::new(),
            now: Duration::ZERO,
            fired: Arc::default(),
        }
    }

    fn start(&self, id: u64, duration: Duration) -> (Key, bool) {
        let timer = Timer(id, self.fired.clone());
        self.shard
            .start(nanos(duration), Waker::from(Arc::new(timer)))
    }

    // Turns at each tick up to `to`, as the driver does, and returns what fired when.
    fn turn_until(&mut self, to: Duration) -> Vec<(u64, Duration)> {
        let mut all = Vec::new();
        let mut at = Duration::from_nanos(due_tick(self.now) * u64::from(TICK_NANOS));
        while at <= to {
            self.shard.turn(|| at, &mut Vec::new());
            all.extend(self.fired.lock().drain(..).map(|id| (id, at)));
            at += TICK;
        }
        self.now = to;
        all
    }
}

#[test]
fn timers_are_never_early_and_at_most_10_ms_late() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut bench = Bench::new();
    let mut due = BTreeMap::new();
    let check = |fired: Vec<(u64, Duration)>, due: &mut BTreeMap<_, _>| {
        for (id, at) in fired {
            let (due, _): (Duration, Key) = due.remove(&id).expect("a timer fires once");
            assert!(due <= at && at <= due + PRECISION, "{due:?} {at:?}");
        }
    };
    for id in 0..2_000 {
        let pause = Duration::from_nanos(rng.u64(0..4_000_000));
        let fired = bench.turn_until(bench.now + pause);
        check(fired, &mut due);
        let duration = Duration::from_nanos(rng.u64(1..4_000_000_000) >> rng.u32(0..12));
        let (key, _) = bench.start(id, duration);
        due.insert(id, (bench.now + duration, key));
        if rng.u8(0..4) == 0 {
            let (other, (_, key)) = due
                .iter()
                .nth(rng.usize(..due.len()))
                .expect("one is there");
            let other = *other;
            assert!(bench.shard.wheel.lock().remove(*key).is_some());
            due.remove(&other);
        }
    }
    let fired = bench.turn_until(bench.now + Duration::from_secs(5));
    check(fired, &mut due);
    assert!(due.is_empty());
}

#[test]
fn only_the_first_timer_since_a_turn_wakes_the_driver() {
    let mut bench = Bench::new();
    let (key, is_first) = bench.start(0, PRECISION);
    assert!(is_first);
    assert!(!bench.start(1, PRECISION).1);
    assert_eq!(bench.shard.restart(key, nanos(PRECISION)), Some(false));
    bench.turn_until(TICK);
    assert_eq!(bench.shard.restart(key, nanos(PRECISION)), Some(true));
    assert!(bench.shard.wheel.lock().remove(key).is_some());
    assert!(!bench.start(2, PRECISION).1, "it looks in any case");
    assert_eq!(bench.shard.restart(key, nanos(PRECISION)), None);
}

#[test]
fn ticks() {
    for (nanos, last, first) in [
        (0, 0, 0),
        (1, 0, 1),
        (4_999_999, 0, 1),
        (5_000_000, 1, 1),
        (5_000_001, 1, 2),
        (999_999_999, 199, 200),
        (1_009_999_999, 201, 202),
        (60_000_000_000, 12_000, 12_000),
    ] {
        let time = Duration::from_nanos(nanos);
        assert_eq!((tick(time), due_tick(time)), (last, first));
        assert_eq!(self::nanos(time), nanos);
    }
    let ever = Duration::MAX;
    assert_eq!(
        (tick(ever), due_tick(ever), nanos(ever)),
        (u64::MAX, u64::MAX, u64::MAX)
    );
    assert_eq!(earliest_due(nanos(ever)), u64::MAX);
}

#[test]
fn nothing_due_looks_early() {
    for _ in 0..1_000 {
        let time = advance_clock();
        assert!(CLOCK.load(Ordering::Relaxed) >= nanos(time));
    }
}
