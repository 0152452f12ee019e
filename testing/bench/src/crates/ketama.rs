//! pingora-ketama beside the original and a consistent-hash ring of another kind.
//!
//! `hashring` makes one point per node and hashes with SipHash: it spreads keys worse and its lookup
//! has less to search; given as many points, as here, it does the same work.

use std::hint::black_box;
use std::net::SocketAddr;

use pingora_ketama as ours;
use pingora_ketama_peer as original;

use super::report::{Candidate, OURS, Report};

const POINTS: u32 = 160;

/// Measures the crate.
pub fn run(report: &mut Report) {
    for count in [10, 100, 1_000] {
        lookup(report, count);
    }
    for count in [10, 100, 1_000] {
        build(report, count);
    }
}

fn lookup(report: &mut Report, count: u16) {
    let nodes = nodes(count);
    let keys: Vec<String> = (0..1024).map(|n| format!("/image/{n}.jpg")).collect();
    let (ours, original, hashring) = (ring(&nodes), original_ring(&nodes), hash_ring(&nodes));
    report.compare(
        &format!("lookup, {count} nodes"),
        vec![
            each(OURS, &keys, |key| ours.node(key.as_bytes())),
            each("original", &keys, |key| original.node(key.as_bytes())),
            each("hashring", &keys, |key| {
                hashring.get(key).map(|(node, _)| *node)
            }),
        ],
    );
}

fn build(report: &mut Report, count: u16) {
    let nodes = nodes(count);
    report.compare(
        &format!("build, {count} nodes"),
        vec![
            repeat(OURS, || ring(&nodes)),
            repeat("original", || original_ring(&nodes)),
            repeat("hashring", || hash_ring(&nodes)),
        ],
    );
}

fn each<'a, T>(
    name: &'a str,
    keys: &'a [String],
    find: impl Fn(&String) -> T + 'a,
) -> Candidate<'a> {
    Candidate::new(name, move |iterations| {
        for number in 0..iterations {
            black_box(find(black_box(&keys[number as usize % keys.len()])));
        }
    })
}

fn repeat<'a, T>(name: &'a str, make: impl Fn() -> T + 'a) -> Candidate<'a> {
    Candidate::new(name, move |iterations| {
        for _ in 0..iterations {
            black_box(make());
        }
    })
}

fn nodes(count: u16) -> Vec<SocketAddr> {
    (0..count)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            SocketAddr::from(([10, 0, high, low], 80))
        })
        .collect()
}

fn ring(nodes: &[SocketAddr]) -> ours::Continuum {
    let buckets: Vec<_> = nodes
        .iter()
        .map(|node| ours::Bucket::new(*node, 1))
        .collect();
    ours::Continuum::new(&buckets)
}

fn original_ring(nodes: &[SocketAddr]) -> original::Continuum {
    let buckets: Vec<_> = nodes
        .iter()
        .map(|node| original::Bucket::new(*node, 1))
        .collect();
    original::Continuum::new(&buckets)
}

fn hash_ring(nodes: &[SocketAddr]) -> hashring::HashRing<(SocketAddr, u32)> {
    let points = nodes
        .iter()
        .flat_map(|node| (0..POINTS).map(|number| (*node, number)));
    let mut ring = hashring::HashRing::new();
    ring.batch_add(points.collect());
    ring
}
