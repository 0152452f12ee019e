//! Shared verdicts over scripted sets.

use super::*;
use crate::Backends;
use crate::testing::{Scripted, Verdicts, backend, set};

async fn shared(registry: &Arc<HealthRegistry>, script: Scripted) -> Backends {
    let backends = Backends::new_with_health_registry(Box::new(script), registry.clone());
    backends.update(drop).await.unwrap();
    backends
}

#[tokio::test]
async fn one_verdict_for_all_sets() {
    let verdicts = Verdicts::default();
    let registry = Arc::new(HealthRegistry::default());
    registry.run_health_check(true).await;
    let web = shared(&registry, Scripted::default().then(&[1, 2]).then(&[1])).await;
    let api = shared(&registry, Scripted::default().then(&[2, 3])).await;
    assert_eq!(registry.target_count(), 3);
    registry.run_health_check(false).await;
    assert!(web.ready(&backend(2)), "no check is set");

    registry.set_health_check(Box::new(verdicts.clone()));
    verdicts.fail(&[2]);
    for parallel in [false, true] {
        registry.run_health_check(parallel).await;
        assert_eq!(
            verdicts.checked(),
            set(&[1, 2, 3]).into_iter().collect::<Vec<_>>()
        );
    }
    assert_eq!(verdicts.changed(), [(backend(2), false)]);
    assert!(!web.ready(&backend(2)) && !api.ready(&backend(2)));
    assert!(web.ready(&backend(1)) && api.ready(&backend(3)));

    // Enablement is each set's own.
    verdicts.fail(&[]);
    registry.run_health_check(true).await;
    web.set_enable(&backend(2), false);
    assert!(!web.ready(&backend(2)) && api.ready(&backend(2)));

    // A set checks nothing by itself.
    verdicts.checked();
    web.run_health_check(true).await;
    assert_eq!(verdicts.checked(), []);

    web.update(drop).await.unwrap();
    assert_eq!(registry.target_count(), 3);
    drop(api);
    assert_eq!(registry.target_count(), 1);
    drop(web);
    assert_eq!(registry.target_count(), 0);
}

#[tokio::test]
async fn a_late_set_learns_the_verdict() {
    let verdicts = Verdicts::default();
    let registry = Arc::new(HealthRegistry::new());
    registry.set_health_check(Box::new(verdicts.clone()));
    let early = shared(&registry, Scripted::default().then(&[1])).await;
    verdicts.fail(&[1]);
    registry.run_health_check(true).await;
    registry.run_health_check(true).await;
    let late = shared(&registry, Scripted::default().then(&[1])).await;
    assert!(!late.ready(&backend(1)));
    drop((early, late));
    let after = shared(&registry, Scripted::default().then(&[1])).await;
    assert!(after.ready(&backend(1)), "the verdict was forgotten");
}

#[tokio::test]
async fn equivalence() {
    let by_port = |backend: &Backend| u64::from(backend.as_inet().unwrap().port());
    let registry = Arc::new(HealthRegistry::with_equivalence(by_port));
    let verdicts = Verdicts::default();
    registry.set_health_check(Box::new(verdicts.clone()));
    let sets = shared(&registry, Scripted::default().then(&[1, 2, 3]).then(&[2])).await;
    assert_eq!(registry.target_count(), 1);
    registry.run_health_check(true).await;
    // The last one registered is checked for all.
    assert_eq!(verdicts.checked(), [backend(3)]);
    verdicts.fail(&[3]);
    registry.run_health_check(true).await;
    registry.run_health_check(true).await;
    assert!(
        [1, 2, 3]
            .iter()
            .all(|number| !sets.ready(&backend(*number)))
    );
    sets.update(drop).await.unwrap();
    assert!(!sets.ready(&backend(2)));
    assert_eq!(registry.target_count(), 1);
    drop(sets);
    assert_eq!(registry.target_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_service_checks_and_ends() {
    let verdicts = Verdicts::default();
    let registry = Arc::new(HealthRegistry::new());
    registry.set_health_check(Box::new(verdicts.clone()));
    let _set = shared(&registry, Scripted::default().then(&[1])).await;
    let (server, shutdown) = tokio::sync::watch::channel(false);

    let mut service = HealthCheckService::new(registry);
    let (ready, watched) = tokio::sync::watch::channel(false);
    service
        .start_with_ready_notifier(shutdown.clone(), ServiceReadyNotifier::new(ready))
        .await;
    assert!(*watched.borrow());
    assert_eq!(verdicts.checked().len(), 1);

    service.health_check_frequency = Some(Duration::from_secs(1));
    service.parallel_health_check = true;
    let stop = async {
        tokio::time::sleep(Duration::from_millis(3500)).await;
        server.send_replace(true);
    };
    tokio::join!(service.start(shutdown), stop);
    assert_eq!(verdicts.checked().len(), 4);
}
