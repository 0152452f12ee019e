//! pingora-memory-cache beside the original, moka and quick_cache.
//!
//! quick_cache knows no time to live; moka has one for the whole cache. Everything asynchronous runs
//! on one thread and never waits, so that no scheduler is measured.

use std::convert::Infallible;
use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use async_trait::async_trait;
use pingora_memory_cache as ours;
use pingora_memory_cache_peer as original;
use tokio::runtime::Runtime;

use super::report::{Candidate, OURS, Report};

/// Values that a cache holds, and keys that are asked for.
const SIZE: usize = 2048;
const KEYS: u64 = 1024;
const HOUR: Duration = Duration::from_secs(3600);

type Found = Result<(u64, Option<Duration>), Box<dyn Error + Send + Sync>>;

/// Finds a value at once.
struct Same;

#[async_trait]
impl ours::Lookup<u64, u64, ()> for Same {
    async fn lookup(key: &u64, _extra: Option<&()>) -> Found {
        Ok((*key, None))
    }
}

#[async_trait]
impl original::Lookup<u64, u64, ()> for Same {
    async fn lookup(key: &u64, _extra: Option<&()>) -> Found {
        Ok((*key, None))
    }
}

/// Measures the crate.
pub fn run(report: &mut Report) {
    for ttl in [None, Some(HOUR)] {
        get(report, ttl);
        put(report, ttl);
    }
    threads(report);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without sockets needs no resources");
    read_through(report, &runtime);
    look_up(report, &runtime);
}

fn name(ttl: Option<Duration>) -> &'static str {
    match ttl {
        Some(_) => "for an hour",
        None => "for ever",
    }
}

fn moka(ttl: Option<Duration>) -> moka::sync::Cache<u64, u64> {
    let builder = moka::sync::Cache::builder().max_capacity(SIZE as u64);
    match ttl {
        Some(ttl) => builder.time_to_live(ttl).build(),
        None => builder.build(),
    }
}

fn get(report: &mut Report, ttl: Option<Duration>) {
    let ours = ours::MemoryCache::<u64, u64>::new(SIZE);
    let original = original::MemoryCache::<u64, u64>::new(SIZE);
    let (moka, quick) = (moka(ttl), quick_cache::sync::Cache::new(SIZE));
    for key in 0..KEYS {
        ours.put(&key, key, ttl);
        original.put(&key, key, ttl);
        moka.insert(key, key);
        quick.insert(key, key);
    }
    let mut candidates = vec![
        repeat(OURS, move |key| {
            black_box(ours.get(&key));
        }),
        repeat("original", move |key| {
            black_box(original.get(&key));
        }),
        repeat("moka", move |key| {
            black_box(moka.get(&key));
        }),
    ];
    candidates.push(untimed("quick_cache", ttl, move |key| {
        black_box(quick.get(&key));
    }));
    report.compare(&format!("MemoryCache::get, {}", name(ttl)), candidates);
}

fn put(report: &mut Report, ttl: Option<Duration>) {
    let ours = ours::MemoryCache::<u64, u64>::new(SIZE);
    let original = original::MemoryCache::<u64, u64>::new(SIZE);
    let (moka, quick) = (moka(ttl), quick_cache::sync::Cache::new(SIZE));
    let mut candidates = vec![
        repeat(OURS, move |key| ours.put(&key, key, ttl)),
        repeat("original", move |key| original.put(&key, key, ttl)),
        repeat("moka", move |key| moka.insert(key, key)),
    ];
    candidates.push(untimed("quick_cache", ttl, move |key| {
        quick.insert(key, key);
    }));
    report.compare(&format!("MemoryCache::put, {}", name(ttl)), candidates);
}

fn threads(report: &mut Report) {
    let ours = ours::MemoryCache::<u64, u64>::new(SIZE);
    let original = original::MemoryCache::<u64, u64>::new(SIZE);
    let (moka, quick) = (moka(None), quick_cache::sync::Cache::new(SIZE));
    for key in 0..KEYS {
        ours.put(&key, key, None);
        original.put(&key, key, None);
        moka.insert(key, key);
        quick.insert(key, key);
    }
    // Threads that go through the keys in step would meet at each of them.
    let key = |thread: usize, number: u64| (number * (2 * thread as u64 + 1)) % KEYS;
    report.compare(
        "MemoryCache::get, on 2 threads",
        vec![
            Candidate::threads(OURS, 2, |thread, iterations| {
                for number in 0..iterations {
                    black_box(ours.get(&key(thread, number)));
                }
            }),
            Candidate::threads("original", 2, |thread, iterations| {
                for number in 0..iterations {
                    black_box(original.get(&key(thread, number)));
                }
            }),
            Candidate::threads("moka", 2, |thread, iterations| {
                for number in 0..iterations {
                    black_box(moka.get(&key(thread, number)));
                }
            }),
            Candidate::threads("quick_cache", 2, |thread, iterations| {
                for number in 0..iterations {
                    black_box(quick.get(&key(thread, number)));
                }
            }),
        ],
    );
}

/// The value is there.
fn read_through(report: &mut Report, runtime: &Runtime) {
    let ours = ours::RTCache::<u64, u64, Same, ()>::new(SIZE, None, None);
    let original = original::RTCache::<u64, u64, Same, ()>::new(SIZE, None, None);
    let moka = moka::future::Cache::new(SIZE as u64);
    let quick = quick_cache::sync::Cache::new(SIZE);
    report.compare(
        "RTCache::get, hit",
        vec![
            asynchronous(OURS, runtime, async |number| {
                let (value, _) = ours.get(&(number % KEYS), None, None).await;
                black_box(value.expect("this lookup does not fail"));
            }),
            asynchronous("original", runtime, async |number| {
                let (value, _) = original.get(&(number % KEYS), None, None).await;
                black_box(value.expect("this lookup does not fail"));
            }),
            asynchronous("moka", runtime, async |number| {
                let key = number % KEYS;
                black_box(moka.get_with(key, async { key }).await);
            }),
            asynchronous("quick_cache", runtime, async |number| {
                let key = number % KEYS;
                let found = quick.get_or_insert_async(&key, async { Ok::<_, Infallible>(key) });
                black_box(found.await.expect("it cannot fail"));
            }),
        ],
    );
}

/// Each key is new, and pushes another out.
fn look_up(report: &mut Report, runtime: &Runtime) {
    let ours = ours::RTCache::<u64, u64, Same, ()>::new(SIZE, None, None);
    let original = original::RTCache::<u64, u64, Same, ()>::new(SIZE, None, None);
    let moka = moka::future::Cache::new(SIZE as u64);
    let quick = quick_cache::sync::Cache::new(SIZE);
    report.compare(
        "RTCache::get, miss and lookup",
        vec![
            asynchronous(OURS, runtime, async |key| {
                let (value, _) = ours.get(&key, None, None).await;
                black_box(value.expect("this lookup does not fail"));
            }),
            asynchronous("original", runtime, async |key| {
                let (value, _) = original.get(&key, None, None).await;
                black_box(value.expect("this lookup does not fail"));
            }),
            asynchronous("moka", runtime, async |key| {
                black_box(moka.get_with(key, async { key }).await);
            }),
            asynchronous("quick_cache", runtime, async |key| {
                let found = quick.get_or_insert_async(&key, async { Ok::<_, Infallible>(key) });
                black_box(found.await.expect("it cannot fail"));
            }),
        ],
    );
}

fn repeat<'a>(name: &'a str, operation: impl Fn(u64) + 'a) -> Candidate<'a> {
    Candidate::new(name, move |iterations| {
        (0..iterations).for_each(|number| operation(black_box(number % KEYS)));
    })
}

/// A peer without times to live: beside values that have one, a bound.
fn untimed<'a>(
    name: &'a str,
    ttl: Option<Duration>,
    operation: impl Fn(u64) + 'a,
) -> Candidate<'a> {
    let candidate = repeat(name, operation);
    match ttl {
        Some(_) => candidate.floor(),
        None => candidate,
    }
}

/// Numbers never come twice.
fn asynchronous<'a>(
    name: &'a str,
    runtime: &'a Runtime,
    operation: impl AsyncFn(u64) + 'a,
) -> Candidate<'a> {
    let mut next = 0;
    Candidate::new(name, move |iterations| {
        runtime.block_on(async {
            for _ in 0..iterations {
                next += 1;
                operation(black_box(next)).await;
            }
        });
    })
}
