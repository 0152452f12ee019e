//! Memory per idle keep-alive connection.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::Result;
use crate::load::{Amount, Load, Pace};
use crate::proxies::{Ready, Running};
use crate::scenario::{CONNECTIONS, Scenario};

/// Requests before the first look, so that pools, buffers and code are resident.
const WARM_UP: u64 = 5_000;
/// Memory is looked at until two looks agree, so often at most.
const LOOKS: usize = 10;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Returns the KiB a connection adds that did one request and idles, over `connections` of them.
///
/// The proxy is a fresh one: memory freed by earlier loads would hide the cost.
pub fn kib_per_connection(
    ready: &Ready,
    origin: SocketAddr,
    core: usize,
    scenario: &Scenario,
    connections: usize,
) -> Result<f64> {
    let proxy = ready.start(origin, &[], core)?;
    let mut plan = scenario.plan(proxy.listen);
    Load::open(plan.clone())?.run(Pace::Closed, Amount::Requests(WARM_UP))?;
    let before = settled_kib(&proxy)?;
    plan.connections = connections;
    plan.concurrency = CONNECTIONS;
    let mut load = Load::open(plan)?;
    // The longest idle connection is served next: each does exactly one request.
    load.run(Pace::Closed, Amount::Requests(connections as u64))?;
    let after = settled_kib(&proxy)?;
    // The connections have to live until here.
    drop(load);
    Ok((after as f64 - before as f64) / connections as f64)
}

/// Returns the resident memory once it no longer changes.
pub fn settled_kib(proxy: &Running) -> Result<u64> {
    let mut last = proxy.process.resident_kib()?;
    for _ in 0..LOOKS {
        thread::sleep(PAUSE);
        let now = proxy.process.resident_kib()?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}
