//! Groups whose builds wait for the test, on real blocking threads.

use std::collections::BTreeSet;
use std::sync::mpsc;

use futures_util::FutureExt;

use super::*;
use crate::discovery::Static;
use crate::selection::{Consistent, RoundRobin};
use crate::testing::{Scripted, Verdicts, backend, set};

/// Selects the first backend of its set; building waits for the test if told to.
struct First(Option<Backend>);

struct Once(Option<Backend>);

impl BackendIter for Once {
    fn next(&mut self) -> Option<&Backend> {
        self.0.as_ref()
    }
}

/// Tells the test which set a build has begun with, and waits for whether it is to succeed.
struct Director {
    begun: mpsc::Sender<BTreeSet<Backend>>,
    outcome: std::sync::Mutex<mpsc::Receiver<bool>>,
}

impl BackendSelection for First {
    type Config = Director;
    type Iter = Once;

    fn build(backends: &BTreeSet<Backend>) -> Self {
        First(backends.first().cloned())
    }

    fn build_with_config(backends: &BTreeSet<Backend>, director: &Director) -> Self {
        if !backends.is_empty() {
            director.begun.send(backends.clone()).unwrap();
            let outcome = director.outcome.lock().unwrap().recv().unwrap();
            // Not `assert!` on a poisoned lock's guard: it has been dropped.
            if !outcome {
                panic!("told to");
            }
        }
        Self::build(backends)
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> Once {
        Once(self.0.clone())
    }
}

/// The test's end of a [`Director`].
struct Stage {
    begun: mpsc::Receiver<BTreeSet<Backend>>,
    outcome: mpsc::Sender<bool>,
}

impl Stage {
    /// Waits until a build begins and returns its set.
    fn begun(&self) -> BTreeSet<Backend> {
        self.begun.recv().unwrap()
    }

    fn nothing_begun(&self) -> bool {
        self.begun.try_recv().is_err()
    }

    fn succeed(&self) {
        self.outcome.send(true).unwrap();
    }

    fn fail(&self) {
        self.outcome.send(false).unwrap();
    }
}

fn stage() -> (Director, Stage) {
    let (begun, begun_here) = mpsc::channel();
    let (outcome, outcome_there) = mpsc::channel();
    let director = Director {
        begun,
        outcome: std::sync::Mutex::new(outcome_there),
    };
    let stage = Stage {
        begun: begun_here,
        outcome,
    };
    (director, stage)
}

fn directed(script: Scripted) -> (LoadBalancerGroup<First>, Stage) {
    let (director, stage) = stage();
    let backends = Backends::new(Box::new(script));
    let configs = [Some(director)];
    (
        LoadBalancerGroup::from_backends_with_configs(backends, configs),
        stage,
    )
}

async fn settled(group: &LoadBalancerGroup<First>, generation: u64) {
    group.selectors[0].settled(generation).await;
}

#[test]
fn without_a_runtime() {
    let backends = Backends::new(Static::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"]).unwrap());
    let group =
        LoadBalancerGroup::<RoundRobin>::from_backends_with_configs(backends, [None, Some(())]);
    assert_eq!((group.selector_count(), group.backend_generation()), (2, 0));
    assert!(group.selectors_ready_for(0) && !group.selectors_ready_for(1));
    assert_eq!(group.select(0, b"", 8), None);
    group.update().now_or_never().unwrap().unwrap();
    assert_eq!(group.backend_generation(), 1);
    assert!(group.selectors_ready_for(1) && !group.selectors_ready_for(2));
    // Each selector takes its own turns.
    for index in [0, 1] {
        assert_eq!(group.select(index, b"", 8), Some(backend(1)));
        assert_eq!(group.select(index, b"", 8), Some(backend(2)));
        assert_eq!(group.selector_generation(index), Some(1));
        assert_eq!(group.selector_coalesced_rebuilds(index), Some(0));
        assert_eq!(group.selector_failed_rebuilds(index), Some(0));
        assert_eq!(
            group.selector_last_update_timing(index).unwrap().generation,
            1
        );
    }
    assert_eq!(group.select(2, b"", 8), None);
    assert_eq!(group.selector_generation(2), None);
    assert_eq!(group.selector_coalesced_rebuilds(2), None);
    assert_eq!(group.selector_failed_rebuilds(2), None);
    assert!(group.selector_last_update_timing(2).is_none());
    assert!(group.last_update_timing().is_some());
    assert_eq!(
        group.select_with(0, b"", 8, |b, _| *b == backend(2)),
        Some(backend(2))
    );
    // Nothing has changed.
    group.update().now_or_never().unwrap().unwrap();
    assert_eq!(group.backend_generation(), 1);
}

#[tokio::test]
async fn the_first_update_waits_for_its_builds() {
    let backends = Backends::new(Static::try_from_iter(["10.0.0.1:80"]).unwrap());
    let group = LoadBalancerGroup::<Consistent>::from_backends_with_configs(backends, [None, None]);
    group.update().await.unwrap();
    assert!(group.selectors_ready_for(1));
    assert_eq!(group.select(1, b"key", 8), Some(backend(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebuilds_run_behind_and_coalesce() {
    let script = Scripted::default()
        .then(&[1])
        .then(&[2])
        .then(&[3])
        .then(&[4]);
    let (group, stage) = directed(script);
    stage.succeed();
    group.update().await.unwrap();
    assert_eq!(stage.begun(), set(&[1]));
    assert_eq!(group.select(0, b"", 8), Some(backend(1)));

    group.update().await.unwrap();
    assert_eq!(stage.begun(), set(&[2]));
    // Being built: the older generation serves, though 1 has left the set.
    assert_eq!(group.select(0, b"", 8), Some(backend(1)));
    assert_eq!(
        (group.backend_generation(), group.selector_generation(0)),
        (2, Some(1))
    );
    assert!(!group.selectors_ready_for(2));

    group.update().await.unwrap();
    group.update().await.unwrap();
    assert_eq!(
        group.selector_coalesced_rebuilds(0),
        Some(1),
        "4 replaced 3"
    );
    assert!(stage.nothing_begun(), "one build at a time");
    stage.succeed();
    assert_eq!(stage.begun(), set(&[4]));
    stage.succeed();
    settled(&group, 4).await;
    assert!(group.selectors_ready_for(4));
    assert_eq!(group.select(0, b"", 8), Some(backend(4)));
    assert_eq!(group.selector_last_update_timing(0).unwrap().generation, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_serves_until_the_rebuild_if_healthy() {
    for healthy in [true, false] {
        let verdicts = Verdicts::default();
        let (mut group, stage) = directed(Scripted::default().then(&[1]).then(&[2]));
        group.set_health_check(Box::new(verdicts.clone()));
        stage.succeed();
        group.update().await.unwrap();
        verdicts.fail(if healthy { &[] } else { &[1] });
        for _ in 0..2 {
            group.backends().run_health_check(true).await;
        }
        group.update().await.unwrap();
        assert_eq!(group.select(0, b"", 8), healthy.then(|| backend(1)));
        assert!(!group.backends().ready(&backend(1)), "it is not in the set");
        stage.succeed();
        settled(&group, 2).await;
        assert_eq!(group.select(0, b"", 8), Some(backend(2)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_group_is_left_alone() {
    let (group, stage) = directed(Scripted::default().then(&[1]).then(&[2]).then(&[3]));
    stage.succeed();
    group.update().await.unwrap();
    stage.begun();
    group.update().await.unwrap();
    stage.begun();
    group.update().await.unwrap();
    let slot = group.selectors[0].clone();
    drop(group);
    stage.succeed();
    slot.settled(2).await;
    // Neither is the build in progress used, nor does the one that waited begin.
    assert_eq!(slot.generation(), 1);
    assert!(!slot.more() && stage.nothing_begun());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_build_is_tried_again() {
    let script = Scripted::default().then(&[1]).then(&[2]).then(&[2]);
    let (group, stage) = directed(script);
    stage.succeed();
    group.update().await.unwrap();
    stage.fail();
    group.update().await.unwrap();
    settled(&group, 2).await;
    assert_eq!(group.selector_failed_rebuilds(0), Some(1));
    assert_eq!(group.selector_generation(0), Some(1));
    assert_eq!(group.select(0, b"", 8), Some(backend(1)));
    // The worker gives up its place just after the build has settled.
    while !group.selectors[0].is_idle() {
        tokio::task::yield_now().await;
    }
    stage.succeed();
    group.update().await.unwrap();
    let sets: Vec<_> = (0..3).map(|_| stage.begun()).collect();
    assert_eq!(sets, [set(&[1]), set(&[2]), set(&[2])]);
    while !group.selectors_ready_for(2) {
        tokio::task::yield_now().await;
    }
    assert_eq!(group.select(0, b"", 8), Some(backend(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gate_lets_one_through() {
    let gate = Arc::new(SelectorRebuildGate::new());
    let (first, first_stage) = directed(Scripted::default().then(&[1]).then(&[2]));
    let (second, second_stage) = directed(Scripted::default().then(&[1]).then(&[3]));
    let (first, second) = (
        first.with_rebuild_gate(gate.clone()),
        second.with_rebuild_gate(gate),
    );
    for (group, stage) in [(&first, &first_stage), (&second, &second_stage)] {
        stage.succeed();
        group.update().await.unwrap();
        stage.begun();
    }
    first.update().await.unwrap();
    assert_eq!(first_stage.begun(), set(&[2]));
    second.update().await.unwrap();
    assert!(second_stage.nothing_begun());
    // Dropping the group does not open the gate while its build runs.
    drop(first);
    assert!(second_stage.nothing_begun());
    second_stage.succeed();
    first_stage.succeed();
    assert_eq!(second_stage.begun(), set(&[3]));
    settled(&second, 2).await;
    assert_eq!(second.select(0, b"", 8), Some(backend(3)));
}

#[tokio::test(start_paused = true)]
async fn the_service_is_ready_with_its_selectors() {
    let backends = Backends::new(Box::new(Scripted::default().then(&[1])));
    let mut group = LoadBalancerGroup::<Consistent>::from_backends_with_configs(backends, [None]);
    group.update_frequency = Some(Duration::from_secs(1));
    let group = Arc::new(group);
    let (server, shutdown) = tokio::sync::watch::channel(false);
    let (ready, mut watched) = tokio::sync::watch::channel(false);
    let task = group.clone();
    let running = tokio::spawn(async move {
        task.start_with_ready_notifier(shutdown, ServiceReadyNotifier::new(ready))
            .await;
    });
    watched.wait_for(|ready| *ready).await.unwrap();
    assert!(group.selectors_ready_for(1));
    assert_eq!(group.select(0, b"key", 8), Some(backend(1)));
    server.send_replace(true);
    running.await.unwrap();
}
