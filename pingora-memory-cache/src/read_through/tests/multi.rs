//! Several keys at once.

use super::*;

#[async_trait]
impl MultiLookup<u32, usize, Source> for Find {
    async fn multi_lookup(
        keys: &[&u32],
        extra: Option<&Source>,
    ) -> Result<Vec<(usize, Option<Duration>)>, Failure> {
        let keys: Vec<u32> = keys.iter().map(|key| **key).collect();
        let source = extra.expect("tests pass it");
        let (number, ttl) = source.find(&keys).await?;
        // Key 666 is lost on the way.
        let kept = keys.iter().filter(|key| **key != 666);
        Ok(kept
            .map(|key| (number * 1000 + *key as usize, ttl))
            .collect())
    }
}

async fn start_all(
    cache: &'static Cache,
    source: &Source,
    keys: &'static [u32],
) -> JoinHandle<Result<Vec<(usize, CacheStatus)>, BError>> {
    let source = source.clone();
    let task = tokio::spawn(async move { cache.multi_get(keys.iter(), None, Some(&source)).await });
    tokio::task::yield_now().await;
    task
}

#[tokio::test(start_paused = true)]
async fn only_what_is_missing_is_looked_up() {
    use CacheStatus::{Expired, Hit, LockHit, Miss};
    let (cache, source) = (cache(None, None), Source::new(second));
    let get = |keys: &'static [u32]| cache.multi_get(keys.iter(), Some(SECOND), Some(&source));
    assert_eq!(get(&[]).await.expect("nothing"), []);
    assert_eq!(get(&[1]).await.expect("a value"), [(1001, Miss)]);
    let found = get(&[3, 1, 2, 3]).await.expect("values");
    let expected = [(2003, Miss), (1001, Hit), (2002, Miss), (2003, LockHit)];
    assert_eq!(found, expected, "a key asked for twice is looked up once");
    advance(Duration::from_millis(999)).await;
    // Found by either kind of lookup, for either kind of call.
    let found = get(&[1, 2]).await.expect("values");
    assert_eq!(found, [(3001, Expired), (2002, Hit)]);
    assert_eq!((source.calls(), cache.flights.under_way()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_others_look_up_is_waited_for() {
    let (cache, source) = (cache(None, None), Source::new(second));
    let single = start(cache, &source, None).await;
    let ab = start_all(cache, &source, &[1, 2]).await;
    let ba = start_all(cache, &source, &[3, 2, 1]).await;
    check(single.await.expect("no panic"), 1, CacheStatus::Miss);
    let found = ab.await.expect("no panic").expect("values");
    assert_eq!(
        found,
        [(1, CacheStatus::LockHit), (2002, CacheStatus::Miss)]
    );
    let found = ba.await.expect("no panic").expect("values");
    let expected = [
        (3003, CacheStatus::Miss),
        (2002, CacheStatus::LockHit),
        (1, CacheStatus::LockHit),
    ];
    assert_eq!(found, expected);
    assert_eq!((source.calls(), source.most()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn two_callers_never_wait_for_each_other() {
    let (cache, source) = (cache(None, None), Source::new(second));
    let began = Instant::now();
    let tasks = [
        start_all(cache, &source, &[1, 2, 3]).await,
        start_all(cache, &source, &[4, 3, 2, 1]).await,
        start_all(cache, &source, &[5, 4, 1]).await,
    ];
    for task in tasks {
        task.await.expect("no panic").expect("values");
    }
    assert_eq!((source.calls(), began.elapsed()), (3, SECOND));
}

#[tokio::test(start_paused = true)]
async fn who_waits_takes_over_all_keys() {
    let (cache, source) = (cache(None, None), Source::new(second));
    let first = start_all(cache, &source, &[1, 2]).await;
    let second = start_all(cache, &source, &[2, 1, 3]).await;
    first.abort();
    let found = second.await.expect("no panic").expect("values");
    let values: Vec<usize> = found.iter().map(|(value, _)| *value).collect();
    assert_eq!(values, [3002, 3001, 2003]);
    assert_eq!((source.most(), cache.flights.under_way()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn patience_ends_for_several_keys() {
    let (cache, source) = (cache(None, Some(3 * SECOND)), Source::new(first_is_slow));
    let began = Instant::now();
    let _first = start_all(cache, &source, &[1, 2]).await;
    let second = start_all(cache, &source, &[1, 2]).await;
    let found = second.await.expect("no panic").expect("values");
    assert_eq!(
        found,
        [(2001, CacheStatus::Miss), (2002, CacheStatus::Miss)]
    );
    assert_eq!(began.elapsed(), 4 * SECOND, "both by one lookup");
}

#[tokio::test(start_paused = true)]
async fn errors() {
    let plan = |number| second_but(1, Then::Fail, number);
    let (cache, source) = (cache(None, None), Source::new(plan));
    let first = start_all(cache, &source, &[1, 2]).await;
    let second = start_all(cache, &source, &[2]).await;
    for (task, context) in [
        (first, "cache lookup cause"),
        (second, "cache lookup of another"),
    ] {
        let error = task.await.expect("no panic").expect_err("the lookup fails");
        assert!(error.to_string().contains(context), "{error}");
    }
    let short = start_all(cache, &source, &[1, 666]).await;
    let error = short.await.expect("no panic").expect_err("one is missing");
    let expected = "cache lookup: 1 values for 2 keys";
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(cache.flights.under_way(), 0);
}
