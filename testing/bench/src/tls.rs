//! The TLS comparison: handshakes, keep-alive requests, large bodies and idle connections, of this
//! proxy on each library beside nginx, HAProxy and Pingora on the same one.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::args::Options;
use crate::contest::{self, Contest, Samples};
use crate::load::{Load, Plan};
use crate::machine;
use crate::measure::{idle, instructions, throughput};
use crate::process::Process;
use crate::proxies::{self, Entry, Library, Protocol, Protocols, Proxy, Running};
use crate::report::{Row, Table};
use crate::scenario::{self, Scenario};
use crate::tls_client::Client;
use crate::{Result, h2_client, nghttp2};

const PROTOCOLS: Protocols = Protocols::new(Protocol::Tls, Protocol::H1);
const H2_PROTOCOLS: Protocols = Protocols::new(Protocol::H2Tls, Protocol::H1);

/// What is measured.
const LOADS: [Traffic; 4] = [
    Traffic::new("full handshakes", "connect", false, 100),
    Traffic::new("resumed handshakes", "connect", true, 0),
    Traffic::new("small GET, keep-alive", "small", false, 1_000),
    Traffic::new("1 MiB response", "1m", false, 0),
];

/// Small GETs over HTTP/2, with so many at a time on each connection.
const H2_LOADS: [(&str, u64); 2] = [
    ("HTTP/2, small GET, 32 at a time", 32),
    ("HTTP/2, small GET, one at a time", 1),
];
/// Requests of a round over HTTP/2.
const H2_REQUESTS: u64 = 20_000;
/// Requests over HTTP/2 before idle connections are counted.
const H2_WARM_UP: u64 = 4_000;
/// Requests over HTTP/2 under instrumentation.
const H2_COUNTED: u64 = 2_000;
/// What they ask for.
const PATH: &str = "/small";

/// Idle connections memory is divided by.
const IDLE: usize = 2_000;
/// Length of a round; there are many columns.
const TIME: Duration = Duration::from_secs(1);
/// Of the connections that may resume a session at least this share does.
const RESUMED: f64 = 0.9;

/// A kind of request, and of connection.
struct Traffic {
    title: &'static str,
    scenario: &'static str,
    /// Whether connections resume sessions of earlier ones.
    resumes: bool,
    /// Requests counted under instrumentation, which takes fifty times as long; none for zero.
    counted: u64,
}

impl Traffic {
    const fn new(title: &'static str, scenario: &'static str, resumes: bool, counted: u64) -> Self {
        Self {
            title,
            scenario,
            resumes,
            counted,
        }
    }

    /// Returns the load of this kind on `target`, and its client.
    fn plan(&self, target: SocketAddr) -> Result<(Plan, Client)> {
        let client = Client::new(self.resumes)?;
        let scenario: &Scenario = scenario::named(self.scenario)?;
        let plan = Plan {
            tls: Some(client.clone()),
            ..scenario.plan(target)
        };
        Ok((plan, client))
    }

    fn is_handshake(&self) -> bool {
        self.scenario == "connect"
    }
}

/// One round.
struct Sample {
    cost: throughput::Sample,
    /// Session tickets per connection.
    tickets: f64,
}

/// Runs `bench tls`.
pub fn run(options: &Options) -> Result<()> {
    if options.ours.is_some() && options.libraries.len() != 1 {
        return Err(String::from(
            "--ours needs --library: what is it built with?",
        ));
    }
    contest::run("tls", options, |scratch| measure(options, scratch))
}

fn measure(options: &Options, scratch: &Path) -> Result<String> {
    proxies::make_certificate(scratch)?;
    let mut contest = Contest::prepare(options, scratch, entries(options))?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (_origin, origin) = Process::origin(&contest.cores, any)?;
    let time = options.time.min(TIME);
    let running = contest.start_all(PROTOCOLS, origin);
    let titles = LOADS.map(|traffic| traffic.title);
    let samples = contest.rounds(&titles, |row, column| {
        let proxy = running[column].as_ref()?;
        Some(round(proxy, &LOADS[row], time))
    });
    drop(running);
    let mut rows = timed_rows(&samples);
    rows.extend(h2_rows(&mut contest, origin));
    if options.instruments {
        rows.extend(counted_rows(&mut contest, origin)?);
        rows.extend(idle_rows(&mut contest, origin));
    }
    let tickets = samples.medians(|sample| sample.tickets).swap_remove(0);
    rows.push(row(
        String::from("session tickets per handshake"),
        1,
        tickets,
    ));
    let tables: Vec<Table> = options
        .libraries
        .iter()
        .map(|library| table(&contest, *library, &rows))
        .collect();
    let how = format!(
        "{:.1} s, {} connections",
        time.as_secs_f64(),
        scenario::CONNECTIONS
    );
    Ok(contest.report(&how, &tables))
}

/// Returns who takes part: ours and Pingora once with each library.
fn entries(options: &Options) -> Vec<Entry> {
    let of = |proxy| -> Vec<Entry> {
        let with = |library: &Library| Entry {
            proxy,
            library: Some(*library),
        };
        match proxy {
            Proxy::Ours | Proxy::Pingora => options.libraries.iter().map(with).collect(),
            Proxy::Nginx | Proxy::HaProxy => vec![Entry::plain(proxy)],
            // Its proxy here is without TLS.
            Proxy::Hyper => Vec::new(),
        }
    };
    options
        .proxies
        .iter()
        .flat_map(|proxy| of(*proxy))
        .collect()
}

fn round(proxy: &Running, traffic: &Traffic, time: Duration) -> Result<Sample> {
    let (plan, client) = traffic.plan(proxy.listen)?;
    let mut load = Load::open(plan)?;
    let (cost, happened) = throughput::load_for(proxy, &mut load, time)?;
    let (all, resumed) = (happened.handshakes, happened.resumed);
    if traffic.resumes && (resumed as f64) < RESUMED * all as f64 {
        return Err(format!("of {all} connections {resumed} resumed a session"));
    }
    let tickets = client.tickets() as f64 / f64::from(load.opened());
    Ok(Sample { cost, tickets })
}

/// Returns the rows of the rounds, with a value for each column of the contest.
fn timed_rows(samples: &Samples<Sample>) -> Vec<Row> {
    let rates = samples.medians(|sample| sample.cost.rate);
    let costs = samples.medians(|sample| sample.cost.cpu);
    let mut rows = Vec::new();
    for (traffic, (rate, cost)) in LOADS.iter().zip(rates.into_iter().zip(costs)) {
        if traffic.is_handshake() {
            rows.push(row(format!("{} per second", traffic.title), 0, rate));
        }
        rows.push(row(format!("CPU µs, {}", traffic.title), 1, cost));
    }
    rows
}

/// Measures HTTP/2 and returns its rows.
fn h2_rows(contest: &mut Contest<'_>, origin: SocketAddr) -> Vec<Row> {
    let running = contest.start_all(H2_PROTOCOLS, origin);
    let titles = H2_LOADS.map(|(title, _)| title);
    let samples = contest.rounds(&titles, |row, column| {
        let proxy = running[column].as_ref()?;
        let streams = H2_LOADS[row].1;
        Some(throughput::round_of(proxy, H2_REQUESTS, |count| {
            nghttp2::load_by_tls(proxy.listen, PATH, streams, count)
        }))
    });
    let costs = samples.medians(|sample| sample.cpu);
    let rows = titles.into_iter().zip(costs);
    rows.map(|(title, cost)| row(format!("CPU µs, {title}"), 1, cost))
        .collect()
}

/// Returns the rows of user-space instructions, in thousands.
fn counted_rows(contest: &mut Contest<'_>, origin: SocketAddr) -> Result<Vec<Row>> {
    let counted: Vec<&Traffic> = LOADS.iter().filter(|load| load.counted > 0).collect();
    let load = |traffic: &&Traffic| Ok((traffic.plan(origin)?.0, traffic.counted));
    let loads: Vec<(Plan, u64)> = counted.iter().map(load).collect::<Result<_>>()?;
    let counts = contest.each("instructions", |contest, column| {
        instructions::per_request(contest, column, PROTOCOLS, origin, &loads)
    });
    let mut values = vec![vec![None; counts.len()]; loads.len()];
    for (column, counts) in counts.into_iter().enumerate() {
        for (row, count) in counts.into_iter().flatten().enumerate() {
            let sample = contest.noted(column, "instructions", count);
            values[row][column] = sample.map(|sample| sample.instructions / 1_000.0);
        }
    }
    let titles = counted.into_iter().map(|traffic| traffic.title);
    let rows = titles.zip(values);
    let h2 = (H2_LOADS[0].0, h2_counts(contest, origin));
    Ok(rows
        .chain([h2])
        .map(|(title, values)| row(format!("1,000 instructions, {title}"), 0, values))
        .collect())
}

/// Returns the thousands of instructions of a request over HTTP/2, many at a time.
fn h2_counts(contest: &mut Contest<'_>, origin: SocketAddr) -> Vec<Option<f64>> {
    contest.each("instructions of HTTP/2", |contest, column| {
        let prefix = contest.scratch.join(format!("callgrind.h2.{column}"));
        let instrument = instructions::instrument(&prefix);
        let proxy = contest.start(column, H2_PROTOCOLS, origin, &instrument)?;
        let load = |count| nghttp2::load_by_tls(proxy.listen, PATH, H2_LOADS[0].1, count);
        let sample = instructions::count(&proxy, &prefix, 1, H2_COUNTED, load)?;
        Ok(sample.instructions / 1_000.0)
    })
}

fn idle_rows(contest: &mut Contest<'_>, origin: SocketAddr) -> [Row; 2] {
    machine::raise_descriptor_limit();
    let h1 = contest.each("idle connections", |contest, column| {
        let proxy = contest.start(column, PROTOCOLS, origin, &[])?;
        let (plan, _) = Traffic::new("idle", "small", false, 0).plan(proxy.listen)?;
        idle::kib_per_connection(&proxy, plan, IDLE)
    });
    let h2 = contest.each("idle connections of HTTP/2", |contest, column| {
        let proxy = contest.start(column, H2_PROTOCOLS, origin, &[])?;
        nghttp2::load_by_tls(proxy.listen, PATH, H2_LOADS[0].1, H2_WARM_UP)?;
        let client = Client::new(false)?.for_h2();
        idle::growth_per_connection(&proxy, IDLE, || {
            h2_client::idle_connections(IDLE, proxy.listen, PATH, Some(&client))
        })
    });
    [("", h1), (" of HTTP/2", h2)].map(|(kind, values)| {
        let name = format!("KiB of RSS, one of {IDLE} idle connections{kind}");
        row(name, 1, values)
    })
}

fn row(name: String, digits: usize, values: Vec<Option<f64>>) -> Row {
    Row {
        name,
        digits,
        values,
    }
}

/// Returns the table of one library: ours and Pingora with it, and what comes as it is.
fn table(contest: &Contest<'_>, library: Library, rows: &[Row]) -> Table {
    let entries = contest.proxies.iter().map(|ready| ready.entry);
    let chosen: Vec<(usize, Entry)> = entries
        .enumerate()
        .filter(|(_, entry)| entry.library.is_none_or(|found| found == library))
        .collect();
    let columns = chosen.iter().map(|(column, _)| *column);
    let of_library = |all: &Row| {
        let values = columns.clone().map(|column| all.values[column]);
        row(all.name.clone(), all.digits, values.collect())
    };
    Table {
        title: String::from(library.name()),
        rows: rows.iter().map(of_library).collect(),
        columns: chosen.iter().map(|(_, entry)| entry.name()).collect(),
    }
}
