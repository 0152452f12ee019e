//! TinyUFO beside quick_cache, moka, foyer and the original: time per operation, and hit ratios on the
//! traces of `policies/traces.rs`.

use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use foyer_memory::{CacheBuilder, CacheProperties, LfuConfig, S3FifoConfig};

use super::report::{Candidate, OURS, Report};
use crate::policies::traces::{self, Trace};

/// Looks a key up and puts it in if it is absent; returns whether it was found.
type GetOrPut = Box<dyn Fn(u64) -> bool + Sync>;

/// Keys that fill a cache before its time is measured.
const WARM_UP: usize = 1_000_000;

/// Measures the crate.
pub fn run(report: &mut Report) {
    let all = traces::all(report.is_quick());
    for trace in all.iter().filter(|trace| trace.is_zipf) {
        for size in [trace.sizes[0], trace.sizes[trace.sizes.len() - 1]] {
            for threads in [1, 2] {
                get_or_put(report, trace, size, threads);
            }
        }
    }
    hits(report);
    hit_ratios(report, &all);
}

/// Returns the caches for `size` values.
fn caches(size: usize) -> Vec<(&'static str, GetOrPut)> {
    let ours = tinyufo::TinyUfo::new(size, size);
    let quick = quick_cache::sync::Cache::new(size);
    let moka = moka::sync::Cache::new(size as u64);
    let s3_fifo = CacheBuilder::new(size).with_eviction_config(S3FifoConfig::default());
    let lfu = CacheBuilder::new(size).with_eviction_config(LfuConfig::default());
    let s3_fifo = s3_fifo.build::<CacheProperties>();
    let lfu = lfu.build::<CacheProperties>();
    let original = tinyufo_peer::TinyUfo::new(size, size);
    macro_rules! get_or_put {
        ($cache:ident, $insert:expr) => {
            Box::new(move |key: u64| {
                let found = black_box($cache.get(&key)).is_some();
                if !found {
                    black_box($insert(key));
                }
                found
            })
        };
    }
    vec![
        (OURS, get_or_put!(ours, |key| ours.put(key, key, 1))),
        (
            "quick_cache",
            get_or_put!(quick, |key| quick.insert(key, key)),
        ),
        ("moka", get_or_put!(moka, |key| moka.insert(key, key))),
        (
            "foyer S3-FIFO",
            get_or_put!(s3_fifo, |key| s3_fifo.insert(key, key)),
        ),
        ("foyer LFU", get_or_put!(lfu, |key| lfu.insert(key, key))),
        (
            "original",
            get_or_put!(original, |key| original.put(key, key, 1)),
        ),
    ]
}

fn get_or_put(report: &mut Report, trace: &Trace, size: usize, threads: usize) {
    let caches = caches(size);
    let candidates = caches.iter().map(|(name, get_or_put)| {
        for key in trace.keys.iter().take(WARM_UP) {
            get_or_put(*key);
        }
        let places: Vec<AtomicUsize> = (0..threads)
            .map(|thread| AtomicUsize::new(WARM_UP + thread * trace.keys.len() / 2))
            .collect();
        let repeat = move |thread: usize, iterations: u64| {
            let start = places[thread].fetch_add(iterations as usize, Ordering::Relaxed);
            let keys = trace.keys.iter().cycle().skip(start % trace.keys.len());
            for key in keys.take(iterations as usize) {
                black_box(get_or_put(*key));
            }
        };
        match threads {
            1 => Candidate::new(name, move |iterations| repeat(0, iterations)),
            _ => Candidate::threads(name, threads, repeat),
        }
    });
    let operation = format!(
        "get or put, {}, {size} of 1 M keys, {threads} thread(s)",
        trace.name
    );
    report.compare(&operation, candidates.collect());
}

/// Gets that all find their key.
fn hits(report: &mut Report) {
    const SIZE: u64 = 10_000;
    let caches = caches(SIZE as usize * 2);
    let candidates = caches.iter().map(|(name, get_or_put)| {
        for key in 0..SIZE {
            get_or_put(key);
        }
        let mut key = 0;
        Candidate::new(name, move |iterations| {
            for _ in 0..iterations {
                key = (key + 7919) % SIZE;
                black_box(get_or_put(black_box(key)));
            }
        })
    });
    report.compare("get, all found, 10,000 keys", candidates.collect());
}

/// Counts hits. They do not depend on time: each thread takes the next cell.
fn hit_ratios(report: &mut Report, traces: &[Trace]) {
    let cells: Vec<(&Trace, usize)> = traces
        .iter()
        .flat_map(|trace| trace.sizes.iter().map(move |size| (trace, *size)))
        .collect();
    let rows: Vec<OnceLock<Vec<String>>> = cells.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((trace, size)) = cells.get(at) else {
                break;
            };
            rows[at].get_or_init(|| hits_of(trace, *size));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let rows: Vec<Vec<String>> = rows.into_iter().filter_map(OnceLock::into_inner).collect();
    let mut columns = vec!["trace", "entries"];
    columns.extend(caches(1).iter().map(|(name, _)| *name));
    report.table("TinyUFO: hits per hundred lookups", &columns, &rows);
}

fn hits_of(trace: &Trace, size: usize) -> Vec<String> {
    let mut row = vec![trace.name.clone(), size.to_string()];
    for (_, get_or_put) in caches(size) {
        let found = trace.keys.iter().filter(|key| get_or_put(**key)).count();
        row.push(format!(
            "{:.2}",
            100.0 * found as f64 / trace.keys.len() as f64
        ));
    }
    eprintln!("{}", row.join("\t"));
    row
}
