//! Membership, health and enablement over scripted discoveries.

use std::sync::atomic::AtomicUsize;

use futures_util::FutureExt;

use super::*;
use crate::testing::{Scripted, Verdicts, backend, set};

fn no_callback(_: Arc<BTreeSet<Backend>>) {
    panic!("the set has not changed");
}

#[tokio::test]
async fn updates_call_back_on_change_only() {
    let script = Scripted::default()
        .then(&[])
        .then(&[1, 2])
        .then(&[2, 1])
        .then(&[2]);
    let backends = Backends::new(Box::new(script));
    backends.update(no_callback).await.unwrap();
    let calls = AtomicUsize::new(0);
    let expect = |numbers: &'static [u8]| {
        let calls = &calls;
        move |changed: Arc<BTreeSet<Backend>>| {
            assert_eq!(*changed, set(numbers));
            calls.fetch_add(1, Ordering::Relaxed);
        }
    };
    backends.update(expect(&[1, 2])).await.unwrap();
    backends.update(no_callback).await.unwrap();
    backends.update(expect(&[2])).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    // The discovery fails: nothing changes.
    assert!(backends.update(no_callback).await.is_err());
    assert_eq!(*backends.get_backend(), set(&[2]));
}

#[tokio::test]
async fn health_is_kept_across_updates() {
    let verdicts = Verdicts::default();
    let script = Scripted::default()
        .then(&[1, 2])
        .then(&[2, 3])
        .then(&[1, 2]);
    let mut backends = Backends::new(Box::new(script));
    backends.set_health_check(Box::new(verdicts.clone()));
    backends.update(drop).await.unwrap();
    assert!(backends.ready(&backend(1)) && backends.ready(&backend(2)));

    verdicts.fail(&[1, 2]);
    backends.run_health_check(false).await;
    assert!(
        backends.ready(&backend(1)),
        "one failure is below the threshold"
    );
    backends.run_health_check(true).await;
    assert!(!backends.ready(&backend(1)) && !backends.ready(&backend(2)));
    assert_eq!(
        verdicts.changed(),
        [(backend(1), false), (backend(2), false)]
    );

    backends.update(drop).await.unwrap();
    assert!(!backends.ready(&backend(2)), "2 stayed");
    assert!(backends.ready(&backend(3)), "3 is new");
    backends.update(drop).await.unwrap();
    assert!(backends.ready(&backend(1)), "1 was forgotten meanwhile");
    verdicts.fail(&[]);
    backends.run_health_check(false).await;
    assert!(backends.ready(&backend(2)));
    assert_eq!(verdicts.changed(), [(backend(2), true)]);
}

#[tokio::test]
async fn strangers() {
    let mut backends = Backends::new(Box::new(Scripted::default()));
    assert!(backends.ready(&backend(9)), "nobody checks");
    backends.set_enable(&backend(9), false);
    assert!(backends.ready(&backend(9)));
    backends.set_health_check(Box::new(Verdicts::default()));
    assert!(!backends.ready(&backend(9)));
    let registry = Arc::new(HealthRegistry::new());
    let shared = Backends::new_with_health_registry(Box::new(Scripted::default()), registry);
    assert!(!shared.ready(&backend(9)));
}

#[tokio::test]
async fn enablement() {
    let one = backend(1);
    let script = Scripted::default()
        .then_answer(set(&[1, 2]), &[(&backend(2), false)])
        .then(&[1, 2])
        .then_answer(
            set(&[1, 2]),
            &[(&one, false), (&backend(2), true), (&backend(7), true)],
        )
        .then_answer(set(&[1, 2, 3]), &[(&backend(3), false)]);
    let backends = Backends::new(Box::new(script));
    let ready = || [1, 2, 3].map(|number| backends.ready(&backend(number)));
    backends.update(drop).await.unwrap();
    assert_eq!(ready(), [true, false, true]);
    backends.set_enable(&one, false);
    // Not named: as before.
    backends.update(no_callback).await.unwrap();
    assert_eq!(ready(), [false, false, true]);
    backends.set_enable(&one, true);
    assert_eq!(ready(), [true, false, true]);
    backends.update(no_callback).await.unwrap();
    assert_eq!(ready(), [false, true, true]);
    backends.update(drop).await.unwrap();
    assert_eq!(ready(), [false, true, false]);
}

#[tokio::test]
async fn checks_in_any_order_and_despite_panics() {
    let verdicts = Verdicts::default();
    let numbers: Vec<u8> = (1..=200).collect();
    let mut backends = Backends::new(Box::new(Scripted::default().then(&numbers)));
    backends.run_health_check(true).await;
    backends.set_health_check(Box::new(verdicts.clone()));
    backends.update(drop).await.unwrap();
    verdicts.panic(&[7]);
    verdicts.fail(&[8]);
    for parallel in [true, false] {
        backends.run_health_check(parallel).await;
        assert_eq!(
            verdicts.checked(),
            set(&numbers).into_iter().collect::<Vec<_>>()
        );
    }
    let unready: Vec<_> = numbers
        .iter()
        .filter(|number| !backends.ready(&backend(**number)))
        .collect();
    assert_eq!(unready, [&7, &8]);
}

#[tokio::test]
async fn the_latest_discovery_wins() {
    let script = Scripted::default();
    let (first, second) = (script.then_later(), script.then_later());
    let backends = Backends::new(Box::new(script));
    let mut older = Box::pin(backends.update(drop));
    assert!(older.as_mut().now_or_never().is_none());
    let mut newer = Box::pin(backends.update(drop));
    assert!(newer.as_mut().now_or_never().is_none());
    second.send((set(&[2]), HashMap::new())).unwrap();
    newer.await.unwrap();
    first.send((set(&[1]), HashMap::new())).unwrap();
    older.await.unwrap();
    assert_eq!(*backends.get_backend(), set(&[2]));
}

#[tokio::test]
async fn a_dropped_update_changes_nothing() {
    let script = Scripted::default();
    let never = script.then_later();
    let backends = Backends::new(Box::new(script.then(&[1])));
    assert!(backends.update(drop).now_or_never().is_none());
    assert!(never.is_closed());
    backends.update(drop).await.unwrap();
    assert_eq!(*backends.get_backend(), set(&[1]));
}

#[tokio::test]
async fn same_as_naive_twin() {
    let mut random = fastrand::Rng::with_seed(21);
    let (script, verdicts) = (Scripted::default(), Verdicts::default());
    let mut backends = Backends::new(Box::new(script.clone()));
    backends.set_health_check(Box::new(verdicts.clone()));
    // Number -> (healthy, contradictions in a row, enabled).
    let mut twin = HashMap::<u8, (bool, usize, bool)>::new();
    for _ in 0..500 {
        let numbers: Vec<u8> = (1..8).filter(|_| random.bool()).collect();
        match random.u8(0..3) {
            0 => {
                let _ = script.clone().then(&numbers);
                backends.update(drop).await.unwrap();
                twin.retain(|number, _| numbers.contains(number));
                for number in numbers {
                    twin.entry(number).or_insert((true, 0, true));
                }
            }
            1 => {
                verdicts.fail(&numbers);
                backends.run_health_check(random.bool()).await;
                for (number, (healthy, in_a_row, _)) in &mut twin {
                    let passed = !numbers.contains(number);
                    *in_a_row = if passed == *healthy { 0 } else { *in_a_row + 1 };
                    if *in_a_row >= verdicts.health_threshold(passed) {
                        (*healthy, *in_a_row) = (passed, 0);
                    }
                }
            }
            _ => {
                let (number, on) = (random.u8(1..8), random.bool());
                backends.set_enable(&backend(number), on);
                twin.entry(number)
                    .and_modify(|(_, _, enabled)| *enabled = on);
            }
        }
        for number in 1..8 {
            let expected = twin
                .get(&number)
                .is_some_and(|(healthy, _, enabled)| *healthy && *enabled);
            assert_eq!(backends.ready(&backend(number)), expected);
        }
    }
}
