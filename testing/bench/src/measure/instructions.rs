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
use crate::contest::Contest;
use crate::load::{Amount, Load, Pace, Plan};
use crate::process::output;
use crate::proxies::{Protocols, Running};

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

/// Counts each of `loads`, whatever their target and so many requests of it, on one instrumented
/// proxy.
pub fn per_request(
    contest: &Contest<'_>,
    column: usize,
    protocols: Protocols,
    origin: SocketAddr,
    loads: &[(Plan, u64)],
) -> Result<Vec<Result<Sample>>> {
    let prefix = contest.scratch.join(format!("callgrind.{column}"));
    let mut proxy = contest.start(column, protocols, origin, &instrument(&prefix))?;
    let mut samples = Vec::new();
    for (index, (plan, requests)) in loads.iter().enumerate() {
        let plan = Plan {
            target: proxy.listen,
            ..plan.clone()
        };
        let sample = Load::open(plan).and_then(|mut load| {
            let run = |count| load.run(Pace::Closed, Amount::Requests(count)).map(|_| ());
            count(&proxy, &prefix, index + 1, *requests, run)
        });
        samples.push(sample);
    }
    proxy.process.end(Signal::KILL);
    Ok(samples)
}

/// Returns the command that runs another one and writes dumps to `prefix`, a dot and a number.
pub fn instrument(prefix: &Path) -> [String; 3] {
    [
        String::from("valgrind"),
        String::from("--tool=callgrind"),
        format!("--callgrind-out-file={}", prefix.display()),
    ]
}

/// Counts what `requests` cost that `load` makes, after a warm-up. It is the dump `number` of the
/// process, from 1.
pub fn count(
    proxy: &Running,
    prefix: &Path,
    number: usize,
    requests: u64,
    mut load: impl FnMut(u64) -> Result<()>,
) -> Result<Sample> {
    let id = proxy.process.id().to_string();
    load(WARM_UP.min(requests / 2))?;
    control(&id, "--zero")?;
    load(requests)?;
    control(&id, "--dump")?;
    let dump = PathBuf::from(format!("{}.{number}", prefix.display()));
    let text = fs::read_to_string(&dump).map_err(|error| format!("callgrind: {error}"))?;
    let (instructions, allocations) = read(&text).ok_or("callgrind counted nothing")?;
    let per_request = |count: u64| count as f64 / requests as f64;
    Ok(Sample {
        instructions: per_request(instructions),
        allocations: per_request(allocations),
    })
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
