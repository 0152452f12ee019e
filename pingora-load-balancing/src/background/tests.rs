//! The loop against a paused clock.

use std::sync::Mutex;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Notes its rounds with their time in ms; updates take `update_takes`.
struct Noting {
    started: Instant,
    update_takes: Duration,
    notes: Mutex<Vec<(&'static str, u128)>>,
}

impl Noting {
    fn new(update_takes: Duration) -> Self {
        Noting {
            started: Instant::now(),
            update_takes,
            notes: Mutex::default(),
        }
    }

    fn note(&self, what: &'static str) {
        let at = self.started.elapsed().as_millis();
        self.notes.lock().unwrap().push((what, at));
    }

    fn take(&self) -> Vec<(&'static str, u128)> {
        std::mem::take(&mut self.notes.lock().unwrap())
    }
}

#[async_trait]
impl Rounds for Noting {
    async fn update_round(&self) {
        self.note("update");
        tokio::time::sleep(self.update_takes).await;
    }

    async fn check_round(&self) {
        self.note("check");
    }
}

fn schedule(update: Option<Duration>, health_check: Option<Duration>) -> Schedule {
    Schedule {
        update,
        health_check,
    }
}

#[tokio::test(start_paused = true)]
async fn once_without_frequencies() {
    let rounds = Noting::new(SECOND);
    let (_server, shutdown) = watch::channel(false);
    let (ready, watched) = watch::channel(false);
    let ready = ServiceReadyNotifier::new(ready);
    run_rounds(&rounds, schedule(None, None), shutdown, Some(ready)).await;
    assert_eq!(rounds.take(), [("update", 0), ("check", 1000)]);
    assert!(*watched.borrow());
}

#[tokio::test(start_paused = true)]
async fn each_at_its_frequency() {
    let rounds = Noting::new(Duration::ZERO);
    let (server, shutdown) = watch::channel(false);
    let frequencies = schedule(Some(3 * SECOND), Some(2 * SECOND));
    let stop = async {
        tokio::time::sleep(7 * SECOND).await;
        server.send_replace(true);
    };
    tokio::join!(run_rounds(&rounds, frequencies, shutdown, None), stop);
    let expected = [
        ("update", 0),
        ("check", 0),
        ("check", 2000),
        ("update", 3000),
        ("check", 4000),
        ("update", 6000),
        ("check", 6000),
    ];
    let rounded: Vec<_> = rounds
        .take()
        .iter()
        .map(|(what, at)| (*what, at / 10 * 10))
        .collect();
    assert_eq!(rounded, expected);
}

#[tokio::test(start_paused = true)]
async fn slow_rounds_are_not_made_up_for() {
    let rounds = Noting::new(5 * SECOND);
    let (_server, shutdown) = watch::channel(false);
    let running = run_rounds(&rounds, schedule(Some(2 * SECOND), None), shutdown, None);
    assert!(tokio::time::timeout(12 * SECOND, running).await.is_err());
    let updates: Vec<_> = rounds
        .take()
        .iter()
        .map(|(what, at)| (*what, at / 10 * 10))
        .collect();
    assert_eq!(
        updates,
        [
            ("update", 0),
            ("check", 5000),
            ("update", 5000),
            ("update", 10_000)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn shutdown_interrupts_a_round() {
    let rounds = Noting::new(1000 * SECOND);
    let (server, shutdown) = watch::channel(false);
    let (ready, watched) = watch::channel(false);
    let ready = ServiceReadyNotifier::new(ready);
    let mut running = Box::pin(run_rounds(
        &rounds,
        schedule(None, None),
        shutdown,
        Some(ready),
    ));
    assert!(running.as_mut().now_or_never().is_none());
    advance(SECOND).await;
    assert!(!*watched.borrow());
    server.send_replace(true);
    assert!(running.now_or_never().is_some(), "no time may pass");
    assert!(*watched.borrow(), "dependents must not wait for ever");
}

#[tokio::test(start_paused = true)]
async fn shutdown_before_the_start() {
    let rounds = Noting::new(Duration::ZERO);
    let (_server, shutdown) = watch::channel(true);
    run_rounds(&rounds, schedule(None, None), shutdown, None).await;
    assert_eq!(rounds.take(), []);
}

#[tokio::test(start_paused = true)]
async fn runs_on_without_a_server() {
    let rounds = Noting::new(Duration::ZERO);
    let shutdown = watch::channel(false).1;
    let running = run_rounds(&rounds, schedule(Some(SECOND), None), shutdown, None);
    assert!(
        tokio::time::timeout(3 * SECOND + SECOND / 2, running)
            .await
            .is_err()
    );
    assert_eq!(rounds.take().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn timetables() {
    let now = Instant::now();
    let mut table = Timetable::new(schedule(Some(Duration::ZERO), Some(Duration::MAX)), now);
    assert_eq!(table.next(), Some(now));
    assert!(table.take_update(now) && table.take_check(now));
    // A frequency of zero is bounded, one beyond the clock is never.
    assert_eq!(table.next(), Some(now + MIN_PERIOD));
    assert!(!table.take_update(now) && !table.take_check(now + SECOND));
    assert!(table.take_update(now + SECOND));
    assert_eq!(table.next(), Some(now + SECOND + MIN_PERIOD));
}
