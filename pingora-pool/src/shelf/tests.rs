//! The shelf against a naive twin: a vector in age order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Operation {
    Push(u64),
    Pop(u64),
    PopOldest,
    /// Removes the n-th entry there is.
    Remove(usize),
    Walk {
        keep: bool,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (0..5u64).prop_map(Operation::Push),
        3 => (0..5u64).prop_map(Operation::Pop),
        1 => Just(Operation::PopOldest),
        2 => any::<usize>().prop_map(Operation::Remove),
        3 => any::<bool>().prop_map(|keep| Operation::Walk { keep }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct TwinEntry {
    key: u64,
    value: u32,
    slot: u32,
}

#[derive(Default)]
struct Twin {
    entries: Vec<TwinEntry>,
    /// Values up to this one were visited by the walk under way.
    visited: Option<u32>,
    next_value: u32,
}

impl Twin {
    fn take(&mut self, place: Option<usize>) -> Option<u32> {
        place.map(|place| self.entries.remove(place).value)
    }

    fn walk(&mut self, keep: bool) -> Step<u32> {
        let next = self
            .entries
            .iter()
            .position(|entry| self.visited.is_none_or(|visited| entry.value > visited));
        let Some(place) = next else {
            self.visited = None;
            return Step::End;
        };
        let value = self.entries[place].value;
        self.visited = Some(value);
        if keep {
            return Step::Kept;
        }
        self.entries.remove(place);
        Step::Removed(value)
    }
}

fn check(operations: &[Operation]) {
    let mut shelf = Shelf::new();
    let mut twin = Twin::default();
    let mut most = 0;
    for operation in operations {
        match *operation {
            Operation::Push(key) => {
                // A walk that has come to the end does not go on with what is added then.
                let at_end = twin.visited.is_some()
                    && twin
                        .entries
                        .iter()
                        .all(|entry| Some(entry.value) <= twin.visited);
                twin.next_value += 1;
                let value = twin.next_value;
                let slot = shelf.push(key, value);
                twin.entries.push(TwinEntry { key, value, slot });
                if at_end {
                    twin.visited = Some(u32::MAX);
                }
            }
            Operation::Pop(key) => {
                let place = twin.entries.iter().rposition(|entry| entry.key == key);
                assert_eq!(shelf.pop(key), twin.take(place));
            }
            Operation::PopOldest => {
                let place = (!twin.entries.is_empty()).then_some(0);
                assert_eq!(shelf.pop_oldest(), twin.take(place));
            }
            Operation::Remove(nth) if !twin.entries.is_empty() => {
                let entry = twin.entries.remove(nth % twin.entries.len());
                assert_eq!(shelf.remove(entry.slot), entry.value);
            }
            Operation::Remove(_) => {}
            Operation::Walk { keep } => assert_eq!(shelf.walk(|_| keep), twin.walk(keep)),
        }
        most = most.max(twin.entries.len());
        let keys: std::collections::HashSet<_> = twin.entries.iter().map(|e| e.key).collect();
        assert_eq!(shelf.keys(), keys.len());
        assert_eq!(
            shelf.oldest().copied(),
            twin.entries.first().map(|e| e.value)
        );
        assert!(shelf.slots.len() <= most);
        for entry in &twin.entries {
            assert_eq!(*shelf.value_mut(entry.slot), entry.value);
        }
    }
    while let Some(value) = shelf.pop_oldest() {
        assert_eq!(Some(value), twin.take(Some(0)));
    }
    assert!(twin.entries.is_empty());
}

proptest! {
    #[test]
    fn does_what_the_naive_twin_does(operations in prop::collection::vec(operation(), 0..200)) {
        check(&operations);
    }
}

#[test]
fn a_million_keys_leave_nothing_behind() {
    let mut shelf = Shelf::new();
    for key in 0..1_000_000 {
        shelf.push(key, ());
        assert_eq!(shelf.pop(key), Some(()));
    }
    assert_eq!((shelf.keys(), shelf.slots.len()), (0, 1));
    assert!(shelf.tops.capacity() < 100);
}

#[test]
fn hashing_spreads_keys_that_differ_in_few_bits() {
    let hashing = KeyHashing::new();
    for shift in 0..58 {
        let low: std::collections::HashSet<_> = (0..64u64)
            .map(|bits| hashing.hash_one(bits << shift) & 0xFFFF)
            .collect();
        assert!(low.len() > 48, "shift {shift}: {}", low.len());
        let high: std::collections::HashSet<_> = (0..64u64)
            .map(|bits| hashing.hash_one(bits << shift) >> 48)
            .collect();
        assert!(high.len() > 48, "shift {shift}: {}", high.len());
    }
}
