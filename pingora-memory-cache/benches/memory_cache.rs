//! What a hit costs, with and without a time to live, and a miss that is looked up.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use pingora_memory_cache::{Lookup, MemoryCache, RTCache};
use tokio::runtime::Runtime;

const KEYS: u64 = 1024;
const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

fn memory(criterion: &mut Criterion) {
    for (name, ttl) in [("for ever", None), ("for an hour", HOUR)] {
        let cache: MemoryCache<u64, u64> = MemoryCache::new(2 * KEYS as usize);
        for key in 0..KEYS {
            cache.put(&key, key, ttl);
        }
        let mut key = 0;
        criterion.bench_function(&format!("memory-cache/get, {name}"), |bencher| {
            bencher.iter(|| {
                key = (key + 1) % KEYS;
                cache.get(black_box(&key))
            });
        });
        criterion.bench_function(&format!("memory-cache/put, {name}"), |bencher| {
            bencher.iter(|| {
                key = (key + 1) % KEYS;
                cache.put(black_box(&key), key, ttl);
            });
        });
    }
}

struct Same;

#[async_trait]
impl Lookup<u64, u64, ()> for Same {
    async fn lookup(
        key: &u64,
        _extra: Option<&()>,
    ) -> Result<(u64, Option<Duration>), Box<dyn Error + Send + Sync>> {
        Ok((*key, None))
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without sockets needs no resources")
}

fn read_through(criterion: &mut Criterion) {
    let runtime = runtime();
    // What lives for no time is looked up each time.
    for (name, ttl) in [("hit", HOUR), ("lookup", Some(Duration::ZERO))] {
        let cache: RTCache<u64, u64, Same, ()> = RTCache::new(2 * KEYS as usize, None, None);
        let mut key = 0;
        criterion.bench_function(&format!("memory-cache/read through, {name}"), |bencher| {
            bencher.iter(|| {
                key = (key + 1) % KEYS;
                runtime.block_on(cache.get(black_box(&key), ttl, None))
            });
        });
    }
}

criterion_group!(benches, memory, read_through);
criterion_main!(benches);
