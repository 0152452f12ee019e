//! pingora-lru beside the original and two LRUs for one thread, which get as many locks as ours.
//!
//! Every LRU has 100,000 entries in 16 shards, is used at random places and evicts at the limit of its
//! shard (the lists) or at the limit of all (ours and the original). A list without a lock is shown as
//! the bound of what a shard could do.

use std::fs;
use std::hint::black_box;

use hashlink::LruCache;
use parking_lot::Mutex;
use pingora_lru as ours;
use pingora_lru_peer as original;

use super::report::{Candidate, OURS, Report};

const ENTRIES: u64 = 100_000;
const SHARDS: usize = 16;

/// The value of an entry.
type Value = u64;
type Ours = ours::Lru<Value, SHARDS>;
type Original = original::Lru<Value, SHARDS>;
type Hashlink = LruCache<u64, Value>;
type List = lru_peer::LruCache<u64, Value>;

/// Measures the crate.
pub fn run(report: &mut Report) {
    // First: later the allocator has memory left over, which would not count.
    memory(report);
    let lrus = Lrus::filled();
    lrus.promote(report);
    lrus.promote_hot(report);
    lrus.peek(report);
    // Admitting replaces all entries: promotions would find none after that.
    lrus.promote_on_threads(report);
    lrus.admit(report);
    lrus.admit_to_shard(report);
    lrus.admit_on_threads(report);
}

/// The candidates, filled alike.
struct Lrus {
    ours: Ours,
    original: Original,
    hashlink: Vec<Mutex<Hashlink>>,
    list: Vec<Mutex<List>>,
}

impl Lrus {
    fn filled() -> Self {
        let per_shard = ENTRIES as usize / SHARDS;
        let bound = per_shard.try_into().expect("a shard has room");
        let lrus = Lrus {
            ours: Ours::with_capacity(ENTRIES as usize, ENTRIES as usize),
            original: Original::with_capacity(ENTRIES as usize, ENTRIES as usize),
            hashlink: mutexed(|| Hashlink::new(per_shard)),
            list: mutexed(|| List::new(bound)),
        };
        for number in 0..ENTRIES {
            let key = key(number);
            lrus.ours.admit(key, number, 1);
            lrus.original.admit(key, number, 1);
            of(&lrus.hashlink, key).lock().insert(key, number);
            of(&lrus.list, key).lock().put(key, number);
        }
        lrus
    }

    fn promote(&self, report: &mut Report) {
        // The same number of entries as a shard of the others times their shards: as far from the cache.
        let mut bare = Hashlink::new(ENTRIES as usize);
        (0..ENTRIES).for_each(|number| _ = bare.insert(key(number), number));
        report.compare(
            "promote, 100k entries",
            vec![
                each(OURS, ENTRIES, |key| self.ours.promote(key)),
                each("original", ENTRIES, |key| self.original.promote(key)),
                each("hashlink, mutexed", ENTRIES, |key| {
                    of(&self.hashlink, key).lock().get(&key).copied()
                }),
                each("lru, mutexed", ENTRIES, |key| {
                    of(&self.list, key).lock().promote(&key)
                }),
                each("hashlink, no lock", ENTRIES, move |key| {
                    bare.get(&key).copied()
                })
                .floor(),
            ],
        );
    }

    fn promote_hot(&self, report: &mut Report) {
        const HOT: u64 = 64;
        report.compare(
            "promote, 64 hot entries",
            vec![
                each(OURS, HOT, |key| self.ours.promote(key)),
                each("original", HOT, |key| self.original.promote(key)),
                each("hashlink, mutexed", HOT, |key| {
                    of(&self.hashlink, key).lock().get(&key).copied()
                }),
                each("lru, mutexed", HOT, |key| {
                    of(&self.list, key).lock().promote(&key)
                }),
            ],
        );
        report.compare(
            "promote_top_n(8), 64 hot entries",
            vec![
                each(OURS, HOT, |key| self.ours.promote_top_n(key, 8)),
                each("original", HOT, |key| self.original.promote_top_n(key, 8)),
            ],
        );
    }

    fn peek(&self, report: &mut Report) {
        report.compare(
            "peek, 100k entries",
            vec![
                each(OURS, ENTRIES, |key| self.ours.peek(key)),
                each("original", ENTRIES, |key| self.original.peek(key)),
                each("hashlink, mutexed", ENTRIES, |key| {
                    of(&self.hashlink, key).lock().contains_key(&key)
                }),
                each("lru, mutexed", ENTRIES, |key| {
                    of(&self.list, key).lock().contains(&key)
                }),
            ],
        );
    }

    fn admit(&self, report: &mut Report) {
        let mut bare = Hashlink::new(ENTRIES as usize);
        (0..ENTRIES).for_each(|number| _ = bare.insert(key(number), number));
        report.compare(
            "admit and evict, 100k entries",
            vec![
                each(OURS, u64::MAX, |key| self.admit_to_ours(key)),
                each("original", u64::MAX, |key| self.admit_to_original(key)),
                // Without the vector of what was evicted, which the interface of the original asks for.
                each("ours, for_each", u64::MAX, |key| {
                    self.ours.admit(key, key, 1);
                    self.ours
                        .evict_to_limit_for_each(|value, _| _ = black_box(value));
                })
                .floor(),
                each("hashlink, mutexed", u64::MAX, |key| {
                    of(&self.hashlink, key).lock().insert(key, key)
                }),
                each("lru, mutexed", u64::MAX, |key| {
                    of(&self.list, key).lock().push(key, key)
                }),
                each("hashlink, no lock", u64::MAX, move |key| {
                    bare.insert(key, key)
                })
                .floor(),
            ],
        );
    }

    /// What a list does: the shard that gets an entry loses one, whatever the others have.
    fn admit_to_shard(&self, report: &mut Report) {
        report.compare(
            "admit and evict within a shard, 100k entries",
            vec![
                each(OURS, u64::MAX, |key| {
                    self.ours.admit(key, key, 1);
                    self.ours.evict_shard(key)
                }),
                each("original", u64::MAX, |key| {
                    self.original.admit(key, key, 1);
                    self.original.evict_shard(key)
                }),
                each("hashlink, mutexed", u64::MAX, |key| {
                    of(&self.hashlink, key).lock().insert(key, key)
                }),
                each("lru, mutexed", u64::MAX, |key| {
                    of(&self.list, key).lock().push(key, key)
                }),
            ],
        );
    }

    fn promote_on_threads(&self, report: &mut Report) {
        report.compare(
            "promote, 100k entries, on 2 threads",
            vec![
                threads(OURS, ENTRIES, |key| self.ours.promote(key)),
                threads("original", ENTRIES, |key| self.original.promote(key)),
                threads("hashlink, mutexed", ENTRIES, |key| {
                    of(&self.hashlink, key).lock().get(&key).copied()
                }),
                threads("lru, mutexed", ENTRIES, |key| {
                    of(&self.list, key).lock().promote(&key)
                }),
            ],
        );
    }

    fn admit_on_threads(&self, report: &mut Report) {
        report.compare(
            "admit and evict, 100k entries, on 2 threads",
            vec![
                threads(OURS, u64::MAX, |key| self.admit_to_ours(key)),
                threads("original", u64::MAX, |key| self.admit_to_original(key)),
                threads("hashlink, mutexed", u64::MAX, |key| {
                    of(&self.hashlink, key).lock().insert(key, key)
                }),
                threads("lru, mutexed", u64::MAX, |key| {
                    of(&self.list, key).lock().push(key, key)
                }),
            ],
        );
    }

    fn admit_to_ours(&self, key: u64) -> Vec<(Value, usize)> {
        self.ours.admit(key, key, 1);
        self.ours.evict_to_limit()
    }

    fn admit_to_original(&self, key: u64) -> Vec<(Value, usize)> {
        self.original.admit(key, key, 1);
        self.original.evict_to_limit()
    }
}

/// Resident memory per entry, told how many there will be.
fn memory(report: &mut Report) {
    const MANY: u64 = 400_000;
    const CAPACITY: usize = MANY as usize;
    // Keys spread unevenly over shards, and the lists evict at their capacity.
    const PER_SHARD: usize = CAPACITY / SHARDS + CAPACITY / 100;
    report.values(
        "memory per entry of 8 bytes",
        "B",
        &[
            (
                OURS,
                resident_bytes(MANY, || {
                    let lru = Ours::with_capacity(CAPACITY, CAPACITY);
                    (0..MANY).for_each(|number| _ = lru.admit(key(number), number, 1));
                    lru
                }),
            ),
            (
                "original",
                resident_bytes(MANY, || {
                    let lru = Original::with_capacity(CAPACITY, CAPACITY);
                    (0..MANY).for_each(|number| _ = lru.admit(key(number), number, 1));
                    lru
                }),
            ),
            (
                "hashlink, no weights",
                resident_bytes(MANY, || {
                    let lru = mutexed(|| Hashlink::new(PER_SHARD));
                    for key in (0..MANY).map(key) {
                        of(&lru, key).lock().insert(key, key);
                    }
                    lru
                }),
            ),
        ],
    );
}

/// Returns by how much making something of so many entries lets this process grow, per entry.
fn resident_bytes<T>(entries: u64, make: impl FnOnce() -> T) -> f64 {
    let before = resident();
    let made = make();
    let grown = resident() - before;
    // What one leaves to the allocator, the next would get for nothing.
    std::mem::forget(made);
    grown as f64 / entries as f64
}

/// Returns the resident memory of this process in bytes.
fn resident() -> i64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<i64>().ok());
    pages.unwrap_or_default() * rustix::param::page_size() as i64
}

fn mutexed<T>(make: impl Fn() -> T) -> Vec<Mutex<T>> {
    (0..SHARDS).map(|_| Mutex::new(make())).collect()
}

fn of<T>(shards: &[Mutex<T>], key: u64) -> &Mutex<T> {
    &shards[key as usize % SHARDS]
}

/// A key looks like a hash: multiplication with an odd number is a permutation.
fn key(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17)
}

/// Repeats an operation on keys of random numbers below `below`.
fn each<'a, T>(
    name: &'a str,
    below: u64,
    mut operation: impl FnMut(u64) -> T + 'a,
) -> Candidate<'a> {
    let mut state = 7;
    Candidate::new(name, move |iterations| {
        for _ in 0..iterations {
            black_box(operation(black_box(key(random(&mut state, below)))));
        }
    })
}

fn threads<'a, T>(
    name: &'a str,
    below: u64,
    operation: impl Fn(u64) -> T + Sync + 'a,
) -> Candidate<'a> {
    Candidate::threads(name, 2, move |thread, iterations| {
        let mut state = 7 + thread as u64 + iterations;
        for _ in 0..iterations {
            black_box(operation(black_box(key(random(&mut state, below)))));
        }
    })
}

fn random(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    ((u128::from(*state) * u128::from(below)) >> 64) as u64
}
