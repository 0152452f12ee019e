//! One shard: entries found by a 64 bit key and ordered by their last use. No locks, no totals.
//!
//! Three parts name an entry by the same index. `order` has its key and its neighbours in 16 bytes,
//! which is all that finding and promoting touch; `slots` has what the user gave; `table` finds the
//! index by key. So an entry takes no allocation, and a promotion four cache lines.
//!
//! Keys of users may be anything, also small numbers or chosen by an enemy: the table sees them
//! multiplied with a secret.
//!
//! Read next: `sharded.rs`, which locks and counts.

use hashbrown::HashTable;

use crate::linked_list::{End, LinkedListU64};

pub(crate) struct Shard<T> {
    table: HashTable<u32>,
    /// The keys, last used first.
    order: LinkedListU64,
    /// By index of `order`; the first is never used.
    slots: Vec<Option<Slot<T>>>,
    secret: u64,
    /// The stamp of the last entry that came to the head.
    newest: i64,
    /// The stamp of the last entry that came to the tail.
    oldest: i64,
}

pub(crate) struct Slot<T> {
    pub(crate) data: T,
    pub(crate) weight: usize,
}

impl<T> Shard<T> {
    pub(crate) fn new(capacity: usize, secret: u64) -> Self {
        let mut slots = Vec::with_capacity(capacity.saturating_add(1));
        slots.push(None);
        Shard {
            table: HashTable::with_capacity(capacity),
            order: LinkedListU64::with_capacity(capacity),
            slots,
            secret,
            newest: 0,
            oldest: 0,
        }
    }

    pub(crate) fn reserve(&mut self, additional: usize) {
        let Shard { table, order, .. } = self;
        let secret = self.secret;
        table.reserve(additional, |index| mix(*order.at(*index), secret));
        let unused = self.slots.len() - 1 - order.len();
        order.reserve(additional);
        self.slots.reserve(additional.saturating_sub(unused));
    }

    /// Adds an entry that is not there and returns its index and its stamp.
    #[inline]
    pub(crate) fn insert(&mut self, key: u64, slot: Slot<T>, end: End) -> (u32, i64) {
        let Shard { table, order, .. } = self;
        let secret = self.secret;
        let index = order.insert(key, end);
        table.insert_unique(mix(key, secret), index, |index| {
            mix(*order.at(*index), secret)
        });
        match self.slots.get_mut(index as usize) {
            Some(free) => *free = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        let stamp = match end {
            End::Head => self.stamp_newest(),
            End::Tail => {
                self.oldest -= 1;
                self.oldest
            }
        };
        (index, stamp)
    }

    /// Makes an entry the last used one and returns its new stamp.
    pub(crate) fn promote(&mut self, index: u32) -> i64 {
        self.order.move_to_head(index);
        self.stamp_newest()
    }

    pub(crate) fn remove(&mut self, index: u32) -> Slot<T> {
        let hash = mix(self.order.take(index), self.secret);
        match self.table.find_entry(hash, |other| *other == index) {
            Ok(found) => drop(found.remove()),
            Err(_) => unreachable!("{LISTED}"),
        }
        self.slots[index as usize].take().expect(FILLED)
    }

    /// Removes the entry at the tail, with its key, if its weight is permitted to go.
    ///
    /// Everything is looked up before the permission is asked for: an atomic operation would keep the
    /// processor from waiting for all of it at once.
    #[inline(always)]
    pub(crate) fn remove_tail_if(&mut self, permit: impl FnOnce(usize) -> bool) -> Tail<T> {
        let Some(index) = self.order.last() else {
            return Tail::Missing;
        };
        let slot = &mut self.slots[index as usize];
        let hash = mix(*self.order.at(index), self.secret);
        let found = self.table.find_entry(hash, |other| *other == index);
        if !permit(slot.as_ref().expect(FILLED).weight) {
            return Tail::Kept;
        }
        match found {
            Ok(found) => drop(found.remove()),
            Err(_) => unreachable!("{LISTED}"),
        }
        Tail::Removed(self.order.take(index), slot.take().expect(FILLED))
    }

    pub(crate) fn slot_mut(&mut self, index: u32) -> &mut Slot<T> {
        self.slots[index as usize].as_mut().expect(FILLED)
    }

    pub(crate) fn slot(&self, index: u32) -> &Slot<T> {
        self.slots[index as usize].as_ref().expect(FILLED)
    }

    /// Returns the index of the entry of `key`.
    pub(crate) fn find(&self, key: u64) -> Option<u32> {
        let hash = mix(key, self.secret);
        self.table
            .find(hash, |index| *self.order.at(*index) == key)
            .copied()
    }

    /// Returns the index of the entry of `key` whose data `matches`.
    #[cfg(not(loom))]
    pub(crate) fn find_matching(&self, key: u64, matches: impl Fn(&T) -> bool) -> Option<u32> {
        let hash = mix(key, self.secret);
        let same = |index: &u32| *self.order.at(*index) == key && matches(&self.slot(*index).data);
        self.table.find(hash, same).copied()
    }

    /// Returns whether the entry of `key` is among the `top` last used: so many steps at most.
    pub(crate) fn is_near_head(&self, key: u64, top: usize) -> bool {
        self.order.exist_near_head(&key, top)
    }

    pub(crate) fn tail(&self) -> Option<u32> {
        self.order.last()
    }

    /// The entries, last used first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot<T>> {
        self.order.indices().map(|index| self.slot(index))
    }

    /// The entries in the given part of the memory, in no useful order, and whether it was the last
    /// part. An entry stays where it is until it is removed.
    pub(crate) fn scan(&self, from: usize, count: usize) -> (impl Iterator<Item = &Slot<T>>, bool) {
        let to = from.saturating_add(count).min(self.slots.len());
        let part = &self.slots[from.min(to)..to];
        (part.iter().flatten(), to == self.slots.len())
    }

    fn stamp_newest(&mut self) -> i64 {
        self.newest += 1;
        self.newest
    }
}

/// What became of the entry at the tail.
pub(crate) enum Tail<T> {
    Removed(u64, Slot<T>),
    Kept,
    Missing,
}

const LISTED: &str = "every entry of the list is in the table";
const FILLED: &str = "every entry of the list has a slot";

/// Spreads a key over all bits: both halves of the product with an odd constant, as in wyhash.
#[inline]
fn mix(key: u64, secret: u64) -> u64 {
    let product = u128::from(key ^ secret) * 0x9E37_79B9_7F4A_7C15;
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::{End, Shard, Slot, mix};

    fn keys(shard: &Shard<u64>) -> Vec<u64> {
        shard.iter().map(|slot| slot.data).collect()
    }

    fn insert(shard: &mut Shard<u64>, key: u64, end: End) -> (u32, i64) {
        let slot = Slot {
            data: key,
            weight: 1,
        };
        shard.insert(key, slot, end)
    }

    #[test]
    fn stamps_have_the_order_of_the_list() {
        let mut shard = Shard::new(0, 7);
        let mut stamps = std::collections::HashMap::new();
        for key in 0..20 {
            let end = if key % 3 == 0 { End::Tail } else { End::Head };
            stamps.insert(key, insert(&mut shard, key, end).1);
        }
        for key in [3, 19, 3, 0] {
            let index = shard.find(key).expect("it was inserted");
            stamps.insert(key, shard.promote(index));
        }
        let mut expected = keys(&shard);
        expected.sort_by_key(|key| std::cmp::Reverse(stamps[key]));
        assert_eq!(keys(&shard), expected);
    }

    #[test]
    fn a_scan_meets_every_entry_once() {
        let mut shard = Shard::new(4, 7);
        for key in 0..10 {
            insert(&mut shard, key, End::Head);
        }
        for key in [2, 9] {
            let index = shard.find(key).expect("it was inserted");
            assert_eq!(shard.remove(index).data, key);
        }
        for step in [1, 3, 100] {
            let mut met = Vec::new();
            for from in (0..).step_by(step) {
                let (part, last) = shard.scan(from, step);
                met.extend(part.map(|slot| slot.data));
                if last {
                    break;
                }
            }
            assert_eq!(met, [0, 1, 3, 4, 5, 6, 7, 8], "{step}");
        }
    }

    #[test]
    fn small_keys_differ_in_the_bits_the_table_looks_at() {
        let mut tags: Vec<u64> = (0..64).map(|key| mix(key, 5) >> 57).collect();
        tags.sort_unstable();
        tags.dedup();
        assert!(tags.len() > 32, "{}", tags.len());
    }
}
