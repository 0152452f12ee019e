//! What a put and a get cost, alone and among threads.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pingora_pool::{ConnectionMeta, ConnectionPool, IdlePool};

const IDLE_TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));

/// A connection is about as large as a boxed stream.
type Connection = (usize, usize);

fn idle_pool(criterion: &mut Criterion) {
    let pool = IdlePool::<Connection>::new(1024);
    criterion.bench_function("idle_pool/get+put, one key", |bencher| {
        pool.put(1, (1, 2), IDLE_TIMEOUT);
        bencher.iter(|| {
            let (connection, _) = pool.get(black_box(1)).expect("it was put back");
            pool.put(black_box(1), connection, IDLE_TIMEOUT)
        });
        pool.get(1);
    });
    criterion.bench_function("idle_pool/get+put, 500 keys", |bencher| {
        (0..500).for_each(|key| assert!(pool.put(key, (1, 2), IDLE_TIMEOUT).is_none()));
        let mut key = 0;
        bencher.iter(|| {
            key = (key + 1) % 500;
            let (connection, _) = pool.get(key).expect("it was put back");
            pool.put(key, connection, IDLE_TIMEOUT)
        });
    });
    criterion.bench_function("idle_pool/miss", |bencher| {
        bencher.iter(|| pool.get(black_box(7_000)));
    });
    criterion.bench_function("idle_pool/put into full", |bencher| {
        let full = IdlePool::<Connection>::new(1024);
        let mut key = 0;
        bencher.iter(|| {
            key += 1;
            full.put(key, (1, 2), IDLE_TIMEOUT)
        });
    });
}

fn connection_pool(criterion: &mut Criterion) {
    let pool = ConnectionPool::<Connection>::new(1024);
    let meta = ConnectionMeta::new(1, 1);
    pool.put(&meta, (1, 2));
    criterion.bench_function("connection_pool/get+put, one key", |bencher| {
        bencher.iter(|| {
            let connection = pool.get(black_box(&1)).expect("it was put back");
            pool.put(&meta, connection)
        });
    });
}

criterion_group!(benches, idle_pool, connection_pool);
criterion_main!(benches);
