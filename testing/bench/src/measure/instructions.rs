//! User-space instructions and allocations per request, counted by callgrind.
//!
//! The counters are zeroed after a warm-up and dumped after a known number of requests, so neither
//! start-up nor the first use of anything is in them. Allocations are the calls of the allocation
//! functions of the C library, which every program here ends in.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::Result;
use crate::load::{Amount, Load, Pace};
use crate::process::output;
use crate::proxies::Ready;
use crate::scenario::Scenario;

/// What one request costs.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Instructions outside the kernel.
    pub instructions: f64,
    /// Calls of malloc, calloc, realloc and their aligned kin.
    pub allocations: f64,
}

/// Requests before counting.
const WARM_UP: u64 = 1_000;

const ALLOCATORS: [&str; 6] = [
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
];

/// Runs each scenario on one instrumented proxy.
pub fn per_request(
    ready: &Ready,
    origin: SocketAddr,
    core: usize,
    scenarios: &[&Scenario],
    scratch: &Path,
) -> Result<Vec<Result<Sample>>> {
    let prefix = scratch.join(format!("callgrind.{}", ready.proxy.name()));
    let instrument = [
        String::from("valgrind"),
        String::from("--tool=callgrind"),
        format!("--callgrind-out-file={}", prefix.display()),
    ];
    let mut proxy = ready.start(origin, &instrument, core)?;
    let id = proxy.process.id().to_string();
    let mut samples = Vec::new();
    for (index, scenario) in scenarios.iter().enumerate() {
        let count = || -> Result<Sample> {
            let mut load = Load::open(scenario.plan(proxy.listen))?;
            let warm_up = WARM_UP.min(scenario.counted / 2);
            load.run(Pace::Closed, Amount::Requests(warm_up))?;
            control(&id, "--zero")?;
            load.run(Pace::Closed, Amount::Requests(scenario.counted))?;
            control(&id, "--dump")?;
            // Dumps are numbered from 1.
            let dump = PathBuf::from(format!("{}.{}", prefix.display(), index + 1));
            let text = fs::read_to_string(&dump).map_err(|error| format!("callgrind: {error}"))?;
            let (instructions, allocations) = read(&text).ok_or("callgrind counted nothing")?;
            let per_request = |count: u64| count as f64 / scenario.counted as f64;
            Ok(Sample {
                instructions: per_request(instructions),
                allocations: per_request(allocations),
            })
        };
        samples.push(count());
    }
    proxy.process.end(Signal::KILL);
    Ok(samples)
}

fn control(id: &str, command: &str) -> Result<()> {
    match output("callgrind_control", &[command, id]) {
        Some(text) if text.contains("OK") => Ok(()),
        Some(text) => Err(format!("callgrind_control {command}: {}", text.trim())),
        None => Err(String::from(
            "valgrind is not installed (apt-get install valgrind)",
        )),
    }
}

/// Returns the instructions and the allocations of a dump.
fn read(dump: &str) -> Option<(u64, u64)> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let (mut total, mut allocations) = (None, 0);
    let mut callee = "";
    for line in dump.lines() {
        if let Some(name) = line.strip_prefix("fn=").or(line.strip_prefix("cfn=")) {
            // The name is given with the first use of its number: `(12) malloc`, later `(12)`.
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            if !name.is_empty() {
                names.insert(number, name);
            }
            if line.starts_with('c') {
                callee = names.get(number).copied().unwrap_or_default();
            }
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let base = callee.split(['@', '\'']).next().unwrap_or_default();
            if ALLOCATORS.contains(&base) {
                let count = calls.split(' ').next().unwrap_or_default();
                allocations += count.parse::<u64>().ok()?;
            }
        } else if let Some(sum) = line
            .strip_prefix("totals: ")
            .or(line.strip_prefix("summary: "))
        {
            total = sum.trim().parse::<u64>().ok().or(total);
        }
    }
    Some((total?, allocations))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn dumps_are_read() {
        let dump = "events: Ir\nfn=(1) main\n16 400\ncfn=(2) malloc\ncalls=3 0\n16 90\n\
            cfn=(3) free\ncalls=9 0\n1 1\nfn=(2)\n1 90\ncfn=(2)\ncalls=4 1\n1 1\ntotals: 491\n";
        assert_eq!(read(dump), Some((491, 7)));
        assert_eq!(read("nothing\n"), None);
    }
}
