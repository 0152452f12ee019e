//! Timers around a fork: the thread that drives them does not survive it. Has its own `main`,
//! because only a process with one thread can fork safely.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use pingora_timeout::{
    fast_timeout::{Deadline, pause_for_fork, unpause},
    sleep, timeout,
};

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(600);

fn main() {
    block_on(sleep(SHORT));
    // Armed before the fork, due after it, in both processes.
    let mut over_the_fork = Deadline::new(SHORT);
    block_on(std::future::poll_fn(|cx| {
        assert!(over_the_fork.poll_elapsed(cx).is_pending());
        Poll::Ready(())
    }));

    pause_for_fork();
    pause_for_fork(); // once is enough
    paused_timers_are_those_of_tokio();
    // SAFETY: the driver thread is joined, so this is the only thread of the process.
    match unsafe { libc::fork() } {
        0 => {
            timers_work(&mut over_the_fork);
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(0) }
        }
        child => {
            assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
            timers_work(&mut over_the_fork);
            let mut status = -1;
            // SAFETY: `status` is a valid place for the status of a child of this process.
            let waited = unsafe { libc::waitpid(child, &mut status, 0) };
            assert_eq!((waited, status), (child, 0), "the child fails");
        }
    }
    unpause();
    println!("fork: ok");
}

// Its clock is paused, so an hour passes only if the timers are its own.
fn paused_timers_are_those_of_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without drivers needs no resources");
    runtime.block_on(async {
        assert!(timeout(LONG, std::future::pending::<()>()).await.is_err());
        sleep(LONG).await;
        let mut deadline = Deadline::new(LONG);
        std::future::poll_fn(|cx| deadline.poll_elapsed(cx)).await;
    });
}

fn timers_work(armed: &mut Deadline) {
    // Without a runtime a paused timer waits.
    let mut waits = Deadline::new(SHORT);
    block_on(std::future::poll_fn(|cx| {
        assert!(waits.poll_elapsed(cx).is_pending());
        Poll::Ready(())
    }));
    unpause();
    block_on(std::future::poll_fn(|cx| waits.poll_elapsed(cx)));
    block_on(std::future::poll_fn(|cx| armed.poll_elapsed(cx)));
    let start = Instant::now();
    block_on(sleep(SHORT));
    assert!(start.elapsed() >= SHORT);
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
