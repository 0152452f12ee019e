//! When to discover and when to check: the loop behind every background service of this crate.
//!
//! `Timetable` is the pure half, `run_rounds` the half that waits.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use tokio::time::{Instant, sleep_until};

/// Rounds start at least this far apart, so that a frequency of zero does not burn a core.
const MIN_PERIOD: Duration = Duration::from_millis(1);

/// What a service does over and over. Neither may panic; both must be cancel-safe.
#[async_trait]
pub(crate) trait Rounds: Sync {
    async fn update_round(&self);
    async fn check_round(&self);
}

/// How far the rounds are apart; once if `None`.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) update: Option<Duration>,
    pub(crate) health_check: Option<Duration>,
}

/// Runs an update, a check, then both as `schedule` says; tells `ready` after the first of each.
///
/// Returns at once when `shutdown` turns true, dropping the round in flight, and when nothing is due any more. If the
/// sender of `shutdown` is dropped, nobody can ask for a shutdown, and it runs on.
///
/// Boxed: it is compiled once, not for each kind of selection in each program.
pub(crate) fn run_rounds<'a>(
    rounds: &'a dyn Rounds,
    schedule: Schedule,
    mut shutdown: ShutdownWatch,
    ready: Option<ServiceReadyNotifier>,
) -> BoxFuture<'a, ()> {
    Box::pin(async move {
        tokio::select! {
            biased;
            // Cancel-safe: watching does not change the watch.
            () = shut_down(&mut shutdown) => {}
            // Cancel-safe as the rounds are.
            () = repeat(rounds, schedule, ready) => {}
        }
    })
}

async fn shut_down(shutdown: &mut ShutdownWatch) {
    if shutdown
        .wait_for(|shutting_down| *shutting_down)
        .await
        .is_err()
    {
        std::future::pending().await
    }
}

async fn repeat(rounds: &dyn Rounds, schedule: Schedule, mut ready: Option<ServiceReadyNotifier>) {
    let mut timetable = Timetable::new(schedule, Instant::now());
    while let Some(next) = timetable.next() {
        sleep_until(next).await;
        if timetable.take_update(Instant::now()) {
            rounds.update_round().await;
        }
        if timetable.take_check(Instant::now()) {
            rounds.check_round().await;
        }
        if let Some(ready) = ready.take() {
            ready.notify_ready();
        }
    }
}

/// When the next rounds are due; `None` if never again.
struct Timetable {
    schedule: Schedule,
    next_update: Option<Instant>,
    next_check: Option<Instant>,
}

impl Timetable {
    fn new(schedule: Schedule, now: Instant) -> Self {
        Timetable {
            schedule,
            next_update: Some(now),
            next_check: Some(now),
        }
    }

    /// Returns whether an update is due, and plans the one after it.
    fn take_update(&mut self, now: Instant) -> bool {
        take(&mut self.next_update, self.schedule.update, now)
    }

    /// Returns whether a check is due, and plans the one after it.
    fn take_check(&mut self, now: Instant) -> bool {
        take(&mut self.next_check, self.schedule.health_check, now)
    }

    fn next(&self) -> Option<Instant> {
        match (self.next_update, self.next_check) {
            (Some(update), Some(check)) => Some(update.min(check)),
            (update, check) => update.or(check),
        }
    }
}

fn take(next: &mut Option<Instant>, period: Option<Duration>, now: Instant) -> bool {
    if next.is_none_or(|next| next > now) {
        return false;
    }
    // Missed rounds are not made up for. An instant beyond what the clock can tell is never.
    *next = period.and_then(|period| now.checked_add(period.max(MIN_PERIOD)));
    true
}

#[cfg(test)]
mod tests;
