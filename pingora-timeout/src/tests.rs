//! Timeouts of each kind around futures that are ready, late and dropped.

use std::{
    future::{pending, ready},
    time::Instant,
};

use super::*;
use crate::fast_timeout::{
    DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD, FastOrTokioTimeout, FastTimeout,
    fast_timeout_to_tokio_threshold, set_fast_timeout_to_tokio_threshold,
};

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3600);

async fn check<F: ToTimeout>() {
    assert_eq!(Timeout::<_, F>::new(LONG, ready(1)).await.unwrap(), 1);
    // what is ready is never late
    assert_eq!(
        Timeout::<_, F>::new(Duration::ZERO, ready(1))
            .await
            .unwrap(),
        1
    );
    assert!(
        Timeout::<_, F>::new(Duration::ZERO, pending::<()>())
            .await
            .is_err()
    );
    let start = tokio::time::Instant::now();
    assert!(Timeout::<_, F>::new(SHORT, pending::<()>()).await.is_err());
    assert!(start.elapsed() >= SHORT);
    let yields = async {
        tokio::task::yield_now().await;
        2
    };
    assert_eq!(Timeout::<_, F>::new(LONG, yields).await.unwrap(), 2);
    F::create(SHORT).timeout().await;
    assert!(start.elapsed() >= 2 * SHORT);
}

struct User(Duration);

impl ToTimeout for User {
    fn timeout(&self) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        Box::pin(tokio::time::sleep(self.0))
    }

    fn create(d: Duration) -> Self {
        Self(d)
    }
}

#[tokio::test]
async fn each_kind() {
    check::<TokioTimeout>().await;
    check::<FastTimeout>().await;
    check::<FastOrTokioTimeout>().await;
    check::<User>().await;
    assert!(timeout(SHORT, sleep(LONG)).await.is_err());
    timeout(LONG, sleep(SHORT)).await.unwrap();
    assert!(tokio_timeout(SHORT, pending::<()>()).await.is_err());
}

#[test]
fn without_a_runtime() {
    let start = Instant::now();
    let late = futures_util::future::select(
        Box::pin(fast_timeout::fast_timeout(SHORT, pending::<()>())),
        Box::pin(sleep(LONG)),
    );
    let block_on = || {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
        let mut late = late;
        while Pin::new(&mut late)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            std::thread::park();
        }
    };
    block_on();
    assert!(start.elapsed() >= SHORT);
}

#[tokio::test(start_paused = true)]
async fn long_timeouts_are_left_to_tokio() {
    // Only tokio's clock runs ahead, so this ends only if its timers are used.
    for duration in [
        DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD + SHORT,
        Duration::from_secs(86_400),
    ] {
        let start = tokio::time::Instant::now();
        assert!(timeout(duration, pending::<()>()).await.is_err());
        sleep(duration).await;
        assert!(start.elapsed() >= 2 * duration);
    }

    assert_eq!(
        fast_timeout_to_tokio_threshold(),
        Some(DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD),
    );
    for (set, get) in [
        (None, None),
        (Some(Duration::MAX), None),
        (Some(LONG), Some(LONG)),
        (
            Some(DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD),
            Some(DEFAULT_FAST_TIMEOUT_TO_TOKIO_THRESHOLD),
        ),
    ] {
        set_fast_timeout_to_tokio_threshold(set);
        assert_eq!(fast_timeout_to_tokio_threshold(), get);
    }
}

#[test]
fn futures_move_between_threads() {
    fn assert<T: Send + Sync + Unpin>(_: T) {}
    assert(fast_timeout::Deadline::new(LONG));
    assert(timeout(LONG, ready(())));
    assert(tokio_timeout(LONG, ready(())));
}
