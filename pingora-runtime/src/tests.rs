//! Both kinds of runtime: where tasks run, and how they end.

use std::{
    collections::HashSet,
    sync::{Arc, mpsc},
    thread,
    time::Instant,
};

use super::*;

const AMPLE: Duration = Duration::from_secs(30);

fn thread_name() -> Option<String> {
    thread::current().name().map(str::to_owned)
}

fn no_steal(threads: usize) -> NoStealRuntime {
    NoStealRuntime::new(
        threads,
        "pool",
        BlockingPoolOpts::default(),
        RuntimeOpts::default(),
    )
}

#[test]
fn both_kinds_run_tasks_on_named_threads() {
    for threads in [0, 1, 3] {
        for runtime in [
            Runtime::new_steal(threads, "pool"),
            Runtime::new_no_steal(threads, "pool"),
        ] {
            let (names, receive) = mpsc::channel();
            runtime.get_handle().spawn(async move {
                current_handle().spawn(async move { names.send(thread_name()) });
            });
            assert_eq!(receive.recv().unwrap().as_deref(), Some("pool"));
            if let Runtime::NoSteal(pool) = &runtime {
                assert_eq!(pool.threads(), threads.max(1));
            }
            runtime.shutdown_timeout(AMPLE);
        }
    }
}

#[test]
fn timers_run_on_both_kinds() {
    for work_steal in [true, false] {
        let runtime = RuntimeBuilder::new(1, "pool")
            .work_steal(work_steal)
            .build();
        let (done, wait) = mpsc::channel();
        runtime.get_handle().spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            done.send(())
        });
        wait.recv().unwrap();
        runtime.shutdown_timeout(AMPLE);
    }
}

#[test]
fn each_number_is_a_thread_of_its_own() {
    let pool = no_steal(4);
    let id_of = |index| {
        let (ids, receive) = mpsc::channel();
        pool.get_runtime_at(index)
            .spawn(async move { ids.send(thread::current().id()) });
        receive.recv().unwrap()
    };
    let ids: Vec<_> = (0..4).map(id_of).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 4);
    assert_eq!(id_of(6), ids[2]);
    pool.shutdown_timeout(AMPLE);
}

#[test]
fn current_handle_reaches_the_whole_pool() {
    let pool = no_steal(3);
    let (ids, receive) = mpsc::channel();
    pool.get_runtime_at(0).spawn(async move {
        loop {
            let ids = ids.clone();
            let id = current_handle()
                .spawn(async { thread::current().id() })
                .await;
            if ids.send(id.unwrap()).is_err() {
                return;
            }
        }
    });
    let mut seen = HashSet::new();
    while seen.len() < 3 {
        seen.insert(receive.recv().unwrap());
    }
    drop(receive);
    pool.shutdown_timeout(AMPLE);
}

#[test]
fn threads_start_lazily() {
    let pool = no_steal(usize::MAX);
    assert_eq!(pool.threads(), usize::MAX);
    pool.shutdown_timeout(Duration::ZERO);
}

#[test]
fn shutdown_waits_for_the_blocking_tasks_of_all() {
    let pool = no_steal(3);
    let alive = Arc::new(());
    let (started, all_started) = mpsc::channel();
    let mut finish = Vec::new();
    for index in 0..3 {
        let (release, released) = mpsc::channel::<()>();
        finish.push(release);
        let (alive, started) = (alive.clone(), started.clone());
        pool.get_runtime_at(index).spawn_blocking(move || {
            let _alive = alive;
            started.send(()).unwrap();
            let _ = released.recv();
        });
        all_started.recv().unwrap();
    }
    let releasing = thread::spawn(move || drop(finish));
    pool.shutdown_timeout(AMPLE);
    releasing.join().unwrap();
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn shutdown_does_not_wait_for_a_stuck_thread() {
    let pool = no_steal(2);
    let (release, released) = mpsc::channel::<()>();
    let (started, has_started) = mpsc::channel();
    pool.get_runtime_at(1).spawn(async move {
        started.send(()).unwrap();
        let _ = released.recv(); // blocks the thread, which a task must not do
    });
    has_started.recv().unwrap();
    let start = Instant::now();
    pool.shutdown_timeout(Duration::from_millis(20));
    assert!(start.elapsed() >= Duration::from_millis(20));
    drop(release);
}

#[test]
fn dropping_ends_the_threads() {
    let pool = no_steal(2);
    let (task, ended) = mpsc::channel::<()>();
    pool.get_runtime().spawn(async move {
        let _task = task;
        std::future::pending::<()>().await;
    });
    drop(pool);
    assert!(ended.recv().is_err());
}

#[test]
fn options_never_panic() {
    let scales = [
        RuntimeMetricsPollTimeHistogramScale::Linear,
        RuntimeMetricsPollTimeHistogramScale::Log,
    ];
    for work_steal in [true, false] {
        for scale in scales {
            for (resolution, buckets, max_threads) in [(0, 0, 0), (50, 7, 2), (5_000_000, 1, 1)] {
                let runtime = RuntimeBuilder::new(1, "pool")
                    .work_steal(work_steal)
                    .blocking_pool_opts(BlockingPoolOpts {
                        max_threads: Some(max_threads),
                        thread_keep_alive: Some(Duration::ZERO),
                    })
                    .runtime_opts(RuntimeOpts::default())
                    .enable_alt_timer(true)
                    .metrics_opts(RuntimeMetricsOpts {
                        poll_time_histogram: true,
                        poll_time_histogram_scale: Some(scale),
                        poll_time_histogram_resolution: Some(Duration::from_micros(resolution)),
                        poll_time_histogram_buckets: Some(buckets),
                    })
                    .build();
                let (done, wait) = mpsc::channel();
                runtime.get_handle().spawn_blocking(move || done.send(()));
                wait.recv().unwrap();
                runtime.shutdown_timeout(AMPLE);
            }
        }
    }
}

#[test]
#[should_panic = "there is no reactor running"]
fn current_handle_needs_a_runtime() {
    current_handle();
}
