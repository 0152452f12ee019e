//! The shard against a map, whatever its policy.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{NO_HINT, Shard};
use crate::setting::Setting;

#[derive(Clone, Debug)]
enum Op {
    Get(u64),
    Put(u64, u16),
    Remove(u64),
    Shrink(usize),
    Grow(usize),
    Set(Setting),
}

/// Few hashes, and few fingerprints among them.
fn hash() -> impl Strategy<Value = u64> {
    (0..8u64, 0..4u64).prop_map(|(low, high)| low | high << 32)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => hash().prop_map(Op::Get),
        8 => (hash(), 1..6u16).prop_map(|(hash, weight)| Op::Put(hash, weight)),
        2 => hash().prop_map(Op::Remove),
        1 => (0..8usize).prop_map(Op::Shrink),
        1 => (0..8usize).prop_map(Op::Grow),
        1 => prop_oneof![Just(Setting::Frequent), Just(Setting::Recent)].prop_map(Op::Set),
    ]
}

proptest! {
    #[test]
    fn holds_what_it_did_not_give_back(
        ops in proptest::collection::vec(op(), 0..500),
        budget in 0..40usize,
        reserved: bool,
    ) {
        let mut shard = Shard::new(budget, 8, reserved, Setting::Frequent);
        let mut twin: HashMap<u64, (usize, u16)> = HashMap::new();
        let mut budget = budget;
        for (value, op) in ops.into_iter().enumerate() {
            let mut out = Vec::new();
            match op {
                Op::Get(hash) => {
                    let expected = twin.get(&hash).map(|(value, _)| value);
                    prop_assert_eq!(shard.get(hash, NO_HINT).map(|(value, _)| value), expected);
                }
                Op::Remove(hash) => {
                    let expected = twin.remove(&hash).map(|(value, _)| value);
                    prop_assert_eq!(shard.remove(hash), expected);
                }
                Op::Put(hash, weight) if usize::from(weight) <= budget => {
                    let replaced = shard.put(hash, value, weight, &mut out);
                    let expected = twin.insert(hash, (value, weight)).map(|(value, _)| value);
                    prop_assert_eq!(replaced, expected);
                }
                Op::Put(..) => {}
                Op::Set(setting) => shard.set(setting),
                Op::Shrink(weight) => {
                    let given = shard.shrink(weight, &mut out);
                    prop_assert_eq!(given, weight.min(budget));
                    budget -= given;
                }
                Op::Grow(weight) => {
                    shard.grow(weight);
                    budget += weight;
                }
            }
            for entry in out {
                prop_assert_eq!(twin.remove(&entry.key), Some((entry.data, entry.weight)));
            }
            let used = twin.values().map(|(_, weight)| usize::from(*weight)).sum::<usize>();
            prop_assert_eq!(shard.used(), used);
            prop_assert_eq!(shard.budget(), budget);
            prop_assert!(used <= budget);
        }
        for (hash, (value, _)) in &twin {
            prop_assert_eq!(shard.get(*hash, NO_HINT).map(|(value, _)| value), Some(value));
        }
    }
}

/// Putting and removing without ever filling the shard leaves nothing behind.
#[test]
fn stale_newcomers_are_cleared() {
    let mut shard = Shard::new(100, 8, true, Setting::Recent);
    for hash in 0..10_000 {
        shard.put(hash, (), 1, &mut Vec::new());
        shard.remove(hash);
    }
    assert!(shard.small.len() < 100);
    assert!(shard.slots.len() < 100);
}
