//! A balancer as a background service over real servers that fail and recover.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::services::background::BackgroundService;
use pingora_load_balancing::health_check::{HealthObserve, HttpHealthCheck};
use pingora_load_balancing::prelude::*;
use pingora_load_balancing::{Backend, Backends, discovery::Static};
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::within;
use tokio::sync::{mpsc, watch};

use crate::at;

/// Forwards what it observes.
struct Forward(mpsc::UnboundedSender<(Backend, bool)>);

#[async_trait]
impl HealthObserve for Forward {
    async fn observe(&self, target: &Backend, healthy: bool) {
        let observation = (target.clone(), healthy);
        self.0.send(observation).expect("the test waits for it");
    }
}

/// Starts an origin that answers with the status it is told.
async fn origin(status: &Arc<AtomicU16>) -> Origin {
    let status = status.clone();
    Origin::start(move |_| Reply::status(status.load(Ordering::SeqCst), "")).await
}

#[tokio::test]
async fn a_balancer_follows_its_servers() {
    let status = Arc::new(AtomicU16::new(200));
    let steady = origin(&Arc::new(AtomicU16::new(200))).await;
    let shaky = origin(&status).await;
    let (observer, mut observed) = mpsc::unbounded_channel();
    let mut check = HttpHealthCheck::new("app.example", false);
    check.consecutive_failure = 2;
    check.health_changed_callback = Some(Box::new(Forward(observer)));
    let mut balancer =
        LoadBalancer::<RoundRobin>::try_from_iter([steady.addr(), shaky.addr()]).unwrap();
    balancer.set_health_check(Box::new(check));
    balancer.health_check_frequency = Some(Duration::from_millis(5));
    balancer.parallel_health_check = true;
    let balancer = Arc::new(balancer);

    let (server, shutdown) = watch::channel(false);
    let task = balancer.clone();
    let running = tokio::spawn(async move { task.start(shutdown).await });
    let both = [at(steady.addr()), at(shaky.addr())];
    for _ in 0..4 {
        assert!(both.contains(&balancer.select(b"", 8).unwrap()));
    }
    status.store(503, Ordering::SeqCst);
    let change = within("the server to fail", observed.recv()).await;
    assert_eq!(change, Some((at(shaky.addr()), false)));
    for _ in 0..4 {
        assert_eq!(balancer.select(b"", 8), Some(at(steady.addr())));
    }
    status.store(200, Ordering::SeqCst);
    let change = within("the server to recover", observed.recv()).await;
    assert_eq!(change, Some((at(shaky.addr()), true)));
    assert!(balancer.backends().ready(&at(shaky.addr())));
    server.send_replace(true);
    within("the service to end", running).await.unwrap();
}

#[tokio::test]
async fn one_check_for_two_balancers() {
    let shared = origin(&Arc::new(AtomicU16::new(503))).await;
    let registry = Arc::new(HealthRegistry::new());
    registry.set_health_check(Box::new(HttpHealthCheck::new("app.example", false)));
    let balancer = || {
        let discovery = Static::try_from_iter([shared.addr()]).unwrap();
        let backends = Backends::new_with_health_registry(discovery, registry.clone());
        LoadBalancer::<RoundRobin>::from_backends(backends)
    };
    let balancers = [balancer(), balancer()];
    for balancer in &balancers {
        balancer.update().await.unwrap();
        assert!(balancer.select(b"", 8).is_some());
    }
    let service = HealthCheckService::new(registry.clone());
    service.start(watch::channel(false).1).await;
    assert_eq!(shared.requests().len(), 1);
    assert!(
        balancers
            .iter()
            .all(|balancer| balancer.select(b"", 8).is_none())
    );
    drop(balancers);
    assert_eq!(registry.target_count(), 0);
}
