//! Eviction, backpressure and the end of it, with a paused clock; copies of shards.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::{Semaphore, mpsc};
use tokio::time;

use super::*;

/// What `builder.rs` lets wait for callbacks.
const QUEUE: usize = 1024;

type Builder<C, const N: usize> = AsyncLruBuilder<u64, C, N>;

fn builder<C, const N: usize>(limit: usize, callback: C) -> (watch::Sender<bool>, Builder<C, N>)
where
    C: AsyncEvictionCallback<u64>,
{
    let (shutdown, announced) = watch::channel(false);
    let builder = AsyncLru::builder(limit, Arc::new(callback), announced, Handle::current());
    (shutdown, builder)
}

/// A callback that sends what it gets.
fn reporting() -> (
    impl AsyncEvictionCallback<u64>,
    mpsc::UnboundedReceiver<(u64, usize)>,
) {
    let (evicted, reported) = mpsc::unbounded_channel();
    let callback = move |key, weight| {
        evicted.send((key, weight)).expect("the test listens");
        std::future::ready(())
    };
    (callback, reported)
}

/// Lets every task run until all of them wait: with a paused clock, time passes only then.
async fn settle() {
    time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_reaches_the_callback() {
    let (callback, mut evicted) = reporting();
    let (_shutdown, builder) = builder::<_, 1>(10, callback);
    let lru = builder.capacity(4).build();
    assert_eq!(lru.admit(1, 4), 0);
    lru.admit(2, 4);
    assert!(lru.promote(&1) && !lru.promote(&3));
    lru.admit(3, 4);
    assert_eq!(evicted.recv().await, Some((2, 4)));
    lru.increment_weight(&3, 9, Some(8));
    assert_eq!(evicted.recv().await, Some((1, 4)));
    assert_eq!(lru.peek_weight(&3), Some(8));
    assert_eq!((lru.evicted_len(), lru.evicted_weight()), (2, 8));
    // Only for the tail there is no room.
    lru.insert_tail(4, 3);
    assert_eq!(evicted.recv().await, Some((4, 3)));
    lru.admit(3, 11);
    assert_eq!(evicted.recv().await, Some((3, 11)));
    assert!(lru.is_empty() && lru.weight() == 0 && !lru.over_limit());
}

#[tokio::test(start_paused = true)]
async fn the_watermark_evicts_too() {
    let (callback, mut evicted) = reporting();
    let (_shutdown, builder) = builder::<_, 1>(usize::MAX, callback);
    let lru = builder.len_watermark(2).num_eviction_workers(3).build();
    (1..=4).for_each(|key| {
        lru.admit(key, 0);
    });
    assert_eq!(evicted.recv().await, Some((1, 0)));
    assert_eq!(evicted.recv().await, Some((2, 0)));
    settle().await;
    assert_eq!(lru.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_does_not_reach_the_callback() {
    let (callback, mut evicted) = reporting();
    let (_shutdown, builder) = builder::<_, 4>(10, callback);
    let lru = builder.build();
    lru.admit(1, 5);
    lru.admit(2, 5);
    lru.remove(&1);
    lru.remove(&1);
    lru.remove_by_hash(hash_key(&2_u64));
    assert!(lru.is_empty() && !lru.peek(&1) && !lru.peek(&2));
    settle().await;
    assert!(evicted.try_recv().is_err());
}

/// A slow callback fills the queue; then entries stay, and the LRU says that it is over its limit.
#[tokio::test(start_paused = true)]
async fn a_full_queue_holds_eviction_up() {
    let (_shutdown, builder) = builder::<_, 1>(10, |_, _| pending());
    let (lru, queue) = builder.build_with_eviction_receiver();
    let admitted = 2 * QUEUE + 10;
    (0..admitted as u64).for_each(|key| {
        lru.admit(key, 1);
    });
    settle().await;
    assert_eq!(queue.len(), QUEUE);
    assert!(lru.over_limit());
    // One is in the hand of the worker.
    assert_eq!(lru.len(), admitted - QUEUE - 1);
    for key in 0..2 * QUEUE as u64 {
        assert_eq!(queue.recv().await, Ok((key, 1)));
    }
    settle().await;
    assert!(queue.is_empty() && !lru.over_limit());
    assert_eq!((lru.len(), lru.evicted_len()), (10, 2 * QUEUE));
}

/// What was not handed over when the shutdown came is still there, in its place.
#[tokio::test(start_paused = true)]
async fn a_shutdown_puts_back_what_is_in_hand() {
    let (shutdown, builder) = builder::<_, 1>(0, |_, _| pending());
    let (lru, queue) = builder
        .num_eviction_workers(2)
        .build_with_eviction_receiver();
    let admitted = QUEUE + 20;
    (0..admitted as u64).for_each(|key| {
        lru.admit(key, 1);
    });
    settle().await;
    assert!(lru.len() < 20);
    shutdown.send_replace(true);
    settle().await;
    assert_eq!((lru.len(), lru.weight()), (20, 20));
    assert_eq!((lru.evicted_len(), lru.evicted_weight()), (QUEUE, QUEUE));
    for key in 0..QUEUE as u64 {
        assert_eq!(queue.recv().await, Ok((key, 1)));
    }
    assert!(queue.recv().await.is_err(), "the queue is closed");
    // Everything works on, but nothing is evicted any more.
    lru.admit(5000, 1);
    lru.trigger_eviction();
    settle().await;
    assert_eq!(lru.len(), 21);
    assert!(lru.over_limit());
    let order = lru.snapshot_shard(0).await.expect("there is a shard");
    let mut keys: Vec<u64> = order.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys[0], 5000);
    keys.sort_unstable();
    let expected = (QUEUE as u64..admitted as u64).chain([5000]);
    assert!(keys.into_iter().eq(expected));
}

/// Callbacks for what is queued run after the shutdown.
#[tokio::test(start_paused = true)]
async fn a_shutdown_loses_no_callback() {
    let open = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&open);
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let callback = move |_: u64, _: usize| {
        let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
        async move {
            let _permit = gate.acquire().await;
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let (shutdown, builder) = builder::<_, 2>(0, callback);
    let lru = builder.build();
    (0..100).for_each(|key| {
        lru.admit(key, 1);
    });
    settle().await;
    assert_eq!((lru.evicted_len(), done.load(Ordering::Relaxed)), (100, 0));
    shutdown.send_replace(true);
    drop(lru);
    settle().await;
    open.add_permits(1);
    settle().await;
    assert_eq!(done.load(Ordering::Relaxed), 100);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_before_the_start_counts() {
    let (callback, mut evicted) = reporting();
    let (shutdown, builder) = builder::<_, 1>(1, callback);
    shutdown.send_replace(true);
    drop(shutdown);
    let lru = builder.build();
    lru.admit(1, 2);
    settle().await;
    assert!(lru.over_limit() && evicted.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn without_a_sender_no_shutdown_comes() {
    let (callback, mut evicted) = reporting();
    let (shutdown, builder) = builder::<_, 1>(1, callback);
    drop(shutdown);
    let lru = builder.build();
    settle().await;
    lru.admit(1, 2);
    assert_eq!(evicted.recv().await, Some((1, 2)));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_lru_ends_its_tasks() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (_shutdown, builder) = builder::<_, 1>(1, |_, _| std::future::ready(()));
    let lru = builder
        .num_eviction_workers(2)
        .num_callback_workers(3)
        .build();
    settle().await;
    assert_eq!(tasks(), before + 5);
    drop(lru);
    settle().await;
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn nobody_at_the_queue_does_not_lift_the_limit() {
    let (_shutdown, builder) = builder::<_, 1>(3, |_, _| pending());
    let (lru, queue) = builder.build_with_eviction_receiver();
    drop(queue);
    (0..9).for_each(|key| {
        lru.admit(key, 1);
    });
    settle().await;
    assert_eq!((lru.len(), lru.evicted_len()), (3, 6));
}

#[tokio::test(start_paused = true)]
async fn so_many_callbacks_run_at_once() {
    for workers in [0, 1, 3] {
        let running = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&running);
        let callback = move |_: u64, _: usize| {
            count.fetch_add(1, Ordering::Relaxed);
            pending()
        };
        let (_shutdown, builder) = builder::<_, 1>(0, callback);
        let lru = builder.num_callback_workers(workers).build();
        (0..9).for_each(|key| {
            lru.admit(key, 1);
        });
        settle().await;
        assert_eq!(running.load(Ordering::Relaxed), workers.max(1));
    }
}

/// A type that implements the trait by itself, and panics before and within its future.
struct Panicking(Mutex<Vec<u64>>);

impl AsyncEvictionCallback<u64> for Arc<Panicking> {
    fn call(&self, key: u64, _weight: usize) -> impl Future<Output = ()> + Send {
        assert_ne!(key, 0, "on purpose");
        let callback = Arc::clone(self);
        async move {
            assert_ne!(key, 1, "on purpose");
            callback.0.lock().expect("not while it panics").push(key);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_callback_does_not_end_the_worker() {
    let callback = Arc::new(Panicking(Mutex::default()));
    let (_shutdown, builder) = builder::<_, 1>(0, Arc::clone(&callback));
    let lru = builder.num_callback_workers(1).build();
    (0..4).for_each(|key| {
        lru.admit(key, 1);
    });
    settle().await;
    assert_eq!(*callback.0.lock().expect("nobody panics"), [2, 3]);
}

#[tokio::test]
async fn shards_are_seen_from_outside() {
    let (_shutdown, builder) = builder::<_, 4>(100, |_, _| pending());
    let lru = builder.build();
    assert_eq!((lru.shards(), lru.weight_limit()), (4, 100));
    let shard = lru.admit(1, 7);
    assert_eq!(shard, (hash_key(&1_u64) % 4) as usize);
    assert_eq!(lru.insert_tail(1, 9), shard, "it stays as it is");
    assert_eq!(lru.peek_lru(shard).await, Some((1, 7)));
    assert_eq!(lru.shard_weight(shard).await, Some(7));
    assert_eq!((lru.shard_len(shard), lru.len(), lru.weight()), (1, 1, 7));
    let other = (shard + 1) % 4;
    assert_eq!(lru.peek_lru(other).await, None);
    assert_eq!(lru.shard_weight(other).await, Some(0));
    assert_eq!(lru.snapshot_shard(other).await, Some(Vec::new()));
    assert_eq!((lru.peek_lru(4).await, lru.shard_len(4)), (None, 0));
    assert_eq!(lru.shard_weight(4).await, None);
    assert_eq!(lru.snapshot_shard(4).await, None);
    lru.increment_weight(&2, 3, None);
    assert_eq!(lru.peek_weight(&2), Some(3));
}

/// Equal hashes, different keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Colliding(u32);

impl Hash for Colliding {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        0.hash(state);
    }
}

#[tokio::test]
async fn equal_hashes_are_not_equal_keys() {
    let (_shutdown, announced) = watch::channel(false);
    let callback = Arc::new(|_: Colliding, _: usize| pending());
    let lru = AsyncLru::<Colliding, 4>::builder(100, callback, announced, Handle::current());
    let lru = lru.build();
    (1..=3).for_each(|key| {
        lru.admit(Colliding(key), key as usize);
    });
    assert_eq!(lru.peek_weight(&Colliding(2)), Some(2));
    assert!(!lru.peek(&Colliding(4)));
    lru.remove(&Colliding(2));
    assert_eq!((lru.len(), lru.weight()), (2, 4));
    lru.remove_by_hash(hash_key(&Colliding(4)));
    assert!(lru.is_empty());
}

#[tokio::test]
async fn every_shard_is_saved_and_failures_are_not_counted() {
    let (_shutdown, builder) = builder::<_, 8>(1000, |_, _| pending());
    let lru = builder.build();
    (0..100).for_each(|key| {
        lru.admit(key, 1);
    });
    let written = Arc::new(Mutex::new(Vec::new()));
    let writing = Arc::clone(&written);
    let saved = lru.save(move |shard: ShardData<u64>| {
        match shard.shard_index {
            3 => return Err("the disk is full".to_owned()),
            5 => panic!("on purpose"),
            _ => {}
        }
        let mut written = writing.lock().expect("nobody panics with it");
        written.push((shard.shard_index, shard.items.len()));
        Ok(())
    });
    assert_eq!(saved.await, 6);
    let expected: Vec<_> = (0..8)
        .filter(|shard| ![3, 5].contains(shard))
        .map(|shard| (shard, lru.shard_len(shard)))
        .collect();
    assert_eq!(*written.lock().expect("nobody panics"), expected);
}

#[tokio::test]
async fn threads_may_share_it_and_await_it() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    fn is_shared<T: Send + Sync>(_: &T) {}
    let (_shutdown, builder) = builder::<_, 4>(1000, |_, _| pending());
    let lru = is_send(builder).build();
    is_shared(&lru);
    is_send(lru.peek_lru(0)).await;
    is_send(lru.shard_weight(0)).await;
    is_send(lru.snapshot_shard(0)).await;
    is_send(lru.save(|_| Ok(()))).await;
}

/// Dropping a save or a copy leaves the LRU usable.
#[tokio::test]
async fn a_save_can_be_cancelled() {
    let (_shutdown, builder) = builder::<_, 4>(1000, |_, _| pending());
    let lru = builder.build();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let (begun, mut first) = mpsc::unbounded_channel();
    let save = lru.save(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = begun.send(());
        Ok(())
    });
    tokio::select! {
        biased;
        _ = first.recv() => {}
        _ = save => {}
    }
    drop(lru.snapshot_shard(0));
    lru.admit(1, 1);
    assert!(lru.peek(&1));
    assert!(calls.load(Ordering::Relaxed) >= 1);
}

/// A copy made while threads use the shard: each key once, and the keys nobody touched all of them, in
/// their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_right_while_others_write() {
    const STILL: u64 = 5_000;
    let (_shutdown, builder) = builder::<_, 1>(usize::MAX, |_, _| pending());
    let lru = Arc::new(builder.build());
    (0..STILL).for_each(|key| {
        lru.admit(key, 1);
    });
    let busy = Arc::clone(&lru);
    let (stop, mut stopped) = watch::channel(false);
    let writer = tokio::task::spawn_blocking(move || {
        let mut key = STILL;
        while !*stopped.borrow_and_update() {
            key = STILL + (key * 31 + 7) % 3_000;
            busy.admit(key, 2);
            busy.promote(&(STILL + key % 1_000));
            busy.remove(&(STILL + (key * 17) % 3_000));
        }
    });
    for _ in 0..20 {
        let copy = lru.snapshot_shard(0).await.expect("there is a shard");
        let still = copy.iter().map(|(key, _)| *key).filter(|key| *key < STILL);
        assert!(still.eq((0..STILL).rev()));
        let mut keys: Vec<u64> = copy.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), copy.len());
    }
    stop.send_replace(true);
    writer.await.expect("no panic");
}

#[derive(Clone, Debug)]
enum Op {
    Admit(u64, usize),
    InsertTail(u64, usize),
    Increment(u64, usize, Option<usize>),
    Promote(u64),
    Remove(u64),
    RemoveByHash(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let entry = (0..12_u64, 0..50_usize);
    prop_oneof![
        entry
            .clone()
            .prop_map(|(key, weight)| Op::Admit(key, weight)),
        entry
            .clone()
            .prop_map(|(key, weight)| Op::InsertTail(key, weight)),
        (entry, prop::option::of(0..60_usize))
            .prop_map(|((key, delta), max)| Op::Increment(key, delta, max)),
        (0..12_u64).prop_map(Op::Promote),
        (0..12_u64).prop_map(Op::Remove),
        (0..12_u64).prop_map(Op::RemoveByHash),
    ]
}

fn apply(op: Op, lru: &AsyncLru<u64, 1>, twin: &mut VecDeque<(u64, usize)>) {
    let take = |twin: &mut VecDeque<(u64, usize)>, key| {
        let at = twin.iter().position(|(other, _)| *other == key)?;
        twin.remove(at)
    };
    match op {
        Op::Admit(key, weight) => {
            lru.admit(key, weight);
            take(twin, key);
            twin.push_front((key, weight));
        }
        Op::InsertTail(key, weight) => {
            lru.insert_tail(key, weight);
            if !twin.iter().any(|(other, _)| *other == key) {
                twin.push_back((key, weight));
            }
        }
        Op::Increment(key, delta, max) => {
            lru.increment_weight(&key, delta, max);
            let max = max.unwrap_or(usize::MAX);
            match twin.iter_mut().find(|(other, _)| *other == key) {
                Some((_, weight)) => *weight = (*weight + delta).min(max),
                None => twin.push_front((key, delta.min(max))),
            }
        }
        Op::Promote(key) => {
            let item = take(twin, key);
            assert_eq!(lru.promote(&key), item.is_some());
            item.into_iter().for_each(|item| twin.push_front(item));
        }
        Op::Remove(key) => {
            lru.remove(&key);
            take(twin, key);
        }
        Op::RemoveByHash(key) => {
            lru.remove_by_hash(hash_key(&key));
            take(twin, key);
        }
    }
}

proptest! {
    #[test]
    fn does_what_a_deque_does(ops in prop::collection::vec(op(), 0..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _entered = runtime.enter();
        let (_shutdown, builder) = builder::<_, 1>(usize::MAX, |_, _| pending());
        let (lru, _queue) = builder.build_with_eviction_receiver();
        let mut twin = VecDeque::new();
        for op in ops {
            apply(op, &lru, &mut twin);
            let copy = lru.state.snapshot(0);
            assert_eq!(VecDeque::from(copy), twin);
            assert_eq!(lru.weight(), twin.iter().map(|(_, weight)| weight).sum::<usize>());
        }
    }
}
