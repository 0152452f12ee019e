//! The HTTP/1 comparison: every proxy, every scenario, every instrument, in interleaved rounds.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::args::Options;
use crate::machine::{self, Cores};
use crate::measure::{idle, instructions, latency, syscalls, throughput};
use crate::process::Process;
use crate::proxies::{Ready, Running};
use crate::report::{self, Table, median};

/// Idle connections memory is divided by.
const IDLE: usize = 10_000;
/// Descriptors beside the idle connections' own.
const SPARE_DESCRIPTORS: u64 = 500;
/// A whole run takes a quarter of this on two slow cores.
const RUN_LIMIT: Duration = Duration::from_secs(3600);

/// Runs `bench h1`.
pub fn h1(options: &Options) -> Result<()> {
    limit_time();
    let scratch = std::env::temp_dir().join(format!("bench-{}", std::process::id()));
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let outcome = measure(options, &scratch);
    // Left over, it costs nothing but disk.
    let _ = fs::remove_dir_all(&scratch);
    let text = outcome?;
    println!("{text}");
    if options.write {
        report::write_section("h1", &text)?;
        eprintln!("written to docs/benchmarks.md");
    }
    Ok(())
}

/// Ends the driver, and with it all it started, if something waits for ever.
pub fn limit_time() {
    std::thread::spawn(|| {
        std::thread::sleep(RUN_LIMIT);
        eprintln!("bench: still not done after an hour, giving up");
        std::process::exit(1);
    });
}

fn measure(options: &Options, scratch: &Path) -> Result<String> {
    let about = machine::describe();
    let mut notes = Vec::new();
    let mut proxies = Vec::new();
    for proxy in &options.proxies {
        match proxy.prepare(scratch, options.ours.as_deref()) {
            Ok(ready) => proxies.push(ready),
            Err(error) => notes.push(format!("{}: not measured: {error}", proxy.name())),
        }
    }
    if proxies.is_empty() {
        return Err(notes.join("\n"));
    }
    let cores = Cores::divide()?;
    cores.pin_client()?;
    let (_origin, origin) = Process::origin(&cores, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let mut bench = Bench {
        options,
        scratch,
        cores,
        origin,
        proxies,
        notes,
    };
    let mut tables = bench.timed();
    if options.instruments {
        tables.extend(bench.counted());
        tables.push(bench.idle());
    }
    Ok(bench.report(&about, &tables))
}

struct Bench<'a> {
    options: &'a Options,
    scratch: &'a Path,
    cores: Cores,
    origin: SocketAddr,
    proxies: Vec<Ready>,
    notes: Vec<String>,
}

impl Bench<'_> {
    /// Rates, CPU times and latencies; system calls, as the same processes serve for them.
    fn timed(&mut self) -> Vec<Table> {
        let running = self.start_all();
        let names: Vec<String> = self
            .options
            .scenarios
            .iter()
            .map(|s| s.title.into())
            .collect();
        let (columns, rows) = (self.proxies.len(), names.len());
        let mut samples = vec![vec![Vec::new(); columns]; rows];
        let mut latencies = vec![Vec::new(); columns];
        let first = self.options.scenarios[0];
        for round in 1..=self.options.rounds {
            for (row, scenario) in self.options.scenarios.iter().enumerate() {
                eprintln!("round {round}: {}", scenario.title);
                for (column, proxy) in running.iter().enumerate() {
                    let Some(proxy) = proxy else { continue };
                    match throughput::round(proxy, scenario, self.options.time) {
                        Ok(sample) => samples[row][column].push(sample),
                        Err(error) => self.note(column, scenario.title, &error),
                    }
                }
            }
            eprintln!("round {round}: latency");
            for (column, proxy) in running.iter().enumerate() {
                let Some(proxy) = proxy else { continue };
                match latency::round(proxy, first, self.options.time) {
                    Ok(sample) => latencies[column].push(sample),
                    Err(error) => self.note(column, "latency", &error),
                }
            }
        }
        let pick = |value: fn(&throughput::Sample) -> f64| -> Vec<Vec<Option<f64>>> {
            let medians = |row: &Vec<Vec<throughput::Sample>>| -> Vec<Option<f64>> {
                row.iter()
                    .map(|cell| median(cell.iter().map(value).collect()))
                    .collect()
            };
            samples.iter().map(medians).collect()
        };
        let quantile = |value: fn(&latency::Sample) -> f64| -> Vec<Option<f64>> {
            latencies
                .iter()
                .map(|cell| median(cell.iter().map(value).collect()))
                .collect()
        };
        let latency = Table {
            title: format!(
                "Latency in µs at {} requests/s, {}",
                latency::RATE,
                first.title
            ),
            digits: 0,
            columns: self.columns(),
            rows: vec![
                ("p50".into(), quantile(|s| s.p50)),
                ("p99".into(), quantile(|s| s.p99)),
                ("p99.9".into(), quantile(|s| s.p999)),
            ],
        };
        let mut tables = vec![
            self.table("CPU µs per request (user + system)", 1, pick(|s| s.cpu)),
            self.table("Of it in user space", 1, pick(|s| s.user)),
            self.table("Requests per second", 0, pick(|s| s.rate)),
            latency,
        ];
        if self.options.instruments {
            tables.push(self.system_calls(&running));
        }
        tables
    }

    fn system_calls(&mut self, running: &[Option<Running>]) -> Table {
        let mut rows = Vec::new();
        for scenario in &self.options.scenarios[..self.options.counted] {
            eprintln!("system calls: {}", scenario.title);
            let mut row = Vec::new();
            for (column, proxy) in running.iter().enumerate() {
                row.push(proxy.as_ref().and_then(|proxy| {
                    syscalls::per_request(proxy, scenario, self.scratch, self.cores.client)
                        .map_err(|error| self.note(column, "system calls", &error))
                        .ok()
                }));
            }
            rows.push(row);
        }
        self.table("System calls per request", 2, rows)
    }

    /// Instructions and allocations.
    fn counted(&mut self) -> Vec<Table> {
        let scenarios = self.options.scenarios[..self.options.counted].to_vec();
        let mut instructions = vec![vec![None; self.proxies.len()]; scenarios.len()];
        let mut allocations = instructions.clone();
        for column in 0..self.proxies.len() {
            let ready = &self.proxies[column];
            eprintln!("instructions: {}", ready.proxy.name());
            let core = self.cores.proxy;
            let counts =
                instructions::per_request(ready, self.origin, core, &scenarios, self.scratch)
                    .unwrap_or_else(|error| vec![Err(error)]);
            for (row, count) in counts.into_iter().enumerate() {
                match count {
                    Ok(sample) => {
                        instructions[row][column] = Some(sample.instructions);
                        allocations[row][column] = Some(sample.allocations);
                    }
                    Err(error) => self.note(column, "instructions", &error),
                }
            }
        }
        vec![
            self.table("User-space instructions per request", 0, instructions),
            self.table("Allocations per request", 1, allocations),
        ]
    }

    fn idle(&mut self) -> Table {
        let limit = machine::raise_descriptor_limit().saturating_sub(SPARE_DESCRIPTORS);
        let connections = IDLE.min(usize::try_from(limit).unwrap_or(IDLE));
        let mut row = Vec::new();
        for column in 0..self.proxies.len() {
            let ready = &self.proxies[column];
            eprintln!("idle connections: {}", ready.proxy.name());
            let small = &crate::scenario::ALL[0];
            let core = self.cores.proxy;
            let found = idle::kib_per_connection(ready, self.origin, core, small, connections);
            row.push(
                found
                    .map_err(|error| self.note(column, "idle", &error))
                    .ok(),
            );
        }
        Table {
            title: String::from("Memory of idle keep-alive connections, KiB of RSS each"),
            digits: 2,
            columns: self.columns(),
            rows: vec![(format!("{connections} connections, one request each"), row)],
        }
    }

    fn start_all(&mut self) -> Vec<Option<Running>> {
        let mut running = Vec::new();
        for column in 0..self.proxies.len() {
            let started = self.proxies[column].start(self.origin, &[], self.cores.proxy);
            running.push(
                started
                    .map_err(|error| self.note(column, "start", &error))
                    .ok(),
            );
        }
        running
    }

    fn table(&self, title: &str, digits: usize, values: Vec<Vec<Option<f64>>>) -> Table {
        let scenarios = self.options.scenarios.iter();
        let rows = scenarios.map(|scenario| String::from(scenario.title));
        Table {
            title: String::from(title),
            digits,
            columns: self.columns(),
            rows: rows.zip(values).collect(),
        }
    }

    fn columns(&self) -> Vec<String> {
        let names = self.proxies.iter().map(|ready| ready.proxy.name());
        names.map(String::from).collect()
    }

    fn note(&mut self, column: usize, what: &str, error: &str) {
        let note = format!("{}: {what}: {error}", self.proxies[column].proxy.name());
        eprintln!("  {note}");
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn report(&self, about: &str, tables: &[Table]) -> String {
        let versions: Vec<String> = self
            .proxies
            .iter()
            .map(|ready| format!("{} {}", ready.proxy.name(), ready.version))
            .collect();
        let mut text = format!(
            "{date}. {about}.\n\n{versions}. {rounds} round(s) of {time:.1} s; medians; in parentheses \
             the ratio to ours (above 1: more than ours).\n",
            date = machine::today(),
            versions = versions.join(", "),
            rounds = self.options.rounds,
            time = self.options.time.as_secs_f64(),
        );
        for note in &self.notes {
            text.push_str(&format!("\n- {note}"));
        }
        for table in tables {
            text.push('\n');
            text.push_str(&table.markdown());
        }
        text
    }
}
