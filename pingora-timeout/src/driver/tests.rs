//! The arithmetic of ticks; what the driver does is tested through `deadline`.

use super::*;

#[test]
fn ticks() {
    for (nanos, last, first) in [
        (0, 0, 0),
        (1, 0, 1),
        (9_999_999, 0, 1),
        (10_000_000, 1, 1),
        (10_000_001, 1, 2),
        (999_999_999, 99, 100),
        (1_019_999_999, 101, 102),
        (60_000_000_000, 6000, 6000),
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
    assert_eq!(earliest_due(ever), u64::MAX);
}
