//! The HTTP/2 comparison: small requests over each pair of protocols that has HTTP/2 in it, in
//! cleartext, in interleaved rounds. h2load is the client and nghttpd the origin that speaks it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::args::Options;
use crate::contest::{self, Contest};
use crate::load::{Amount, Load, Pace};
use crate::machine;
use crate::measure::{idle, instructions, throughput};
use crate::origin::SMALL;
use crate::process::Process;
use crate::proxies::{Entry, Protocol, Protocols, Running};
use crate::report::Table;
use crate::{Result, h2_client, nghttp2, scenario};

/// What is measured: from the client's protocol to the origin's.
const PAIRS: [(&str, Protocols); 3] = [
    (
        "HTTP/2 to HTTP/1",
        Protocols::new(Protocol::H2, Protocol::H1),
    ),
    (
        "HTTP/2 to HTTP/2",
        Protocols::new(Protocol::H2, Protocol::H2),
    ),
    (
        "HTTP/1 to HTTP/2",
        Protocols::new(Protocol::H1, Protocol::H2),
    ),
];

/// Requests of a round.
const REQUESTS: u64 = 40_000;
/// Requests before idle connections are counted.
const WARM_UP: u64 = 4_000;
/// Requests under callgrind.
const COUNTED: u64 = 2_000;
/// Idle connections memory is divided by.
const IDLE: usize = 1_000;
/// What the origins are asked for.
const PATH: &str = "/small";
/// Runs `bench h2`.
pub fn run(options: &Options) -> Result<()> {
    contest::run("h2", options, |scratch| measure(options, scratch))
}

struct Bench<'a> {
    contest: Contest<'a>,
    /// By the protocol they speak.
    origins: [SocketAddr; 2],
}

fn measure(options: &Options, scratch: &Path) -> Result<String> {
    let entries = options.proxies.iter().map(|proxy| Entry::plain(*proxy));
    let contest = Contest::prepare(options, scratch, entries)?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (_h1, h1) = Process::origin(&contest.cores, any)?;
    let (_h2, h2) = nghttp2::origin(&contest.cores, scratch, PATH, &[b'x'; SMALL], &[])?;
    let origins = [h1, h2];
    let mut bench = Bench { contest, origins };
    let mut tables = bench.timed();
    if options.instruments {
        tables.push(bench.counted());
        tables.push(bench.idle());
    }
    let how = format!(
        "{REQUESTS} requests, {} connections with {} requests at a time each, or {} with HTTP/1",
        nghttp2::CONNECTIONS,
        nghttp2::STREAMS,
        scenario::CONNECTIONS
    );
    Ok(bench.contest.report(&how, &tables))
}

impl Bench<'_> {
    fn timed(&mut self) -> Vec<Table> {
        let mut running = Vec::new();
        for (_, protocols) in PAIRS {
            let origin = self.origins[protocols.origin as usize];
            running.push(self.contest.start_all(protocols, origin));
        }
        let titles = PAIRS.map(|(title, _)| title);
        let samples = self.contest.rounds(&titles, |row, column| {
            let proxy = running[row][column].as_ref()?;
            let client = PAIRS[row].1.client;
            let load = |count| load(proxy.listen, client, count);
            Some(throughput::round_of(proxy, REQUESTS, load))
        });
        throughput::tables(&self.contest, &titles, &samples)
    }

    fn counted(&mut self) -> Table {
        let (mut rows, origins) = (Vec::new(), self.origins);
        for (title, protocols) in PAIRS {
            let what = format!("instructions: {title}");
            let row = self.contest.each(&what, |contest, column| {
                let prefix = contest.scratch.join(format!("callgrind.{column}"));
                let instrument = instructions::instrument(&prefix);
                let origin = origins[protocols.origin as usize];
                let proxy = contest.start(column, protocols, origin, &instrument)?;
                let load = |count| load(proxy.listen, protocols.client, count);
                let sample = instructions::count(&proxy, &prefix, 1, COUNTED, load)?;
                Ok(sample.instructions)
            });
            rows.push(row);
        }
        let titles = PAIRS.map(|(title, _)| title);
        self.contest
            .table("User-space instructions per request", 0, titles, rows)
    }

    fn idle(&mut self) -> Table {
        machine::raise_descriptor_limit();
        let (protocols, origin) = (PAIRS[0].1, self.origins[0]);
        let row = self.contest.each("idle connections", |contest, column| {
            kib_per_connection(&contest.start(column, protocols, origin, &[])?)
        });
        let title = "Memory of idle HTTP/2 connections, KiB of RSS each";
        let name = format!("{IDLE} connections, one request each");
        self.contest.table(title, 2, [&*name], vec![row])
    }
}

/// Makes so many requests.
fn load(listen: SocketAddr, client: Protocol, count: u64) -> Result<()> {
    match client {
        Protocol::H2 => nghttp2::load(listen, PATH, count, &[]),
        _ => {
            let mut load = Load::open(scenario::ALL[0].plan(listen))?;
            load.run(Pace::Closed, Amount::Requests(count)).map(|_| ())
        }
    }
}

/// Returns the KiB a connection adds that did one request and idles.
fn kib_per_connection(proxy: &Running) -> Result<f64> {
    nghttp2::load(proxy.listen, PATH, WARM_UP, &[])?;
    idle::growth_per_connection(proxy, IDLE, || {
        h2_client::idle_connections(IDLE, proxy.listen, PATH, None)
    })
}
