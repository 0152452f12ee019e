//! Memory per idle keep-alive connection.

use std::thread;
use std::time::Duration;

use crate::Result;
use crate::load::{Amount, Load, Pace, Plan};
use crate::proxies::Running;
use crate::scenario::CONNECTIONS;

/// Requests before the first look, so that pools, buffers and code are resident.
const WARM_UP: u64 = 5_000;
/// Memory is looked at until two looks agree, so often at most.
const LOOKS: usize = 10;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Returns the KiB a connection adds that did one request of `plan` and idles, over `connections` of
/// them.
///
/// The proxy is a fresh one: memory freed by earlier loads would hide the cost.
pub fn kib_per_connection(proxy: &Running, mut plan: Plan, connections: usize) -> Result<f64> {
    Load::open(plan.clone())?.run(Pace::Closed, Amount::Requests(WARM_UP))?;
    plan.connections = connections;
    plan.concurrency = CONNECTIONS;
    growth_per_connection(proxy, connections, || {
        let mut load = Load::open(plan)?;
        // The longest idle connection is served next: each does exactly one request.
        load.run(Pace::Closed, Amount::Requests(connections as u64))?;
        Ok(load)
    })
}

/// Returns the KiB by which `proxy` grows for each of the `connections` that `open` returns.
pub fn growth_per_connection<C>(
    proxy: &Running,
    connections: usize,
    open: impl FnOnce() -> Result<C>,
) -> Result<f64> {
    let before = settled_kib(proxy)?;
    let open = open()?;
    let after = settled_kib(proxy)?;
    // The connections have to live until here.
    drop(open);
    Ok((after as f64 - before as f64) / connections as f64)
}

/// Returns the resident memory once it no longer changes.
fn settled_kib(proxy: &Running) -> Result<u64> {
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
