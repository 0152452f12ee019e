//! What building a ring and finding a server cost.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pingora_ketama::{Bucket, Continuum};

fn buckets(count: u16) -> Vec<Bucket> {
    (0..count)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            Bucket::new(([10, 0, high, low], 80).into(), 1)
        })
        .collect()
}

fn build(criterion: &mut Criterion) {
    let nodes = buckets(100);
    criterion.bench_function("ketama/build 100 nodes", |bencher| {
        bencher.iter(|| Continuum::new(black_box(&nodes)));
    });
}

fn lookup(criterion: &mut Criterion) {
    let keys: Vec<String> = (0..1024).map(|n| format!("/image/{n}.jpg")).collect();
    for count in [10, 1_000] {
        let ring = Continuum::new(&buckets(count));
        let mut next = 0;
        criterion.bench_function(&format!("ketama/lookup {count} nodes"), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % keys.len();
                ring.node(black_box(keys[next].as_bytes()))
            });
        });
    }
}

criterion_group!(benches, build, lookup);
criterion_main!(benches);
