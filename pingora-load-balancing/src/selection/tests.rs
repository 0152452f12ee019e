//! The selectors against tables, naive twins and exact distributions.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::sync::Arc;

use super::consistent::KetamaConfig;
use super::*;

/// Makes backends `10.0.0.1:80`, `10.0.0.2:80`, … of these weights.
fn set(weights: &[usize]) -> BTreeSet<Backend> {
    let backend = |(i, weight): (usize, &usize)| {
        let addr = format!("10.0.{}.{}:80", (i + 1) / 256, (i + 1) % 256);
        Backend::new_with_weight(&addr, *weight).unwrap()
    };
    weights.iter().enumerate().map(backend).collect()
}

/// Returns the last byte of the address: the backend's number in [`set`].
fn number(backend: &Backend) -> usize {
    match backend.as_inet().unwrap().ip() {
        std::net::IpAddr::V4(ip) => usize::from(ip.octets()[3]),
        std::net::IpAddr::V6(_) => unreachable!("the tests use v4"),
    }
}

fn walk<S: BackendSelection>(selector: &Arc<S>, key: &[u8], steps: usize) -> Vec<usize>
where
    S::Iter: BackendIter,
{
    let mut iter = selector.iter(key);
    (0..steps).map_while(|_| iter.next().map(number)).collect()
}

fn first<S: BackendSelection>(selector: &Arc<S>, key: &[u8]) -> usize
where
    S::Iter: BackendIter,
{
    walk(selector, key, 1)[0]
}

/// The weighted table as an array, the way `Weighted` does not store it.
fn naive_table(weights: &[usize]) -> Vec<usize> {
    let repeat = |(i, weight): (usize, &usize)| std::iter::repeat_n(i + 1, *weight);
    weights.iter().enumerate().flat_map(repeat).collect()
}

fn fnv(key: &[u8]) -> u64 {
    let mut hasher = fnv::FnvHasher::default();
    hasher.write(key);
    hasher.finish()
}

#[test]
fn round_robin_table() {
    let check = |weights: &[usize], steps: &[usize]| {
        let selector = Arc::new(RoundRobin::build(&set(weights)));
        let picks: Vec<_> = steps.iter().map(|_| first(&selector, b"any")).collect();
        assert_eq!(picks, steps, "{weights:?}");
    };
    check(&[1], &[1, 1, 1]);
    check(&[1, 1, 1], &[1, 2, 3, 1, 2, 3, 1]);
    check(&[3, 1, 2], &[1, 1, 1, 2, 3, 3, 1, 1, 1, 2]);
    check(&[2, 2], &[1, 1, 2, 2, 1]);
    check(&[0, 2, 0, 1, 0], &[2, 2, 4, 2]);
}

#[test]
fn round_robin_falls_back_in_turns() {
    let selector = Arc::new(RoundRobin::build(&set(&[10, 1, 1])));
    assert_eq!(walk(&selector, b"", 6), [1, 2, 3, 1, 2, 3]);
    // The counter goes on at 6, which is still in the first backend's share.
    assert_eq!(walk(&selector, b"", 3), [1, 2, 3]);
}

#[test]
fn round_robin_gives_each_cycle_its_weights() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..50 {
        let weights: Vec<_> = (0..random.usize(1..20))
            .map(|_| random.usize(1..30))
            .collect();
        let selector = Arc::new(RoundRobin::build(&set(&weights)));
        let total: usize = weights.iter().sum();
        for _ in 0..random.usize(0..3 * total) {
            first(&selector, b"");
        }
        // Any run of `total` picks is a cycle, wherever it begins.
        let mut counts = vec![0; weights.len()];
        for _ in 0..total {
            counts[first(&selector, b"") - 1] += 1;
        }
        assert_eq!(counts, weights);
    }
}

#[test]
fn fnv_is_the_hash_modulo_the_table() {
    let mut random = fastrand::Rng::with_seed(12);
    for round in 0..200 {
        let largest = [2, 10, 1000][round % 3];
        let mut weights: Vec<_> = (0..random.usize(1..40))
            .map(|_| random.usize(0..largest))
            .collect();
        weights.push(1);
        let selector = Arc::new(FNVHash::build(&set(&weights)));
        let table = naive_table(&weights);
        let present: Vec<_> = (1..=weights.len()).filter(|i| weights[i - 1] > 0).collect();
        for _ in 0..20 {
            let key: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
            let mut index = fnv(&key);
            let mut twin = vec![table[(index % table.len() as u64) as usize]];
            for _ in 0..16 {
                index = fnv(&index.to_le_bytes());
                twin.push(present[(index % present.len() as u64) as usize]);
            }
            assert_eq!(walk(&selector, &key, 17), twin, "{weights:?} {key:?}");
        }
    }
}

#[test]
fn fnv_shares_follow_the_weights_exactly() {
    // All keys of two bytes: what each backend gets is a fact, not a sample.
    let weights = [1, 2, 5];
    let selector = Arc::new(FNVHash::build(&set(&weights)));
    let table = naive_table(&weights);
    let (mut counts, mut twin) = ([0; 3], [0; 3]);
    for key in 0..=u16::MAX {
        let key = key.to_le_bytes();
        counts[first(&selector, &key) - 1] += 1;
        twin[table[(fnv(&key) % 8) as usize] - 1] += 1;
    }
    assert_eq!(counts, twin);
    let fair = [8192, 16384, 40960];
    assert!(
        counts
            .iter()
            .zip(fair)
            .all(|(got, fair): (&i32, i32)| (got - fair).abs() < fair / 20),
        "{counts:?}"
    );
}

#[test]
fn random_draws_from_the_table() {
    let weights = [4, 0, 1, 3];
    let selector = Arc::new(Random::build(&set(&weights)));
    let table = naive_table(&weights);
    fastrand::seed(13);
    let mut twin = fastrand::Rng::with_seed(13);
    for _ in 0..1000 {
        let index = twin.u64(..) % table.len() as u64;
        assert_eq!(first(&selector, b"same key"), table[index as usize]);
    }
}

#[test]
fn nothing_to_select() {
    for weights in [&[][..], &[0], &[0, 0, 0]] {
        let backends = set(weights);
        let hash = Arc::new(FNVHash::build(&backends));
        let turns = Arc::new(RoundRobin::build(&backends));
        let random = Arc::new(Random::build(&backends));
        let ring = Arc::new(Consistent::build(&backends));
        for _ in 0..3 {
            assert!(walk(&hash, b"key", 3).is_empty());
            assert!(walk(&turns, b"key", 3).is_empty());
            assert!(walk(&random, b"key", 3).is_empty());
            assert!(walk(&ring, b"key", 3).is_empty());
        }
    }
}

#[test]
fn huge_weights() {
    let huge = usize::MAX / 2 + 1;
    // The table ends at u64::MAX: what is beyond is a fallback only.
    let weights = [huge, huge - 1, 7];
    let selector = Arc::new(FNVHash::build(&set(&weights)));
    for key in 0..100u32 {
        let index = fnv(&key.to_le_bytes()) % u64::MAX;
        let expected = if index < huge as u64 { 1 } else { 2 };
        assert_eq!(first(&selector, &key.to_le_bytes()), expected);
    }
    assert!(walk(&selector, b"", 64).contains(&3));
    let even = Arc::new(RoundRobin::build(&set(&[usize::MAX; 3])));
    assert_eq!(walk(&even, b"", 4), [1, 2, 3, 1]);
}

#[test]
fn every_walk_meets_every_backend() {
    let mut random = fastrand::Rng::with_seed(14);
    for count in [1, 2, 5, 16, 17, 100, 255] {
        let weights: Vec<_> = (0..count).map(|_| random.usize(1..4)).collect();
        let backends = set(&weights);
        let steps = 1 + count.max(16) + count;
        let (hash, any) = (
            Arc::new(FNVHash::build(&backends)),
            Arc::new(Random::build(&backends)),
        );
        for key in 0..50u32 {
            let key = key.to_le_bytes();
            for met in [walk(&hash, &key, steps), walk(&any, &key, steps)] {
                assert_eq!(met.iter().collect::<BTreeSet<_>>().len(), count);
            }
        }
    }
}

#[test]
fn unique_walks() {
    /// Proposes these over and over.
    struct Scripted(Vec<Backend>, usize);
    impl BackendIter for Scripted {
        fn next(&mut self) -> Option<&Backend> {
            self.1 += 1;
            self.0.get(self.1 - 1)
        }
    }
    let check = |script: &[usize], max_iterations, expected: &[usize]| {
        let backend = |i: &usize| Backend::new(&format!("10.0.0.{i}:80")).unwrap();
        let script = Scripted(script.iter().map(backend).collect(), 0);
        let mut unique = UniqueIterator::new(script, max_iterations);
        let got: Vec<_> = std::iter::from_fn(|| unique.get_next())
            .map(|b| number(&b))
            .collect();
        assert_eq!(got, expected, "max_iterations={max_iterations}");
        assert_eq!(unique.get_next(), None);
    };
    check(&[], 5, &[]);
    check(&[1, 2, 3], 0, &[]);
    check(&[1, 2, 3], 2, &[1, 2]);
    check(&[1, 1, 1, 2], 3, &[1]);
    check(&[1, 1, 1, 2], 4, &[1, 2]);
    check(&[1, 2, 1, 3, 2, 4], usize::MAX, &[1, 2, 3, 4]);
    let many: Vec<_> = (1..100).chain(1..100).chain([100]).collect();
    check(&many, 1000, &(1..=100).collect::<Vec<_>>());
}

#[test]
fn ring_agrees_with_ketama() {
    use pingora_ketama::{Bucket, Continuum};
    let backends = set(&[1, 2, 0, 5]);
    let buckets = backends.iter().filter(|b| b.weight > 0);
    let buckets: Vec<_> = buckets
        .map(|b| Bucket::new(*b.as_inet().unwrap(), b.weight as u32))
        .collect();
    let (ring, twin) = (
        Arc::new(Consistent::build(&backends)),
        Continuum::new(&buckets),
    );
    for key in 0..500u32 {
        let key = key.to_le_bytes();
        let mut iter = ring.iter(&key);
        let mut nodes = twin.node_iter(&key);
        for _ in 0..50 {
            let backend = iter.next().unwrap();
            assert_eq!(backend.as_inet(), nodes.next());
            assert!(backends.contains(backend));
        }
    }
}

#[test]
fn ring_walk_is_one_lap() {
    let ring = Arc::new(Consistent::build(&set(&[1, 2, 3])));
    let lap = walk(&ring, b"key", 100_000);
    assert!(lap.len() > 100 && lap.len() < 1000, "{}", lap.len());
    assert_eq!(lap.iter().collect::<BTreeSet<_>>().len(), 3);
    let mut iter = ring.iter(b"key");
    while iter.next().is_some() {}
    assert!(iter.next().is_none() && iter.next().is_none());
    let mut unique = UniqueIterator::new(ring.iter(b"key"), usize::MAX);
    assert_eq!(std::iter::from_fn(|| unique.get_next()).count(), 3);
}

#[test]
fn ring_moves_only_the_keys_of_who_left() {
    let all = set(&[1; 10]);
    let without: BTreeSet<_> = all.iter().filter(|b| number(b) != 4).cloned().collect();
    let (before, after) = (
        Arc::new(Consistent::build(&all)),
        Arc::new(Consistent::build(&without)),
    );
    for key in 0..1000u32 {
        let key = key.to_le_bytes();
        let owner = first(&before, &key);
        assert!(owner == 4 || owner == first(&after, &key));
    }
}

#[test]
fn ring_with_one_address_twice() {
    let light = Backend::new_with_weight("10.0.0.1:80", 1).unwrap();
    let heavy = Backend::new_with_weight("10.0.0.1:80", 2).unwrap();
    let other = Backend::new_with_weight("10.0.0.2:80", 3).unwrap();
    let twice = Arc::new(Consistent::build(&BTreeSet::from([
        light,
        heavy.clone(),
        other,
    ])));
    let summed = Arc::new(Consistent::build(&set(&[3, 3])));
    for key in 0..100u32 {
        let key = key.to_le_bytes();
        let mut iter = twice.iter(&key);
        let backend = iter.next().unwrap();
        assert_eq!(number(backend), first(&summed, &key));
        assert!(number(backend) == 2 || *backend == heavy);
    }
}

#[cfg(unix)]
#[test]
fn unix_sockets_take_part() {
    let mut backends = set(&[1, 1]);
    backends.insert(Backend::new("unix:/run/a.sock").unwrap());
    backends.insert(Backend::new("unix:/run/b.sock").unwrap());
    let selectors = (
        Arc::new(Consistent::build(&backends)),
        Arc::new(FNVHash::build(&backends)),
    );
    let mut counts = BTreeMap::<Backend, usize>::new();
    let mut hashed = BTreeMap::<Backend, usize>::new();
    for key in 0..400u32 {
        let key = key.to_le_bytes();
        *counts
            .entry(selectors.0.iter(&key).next().unwrap().clone())
            .or_default() += 1;
        *hashed
            .entry(selectors.1.iter(&key).next().unwrap().clone())
            .or_default() += 1;
    }
    assert_eq!(
        (counts.len(), hashed.len()),
        (4, 4),
        "{counts:?} {hashed:?}"
    );
}

#[test]
fn ring_configuration() {
    let backends = set(&[1, 1, 1]);
    let default = Consistent::build(&backends);
    let explicit = Consistent::build_with_config(&backends, &KetamaConfig::default());
    let few = Consistent::build_with_config(
        &backends,
        &KetamaConfig {
            point_multiple: Some(7),
        },
    );
    let lap = |ring| walk(&Arc::new(ring), b"key", 10_000).len();
    let nginx = lap(default);
    assert_eq!(lap(explicit), nginx);
    match cfg!(feature = "v2") {
        true => assert_eq!(lap(few), 21),
        false => assert_eq!(lap(few), nginx),
    }
}

#[test]
fn other_hashers_are_algorithms() {
    type Sip = weighted::Weighted<std::hash::DefaultHasher>;
    let selector = Arc::new(Sip::build_with_config(&set(&[1, 1, 1]), &()));
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(b"key");
    assert_eq!(first(&selector, b"key") as u64, hasher.finish() % 3 + 1);
}
