//! The wheel against a sorted map, over random operations.

use std::collections::BTreeMap;

use super::*;

// What the wheel must do, the slow way.
#[derive(Default)]
struct Naive {
    elapsed: u64,
    timers: BTreeMap<u32, u64>,
}

impl Naive {
    fn expire(&mut self, to: u64) -> Vec<u32> {
        self.elapsed = self.elapsed.max(to);
        let due = |&(_, &due): &(&u32, &u64)| due <= to;
        let fired: Vec<u32> = self.timers.iter().filter(due).map(|(&id, _)| id).collect();
        for id in &fired {
            self.timers.remove(id);
        }
        fired
    }
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

#[test]
fn agrees_with_the_naive_twin() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut wheel, mut naive) = (Wheel::new(), Naive::default());
        let mut keys: Vec<(u32, Key)> = Vec::new();
        for id in 0..3000u32 {
            match rng.u8(0..10) {
                0..5 => {
                    let due = naive.elapsed + (rng.u64(..) >> rng.u32(30..64));
                    match wheel.insert(due, id) {
                        Ok((key, wake)) => {
                            assert!(wake <= due && wheel.next() <= wake);
                            naive.timers.insert(id, due);
                            keys.push((id, key));
                        }
                        Err(value) => assert!(value == id && due <= naive.elapsed),
                    }
                }
                5..8 if !keys.is_empty() => {
                    let (id, key) = keys.swap_remove(rng.usize(..keys.len()));
                    let expected = naive.timers.remove(&id).map(|_| id);
                    assert_eq!(wheel.remove(key), expected);
                    assert_eq!(wheel.remove(key), None);
                }
                8 if !keys.is_empty() => {
                    let (id, key) = keys[rng.usize(..keys.len())];
                    let present = naive.timers.contains_key(&id);
                    assert_eq!(wheel.replace(key, id).is_ok(), present);
                }
                _ => {
                    let to = match rng.bool() {
                        true => naive.elapsed + (rng.u64(..) >> rng.u32(40..64)),
                        false => wheel.next().min(naive.elapsed + 100_000),
                    };
                    let limit = rng.usize(1..5);
                    assert_eq!(expire(&mut wheel, to, limit), naive.expire(to));
                }
            }
            let earliest = naive.timers.values().min();
            assert!(earliest.is_none_or(|&due| naive.elapsed < due && wheel.next() <= due));
            assert_eq!(wheel.len, naive.timers.len());
        }
        assert_eq!(expire(&mut wheel, u64::MAX, 7), naive.expire(u64::MAX));
        assert_eq!(wheel.next(), u64::MAX);
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
        let (key, _) = wheel.insert(due, 0).unwrap();
        assert!(expire(&mut wheel, due - 1, 1).is_empty());
        assert_eq!(expire(&mut wheel, due, 1), [0], "due {due}");
        assert_eq!(wheel.remove(key), None);
        assert_eq!(wheel.insert(due, 1), Err(1));
    }
}

#[test]
fn a_freed_place_is_used_again_and_old_keys_find_nothing() {
    let mut wheel = Wheel::new();
    let (first, _) = wheel.insert(100, 'a').unwrap();
    assert_eq!(wheel.remove(first), Some('a'));
    for _ in 0..10_000 {
        let (key, _) = wheel.insert(5000, 'b').unwrap();
        assert_eq!(key.link, first.link);
        assert_eq!(wheel.remove(first), None);
        assert_eq!(wheel.replace(first, 'c'), Err('c'));
        assert_eq!(wheel.remove(key), Some('b'));
    }
    assert_eq!(wheel.entries.len(), 1);

    let keys: Vec<Key> = (0..=KEPT_ENTRIES)
        .map(|_| wheel.insert(7, 'd').unwrap().0)
        .collect();
    for key in keys {
        assert_eq!(wheel.remove(key), Some('d'));
    }
    assert_eq!(wheel.entries.capacity(), 0, "a large slab is given back");
    let (key, _) = wheel.insert(7, 'e').unwrap();
    assert_eq!(wheel.remove(first), None);
    assert_eq!(wheel.remove(key), Some('e'));
}

#[test]
fn only_an_empty_wheel_skips() {
    let mut wheel = Wheel::new();
    wheel.skip_to(1000);
    let (_, wake) = wheel.insert(1001, 0).unwrap();
    assert_eq!(wake, 1001);
    wheel.skip_to(2000);
    assert_eq!(wheel.next(), 1001);
    assert_eq!(wheel.insert(1000, 1), Err(1));
}
