//! Deadlines polled by hand and by runtimes.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Wake, Waker},
    time::Instant,
};

use super::*;

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3600);

// Tells of each wake.
struct Bell(mpsc::Sender<Instant>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(Instant::now());
    }
}

fn bell() -> (Waker, mpsc::Receiver<Instant>) {
    let (bell, rings) = mpsc::channel();
    (Waker::from(Arc::new(Bell(bell))), rings)
}

fn poll(deadline: &mut Deadline, waker: &Waker) -> bool {
    deadline
        .poll_elapsed(&mut Context::from_waker(waker))
        .is_ready()
}

#[test]
fn never_early_without_a_runtime() {
    for millis in [1, 9, 10, 11, 25, 70] {
        let (waker, rings) = bell();
        let duration = Duration::from_millis(millis);
        let mut deadline = Deadline::new(duration);
        let start = Instant::now();
        while !poll(&mut deadline, &waker) {
            rings.recv().unwrap();
        }
        assert!(start.elapsed() >= duration);
        assert!(poll(&mut deadline, &waker), "it stays elapsed");
        deadline.reset(LONG);
        assert!(!poll(&mut deadline, &waker), "until it is reset");
    }
}

#[test]
fn zero_is_ready_at_once_and_for_ever_never() {
    let waker = Waker::noop();
    let mut deadline = Deadline::new(Duration::ZERO);
    assert!(poll(&mut deadline, waker));
    deadline.reset(Duration::MAX);
    assert!(!poll(&mut deadline, waker));
    deadline.reset(Duration::ZERO);
    assert!(poll(&mut deadline, waker));
}

#[test]
fn only_the_last_waker_is_woken() {
    let ((first, first_rings), (last, last_rings)) = (bell(), bell());
    let mut deadline = Deadline::new(SHORT);
    assert!(!poll(&mut deadline, &first));
    assert!(!poll(&mut deadline, &last));
    last_rings.recv().unwrap();
    assert!(poll(&mut deadline, &last));
    drop(first);
    assert!(
        first_rings.recv().is_err(),
        "the replaced waker is dropped, not woken"
    );
}

#[test]
fn dropping_cancels_and_frees_at_once() {
    let (waker, rings) = bell();
    let mut deadlines = [(); 3].map(|()| Deadline::new(LONG));
    for deadline in &mut deadlines {
        assert!(!poll(deadline, &waker));
    }
    drop(waker);
    assert_eq!(rings.try_recv(), Err(mpsc::TryRecvError::Empty));
    drop(deadlines);
    assert_eq!(rings.try_recv(), Err(mpsc::TryRecvError::Disconnected));
}

#[test]
fn resets_in_both_directions() {
    let (waker, rings) = bell();
    let mut deadline = Deadline::new(SHORT);
    let start = Instant::now();
    assert!(!poll(&mut deadline, &waker));
    // back: the old timer fires once for nothing
    deadline.reset(SHORT * 3);
    while !poll(&mut deadline, &waker) {
        rings.recv().unwrap();
    }
    assert!(start.elapsed() >= SHORT * 3);
    // forth: it must not wait for the old one
    deadline.reset(LONG);
    assert!(!poll(&mut deadline, &waker));
    deadline.reset(SHORT);
    while !poll(&mut deadline, &waker) {
        rings.recv().unwrap();
    }
}

#[test]
fn a_waker_may_drop_other_deadlines() {
    // Dropped inside `wake` and inside the drop of a waker: neither may happen under the lock.
    struct Owner(parking_lot::Mutex<Option<Deadline>>, mpsc::Sender<()>);
    impl Wake for Owner {
        fn wake(self: Arc<Self>) {
            self.0.lock().take();
            let _ = self.1.send(());
        }
    }
    let (done, woken) = mpsc::channel();
    let mut armed = Deadline::new(LONG);
    assert!(!poll(&mut armed, Waker::noop()));
    let owner = Waker::from(Arc::new(Owner(Some(armed).into(), done.clone())));
    let mut deadline = Deadline::new(SHORT);
    assert!(!poll(&mut deadline, &owner));
    woken.recv().unwrap();
    drop(owner);

    let mut armed = Deadline::new(LONG);
    assert!(!poll(&mut armed, Waker::noop()));
    let owner = Waker::from(Arc::new(Owner(Some(armed).into(), done)));
    let mut deadline = Deadline::new(LONG);
    assert!(!poll(&mut deadline, &owner));
    drop(owner);
    drop(deadline);
    assert!(woken.recv().is_err());
}

#[test]
fn a_panicking_waker_stops_nobody() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("expected by this test");
        }
    }
    let mut bad = Deadline::new(SHORT);
    assert!(!poll(&mut bad, &Waker::from(Arc::new(Panics))));
    let (waker, rings) = bell();
    let mut good = Deadline::new(SHORT * 2);
    while !poll(&mut good, &waker) {
        rings.recv().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn tokio_timers_follow_the_clock_of_tokio() {
    for (source, duration) in [
        (Source::Tokio, SHORT),
        (Source::Tokio, LONG),
        (Source::ByThreshold, LONG),
    ] {
        let start = tokio::time::Instant::now();
        let mut deadline = Deadline::with_source(duration, source);
        poll_fn(|cx| deadline.poll_elapsed(cx)).await;
        assert!(start.elapsed() >= duration);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_arm_move_and_drop() {
    const TASKS: usize = 64;
    const ROUNDS: usize = 50;
    static ELAPSED: AtomicUsize = AtomicUsize::new(0);
    let tasks: Vec<_> = (0..TASKS as u64)
        .map(|seed| {
            tokio::spawn(async move {
                let mut rng = fastrand::Rng::with_seed(seed);
                for _ in 0..ROUNDS {
                    let duration = Duration::from_millis(rng.u64(0..25));
                    let start = Instant::now();
                    let mut lost = Deadline::new(Duration::from_millis(rng.u64(1..50)));
                    let mut deadline = Deadline::new(duration);
                    if rng.bool() {
                        let _armed = poll_fn(|cx| Poll::Ready(deadline.poll_elapsed(cx))).await;
                        deadline.reset(duration);
                    }
                    poll_fn(|cx| {
                        let _ = lost.poll_elapsed(cx);
                        deadline.poll_elapsed(cx)
                    })
                    .await;
                    assert!(start.elapsed() >= duration);
                    ELAPSED.fetch_add(1, Ordering::Relaxed);
                    // dropped on another thread
                    tokio::task::spawn(async move { drop(lost) });
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(ELAPSED.load(Ordering::Relaxed), TASKS * ROUNDS);
}
