//! pingora-timeout beside tokio's timers and the original.
//!
//! The wakers count references, as those of runtimes do; everything is polled by hand, so that no
//! scheduler is measured.

use std::future::{Future, pending, ready};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pingora_timeout as ours;
use pingora_timeout_peer as original;

use super::report::{Candidate, OURS, Report};

const MINUTE: Duration = Duration::from_secs(60);

struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// Pending once, then ready.
struct Second(bool);

impl Future for Second {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match std::mem::replace(&mut self.0, true) {
            false => Poll::Pending,
            true => Poll::Ready(()),
        }
    }
}

/// Measures the crate.
pub fn run(report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without sockets needs no resources");
    let _entered = runtime.enter();
    report.compare(
        "timeout, ready at once",
        vec![
            once(OURS, || ours::timeout(MINUTE, black_box(ready(1)))),
            once("tokio", || {
                tokio::time::timeout(MINUTE, black_box(ready(1)))
            }),
            once("original", || {
                original::timeout(MINUTE, black_box(ready(1)))
            }),
            once("bare future", || black_box(ready(1))).floor(),
        ],
    );
    report.compare(
        "timeout, pending, dropped",
        vec![
            once(OURS, || ours::timeout(MINUTE, pending::<()>())),
            once("tokio", || tokio::time::timeout(MINUTE, pending::<()>())),
            once("original", || original::timeout(MINUTE, pending::<()>())),
        ],
    );
    report.compare(
        "timeout, pending, done",
        vec![
            twice(OURS, || ours::timeout(MINUTE, Second(false))),
            twice("tokio", || tokio::time::timeout(MINUTE, Second(false))),
            twice("original", || original::timeout(MINUTE, Second(false))),
        ],
    );
    report.compare(
        "sleep, dropped",
        vec![
            once(OURS, || ours::sleep(MINUTE)),
            once("tokio", || tokio::time::sleep(MINUTE)),
            once("original", || original::sleep(MINUTE)),
        ],
    );
    deadline(report);
    threads(report);
}

/// A timer kept for the life of a connection and started anew for each request.
fn deadline(report: &mut Report) {
    let waker = Waker::from(Arc::new(Task));
    let cx = &mut Context::from_waker(&waker);
    let mut deadline = ours::fast_timeout::Deadline::new(MINUTE);
    let mut sleep = pin!(tokio::time::sleep(MINUTE));
    let reset = Candidate::new(OURS, |iterations| {
        for _ in 0..iterations {
            deadline.reset(black_box(MINUTE));
            black_box(deadline.poll_elapsed(cx).is_ready());
        }
    });
    let cx = &mut Context::from_waker(&waker);
    let tokio = Candidate::new("tokio", |iterations| {
        for _ in 0..iterations {
            let until = tokio::time::Instant::now() + black_box(MINUTE);
            sleep.as_mut().reset(until);
            black_box(sleep.as_mut().poll(cx).is_ready());
        }
    });
    report.compare(
        "timer of a connection, reset and polled",
        vec![reset, tokio],
    );
}

/// Two threads that make and drop timers of one process at once.
fn threads(report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("two threads can be started");
    let handle = runtime.handle();
    report.compare(
        "timeout, pending, dropped, on 2 threads",
        vec![
            Candidate::threads(OURS, 2, |_, iterations| {
                poll_once(iterations, || ours::timeout(MINUTE, pending::<()>()));
            }),
            Candidate::threads("tokio", 2, |_, iterations| {
                let _entered = handle.enter();
                poll_once(iterations, || tokio::time::timeout(MINUTE, pending::<()>()));
            }),
            Candidate::threads("original", 2, |_, iterations| {
                poll_once(iterations, || original::timeout(MINUTE, pending::<()>()));
            }),
        ],
    );
}

fn once<'a, F: Future>(name: &'a str, make: impl Fn() -> F + 'a) -> Candidate<'a> {
    Candidate::new(name, move |iterations| poll_once(iterations, &make))
}

fn poll_once<F: Future>(iterations: u64, make: impl Fn() -> F) {
    let waker = Waker::from(Arc::new(Task));
    let cx = &mut Context::from_waker(&waker);
    for _ in 0..iterations {
        black_box(pin!(make()).poll(cx).is_ready());
    }
}

fn twice<'a, F: Future>(name: &'a str, make: impl Fn() -> F + 'a) -> Candidate<'a> {
    Candidate::new(name, move |iterations| {
        let waker = Waker::from(Arc::new(Task));
        let cx = &mut Context::from_waker(&waker);
        for _ in 0..iterations {
            let mut future = pin!(make());
            black_box(future.as_mut().poll(cx).is_ready());
            black_box(future.as_mut().poll(cx).is_ready());
        }
    })
}
