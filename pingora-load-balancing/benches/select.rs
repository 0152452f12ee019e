//! Times one selection by each algorithm: 100 backends, equal and mixed weights, all healthy and half of them not.

use std::collections::BTreeSet;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::selection::{
    BackendIter, BackendSelection, Consistent, FNVHash, Random, RoundRobin,
};
use pingora_load_balancing::{Backend, Backends, LoadBalancer};

const BACKENDS: usize = 100;
const KEY: &[u8] = b"/a/path/of/ordinary/length?with=a&query";

fn backends(weight: impl Fn(usize) -> usize) -> BTreeSet<Backend> {
    let backend = |i| {
        Backend::new_with_weight(&format!("10.0.0.{i}:80"), weight(i)).expect("a valid address")
    };
    (0..BACKENDS).map(backend).collect()
}

fn balancer<S: BackendSelection + 'static>(
    runtime: &tokio::runtime::Runtime,
    set: BTreeSet<Backend>,
    serving: impl Fn(usize) -> bool,
) -> LoadBalancer<S>
where
    S::Iter: BackendIter,
{
    let balancer = LoadBalancer::from_backends(Backends::new(Static::new(set.clone())));
    runtime
        .block_on(balancer.update())
        .expect("a static discovery never fails");
    for (i, backend) in set.iter().enumerate() {
        balancer.backends().set_enable(backend, serving(i));
    }
    balancer
}

fn bench<S: BackendSelection + 'static>(criterion: &mut Criterion, name: &str)
where
    S::Iter: BackendIter,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers can be built");
    let mut group = criterion.benchmark_group(name);
    let cases = [
        ("even", balancer::<S>(&runtime, backends(|_| 1), |_| true)),
        (
            "mixed",
            balancer::<S>(&runtime, backends(|i| i % 7 + 1), |_| true),
        ),
        (
            "half",
            balancer::<S>(&runtime, backends(|_| 1), |i| i % 2 == 0),
        ),
    ];
    for (case, balancer) in &cases {
        group.bench_function(BenchmarkId::from_parameter(case), |bencher| {
            bencher.iter(|| balancer.select(black_box(KEY), 256));
        });
    }
    group.finish();
}

fn select(criterion: &mut Criterion) {
    bench::<RoundRobin>(criterion, "round_robin");
    bench::<Random>(criterion, "random");
    bench::<FNVHash>(criterion, "fnv_hash");
    bench::<Consistent>(criterion, "ketama");
}

criterion_group!(benches, select);
criterion_main!(benches);
