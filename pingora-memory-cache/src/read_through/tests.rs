//! With a clock that stands still until every task waits: lookups take seconds here, and no time.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use pingora_error::ErrorType;
use tokio::task::JoinHandle;
use tokio::time::{advance, sleep};

use super::*;

mod multi;

const SECOND: Duration = Duration::from_secs(1);

/// What lookups find, by the number of the call. It is passed along as `extra`.
#[derive(Clone)]
struct Source(Arc<Inner>);

struct Inner {
    plan: fn(usize) -> Plan,
    calls: AtomicUsize,
    /// Lookups running, by key, and the most there ever were of one key.
    running: Mutex<HashMap<u32, usize>>,
    most: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Plan {
    takes: Duration,
    then: Then,
}

#[derive(Clone, Copy)]
enum Then {
    /// The number of the call and this time to live.
    Find(Option<Duration>),
    Fail,
    Panic,
}

/// Each lookup takes a second and finds the number of the call.
fn second(_: usize) -> Plan {
    Plan {
        takes: SECOND,
        then: Then::Find(None),
    }
}

/// The same, but for one call that comes to something else.
fn second_but(odd: usize, then: Then, number: usize) -> Plan {
    match number == odd {
        true => Plan {
            takes: SECOND,
            then,
        },
        false => second(number),
    }
}

fn at_once(then: Then) -> Plan {
    Plan {
        takes: Duration::ZERO,
        then,
    }
}

impl Source {
    fn new(plan: fn(usize) -> Plan) -> Self {
        Source(Arc::new(Inner {
            plan,
            calls: AtomicUsize::new(0),
            running: Mutex::default(),
            most: AtomicUsize::new(0),
        }))
    }

    fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    fn most(&self) -> usize {
        self.0.most.load(Ordering::SeqCst)
    }

    async fn find(&self, keys: &[u32]) -> Result<(usize, Option<Duration>), Failure> {
        let number = self.0.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let _running: Vec<Running> = keys.iter().map(|key| Running::new(self, *key)).collect();
        let plan = (self.0.plan)(number);
        if plan.takes > Duration::ZERO {
            sleep(plan.takes).await;
        }
        match plan.then {
            Then::Find(ttl) => Ok((number, ttl)),
            Then::Fail => Err(format!("call {number} failed").into()),
            Then::Panic => panic!("on purpose"),
        }
    }
}

type Failure = Box<dyn StdError + Send + Sync>;

struct Running(Source, u32);

impl Running {
    fn new(source: &Source, key: u32) -> Self {
        let mut running = source.0.running.lock();
        let count = running.entry(key).or_default();
        *count += 1;
        source.0.most.fetch_max(*count, Ordering::SeqCst);
        Running(source.clone(), key)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.0.running.lock().entry(self.1).or_default() -= 1;
    }
}

struct Find;

#[async_trait]
impl Lookup<u32, usize, Source> for Find {
    async fn lookup(
        key: &u32,
        extra: Option<&Source>,
    ) -> Result<(usize, Option<Duration>), Failure> {
        extra.expect("tests pass it").find(&[*key]).await
    }
}

type Cache = RTCache<u32, usize, Find, Source>;
type Got = (Result<usize, BError>, CacheStatus);

fn cache(lock_age: Option<Duration>, lock_timeout: Option<Duration>) -> &'static Cache {
    Box::leak(Box::new(RTCache::new(100, lock_age, lock_timeout)))
}

/// Starts `get` of key 1 in a task and lets it run until it waits.
async fn start(cache: &'static Cache, source: &Source, ttl: Option<Duration>) -> JoinHandle<Got> {
    let source = source.clone();
    let task = tokio::spawn(async move { cache.get(&1, ttl, Some(&source)).await });
    tokio::task::yield_now().await;
    task
}

fn check(got: Got, value: usize, status: CacheStatus) {
    assert_eq!((got.0.expect("a value"), got.1), (value, status));
}

#[tokio::test(start_paused = true)]
async fn one_lookup_for_all_who_ask_at_once() {
    let (cache, source) = (cache(None, None), Source::new(second));
    let mut tasks = Vec::new();
    for _ in 0..50 {
        tasks.push(start(cache, &source, None).await);
    }
    for (number, task) in tasks.into_iter().enumerate() {
        let status = match number {
            0 => CacheStatus::Miss,
            _ => CacheStatus::LockHit,
        };
        check(task.await.expect("no panic"), 1, status);
    }
    check(
        cache.get(&1, None, Some(&source)).await,
        1,
        CacheStatus::Hit,
    );
    assert_eq!((source.calls(), cache.flights.under_way()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn other_keys_do_not_wait() {
    let (cache, source) = (cache(None, None), Source::new(second));
    let began = Instant::now();
    let keys: [u32; 40] = std::array::from_fn(|key| key as u32);
    let tasks = keys.map(|key| {
        let source = source.clone();
        tokio::spawn(async move { cache.get(&key, None, Some(&source)).await.0 })
    });
    for task in tasks {
        task.await.expect("no panic").expect("a value");
    }
    assert_eq!((source.calls(), began.elapsed()), (40, SECOND));
}

#[tokio::test(start_paused = true)]
async fn times_to_live() {
    let keeps: fn(usize) -> Plan = |_| at_once(Then::Find(None));
    let keeps_long: fn(usize) -> Plan = |_| at_once(Then::Find(Some(10 * SECOND)));
    let keeps_not: fn(usize) -> Plan = |_| at_once(Then::Find(Some(Duration::ZERO)));
    // What the caller says, and the status after five seconds.
    let rows = [
        (keeps, None, CacheStatus::Hit),
        (keeps, Some(9 * SECOND), CacheStatus::Hit),
        (keeps, Some(SECOND), CacheStatus::Expired),
        (keeps, Some(Duration::ZERO), CacheStatus::Miss),
        (keeps_long, Some(SECOND), CacheStatus::Hit),
        (keeps_not, Some(SECOND), CacheStatus::Miss),
        (keeps_not, None, CacheStatus::Miss),
    ];
    for (plan, ttl, status) in rows {
        let (cache, source) = (cache(None, None), Source::new(plan));
        check(
            cache.get(&1, ttl, Some(&source)).await,
            1,
            CacheStatus::Miss,
        );
        advance(5 * SECOND).await;
        let value = if status.is_hit() { 1 } else { 2 };
        check(cache.get(&1, ttl, Some(&source)).await, value, status);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_is_still_shared() {
    let plan = |_| Plan {
        takes: SECOND,
        then: Then::Find(Some(Duration::ZERO)),
    };
    let (cache, source) = (cache(None, None), Source::new(plan));
    let first = start(cache, &source, None).await;
    let second = start(cache, &source, None).await;
    check(first.await.expect("no panic"), 1, CacheStatus::Miss);
    check(second.await.expect("no panic"), 1, CacheStatus::LockHit);
    check(
        cache.get(&1, None, Some(&source)).await,
        2,
        CacheStatus::Miss,
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_is_for_all_who_waited_and_for_no_one_else() {
    let plan = |number| second_but(1, Then::Fail, number);
    let (cache, source) = (cache(None, None), Source::new(plan));
    let first = start(cache, &source, None).await;
    let second = start(cache, &source, None).await;
    for (task, context) in [
        (first, "cache lookup cause"),
        (second, "cache lookup of another"),
    ] {
        let (result, status) = task.await.expect("no panic");
        let error = result.expect_err("the first lookup fails");
        assert_eq!(error.etype(), &ErrorType::InternalError);
        let text = error.to_string();
        assert!(
            text.contains(context) && text.contains("call 1 failed"),
            "{text}"
        );
        assert_eq!(status, CacheStatus::Miss);
    }
    assert_eq!((source.calls(), cache.flights.under_way()), (1, 0));
    check(
        cache.get(&1, None, Some(&source)).await,
        2,
        CacheStatus::Miss,
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_takes_over_from_who_goes_away() {
    let panics = |number| second_but(1, Then::Panic, number);
    for (plan, goes_away) in [(second as fn(usize) -> Plan, true), (panics, false)] {
        let (cache, source) = (cache(None, None), Source::new(plan));
        let first = start(cache, &source, None).await;
        let others = [
            start(cache, &source, None).await,
            start(cache, &source, None).await,
        ];
        if goes_away {
            first.abort();
        }
        assert!(first.await.is_err(), "aborted, or panicked");
        let mut statuses = Vec::new();
        for other in others {
            let (result, status) = other.await.expect("no panic");
            assert_eq!(result.expect("the second call finds it"), 2);
            statuses.push(status);
        }
        assert!(statuses.contains(&CacheStatus::Miss), "one leads");
        assert!(statuses.contains(&CacheStatus::LockHit), "one follows");
        assert_eq!((source.calls(), source.most()), (2, 1));
        assert_eq!(cache.flights.under_way(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_disturbs_nobody() {
    let (cache, source) = (cache(None, None), Source::new(second));
    let first = start(cache, &source, None).await;
    let second = start(cache, &source, None).await;
    let third = start(cache, &source, None).await;
    second.abort();
    check(first.await.expect("no panic"), 1, CacheStatus::Miss);
    check(third.await.expect("no panic"), 1, CacheStatus::LockHit);
    assert_eq!(source.calls(), 1);
}

/// The first lookup takes a hundred seconds, others take one.
fn first_is_slow(number: usize) -> Plan {
    Plan {
        takes: if number == 1 { 100 * SECOND } else { SECOND },
        then: Then::Find(None),
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_lookup_is_given_up() {
    let (cache, source) = (cache(Some(10 * SECOND), None), Source::new(first_is_slow));
    let began = Instant::now();
    let first = start(cache, &source, None).await;
    advance(SECOND).await;
    let waiting = start(cache, &source, None).await;
    advance(9 * SECOND).await;
    let late = start(cache, &source, None).await;
    let mut statuses = Vec::new();
    for task in [waiting, late] {
        let (result, status) = task.await.expect("no panic");
        assert_eq!(result.expect("the second call finds it"), 2);
        statuses.push(status);
    }
    assert_eq!(began.elapsed(), 11 * SECOND);
    assert!(statuses.contains(&CacheStatus::Miss), "one of them leads");
    assert!(
        statuses.contains(&CacheStatus::LockHit),
        "the other follows"
    );
    check(first.await.expect("no panic"), 1, CacheStatus::Miss);
    assert_eq!((source.calls(), cache.flights.under_way()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_old_lookup_leaves_its_successor_alone() {
    let plan = |number| Plan {
        takes: if number == 1 { 11 * SECOND } else { 5 * SECOND },
        ..second_but(1, Then::Fail, number)
    };
    let (cache, source) = (cache(Some(10 * SECOND), None), Source::new(plan));
    let first = start(cache, &source, None).await;
    advance(10 * SECOND).await;
    let second = start(cache, &source, None).await;
    assert!(first.await.expect("no panic").0.is_err());
    assert_eq!(cache.flights.under_way(), 1, "the second");
    let third = start(cache, &source, None).await;
    check(second.await.expect("no panic"), 2, CacheStatus::Miss);
    check(third.await.expect("no panic"), 2, CacheStatus::LockHit);
}

#[tokio::test(start_paused = true)]
async fn patience_ends() {
    let (cache, source) = (cache(None, Some(3 * SECOND)), Source::new(first_is_slow));
    let began = Instant::now();
    let first = start(cache, &source, None).await;
    let second = start(cache, &source, None).await;
    check(second.await.expect("no panic"), 2, CacheStatus::Miss);
    assert_eq!(began.elapsed(), 4 * SECOND);
    check(
        cache.get(&1, None, Some(&source)).await,
        2,
        CacheStatus::Hit,
    );
    check(first.await.expect("no panic"), 1, CacheStatus::Miss);
    assert_eq!((source.calls(), cache.flights.under_way()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn limits_beyond_the_clock_are_none() {
    let (cache, source) = (
        cache(Some(Duration::MAX), Some(Duration::MAX)),
        Source::new(second),
    );
    let first = start(cache, &source, Some(Duration::MAX)).await;
    let second = start(cache, &source, None).await;
    check(first.await.expect("no panic"), 1, CacheStatus::Miss);
    check(second.await.expect("no panic"), 1, CacheStatus::LockHit);
}

#[tokio::test(start_paused = true)]
async fn stale_values() {
    let (cache, source) = (cache(None, None), Source::new(second));
    let ttl = Some(SECOND);
    let get = || cache.get_stale(&1, ttl, Some(&source), 5 * SECOND);
    check(get().await, 1, CacheStatus::Miss);
    check(get().await, 1, CacheStatus::Hit);
    advance(3 * SECOND).await;
    check(get().await, 1, CacheStatus::Stale(2 * SECOND));
    advance(3 * SECOND).await;
    check(get().await, 1, CacheStatus::Stale(5 * SECOND));
    assert_eq!(source.calls(), 1);
    advance(Duration::from_millis(1)).await;
    check(get().await, 2, CacheStatus::Expired);
}

#[tokio::test(start_paused = true)]
async fn stale_values_are_updated_in_the_background() {
    let plan = |number| second_but(2, Then::Fail, number);
    let (cache, source) = (cache(None, None), Source::new(plan));
    let ttl = Some(10 * SECOND);
    let get = || cache.get_stale_while_update(&1, ttl, Some(&source), 50 * SECOND);
    check(get().await, 1, CacheStatus::Miss);
    check(get().await, 1, CacheStatus::Hit);
    advance(11 * SECOND).await;
    // Two calls, one lookup, which fails.
    check(get().await, 1, CacheStatus::Stale(SECOND));
    check(get().await, 1, CacheStatus::Stale(SECOND));
    sleep(2 * SECOND).await;
    assert_eq!((source.calls(), cache.flights.under_way()), (2, 0));
    check(get().await, 1, CacheStatus::Stale(3 * SECOND));
    sleep(2 * SECOND).await;
    check(get().await, 3, CacheStatus::Hit);
    advance(100 * SECOND).await;
    check(get().await, 4, CacheStatus::Expired);
}

/// Polls what does not wait, outside of any runtime.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn without_a_runtime_there_is_no_background() {
    let (cache, source) = (
        cache(None, None),
        Source::new(|_| at_once(Then::Find(Some(Duration::from_nanos(1))))),
    );
    let get = || now(cache.get_stale_while_update(&1, None, Some(&source), SECOND));
    check(get(), 1, CacheStatus::Miss);
    check(get(), 2, CacheStatus::Expired);
}

struct Absent;

#[async_trait]
impl Lookup<String, Option<u8>, ()> for Absent {
    async fn lookup(
        key: &String,
        _extra: Option<&()>,
    ) -> Result<(Option<u8>, Option<Duration>), Failure> {
        let found = key.bytes().next();
        Ok((found, found.is_none().then_some(SECOND)))
    }
}

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_is_remembered_too() {
    let cache: RTCache<String, Option<u8>, Absent, ()> = RTCache::new(10, None, None);
    for (key, value) in [("", None), ("a", Some(b'a'))] {
        for status in [CacheStatus::Miss, CacheStatus::Hit] {
            let got = cache.get(&key.to_string(), None, None).await;
            assert_eq!((got.0.expect("a value"), got.1), (value, status));
        }
    }
    advance(SECOND).await;
    let got = cache.get(&String::new(), None, None).await;
    assert_eq!(got.1, CacheStatus::Expired, "for a shorter time");
}

/// Callers of a few keys on four threads, some of which go away in the middle.
#[test]
fn never_two_lookups_of_a_key() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .expect("a runtime can be built");
    let plan = |number| Plan {
        takes: Duration::from_micros(10 * (number as u64 % 7)),
        then: match number % 5 {
            0 => Then::Fail,
            _ => Then::Find(Some(Duration::ZERO)),
        },
    };
    let (cache, source) = (cache(None, None), Source::new(plan));
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for number in 0..2_000_u32 {
            let source = source.clone();
            tasks.push(tokio::spawn(async move {
                let key = number % 3;
                let get = cache.get(&key, None, Some(&source));
                if number % 4 == 0 {
                    let _ = tokio::time::timeout(Duration::from_micros(100), get).await;
                } else {
                    let (result, status) = get.await;
                    assert!(result.is_ok() || !status.is_hit());
                }
            }));
        }
        for task in tasks {
            task.await.expect("no panic");
        }
    });
    assert_eq!((source.most(), cache.flights.under_way()), (1, 0));
    assert!(source.calls() > 0);
}
