//! pingora-pool beside the original and a map behind a mutex.
//!
//! Watching is what differs: the original needs a task per idle connection, which `idle_poll` is
//! for; `IdlePool` keeps the deadline with the connection and is swept.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pingora_pool as ours;
use pingora_pool_peer as original;
use tokio::io::DuplexStream;
use tokio::runtime::Runtime;
use tokio::sync::Mutex as AsyncMutex;

use super::report::{Candidate, OURS, Report};

const SIZE: usize = 1024;
const IDLE_TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));

/// As large as a boxed stream.
type Connection = (usize, usize);
type Watched = Arc<AsyncMutex<DuplexStream>>;
type Map = Mutex<HashMap<u64, Vec<Connection>>>;

/// Measures the crate.
pub fn run(report: &mut Report) {
    unwatched(report);
    for keys in [1, 500] {
        idle_pool(report, keys);
    }
    watched(report);
    threads(report);
}

/// The pool with the public interface of the original, nobody watching.
fn unwatched(report: &mut Report) {
    let (ours, original) = (
        ours::ConnectionPool::<Connection>::new(SIZE),
        original::ConnectionPool::<Connection>::new(SIZE),
    );
    let map = Map::default();
    let meta = ours::ConnectionMeta::new(1, 1);
    let original_meta = original::ConnectionMeta::new(1, 1);
    report.compare(
        "ConnectionPool: put + get, unwatched",
        vec![
            repeat(OURS, |_| {
                black_box(ours.put(&meta, (1, 2)));
                black_box(ours.get(&1));
            }),
            repeat("original", |_| {
                black_box(original.put(&original_meta, (1, 2)));
                black_box(original.get(&1));
            }),
            repeat("mutexed map", |key| exchange(&map, key)).floor(),
        ],
    );
}

/// The pool of the connectors, whose entries carry their deadline.
fn idle_pool(report: &mut Report, keys: u64) {
    let pool = ours::IdlePool::<Connection>::new(SIZE);
    let original = original::ConnectionPool::<Connection>::new(SIZE);
    let map = Map::default();
    for key in 0..keys {
        pool.put(key, (1, 2), IDLE_TIMEOUT);
        original.put(&original::ConnectionMeta::new(key, key as i32), (1, 2));
        map.lock().entry(key).or_default().push((1, 2));
    }
    report.compare(
        &format!("IdlePool: get + put, idle timeout, {keys} keys"),
        vec![
            repeat(OURS, |number| {
                let key = black_box(number % keys);
                let (connection, _) = pool.get(key).expect("it was put back");
                pool.put(key, connection, IDLE_TIMEOUT);
            }),
            repeat("original, no timeout", |number| {
                let key = black_box(number % keys);
                let connection = original.get(&key).expect("it was put back");
                let meta = original::ConnectionMeta::new(key, key as i32);
                black_box(original.put(&meta, connection));
            }),
            repeat("mutexed map, no timeout", |number| {
                exchange(&map, black_box(number % keys));
            })
            .floor(),
        ],
    );
}

/// A task for each idle connection, as `idle_poll` is made for.
fn watched(report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without sockets needs no resources");
    let ours = Arc::new(ours::ConnectionPool::<Watched>::new(SIZE));
    let original = Arc::new(original::ConnectionPool::<Watched>::new(SIZE));
    report.compare(
        "ConnectionPool: put + idle_poll in a task + get",
        vec![
            watching(OURS, &runtime, move |stream| {
                let (pool, meta) = (ours.clone(), ours::ConnectionMeta::new(1, 1));
                let (evicted, taken) = pool.put(&meta, stream.clone());
                let guard = stream.try_lock_owned().expect("nobody else has it");
                let watcher = pool.clone();
                tokio::spawn(async move {
                    let idle = watcher.idle_poll(guard, &meta, IDLE_TIMEOUT, evicted, taken);
                    idle.await
                });
                move || drop(pool.get(&1))
            }),
            watching("original", &runtime, move |stream| {
                let (pool, meta) = (original.clone(), original::ConnectionMeta::new(1, 1));
                let (evicted, taken) = pool.put(&meta, stream.clone());
                let guard = stream.try_lock_owned().expect("nobody else has it");
                let watcher = pool.clone();
                tokio::spawn(async move {
                    let idle = watcher.idle_poll(guard, &meta, IDLE_TIMEOUT, evicted, taken);
                    idle.await
                });
                move || drop(pool.get(&1))
            }),
        ],
    );
}

/// Puts and starts the watch by `put`, lets it begin, takes the connection, and lets it end.
fn watching<'a, G: FnOnce()>(
    name: &'a str,
    runtime: &'a Runtime,
    put: impl Fn(Watched) -> G + 'a,
) -> Candidate<'a> {
    let (stream, peer) = tokio::io::duplex(64);
    let stream = Arc::new(AsyncMutex::new(stream));
    Candidate::new(name, move |iterations| {
        let _peer = &peer;
        runtime.block_on(async {
            for _ in 0..iterations {
                let get = put(stream.clone());
                tokio::task::yield_now().await;
                get();
                while stream.try_lock().is_err() {
                    tokio::task::yield_now().await;
                }
            }
        });
    })
}

/// Two threads, each with connections of its own to the same peers.
fn threads(report: &mut Report) {
    let pool = ours::IdlePool::<Connection>::new(SIZE);
    let original = original::ConnectionPool::<Connection>::new(SIZE);
    let map = Map::default();
    report.compare(
        "put + get, 16 keys, on 2 threads",
        vec![
            Candidate::threads(OURS, 2, |_, iterations| {
                for number in 0..iterations {
                    pool.put(number % 16, (1, 2), IDLE_TIMEOUT);
                    black_box(pool.get(number % 16));
                }
            }),
            Candidate::threads("original, no timeout", 2, |thread, iterations| {
                for number in 0..iterations {
                    let meta = original::ConnectionMeta::new(number % 16, thread as i32);
                    black_box(original.put(&meta, (1, 2)));
                    black_box(original.get(&(number % 16)));
                }
            }),
            Candidate::threads("mutexed map, no timeout", 2, |_, iterations| {
                (0..iterations).for_each(|number| exchange(&map, number % 16));
            })
            .floor(),
        ],
    );
}

fn exchange(map: &Map, key: u64) {
    let connection = map.lock().get_mut(&key).and_then(Vec::pop);
    let connection = black_box(connection.unwrap_or((1, 2)));
    map.lock().entry(key).or_default().push(connection);
}

fn repeat<'a>(name: &'a str, operation: impl Fn(u64) + 'a) -> Candidate<'a> {
    Candidate::new(name, move |iterations| {
        (0..iterations).for_each(&operation);
    })
}
