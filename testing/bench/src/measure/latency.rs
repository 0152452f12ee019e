//! Latency at a fixed rate.

use std::time::Duration;

use crate::Result;
use crate::load::{Amount, Load, Pace};
use crate::proxies::Running;
use crate::scenario::Scenario;

/// One round, in µs.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Half of the requests were faster.
    pub p50: f64,
    /// 99 % were faster.
    pub p99: f64,
    /// 99.9 % were faster.
    pub p999: f64,
}

/// Requests per second: a third of what the slowest proxy manages on one core.
pub const RATE: f64 = 8_000.0;

/// The share of a round spent warming up before it.
const WARM_UP: u32 = 4;

/// Sends [`RATE`] requests a second for `time` and a quarter.
pub fn round(proxy: &Running, scenario: &Scenario, time: Duration) -> Result<Sample> {
    let mut load = Load::open(scenario.plan(proxy.listen))?;
    load.run(Pace::Rate(RATE), Amount::Time(time / WARM_UP))?;
    let latency = load.run(Pace::Rate(RATE), Amount::Time(time))?.latency;
    let micros = |quantile| latency.quantile(quantile).as_secs_f64() * 1e6;
    Ok(Sample {
        p50: micros(0.5),
        p99: micros(0.99),
        p999: micros(0.999),
    })
}
