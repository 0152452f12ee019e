//! System calls per request, counted by strace.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::Result;
use crate::load::{Amount, Load, Pace};
use crate::process::Process;
use crate::proxies::Running;
use crate::scenario::Scenario;

/// Requests before counting.
const WARM_UP: u64 = 500;
/// strace attaches within this time.
const ATTACH: Duration = Duration::from_millis(700);

/// Returns the system calls per request of all threads of `proxy`.
pub fn per_request(
    proxy: &Running,
    scenario: &Scenario,
    scratch: &Path,
    core: usize,
) -> Result<f64> {
    let mut load = Load::open(scenario.plan(proxy.listen))?;
    load.run(Pace::Closed, Amount::Requests(WARM_UP))?;
    let summary = scratch.join("strace");
    let mut strace = Command::new("strace");
    strace
        .args(["-c", "-f", "-o"])
        .arg(&summary)
        .args(["-p", &proxy.process.id().to_string()]);
    let mut strace = Process::start("strace", &strace, core)?;
    thread::sleep(ATTACH);
    if !strace.is_alive() {
        return Err(String::from(
            "strace cannot attach (is it installed and allowed to?)",
        ));
    }
    load.run(Pace::Closed, Amount::Requests(scenario.counted))?;
    strace.end(Signal::INT);
    let text = fs::read_to_string(&summary).map_err(|error| format!("strace: {error}"))?;
    let calls = total(&text).ok_or("strace counted nothing")?;
    Ok(calls as f64 / scenario.counted as f64)
}

/// Returns the calls on the last line, `100.00 0.012345 3 4321 12 total` (errors may be missing).
fn total(summary: &str) -> Option<u64> {
    let line = summary.lines().find(|line| line.ends_with("total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn totals_are_found() {
        let head = "% time     seconds  usecs/call     calls    errors syscall\n";
        for (line, calls) in [
            (
                "100.00    0.012345           3      4321        12 total",
                Some(4321),
            ),
            (
                "100.00    0.012345           3      4321           total",
                Some(4321),
            ),
            ("", None),
        ] {
            assert_eq!(total(&format!("{head}{line}\n")), calls);
        }
    }
}
