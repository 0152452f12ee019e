//! What a hit, a miss and a put that evicts cost.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tinyufo::TinyUfo;

const ENTRIES: u64 = 10_000;

fn get(criterion: &mut Criterion) {
    let cache = TinyUfo::new(ENTRIES as usize * 2, ENTRIES as usize * 2);
    for key in 0..ENTRIES {
        cache.put(key, key, 1);
    }
    let mut next = 0;
    criterion.bench_function("tinyufo/get, found", |bencher| {
        bencher.iter(|| {
            next = (next + 7919) % ENTRIES;
            cache.get(black_box(&next))
        });
    });
    criterion.bench_function("tinyufo/get, absent", |bencher| {
        bencher.iter(|| {
            next = (next + 7919) % ENTRIES;
            cache.get(black_box(&(next + ENTRIES)))
        });
    });
}

fn put(criterion: &mut Criterion) {
    let caches: [(&str, TinyUfo<u64, u64>); 2] = [
        ("new", TinyUfo::new(ENTRIES as usize, ENTRIES as usize)),
        (
            "new_compact",
            TinyUfo::new_compact(ENTRIES as usize, ENTRIES as usize),
        ),
    ];
    for (name, cache) in caches {
        let mut next = 0;
        criterion.bench_function(&format!("tinyufo/put, evicting, {name}"), |bencher| {
            bencher.iter(|| {
                next += 1;
                cache.put(black_box(next), next, 1)
            });
        });
    }
}

criterion_group!(benches, get, put);
criterion_main!(benches);
