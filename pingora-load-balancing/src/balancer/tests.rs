//! Selecting over scripted sets and verdicts.

use std::cell::RefCell;
use std::collections::HashMap;

use super::*;
use crate::selection::{Consistent, FNVHash, Random, RoundRobin};
use crate::testing::{Scripted, Verdicts, backend, set};

fn scripted<S: BackendSelection + 'static>(script: Scripted) -> LoadBalancer<S>
where
    S::Iter: BackendIter,
{
    LoadBalancer::from_backends(Backends::new(Box::new(script)))
}

#[test]
fn from_iter() {
    let balancer =
        LoadBalancer::<RoundRobin>::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"]).unwrap();
    let picks: Vec<_> = (0..3).map(|_| balancer.select(b"", 1).unwrap()).collect();
    assert_eq!(picks, [backend(1), backend(2), backend(1)]);
    assert!(balancer.last_update_timing().is_some());
    assert_eq!(*balancer.backends().get_backend(), set(&[1, 2]));
    assert!(LoadBalancer::<RoundRobin>::try_from_iter(["nonsense"]).is_err());
    let none = LoadBalancer::<RoundRobin>::try_from_iter::<&str, _>([]).unwrap();
    assert_eq!(none.select(b"", 8), None);
}

#[tokio::test]
async fn select_with_health_and_enablement() {
    let verdicts = Verdicts::default();
    let mut balancer = scripted::<RoundRobin>(Scripted::default().then(&[1, 2, 3]));
    balancer.set_health_check(Box::new(verdicts.clone()));
    assert_eq!(balancer.select(b"", 8), None, "not updated yet");
    assert!(balancer.last_update_timing().is_none());
    balancer.update().await.unwrap();
    verdicts.fail(&[1]);
    for _ in 0..2 {
        balancer.backends().run_health_check(true).await;
    }
    balancer.backends().set_enable(&backend(2), false);
    for _ in 0..10 {
        assert_eq!(balancer.select(b"", 64), Some(backend(3)));
    }
    let asked = RefCell::new(HashMap::new());
    let nothing = balancer.select_with(b"", 64, |backend, ready| {
        assert_eq!(
            asked.borrow_mut().insert(backend.clone(), ready),
            None,
            "asked once"
        );
        false
    });
    assert_eq!(nothing, None);
    let expected = [(backend(1), false), (backend(2), false), (backend(3), true)];
    assert_eq!(*asked.borrow(), HashMap::from(expected));
    let unready = balancer.select_with(b"", 64, |_, ready| !ready).unwrap();
    assert_ne!(unready, backend(3));
}

#[test]
fn max_iterations_counts_repeats() {
    let balancer =
        LoadBalancer::<RoundRobin>::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"]).unwrap();
    balancer.backends().set_enable(&backend(1), false);
    // The turn is 1's: one look is not enough, two are.
    assert_eq!(balancer.select(b"", 1), None);
    assert_eq!(balancer.select(b"", 0), None);
    // That was 2's turn, now it is 1's again.
    assert_eq!(balancer.select(b"", 1), None);
    assert_eq!(balancer.select(b"", 1), Some(backend(2)));
    assert_eq!(balancer.select(b"", 2), Some(backend(2)));
}

#[test]
fn a_fruitless_selection_ends() {
    fn check<S: BackendSelection + 'static>()
    where
        S::Iter: BackendIter,
    {
        for count in [1, 3, 40] {
            let addrs: Vec<_> = (0..count).map(|i| format!("10.0.1.{i}:80")).collect();
            let balancer = LoadBalancer::<S>::try_from_iter(addrs).unwrap();
            assert_eq!(balancer.select_with(b"key", usize::MAX, |_, _| false), None);
        }
    }
    check::<RoundRobin>();
    check::<Random>();
    check::<FNVHash>();
    check::<Consistent>();
}

#[tokio::test]
async fn a_fruitless_selection_with_a_drained_backend_ends() {
    let mut drained = backend(2);
    drained.weight = 0;
    let script = Scripted::default().then_answer([backend(1), drained].into(), &[]);
    let balancer = scripted::<FNVHash>(script);
    balancer.update().await.unwrap();
    assert_eq!(balancer.select_with(b"key", usize::MAX, |_, _| false), None);
    assert_eq!(balancer.select(b"key", usize::MAX), Some(backend(1)));
}

/// Zero weights must neither panic nor end the service (all algorithms).
#[tokio::test(start_paused = true)]
async fn zero_weights_in_the_service() {
    async fn check<S: BackendSelection + Send + Sync + 'static>()
    where
        S::Iter: BackendIter,
    {
        let drained = |number| Backend {
            weight: 0,
            ..backend(number)
        };
        let script = Scripted::default()
            .then_answer([drained(1), backend(2)].into(), &[])
            .then_answer([drained(1), drained(2)].into(), &[])
            .then(&[])
            .then(&[3]);
        let mut balancer = scripted::<S>(script);
        balancer.update_frequency = Some(Duration::from_secs(1));
        let (server, shutdown) = tokio::sync::watch::channel(false);
        let user = async {
            for expected in [
                Some(backend(2)),
                None,
                None,
                Some(backend(3)),
                Some(backend(3)),
            ] {
                tokio::time::sleep(Duration::from_millis(500)).await;
                for key in 0..20u32 {
                    assert_eq!(balancer.select(&key.to_le_bytes(), 256), expected);
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            server.send_replace(true);
        };
        tokio::join!(balancer.start(shutdown), user);
    }
    check::<RoundRobin>().await;
    check::<Random>().await;
    check::<FNVHash>().await;
    check::<Consistent>().await;
}

#[tokio::test(start_paused = true)]
async fn the_service_updates_checks_then_is_ready() {
    let verdicts = Verdicts::default();
    verdicts.fail(&[1]);
    let mut balancer = scripted::<RoundRobin>(Scripted::default().then(&[1, 2]));
    balancer.set_health_check(Box::new(verdicts.clone()));
    balancer.health_check_frequency = Some(Duration::from_secs(1));
    balancer.update_frequency = Some(Duration::from_secs(2));
    let balancer = Arc::new(balancer);
    let (server, shutdown) = tokio::sync::watch::channel(false);
    let (ready, mut watched) = tokio::sync::watch::channel(false);
    let task = balancer.clone();
    let running = tokio::spawn(async move {
        task.start_with_ready_notifier(shutdown, ServiceReadyNotifier::new(ready))
            .await;
    });
    watched.wait_for(|ready| *ready).await.unwrap();
    assert_eq!(verdicts.checked(), [backend(1), backend(2)]);
    // Later updates fail: the set stays, the checks go on.
    tokio::time::sleep(Duration::from_millis(4500)).await;
    assert_eq!(verdicts.checked().len(), 8);
    assert_eq!(verdicts.changed(), [(backend(1), false)]);
    for _ in 0..4 {
        assert_eq!(balancer.select(b"", 64), Some(backend(2)));
    }
    server.send_replace(true);
    running.await.unwrap();
}

#[tokio::test]
async fn configured_selectors() {
    /// Selects the backend of the number it is configured with.
    struct Pinned(Option<Backend>, u8);
    struct Once(Option<Backend>);
    impl BackendIter for Once {
        fn next(&mut self) -> Option<&Backend> {
            self.0.as_ref()
        }
    }
    impl BackendSelection for Pinned {
        type Config = u8;
        type Iter = Once;
        fn build(backends: &BTreeSet<Backend>) -> Self {
            Self::build_with_config(backends, &1)
        }
        fn build_with_config(backends: &BTreeSet<Backend>, config: &u8) -> Self {
            Pinned(backends.get(&backend(*config)).cloned(), *config)
        }
        fn iter(self: &Arc<Self>, _key: &[u8]) -> Once {
            assert!(self.1 > 0);
            Once(self.0.clone())
        }
    }
    for (config, expected) in [(None, Some(1)), (Some(2), Some(2)), (Some(9), None)] {
        let backends = Backends::new(Box::new(Scripted::default().then(&[1, 2])));
        let balancer = LoadBalancer::<Pinned>::from_backends_with_config(backends, config);
        balancer.update().await.unwrap();
        assert_eq!(balancer.select(b"", 8), expected.map(backend));
        // It proposes the same one for ever.
        assert_eq!(balancer.select_with(b"", usize::MAX, |_, _| false), None);
    }
}

#[tokio::test]
async fn a_panicking_build_is_tried_again() {
    /// Cannot be built from two backends until told otherwise.
    struct Moody(Arc<RoundRobin>);
    impl BackendSelection for Moody {
        type Config = std::sync::atomic::AtomicBool;
        type Iter = <RoundRobin as BackendSelection>::Iter;
        fn build(backends: &BTreeSet<Backend>) -> Self {
            Moody(Arc::new(RoundRobin::build(backends)))
        }
        fn build_with_config(backends: &BTreeSet<Backend>, moody: &Self::Config) -> Self {
            let works =
                backends.len() != 2 || !moody.swap(false, std::sync::atomic::Ordering::SeqCst);
            assert!(works, "in no mood");
            Self::build(backends)
        }
        fn iter(self: &Arc<Self>, key: &[u8]) -> Self::Iter {
            self.0.iter(key)
        }
    }
    let script = Scripted::default()
        .then(&[1])
        .then(&[2, 3])
        .then(&[2, 3])
        .then(&[2, 3]);
    let backends = Backends::new(Box::new(script));
    let balancer = LoadBalancer::<Moody>::from_backends_with_config(backends, Some(true.into()));
    balancer.update().await.unwrap();
    balancer.update().await.unwrap_err();
    assert_eq!(
        balancer.select(b"", 8),
        Some(backend(1)),
        "the last one that could be built"
    );
    for _ in 0..2 {
        balancer.update().await.unwrap();
        assert!([backend(2), backend(3)].contains(&balancer.select(b"", 8).unwrap()));
    }
}
