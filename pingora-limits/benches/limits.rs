//! What counting costs: keys that fit into cells, and keys that share the sketch.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pingora_limits::estimator::Estimator;
use pingora_limits::inflight::Inflight;
use pingora_limits::rate::{PROPORTIONAL_RATE_ESTIMATE_CALC_FN, Rate};

/// Fits into the cells of `Rate::new`, and does not.
const KEYS: [usize; 2] = [256, 100_000];

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("client-{n}.example")).collect()
}

fn rate(criterion: &mut Criterion) {
    for count in KEYS {
        let keys = keys(count);
        let rate = Rate::new(Duration::from_secs(10));
        let mut all = keys.iter().cycle();
        let mut next = || all.next().expect("keys go round for ever");
        criterion.bench_function(&format!("limits/observe {count} keys"), |bencher| {
            bencher.iter(|| rate.observe(black_box(next()), 1));
        });
        criterion.bench_function(&format!("limits/rate {count} keys"), |bencher| {
            bencher.iter(|| rate.rate_with(black_box(next()), PROPORTIONAL_RATE_ESTIMATE_CALC_FN));
        });
    }
    let rate = Rate::new(Duration::from_secs(10));
    let mut number = 0_u64;
    criterion.bench_function("limits/observe 256 numbers", |bencher| {
        bencher.iter(|| {
            number = (number + 1) % 256;
            rate.observe(black_box(&number), 1)
        });
    });
}

fn estimator(criterion: &mut Criterion) {
    for count in KEYS {
        let keys = keys(count);
        let estimator = Estimator::new(4, 1024);
        let mut all = keys.iter().cycle();
        let mut next = || all.next().expect("keys go round for ever");
        criterion.bench_function(&format!("limits/incr {count} keys"), |bencher| {
            bencher.iter(|| estimator.incr(black_box(next()), 1));
        });
        criterion.bench_function(&format!("limits/get {count} keys"), |bencher| {
            bencher.iter(|| estimator.get(black_box(next())));
        });
    }
    let estimator = Estimator::new(4, 1024);
    criterion.bench_function("limits/reset 4x1024", |bencher| {
        bencher.iter(|| estimator.reset());
    });
}

fn inflight(criterion: &mut Criterion) {
    let keys = keys(KEYS[0]);
    let inflight = Inflight::new();
    let mut all = keys.iter().cycle();
    let mut next = || all.next().expect("keys go round for ever");
    criterion.bench_function("limits/in flight and done", |bencher| {
        bencher.iter(|| inflight.incr(black_box(next()), 1));
    });
}

criterion_group!(benches, rate, estimator, inflight);
criterion_main!(benches);
