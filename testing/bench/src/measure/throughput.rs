//! Requests per second and CPU time per request, in a closed loop.

use std::time::{Duration, Instant};

use crate::Result;
use crate::contest::{Contest, Samples};
use crate::load::{Amount, Load, Outcome, Pace};
use crate::proxies::Running;
use crate::report::Table;
use crate::scenario::Scenario;

/// One round.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Answers per second.
    pub rate: f64,
    /// CPU µs of the proxy per request.
    pub cpu: f64,
    /// Of it outside the kernel.
    pub user: f64,
}

/// The share of a round spent warming up before it.
const WARM_UP: u32 = 4;

/// Loads `proxy` for `time` and a quarter.
pub fn round(proxy: &Running, scenario: &Scenario, time: Duration) -> Result<Sample> {
    let mut load = Load::open(scenario.plan(proxy.listen))?;
    Ok(load_for(proxy, &mut load, time)?.0)
}

/// Loads `proxy` with `load` for `time` and a quarter, and returns also what happened.
pub fn load_for(proxy: &Running, load: &mut Load, time: Duration) -> Result<(Sample, Outcome)> {
    load.run(Pace::Closed, Amount::Time(time / WARM_UP))?;
    let mut happened = Outcome::default();
    let sample = around(proxy, || {
        happened = load.run(Pace::Closed, Amount::Time(time))?;
        Ok((happened.answers, happened.elapsed))
    })?;
    Ok((sample, happened))
}

/// Has `load` make so many requests, after a tenth of them to warm up.
pub fn round_of(
    proxy: &Running,
    requests: u64,
    load: impl Fn(u64) -> Result<()>,
) -> Result<Sample> {
    load(requests / 10)?;
    around(proxy, || {
        let start = Instant::now();
        load(requests)?;
        Ok((requests, start.elapsed()))
    })
}

/// Returns what `work` costs, which returns its answers and how long they took.
pub fn around(proxy: &Running, work: impl FnOnce() -> Result<(u64, Duration)>) -> Result<Sample> {
    let before = proxy.process.cpu_time()?;
    let (answers, elapsed) = work()?;
    let after = proxy.process.cpu_time()?;
    let answers = answers.max(1) as f64;
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / answers;
    let user = micros(after.user - before.user);
    Ok(Sample {
        rate: answers / elapsed.as_secs_f64(),
        cpu: user + micros(after.system - before.system),
        user,
    })
}

/// Returns the tables of what rounds found.
pub fn tables(contest: &Contest<'_>, rows: &[&str], samples: &Samples<Sample>) -> Vec<Table> {
    let table = |title, digits, values| contest.table(title, digits, rows.iter().copied(), values);
    vec![
        table(
            "CPU µs per request (user + system)",
            1,
            samples.medians(|s| s.cpu),
        ),
        table("Of it in user space", 1, samples.medians(|s| s.user)),
        table("Requests per second", 0, samples.medians(|s| s.rate)),
    ]
}
