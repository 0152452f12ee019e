//! The TLS comparison: handshakes, keep-alive requests, large bodies and idle connections, of this
//! proxy on each library beside nginx, HAProxy and Pingora on the same one.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::args::Options;
use crate::contest::{self, Contest, Samples};
use crate::load::{Load, Plan};
use crate::machine;
use crate::measure::{idle, throughput};
use crate::process::Process;
use crate::proxies::{self, Entry, Library, Protocol, Protocols, Proxy, Running};
use crate::report::{Row, Table};
use crate::scenario::{self, Scenario};
use crate::tls_client::Client;

const PROTOCOLS: Protocols = Protocols::new(Protocol::Tls, Protocol::H1);

/// Idle connections memory is divided by.
const IDLE: usize = 2_000;
/// Length of a round; there are many columns.
const TIME: Duration = Duration::from_secs(1);
/// Of the connections that may resume a session at least this share does.
const RESUMED: f64 = 0.9;

/// What is measured: the kind of request, and whether its connection resumes a session.
const LOADS: [(&str, &str, bool); 4] = [
    ("full handshakes", "connect", false),
    ("resumed handshakes", "connect", true),
    ("small GET, keep-alive", "small", false),
    ("1 MiB response", "1m", false),
];

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
    let titles = LOADS.map(|(title, ..)| title);
    let samples = contest.rounds(&titles, |row, column| {
        let proxy = running[column].as_ref()?;
        Some(round(proxy, LOADS[row], time))
    });
    drop(running);
    machine::raise_descriptor_limit();
    let idle = contest.each("idle connections", |contest, column| {
        let proxy = contest.start(column, PROTOCOLS, origin, &[])?;
        let plan = plan(&proxy, scenario::named("small")?, &Client::new(false)?);
        idle::kib_per_connection(&proxy, plan, IDLE)
    });
    let rows = rows(&samples, idle);
    let tables: Vec<Table> = options
        .libraries
        .iter()
        .map(|library| table(&contest, *library, &rows))
        .filter(|table| !table.columns.is_empty())
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

fn round(
    proxy: &Running,
    (_, scenario, resumes): (&str, &str, bool),
    time: Duration,
) -> Result<Sample> {
    let client = Client::new(resumes)?;
    let mut load = Load::open(plan(proxy, scenario::named(scenario)?, &client))?;
    let (cost, happened) = throughput::load_for(proxy, &mut load, time)?;
    let (all, resumed) = (happened.handshakes as f64, happened.resumed as f64);
    if resumes && resumed < RESUMED * all {
        return Err(format!("of {all} connections {resumed} resumed a session"));
    }
    let tickets = client.tickets() as f64 / f64::from(load.opened());
    Ok(Sample { cost, tickets })
}

fn plan(proxy: &Running, scenario: &Scenario, client: &Client) -> Plan {
    Plan {
        tls: Some(client.clone()),
        ..scenario.plan(proxy.listen)
    }
}

/// Returns the rows of the report, with a value for each column of the contest.
fn rows(samples: &Samples<Sample>, idle: Vec<Option<f64>>) -> Vec<Row> {
    let (rates, costs) = (
        samples.medians(|sample| sample.cost.rate),
        samples.medians(|sample| sample.cost.cpu),
    );
    let tickets = samples.medians(|sample| sample.tickets);
    let row = |name: String, digits, values: &[Option<f64>]| Row {
        name,
        digits,
        values: values.to_vec(),
    };
    let mut rows = Vec::new();
    for (load, (title, scenario, _)) in LOADS.iter().enumerate() {
        if *scenario == "connect" {
            rows.push(row(format!("{title} per second"), 0, &rates[load]));
        }
        rows.push(row(format!("CPU µs, {title}"), 1, &costs[load]));
    }
    rows.push(row(
        format!("KiB of RSS, one of {IDLE} idle connections"),
        1,
        &idle,
    ));
    rows.push(row(
        String::from("session tickets per connection"),
        1,
        &tickets[0],
    ));
    rows
}

/// Returns the table of one library: ours and Pingora with it, and what comes as it is.
fn table(contest: &Contest<'_>, library: Library, rows: &[Row]) -> Table {
    let entries = contest.proxies.iter().map(|ready| ready.entry);
    let chosen: Vec<(usize, Entry)> = entries
        .enumerate()
        .filter(|(_, entry)| entry.library.is_none_or(|found| found == library))
        .collect();
    let row = |row: &Row| Row {
        name: row.name.clone(),
        digits: row.digits,
        values: chosen
            .iter()
            .map(|(column, _)| row.values[*column])
            .collect(),
    };
    Table {
        title: String::from(library.name()),
        columns: chosen.iter().map(|(_, entry)| entry.name()).collect(),
        rows: rows.iter().map(row).collect(),
    }
}
