//! What a timeout costs around a future that is ready, one that waits and is dropped, and one
//! polled again, next to tokio's.
//!
//! `cargo bench -p pingora-timeout`

use std::{
    future::{Future, pending, ready},
    hint::black_box,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Wake, Waker},
    time::Duration,
};

use criterion::{Criterion, criterion_group, criterion_main};
use pingora_timeout::{fast_timeout::Deadline, timeout, tokio_timeout};

const MINUTE: Duration = Duration::from_secs(60);

// A waker with a reference count, as those of runtimes.
struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

fn poll<F: Future>(future: Pin<&mut F>, cx: &mut Context<'_>) -> bool {
    future.poll(cx).is_ready()
}

fn timeouts(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without drivers needs no resources");
    let _entered = runtime.enter();
    let waker = Waker::from(Arc::new(Task));
    let cx = &mut Context::from_waker(&waker);

    let mut group = c.benchmark_group("ready");
    group.bench_function("bare", |b| {
        b.iter(|| poll(pin!(black_box(ready(1))), cx));
    });
    group.bench_function("timeout", |b| {
        b.iter(|| poll(pin!(timeout(MINUTE, black_box(ready(1)))), cx));
    });
    group.bench_function("tokio", |b| {
        b.iter(|| poll(pin!(tokio::time::timeout(MINUTE, black_box(ready(1)))), cx));
    });
    group.finish();

    let mut group = c.benchmark_group("pending_dropped");
    group.bench_function("timeout", |b| {
        b.iter(|| poll(pin!(timeout(MINUTE, pending::<()>())), cx));
    });
    group.bench_function("tokio_timeout", |b| {
        b.iter(|| poll(pin!(tokio_timeout(MINUTE, pending::<()>())), cx));
    });
    group.bench_function("tokio", |b| {
        b.iter(|| poll(pin!(tokio::time::timeout(MINUTE, pending::<()>())), cx));
    });
    group.finish();

    let mut group = c.benchmark_group("deadline");
    let mut deadline = Deadline::new(MINUTE);
    group.bench_function("poll_again", |b| {
        b.iter(|| black_box(&mut deadline).poll_elapsed(cx).is_ready());
    });
    group.bench_function("reset_and_poll", |b| {
        b.iter(|| {
            deadline.reset(MINUTE);
            black_box(&mut deadline).poll_elapsed(cx).is_ready()
        });
    });
    group.finish();
}

criterion_group!(benches, timeouts);
criterion_main!(benches);
