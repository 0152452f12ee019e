//! The index of a shard: from hashes to the slots of its slab. It knows tags and positions, not
//! entries: whether a tag that fits is the right one is the caller's to say.
//!
//! Open addressing with linear probing in a table sorted by tag. The home of a tag grows with the
//! tag, so keeping clusters sorted sorts the whole table, and a search for what is absent ends at
//! the first greater tag. Removal shifts back, there are no tombstones. A row is one word, eight to
//! a cache line, so that a search touches one line most of the time. The rows after the last home
//! take what spills over the end, and more are added if that is not enough.

/// A row without an entry. As a number it is greater than any other row, so searches end at it.
const EMPTY: u64 = u64::MAX;

/// Homes per entry at least; twice that after it grew. With two a search looks at one row and a half.
const HOMES_PER_ENTRY: usize = 2;

/// Rows after the last home at least.
const SPILL: usize = 16;

/// A map from 32 bits of a hash to slots below `u32::MAX`, in which a tag may stand several times.
pub(crate) struct Index {
    /// Tag in the upper half, slot in the lower, sorted with gaps. The last is empty: searches end there.
    rows: Vec<u64>,
    homes: usize,
    len: usize,
}

impl Index {
    /// Returns an index that takes `entries` entries before it grows.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        let homes = (entries * HOMES_PER_ENTRY).max(8);
        Self {
            rows: vec![EMPTY; homes + homes / 64 + SPILL],
            homes,
            len: 0,
        }
    }

    /// Returns the slot under `tag` that `is_it` accepts.
    #[inline]
    pub(crate) fn find(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.find_row(tag, is_it).map(|row| slot_of(self.rows[row]))
    }

    /// Adds `slot` under `tag`.
    pub(crate) fn insert(&mut self, tag: u32, slot: u32) {
        if self.len * HOMES_PER_ENTRY >= self.homes {
            self.grow();
        }
        let new = row(tag, slot);
        let mut at = self.home(tag);
        while self.rows[at] < new {
            at += 1;
        }
        // The rows from here to the next gap move by one.
        let mut carried = new;
        while carried != EMPTY {
            std::mem::swap(&mut self.rows[at], &mut carried);
            at += 1;
        }
        if at == self.rows.len() {
            self.rows.push(EMPTY);
        }
        self.len += 1;
    }

    /// Removes the entry for `slot` under `tag`. Returns whether it was there.
    pub(crate) fn remove(&mut self, tag: u32, slot: u32) -> bool {
        let Some(mut at) = self.find_row(tag, |found| found == slot) else {
            return false;
        };
        loop {
            let next = self.rows[at + 1];
            if next == EMPTY || self.home(tag_of(next)) == at + 1 {
                break;
            }
            self.rows[at] = next;
            at += 1;
        }
        self.rows[at] = EMPTY;
        self.len -= 1;
        true
    }

    #[inline]
    fn find_row(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        let least = row(tag, 0);
        let mut at = self.home(tag);
        loop {
            let found = self.rows[at];
            if found >= least {
                if tag_of(found) != tag || found == EMPTY {
                    return None;
                }
                if is_it(slot_of(found)) {
                    return Some(at);
                }
            }
            at += 1;
        }
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        // Below `homes`, which is a usize.
        ((u64::from(tag) * self.homes as u64) >> 32) as usize
    }

    #[cold]
    fn grow(&mut self) {
        let mut wider = Self::with_capacity(self.len.max(8) * 2);
        let mut free = 0;
        for row in self.rows.iter().filter(|row| **row != EMPTY) {
            let at = wider.home(tag_of(*row)).max(free);
            // As in `insert`: the last row stays empty.
            if at + 1 >= wider.rows.len() {
                wider.rows.resize(at + 2, EMPTY);
            }
            wider.rows[at] = *row;
            free = at + 1;
        }
        wider.len = self.len;
        *self = wider;
    }
}

#[inline]
fn row(tag: u32, slot: u32) -> u64 {
    debug_assert!(slot < u32::MAX);
    u64::from(tag) << 32 | u64::from(slot)
}

#[inline]
fn tag_of(row: u64) -> u32 {
    (row >> 32) as u32
}

#[inline]
fn slot_of(row: u64) -> u32 {
    row as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Index;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u32, u32),
        Remove(u32, u32),
    }

    /// Few tags, many of them at both ends, so that clusters are long and spill.
    fn tag() -> impl Strategy<Value = u32> {
        prop_oneof![0..4u32, u32::MAX - 3..=u32::MAX, any::<u32>()]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (tag(), 0..64u32).prop_map(|(tag, slot)| Op::Insert(tag, slot)),
            (tag(), 0..64u32).prop_map(|(tag, slot)| Op::Remove(tag, slot)),
        ]
    }

    proptest! {
        #[test]
        fn is_a_set_of_pairs(ops in proptest::collection::vec(op(), 0..400), room in 0..32usize) {
            let mut index = Index::with_capacity(room);
            let mut twin = BTreeSet::new();
            for op in ops {
                match op {
                    Op::Insert(tag, slot) => {
                        if twin.insert((tag, slot)) {
                            index.insert(tag, slot);
                        }
                    }
                    Op::Remove(tag, slot) => {
                        prop_assert_eq!(index.remove(tag, slot), twin.remove(&(tag, slot)));
                    }
                }
                prop_assert_eq!(index.len, twin.len());
                for (tag, slot) in &twin {
                    prop_assert_eq!(index.find(*tag, |found| found == *slot), Some(*slot));
                    prop_assert_eq!(index.find(*tag, |_| false), None);
                }
            }
        }
    }
}
