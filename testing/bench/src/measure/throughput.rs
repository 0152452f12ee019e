//! Requests per second and CPU time per request, in a closed loop.

use std::time::Duration;

use crate::Result;
use crate::load::{Amount, Load, Pace};
use crate::proxies::Running;
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
    load.run(Pace::Closed, Amount::Time(time / WARM_UP))?;
    let before = proxy.process.cpu_time()?;
    let outcome = load.run(Pace::Closed, Amount::Time(time))?;
    let after = proxy.process.cpu_time()?;
    let answers = outcome.answers.max(1) as f64;
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / answers;
    let user = micros(after.user - before.user);
    Ok(Sample {
        rate: answers / outcome.elapsed.as_secs_f64(),
        cpu: user + micros(after.system - before.system),
        user,
    })
}
