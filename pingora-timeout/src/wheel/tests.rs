//! The wheel against a map, over random operations.

use std::collections::BTreeMap;

use super::*;

// What the wheel must do, the slow way.
#[derive(Default)]
struct Naive {
    elapsed: u64,
    fresh: BTreeMap<u32, u64>,
    timers: BTreeMap<u32, u64>,
}

impl Naive {
    fn settle(&mut self) {
        let elapsed = self.elapsed;
        let fresh = std::mem::take(&mut self.fresh);
        self.timers.extend(
            fresh
                .into_iter()
                .map(|(id, after)| (id, elapsed.saturating_add(after))),
        );
    }

    fn expire(&mut self, to: u64) -> Vec<u32> {
        self.elapsed = self.elapsed.max(to);
        let due = |&(_, &due): &(&u32, &u64)| due <= to;
        let fired: Vec<u32> = self.timers.iter().filter(due).map(|(&id, _)| id).collect();
        for id in &fired {
            self.timers.remove(id);
        }
        fired
    }

    fn status(&self, id: u32) -> Status {
        match (self.fresh.get(&id), self.timers.get(&id)) {
            (Some(_), _) => Status::Fresh,
            (_, Some(&due)) => Status::Due(due),
            _ => Status::Gone,
        }
    }

    fn remove(&mut self, id: u32) -> bool {
        self.fresh.remove(&id).or(self.timers.remove(&id)).is_some()
    }
}

fn settle<T>(wheel: &mut Wheel<T>, now: u64) {
    wheel.settle(now, |after| now.saturating_add(after));
}

fn expire(wheel: &mut Wheel<u32>, to: u64, limit: usize) -> Vec<u32> {
    let mut all = Vec::new();
    loop {
        let mut batch = Vec::new();
        let more = wheel.expire(to, limit, &mut batch);
        assert!(batch.len() <= limit);
        all.append(&mut batch);
        if !more {
            all.sort_unstable();
            return all;
        }
    }
}

fn step(
    id: u32,
    rng: &mut fastrand::Rng,
    wheel: &mut Wheel<u32>,
    naive: &mut Naive,
    keys: &mut Vec<(u32, Key)>,
) {
    let after = rng.u64(..) >> rng.u32(30..64);
    match rng.u8(0..12) {
        0..5 => {
            let key = wheel.start(after, id);
            naive.fresh.insert(id, after);
            keys.push((id, key));
        }
        5..8 if !keys.is_empty() => {
            let (id, key) = keys.swap_remove(rng.usize(..keys.len()));
            assert_eq!(wheel.remove(key).is_some(), naive.remove(id));
            assert_eq!(wheel.remove(key), None);
        }
        8 if !keys.is_empty() => {
            let (id, key) = keys[rng.usize(..keys.len())];
            assert_eq!(wheel.status(key), naive.status(id));
            assert_eq!(
                wheel.replace(key, id).is_ok(),
                naive.status(id) != Status::Gone
            );
        }
        9 if !keys.is_empty() => {
            let (id, key) = keys[rng.usize(..keys.len())];
            let there = naive.remove(id);
            assert_eq!(wheel.restart(key, after), there);
            if there {
                naive.fresh.insert(id, after);
            }
        }
        10 => {
            settle(wheel, naive.elapsed);
            naive.settle();
        }
        _ => {
            let to = match rng.bool() {
                true => naive.elapsed + (rng.u64(..) >> rng.u32(40..64)),
                false => wheel.next().min(naive.elapsed + 100_000),
            };
            let limit = rng.usize(1..5);
            assert_eq!(expire(wheel, to, limit), naive.expire(to));
        }
    }
}

#[test]
fn agrees_with_the_naive_twin() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut wheel, mut naive) = (Wheel::new(), Naive::default());
        let mut keys = Vec::new();
        for id in 0..3000 {
            step(id, &mut rng, &mut wheel, &mut naive, &mut keys);
            let earliest = naive.timers.values().min();
            assert!(earliest.is_none_or(|&due| wheel.next() <= due));
            assert_eq!(wheel.len, naive.timers.len() + naive.fresh.len());
        }
        settle(&mut wheel, naive.elapsed);
        naive.settle();
        assert_eq!(expire(&mut wheel, u64::MAX, 7), naive.expire(u64::MAX));
        assert_eq!((wheel.next(), wheel.len), (u64::MAX, 0));
        assert!(wheel.entries.is_empty() || wheel.entries.capacity() <= KEPT_ENTRIES);
    }
}

#[test]
fn edges_of_digits() {
    for due in [
        1,
        63,
        64,
        65,
        4095,
        4096,
        4097,
        1 << 36,
        u64::MAX - 1,
        u64::MAX,
    ] {
        let mut wheel = Wheel::new();
        let key = wheel.start(due, 0);
        settle(&mut wheel, 0);
        assert_eq!(wheel.status(key), Status::Due(due));
        assert!(expire(&mut wheel, due - 1, 1).is_empty());
        assert_eq!(expire(&mut wheel, due, 1), [0], "due {due}");
        assert_eq!((wheel.status(key), wheel.remove(key)), (Status::Gone, None));
        // already due when it is settled
        wheel.start(0, 1);
        settle(&mut wheel, 0);
        assert_eq!(expire(&mut wheel, due, 1), [1]);
    }
}

#[test]
fn a_freed_place_is_used_again_and_old_keys_find_nothing() {
    let mut wheel = Wheel::new();
    let first = wheel.start(100, 'a');
    assert_eq!(wheel.remove(first), Some('a'));
    for _ in 0..10_000 {
        let key = wheel.start(5000, 'b');
        assert_eq!(key.link, first.link);
        assert_eq!(
            (wheel.remove(first), wheel.restart(first, 1)),
            (None, false)
        );
        assert_eq!(wheel.replace(first, 'c'), Err('c'));
        assert_eq!(wheel.remove(key), Some('b'));
    }
    assert_eq!(wheel.entries.len(), 1);

    let keys: Vec<Key> = (0..=KEPT_ENTRIES).map(|_| wheel.start(7, 'd')).collect();
    for key in keys {
        assert_eq!(wheel.remove(key), Some('d'));
    }
    assert_eq!(wheel.entries.capacity(), 0, "a large slab is given back");
    let key = wheel.start(7, 'e');
    assert_eq!(wheel.remove(first), None);
    assert_eq!(wheel.remove(key), Some('e'));
}

#[test]
fn fresh_entries_neither_fire_nor_keep_a_wheel_from_skipping() {
    let mut wheel = Wheel::new();
    wheel.start(1, 0);
    assert_eq!(wheel.next(), u64::MAX);
    assert!(expire(&mut wheel, 1000, 1).is_empty());
    settle(&mut wheel, 5000);
    assert_eq!(wheel.next(), 5001, "on the lowest level");
    // an entry in the way
    wheel.start(1, 1);
    settle(&mut wheel, 6000);
    assert_eq!(wheel.next(), 5001);
    assert_eq!(expire(&mut wheel, 6001, 9), [0, 1]);
}

#[test]
fn an_entry_takes_48_bytes() {
    assert_eq!(size_of::<Entry<std::task::Waker>>(), 48);
}
