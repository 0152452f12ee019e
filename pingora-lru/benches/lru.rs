//! What each operation costs, alone and among threads, in an LRU of 100,000 entries in 16 shards.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use criterion::{Criterion, criterion_group, criterion_main};
use pingora_lru::Lru;
use pingora_lru::linked_list::LinkedListU64;

const ENTRIES: u64 = 100_000;

type Filled = Lru<u64, 16>;

/// Every entry weighs one and the LRU is full.
fn filled() -> Filled {
    let lru = Filled::with_capacity(ENTRIES as usize, ENTRIES as usize * 2);
    (0..ENTRIES).for_each(|number| {
        lru.admit(key(number), number, 1);
    });
    lru
}

/// Keys are hashes: multiplication with an odd number is a permutation that looks like one.
fn key(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17)
}

/// Numbers below `below` without a pattern.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(below)) >> 64) as u64
    }
}

fn one_thread(criterion: &mut Criterion) {
    let lru = filled();
    let mut random = Random(7);
    criterion.bench_function("promote", |bencher| {
        bencher.iter(|| assert!(lru.promote(key(random.below(ENTRIES)))));
    });
    criterion.bench_function("promote_top_n, near the top", |bencher| {
        (0..4).for_each(|number| assert!(lru.promote(key(number))));
        bencher.iter(|| assert!(lru.promote_top_n(black_box(key(2)), 8)));
    });
    criterion.bench_function("peek", |bencher| {
        bencher.iter(|| assert!(lru.peek(key(random.below(ENTRIES)))));
    });
    let mut next = ENTRIES;
    criterion.bench_function("admit and evict", |bencher| {
        bencher.iter(|| {
            next += 1;
            lru.admit(key(next), next, 1);
            lru.evict_to_limit()
        });
    });
}

/// The first thread is measured while another one does the same.
fn two_threads(criterion: &mut Criterion) {
    let lru = filled();
    let beside = |work: &(dyn Fn(&mut Random) + Sync), measure: &mut dyn FnMut()| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random(99);
                while !stop.load(Ordering::Relaxed) {
                    work(&mut random);
                }
            });
            measure();
            stop.store(true, Ordering::Relaxed);
        });
    };
    let promote = |random: &mut Random| assert!(lru.promote(key(random.below(ENTRIES))));
    beside(&promote, &mut || {
        let mut random = Random(7);
        criterion.bench_function("promote, two threads", |bencher| {
            bencher.iter(|| promote(&mut random));
        });
    });
    let admit = |random: &mut Random| {
        let number = random.below(u64::MAX);
        lru.admit(key(number), number, 1);
        black_box(lru.evict_to_limit());
    };
    beside(&admit, &mut || {
        let mut random = Random(7);
        criterion.bench_function("admit and evict, two threads", |bencher| {
            bencher.iter(|| admit(&mut random));
        });
    });
}

fn list(criterion: &mut Criterion) {
    let mut list = LinkedListU64::with_capacity(ENTRIES as usize);
    let indices: Vec<usize> = (0..ENTRIES).map(|item| list.push_head(item)).collect();
    let mut random = Random(7);
    criterion.bench_function("linked list: promote", |bencher| {
        bencher.iter(|| list.promote(indices[random.below(ENTRIES) as usize]));
    });
    criterion.bench_function("linked list: push and pop", |bencher| {
        bencher.iter(|| {
            list.push_head(black_box(1));
            list.pop_tail()
        });
    });
}

criterion_group!(benches, one_thread, two_threads, list);
criterion_main!(benches);
