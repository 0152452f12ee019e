//! The HTTP/1 comparison: every proxy, every scenario, every instrument, in interleaved rounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::Result;
use crate::args::Options;
use crate::contest::{self, Contest};
use crate::machine;
use crate::measure::{idle, instructions, latency, syscalls, throughput};
use crate::process::Process;
use crate::proxies::{Entry, Protocol, Protocols, Running};
use crate::report::Table;
use crate::scenario::Scenario;

/// Idle connections memory is divided by.
const IDLE: usize = 10_000;
/// Descriptors beside the idle connections' own.
const SPARE_DESCRIPTORS: u64 = 500;

const PROTOCOLS: Protocols = Protocols::new(Protocol::H1, Protocol::H1);

/// Runs `bench h1`.
pub fn h1(options: &Options) -> Result<()> {
    contest::run("h1", options, |scratch| measure(options, scratch))
}

fn measure(options: &Options, scratch: &Path) -> Result<String> {
    let entries = options.proxies.iter().map(|proxy| Entry::plain(*proxy));
    let contest = Contest::prepare(options, scratch, entries)?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (_origin, origin) = Process::origin(&contest.cores, any)?;
    let mut bench = Bench { contest, origin };
    let mut tables = bench.timed();
    if options.instruments {
        tables.extend(bench.counted());
        tables.push(bench.idle());
    }
    let how = format!("{:.1} s", options.time.as_secs_f64());
    Ok(bench.contest.report(&how, &tables))
}

struct Bench<'a> {
    contest: Contest<'a>,
    origin: SocketAddr,
}

impl Bench<'_> {
    /// Rates, CPU times and latencies; system calls, as the same processes serve for them.
    fn timed(&mut self) -> Vec<Table> {
        let running = self.contest.start_all(PROTOCOLS, self.origin);
        let (scenarios, time) = (&self.contest.options.scenarios, self.contest.options.time);
        let titles: Vec<&str> = scenarios.iter().map(|scenario| scenario.title).collect();
        let first = scenarios[0];
        let samples = self.contest.rounds(&titles, |row, column| {
            let proxy = running[column].as_ref()?;
            Some(throughput::round(proxy, scenarios[row], time))
        });
        let latencies = self.contest.rounds(&["latency"], |_, column| {
            let proxy = running[column].as_ref()?;
            Some(latency::round(proxy, first, time))
        });
        let quantiles: Vec<_> = [
            latencies.medians(|s| s.p50),
            latencies.medians(|s| s.p99),
            latencies.medians(|s| s.p999),
        ]
        .concat();
        let latency = format!(
            "Latency in µs at {} requests/s, {}",
            latency::RATE,
            first.title
        );
        let names = ["p50", "p99", "p99.9"];
        let mut tables = throughput::tables(&self.contest, &titles, &samples);
        tables.push(self.contest.table(latency, 0, names, quantiles));
        if self.contest.options.instruments {
            tables.push(self.system_calls(&running));
        }
        tables
    }

    fn system_calls(&mut self, running: &[Option<Running>]) -> Table {
        let mut rows = Vec::new();
        for scenario in self.counted_scenarios() {
            let what = format!("system calls: {}", scenario.title);
            let row = self.contest.each(&what, |contest, column| {
                let proxy = running[column].as_ref().ok_or("it does not run")?;
                syscalls::per_request(proxy, scenario, contest.scratch, contest.cores.client)
            });
            rows.push(row);
        }
        self.counted_table("System calls per request", 2, rows)
    }

    /// Instructions and allocations.
    fn counted(&mut self) -> Vec<Table> {
        let (scenarios, origin) = (self.counted_scenarios(), self.origin);
        let loads: Vec<_> = scenarios
            .iter()
            .map(|scenario| (scenario.plan(origin), scenario.counted))
            .collect();
        let counts = self.contest.each("instructions", |contest, column| {
            instructions::per_request(contest, column, PROTOCOLS, origin, &loads)
        });
        let columns = self.contest.proxies.len();
        let mut instructions = vec![vec![None; columns]; scenarios.len()];
        let mut allocations = instructions.clone();
        for (column, counts) in counts.into_iter().enumerate() {
            for (row, count) in counts.into_iter().flatten().enumerate() {
                if let Some(sample) = self.contest.noted(column, "instructions", count) {
                    instructions[row][column] = Some(sample.instructions);
                    allocations[row][column] = Some(sample.allocations);
                }
            }
        }
        vec![
            self.counted_table("User-space instructions per request", 0, instructions),
            self.counted_table("Allocations per request", 1, allocations),
        ]
    }

    fn idle(&mut self) -> Table {
        let limit = machine::raise_descriptor_limit().saturating_sub(SPARE_DESCRIPTORS);
        let connections = IDLE.min(usize::try_from(limit).unwrap_or(IDLE));
        let origin = self.origin;
        let row = self.contest.each("idle connections", |contest, column| {
            let proxy = contest.start(column, PROTOCOLS, origin, &[])?;
            let plan = crate::scenario::ALL[0].plan(proxy.listen);
            idle::kib_per_connection(&proxy, plan, connections)
        });
        let title = "Memory of idle keep-alive connections, KiB of RSS each";
        let name = format!("{connections} connections, one request each");
        self.contest.table(title, 2, [&*name], vec![row])
    }

    /// Returns the scenarios for the slow instruments.
    fn counted_scenarios(&self) -> Vec<&'static Scenario> {
        self.contest.options.scenarios[..self.contest.options.counted].to_vec()
    }

    fn counted_table(&self, title: &str, digits: usize, values: Vec<Vec<Option<f64>>>) -> Table {
        let scenarios = &self.contest.options.scenarios;
        let names = scenarios.iter().map(|scenario| scenario.title);
        self.contest.table(title, digits, names, values)
    }
}
