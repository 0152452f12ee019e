//! The index against a set of pairs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;

use super::Table;

#[derive(Clone, Debug)]
enum Op {
    Insert(u32),
    Remove(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || prop_oneof![0..64u32, 0..400u32];
    prop_oneof![slot().prop_map(Op::Insert), slot().prop_map(Op::Remove)]
}

/// Hashes of slots: few at both ends, so that rows run over and what is past them comes round, and
/// some with the fingerprint 0.
fn hash_of(slot: u32) -> u64 {
    let bits = u64::from(slot).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    match slot % 4 {
        0 => bits >> 63,
        1 => bits | 0xFFFF_FFFF << 16,
        2 => bits & !0xFFFF,
        _ => bits,
    }
}

/// Adds `slot`, in a wider table if it must be. The places of all are in `twin`.
fn insert(table: &mut Table, twin: &mut BTreeMap<u32, u32>, slot: u32) {
    if table.is_full() {
        table.widen();
        for (slot, place) in twin.iter_mut() {
            *place = table.insert(hash_of(*slot), *slot);
        }
        table.publish();
    }
    twin.insert(slot, table.insert(hash_of(slot), slot));
}

proptest! {
    #[test]
    fn is_a_set_of_pairs(ops in proptest::collection::vec(op(), 0..300), room in 0..32usize) {
        let mut table = Table::with_capacity(room);
        let mut twin = BTreeMap::new();
        for op in ops {
            match op {
                Op::Insert(slot) if twin.contains_key(&slot) => {}
                Op::Insert(slot) => insert(&mut table, &mut twin, slot),
                Op::Remove(slot) => {
                    if let Some(place) = twin.remove(&slot) {
                        table.remove(hash_of(slot), place);
                    }
                }
            }
            for slot in (0..400).step_by(7) {
                let found = table.find(hash_of(slot), |found| found == slot);
                prop_assert_eq!(found.is_some(), twin.contains_key(&slot));
                prop_assert!(found.is_none() || table.index.look(hash_of(slot)).is_some());
                prop_assert_eq!(table.find(hash_of(slot), |_| false), None);
            }
        }
        for (slot, place) in twin {
            table.remove(hash_of(slot), place);
        }
        let passed = |row: &super::Row| row.passed.load(Ordering::Relaxed);
        prop_assert!(table.rows.iter().all(|row| passed(row) == 0));
        prop_assert!((0..400).all(|slot| table.index.look(hash_of(slot)).is_none()));
    }
}

/// Whoever looks while rows are changed, and tables replaced, never misses what is there all the time.
#[test]
fn looks_during_changes_miss_nothing() {
    let (mut table, mut twin) = (Table::with_capacity(0), BTreeMap::new());
    (0..64).for_each(|slot| insert(&mut table, &mut twin, slot));
    let (index, done) = (table.index(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for slot in 64..if cfg!(miri) { 500 } else { 20_000 } {
                insert(&mut table, &mut twin, slot);
                let other = 64 + (slot * 7) % 256;
                if let Some(place) = twin.remove(&other) {
                    table.remove(hash_of(other), place);
                    insert(&mut table, &mut twin, other);
                }
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            assert!((0..64).all(|slot| index.look(hash_of(slot)).is_some()));
        }
    });
}
