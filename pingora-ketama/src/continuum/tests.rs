//! The whole ring: degenerate weights, iteration, shares, and what moves when servers change.

use std::collections::HashMap;

use super::*;

fn address(last: u8) -> SocketAddr {
    ([192, 0, 2, last], 80).into()
}

fn continuum(weights: &[u32]) -> Continuum {
    let buckets: Vec<_> = weights
        .iter()
        .zip(0..)
        .map(|(weight, last)| Bucket::new(address(last), *weight))
        .collect();
    Continuum::new(&buckets)
}

fn keys() -> impl Iterator<Item = Vec<u8>> {
    (0..10_000).map(|number| format!("key {number}").into_bytes())
}

#[test]
fn empty_rings_find_nothing() {
    for weights in [&[][..], &[0], &[0, 0, 0]] {
        let empty = continuum(weights);
        assert_eq!(empty.node(b"key"), None);
        assert_eq!(empty.node_idx(b"key"), 0);
        assert_eq!(empty.node_iter(b"key").next(), None);
        assert_eq!(empty.get_addr(&mut 0), None);
    }
}

#[test]
fn a_server_of_weight_zero_gets_nothing_and_changes_nothing() {
    let with = continuum(&[1, 0, 2]);
    let without = Continuum::new(&[Bucket::new(address(0), 1), Bucket::new(address(2), 2)]);
    for key in keys() {
        assert_eq!(with.node(&key), without.node(&key));
    }
}

#[test]
fn enormous_weights_are_scaled_down() {
    let weights = [(1, u32::MAX), (2, 0), (3, 1)];
    let buckets = weights.map(|(last, weight)| Bucket::new(address(last), weight));
    let ring = Continuum::with_limit(&buckets, u32::MAX, 1_000);
    assert_eq!(ring.ring.len(), 1_000);
    let lasts = [1, 3].map(|last| ring.node_iter(b"").any(|node| *node == address(last)));
    assert_eq!(lasts, [true, true]);
}

#[test]
fn indexes_go_round_and_beyond_is_nothing() {
    let ring = continuum(&[1, 1]);
    let mut index = ring.node_idx(b"key");
    let first = index;
    let mut turn: Vec<_> = ring.node_iter(b"key").take(ring.ring.len()).collect();
    assert_eq!(turn[0], &ring.node(b"key").expect("it has points"));
    for expected in turn.drain(..) {
        assert_eq!(ring.get_addr(&mut index), Some(expected));
    }
    assert_eq!(index, first);
    let mut beyond = ring.ring.len();
    assert_eq!(ring.get_addr(&mut beyond), None);
    assert_eq!(ring.get_addr(&mut usize::MAX.clone()), None);
}

#[test]
fn keys_are_shared_by_weight() {
    let ring = continuum(&[1, 2, 3, 4]);
    let mut shares: HashMap<_, f64> = HashMap::new();
    keys().for_each(|key| *shares.entry(ring.node(&key)).or_default() += 1.0);
    for (last, weight) in (0..4).zip(1u8..) {
        let expected = 1_000.0 * f64::from(weight);
        let share = shares[&Some(address(last))];
        assert!((share / expected - 1.0).abs() < 0.25, "{last}: {share}");
    }
}

#[test]
fn removing_a_server_moves_only_its_keys() {
    let before = continuum(&[1, 1, 1, 1]);
    let after = continuum(&[1, 1, 1, 0]);
    for key in keys() {
        match before.node(&key) {
            gone if gone == Some(address(3)) => assert_ne!(after.node(&key), gone),
            stays => assert_eq!(after.node(&key), stays),
        }
    }
}

#[test]
fn the_same_server_twice_is_one() {
    let twice = Continuum::new(&[Bucket::new(address(1), 1), Bucket::new(address(1), 1)]);
    assert_eq!(twice.ring.len(), DEFAULT_POINT_MULTIPLE as usize);
}

#[cfg(feature = "v2")]
#[test]
fn points_per_weight_can_be_chosen() {
    let buckets = [Bucket::new(address(1), 1), Bucket::new(address(2), 3)];
    let build =
        |point_multiple| Continuum::new_with_version(&buckets, Version::V2 { point_multiple });
    let v1 = Continuum::new(&buckets);
    let same = build(DEFAULT_POINT_MULTIPLE);
    for key in keys() {
        assert_eq!(same.node_idx(&key), v1.node_idx(&key));
        assert_eq!(same.node(&key), v1.node(&key));
    }
    assert_eq!(build(7).ring.len(), 28);
    assert_eq!(build(0).node(b"key"), None);
}
