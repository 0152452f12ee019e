//! Discovery, health checks and selection of one's own.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::lb::discovery::{ServiceDiscovery, Static};
use pingora::lb::health_check::{HealthCheck, HealthObserve, HttpHealthCheck, TcpHealthCheck};
use pingora::lb::selection::{
    BackendIter, BackendSelection, Consistent, FNVHash, Random, RoundRobin, SelectionAlgorithm,
    weighted::Weighted,
};
use pingora::lb::{Backend, Backends, Extensions, LoadBalancer, LoadBalancerGroup};
use pingora::prelude::*;

use crate::Calls;

struct Two;

fn two() -> BTreeSet<Backend> {
    let mut weighted = Backend::new_with_weight("127.0.0.1:2", 3).expect("an address");
    weighted.ext = Extensions::new();
    weighted.ext.insert("zone a");
    BTreeSet::from([Backend::new("127.0.0.1:1").expect("an address"), weighted])
}

#[async_trait]
impl ServiceDiscovery for Two {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        Ok((two(), HashMap::new()))
    }
}

struct OnlyFirst(&'static Calls);

#[async_trait]
impl HealthCheck for OnlyFirst {
    async fn check(&self, target: &Backend) -> Result<()> {
        match target.addr.as_inet().map(|addr| addr.port()) {
            Some(1) => Ok(()),
            _ => Error::e_explain(ConnectRefused, "not the first"),
        }
    }

    async fn health_status_change(&self, _target: &Backend, _healthy: bool) {
        self.0.count();
    }

    fn backend_summary(&self, target: &Backend) -> String {
        format!("{target:?}")
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }
}

#[async_trait]
impl HealthObserve for OnlyFirst {
    async fn observe(&self, _target: &Backend, _healthy: bool) {
        self.0.count();
    }
}

/// The backends in their order, whatever the key.
struct InOrder {
    backends: Vec<Backend>,
}

struct InOrderIter {
    selection: Arc<InOrder>,
    next: usize,
}

impl BackendIter for InOrderIter {
    fn next(&mut self) -> Option<&Backend> {
        self.next += 1;
        self.selection.backends.get(self.next - 1)
    }
}

impl BackendSelection for InOrder {
    type Iter = InOrderIter;
    type Config = ();

    fn build(backends: &BTreeSet<Backend>) -> Self {
        InOrder {
            backends: backends.iter().cloned().collect(),
        }
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> Self::Iter {
        InOrderIter {
            selection: Arc::clone(self),
            next: 0,
        }
    }
}

/// Hashes a key to its length.
struct ByLength;

impl SelectionAlgorithm for ByLength {
    fn new() -> Self {
        ByLength
    }

    fn next(&self, key: &[u8]) -> u64 {
        key.len() as u64
    }
}

#[tokio::test]
async fn parts_of_ones_own_make_a_balancer() -> Result<()> {
    static CHANGES: Calls = Calls::new();
    let mut balancer: LoadBalancer<InOrder> =
        LoadBalancer::from_backends(Backends::new(Box::new(Two)));
    balancer.set_health_check(Box::new(OnlyFirst(&CHANGES)));
    balancer.health_check_frequency = Some(Duration::from_secs(1));
    balancer.update_frequency = None;
    balancer.parallel_health_check = true;
    balancer.update().await?;
    assert_eq!(balancer.backends().get_backend().len(), 2);
    balancer.backends().run_health_check(true).await;
    assert_eq!(CHANGES.seen(), 1);
    let port = |backend: Backend| backend.addr.as_inet().map(|addr| addr.port());
    assert_eq!(balancer.select(b"", 8).and_then(port), Some(1));
    let any = balancer.select_with(b"", 8, |backend, _healthy| backend.weight == 3);
    assert_eq!(any.and_then(port), Some(2));
    Ok(())
}

#[tokio::test]
async fn every_selection_selects() -> Result<()> {
    async fn selects<S>() -> Result<()>
    where
        S: BackendSelection + Send + Sync + 'static,
        S::Iter: BackendIter,
    {
        let balancer: LoadBalancer<S> = LoadBalancer::from_backends(Backends::new(Box::new(Two)));
        balancer.update().await?;
        assert!(balancer.select(b"key", 8).is_some());
        Ok(())
    }
    selects::<InOrder>().await?;
    selects::<RoundRobin>().await?;
    selects::<Random>().await?;
    selects::<FNVHash>().await?;
    selects::<Consistent>().await?;
    selects::<Weighted<ByLength>>().await
}

#[tokio::test]
async fn the_quick_way_is_short() {
    let mut balancer: LoadBalancer<RoundRobin> =
        LoadBalancer::try_from_iter(["127.0.0.1:1", "127.0.0.1:2"]).expect("two addresses");
    balancer.set_health_check(TcpHealthCheck::new());
    let service = background_service("health check", balancer);
    let balancer: Arc<LoadBalancer<RoundRobin>> = service.task();
    assert!(balancer.select(b"", 8).is_some());
    assert_eq!(Static::new(two()).get().len(), 2);

    static CHANGES: Calls = Calls::new();
    let mut check = HttpHealthCheck::new("a", false);
    check.consecutive_success = 2;
    check.health_changed_callback = Some(Box::new(OnlyFirst(&CHANGES)));
    check.validator = Some(Box::new(|response| {
        if response.status == 200 {
            return Ok(());
        }
        Error::e_explain(
            CustomCode("not 200", response.status.as_u16()),
            "health check",
        )
    }));
    let group: LoadBalancerGroup<Consistent> =
        LoadBalancerGroup::from_backends_with_configs(Backends::new(Box::new(Two)), [None, None]);
    assert_eq!(group.selector_count(), 2);
}
