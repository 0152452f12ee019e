//! Exact counters for the keys that find room: buckets of four cells, one word each.
//!
//! A cell holds a tag of its key and a count in one word, so that every change is one
//! compare-and-swap: a cell cannot be cleared or taken over between the look and the change. A count
//! of zero means free, whatever the tag. Two threads that bring the same new key may give it two
//! cells; reading therefore sums over the bucket. What does not fit (no free cell, a count beyond its
//! field) is handed back for the sketch.

use crate::sync::{self, AtomicU64, Ordering};

/// Cells per bucket: half a cache line. Eight would save few spills and cost a nanosecond.
pub(crate) const WAYS: usize = 4;
const ALL: u32 = (1 << WAYS) - 1;
/// Bits of the count; the tag has the other 24.
const COUNT_BITS: u32 = 40;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// Lost races after which an addition goes to the sketch; each means that another thread succeeded.
const TRIES: usize = 32;

pub(crate) struct Cells {
    buckets: Box<[Bucket]>,
}

#[repr(align(32))]
struct Bucket([AtomicU64; WAYS]);

/// How the attempt to get a free cell ended.
enum Claim {
    Won(usize),
    /// Another thread was faster; look again.
    Lost,
}

impl Cells {
    /// At least `count` cells.
    pub(crate) fn new(count: usize) -> Self {
        let empty = |_| Bucket(std::array::from_fn(|_| AtomicU64::new(0)));
        Cells {
            buckets: (0..count.div_ceil(WAYS).max(1)).map(empty).collect(),
        }
    }

    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// The number of a key's bucket.
    #[inline]
    pub(crate) fn bucket(&self, hash: u64) -> usize {
        // The high half of the product: even over any number of buckets, without a division.
        ((u128::from(hash) * self.buckets.len() as u128) >> 64) as usize
    }

    #[inline]
    pub(crate) fn get(&self, hash: u64) -> u64 {
        self.buckets[self.bucket(hash)].sum(tag(hash), ALL)
    }

    /// Counts `value` more of a key and returns its count here; nothing if there is no room.
    #[inline]
    pub(crate) fn put(&self, hash: u64, value: u64) -> Option<u64> {
        let (bucket, tag) = (&self.buckets[self.bucket(hash)], tag(hash));
        for _ in 0..TRIES {
            let own = bucket.own(tag);
            let Some(way) = first(own) else {
                match bucket.claim(tag, value)? {
                    Claim::Won(way) => return Some(value + bucket.sum(tag, ALL & !(1 << way))),
                    Claim::Lost => continue,
                }
            };
            let word = bucket.load(way);
            let count = word ^ tag;
            if count > COUNT {
                continue; // Taken over by another key since.
            }
            let new = count.checked_add(value).filter(|new| *new <= COUNT)?;
            if bucket.swap(way, word, tag | new) {
                return Some(new + bucket.sum(tag, own & !(1 << way)));
            }
        }
        None
    }

    /// Takes back up to `value` of a key and returns what could not be taken here.
    ///
    /// It tries until the key has nothing left here, however often other threads win: what was added
    /// here must not be taken from the sketch, whose other keys would then be counted too low.
    #[inline]
    pub(crate) fn take(&self, hash: u64, mut value: u64) -> u64 {
        let (bucket, tag) = (&self.buckets[self.bucket(hash)], tag(hash));
        while value > 0
            && let Some(way) = first(bucket.own(tag))
        {
            let word = bucket.load(way);
            let taken = count_of(word, tag).min(value);
            if bucket.swap(way, word, word - taken) {
                value -= taken;
            }
        }
        value
    }

    pub(crate) fn clear(&self) {
        for Bucket(cells) in &self.buckets {
            cells.iter().for_each(sync::clear_word);
        }
    }
}

/// Relaxed throughout: a cell publishes nothing but itself.
impl Bucket {
    /// The cells that count a key. Without a branch: where a key sits is as good as random.
    #[inline]
    fn own(&self, tag: u64) -> u32 {
        let mut own = 0;
        for way in 0..WAYS {
            own |= u32::from(count_of(self.load(way), tag) != 0) << way;
        }
        own
    }

    /// Gives a free cell to a key that has none; nothing if there is no room.
    #[cold]
    fn claim(&self, tag: u64, value: u64) -> Option<Claim> {
        if value > COUNT {
            return None;
        }
        let mut free = None;
        for way in (0..WAYS).rev() {
            let word = self.load(way);
            if count_of(word, tag) != 0 {
                return Some(Claim::Lost);
            }
            if word & COUNT == 0 {
                free = Some((way, word));
            }
        }
        let (way, word) = free?;
        match self.swap(way, word, tag | value) {
            true => Some(Claim::Won(way)),
            false => Some(Claim::Lost),
        }
    }

    /// What the cells `among` count of a key.
    #[inline]
    fn sum(&self, tag: u64, among: u32) -> u64 {
        if among == 0 {
            return 0;
        }
        let counted = |way| count_of(self.load(way), tag) * u64::from(among >> way & 1);
        (0..WAYS).map(counted).sum()
    }

    #[inline]
    fn load(&self, way: usize) -> u64 {
        self.0[way].load(Ordering::Relaxed)
    }

    #[inline]
    fn swap(&self, way: usize, from: u64, to: u64) -> bool {
        self.0[way]
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// The bits of a hash that mark its cell: the low ones, the high ones already chose the bucket.
#[inline]
fn tag(hash: u64) -> u64 {
    hash << COUNT_BITS
}

/// What a cell counts of the key with this tag; 0 if it is another's.
#[inline]
fn count_of(word: u64, tag: u64) -> u64 {
    let count = word ^ tag;
    if count <= COUNT { count } else { 0 }
}

/// The first way of a set.
#[inline]
fn first(ways: u32) -> Option<usize> {
    (ways != 0).then(|| ways.trailing_zeros() as usize % WAYS)
}
