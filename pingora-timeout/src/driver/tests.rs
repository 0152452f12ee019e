//! The arithmetic of ticks; what the driver does is tested through `deadline`.

use super::*;

#[test]
fn a_due_tick_is_never_early() {
    for nanos in [
        1,
        9_999_999,
        10_000_000,
        10_000_001,
        999_999_999,
        60_000_000_000,
    ] {
        let duration = Duration::from_nanos(nanos);
        let start = START.elapsed();
        let (now, due) = now_and_due(duration);
        let end = START.elapsed();
        assert!((tick(start)..=tick(end)).contains(&now) && now < due);
        let at = Duration::from_millis(due * 10);
        assert!(at >= start + duration);
        assert!(at <= end + duration + Duration::from_millis(10));
    }
    assert!(now_and_due(Duration::MAX).1 == u64::MAX);
}

#[test]
fn ticks_of_the_clock() {
    for (nanos, expected) in [
        (0, 0),
        (9_999_999, 0),
        (10_000_000, 1),
        (1_019_999_999, 101),
    ] {
        assert_eq!(tick(Duration::from_nanos(nanos)), expected);
    }
}
