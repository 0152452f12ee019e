//! The HTTP/2 comparison: small requests over each pair of protocols that has HTTP/2 in it, in
//! cleartext, in interleaved rounds. h2load is the client and nghttpd the origin that speaks it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::args::Options;
use crate::load::{Amount, Load, Pace};
use crate::machine::{self, Cores};
use crate::measure::{idle, instructions};
use crate::origin::SMALL;
use crate::process::{Process, free_address, output};
use crate::proxies::{Protocol, Protocols, Ready, Running};
use crate::report::{self, Table, median};
use crate::{Result, compare, scenario};

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

/// Requests of a round, and of its warm-up.
const REQUESTS: u64 = 40_000;
const WARM_UP: u64 = 4_000;
/// Requests under callgrind.
const COUNTED: u64 = 2_000;
/// Idle connections memory is divided by.
const IDLE: usize = 1_000;
/// Connections of a client of HTTP/2, with so many requests at a time on each.
const CONNECTIONS: u64 = 10;
const STREAMS: u64 = 10;
/// A program listens within this time.
const START_LIMIT: Duration = Duration::from_secs(10);
/// An answer arrives within this time.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Runs `bench h2`.
pub fn run(options: &Options) -> Result<()> {
    compare::limit_time();
    let scratch = std::env::temp_dir().join(format!("bench-{}", std::process::id()));
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let outcome = measure(options, &scratch);
    // Left over, it costs nothing but disk.
    let _ = fs::remove_dir_all(&scratch);
    let text = outcome?;
    println!("{text}");
    if options.write {
        report::write_section("h2", &text)?;
        eprintln!("written to docs/benchmarks.md");
    }
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    scratch: &'a Path,
    cores: Cores,
    proxies: Vec<Ready>,
    /// By the protocol they speak.
    origins: [SocketAddr; 2],
    notes: Vec<String>,
}

fn measure(options: &Options, scratch: &Path) -> Result<String> {
    let about = machine::describe();
    let (mut notes, mut proxies) = (Vec::new(), Vec::new());
    for proxy in &options.proxies {
        match proxy.prepare(scratch, options.ours.as_deref()) {
            Ok(ready) => proxies.push(ready),
            Err(error) => notes.push(format!("{}: not measured: {error}", proxy.name())),
        }
    }
    let cores = Cores::divide()?;
    cores.pin_client()?;
    let (_h1, h1) = Process::origin(&cores, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let (_h2, h2) = nghttpd(&cores, scratch)?;
    let mut bench = Bench {
        options,
        scratch,
        cores,
        proxies,
        origins: [h1, h2],
        notes,
    };
    let mut tables = bench.timed();
    if options.instruments {
        tables.push(bench.counted());
        tables.push(bench.idle());
    }
    Ok(bench.report(&about, &tables))
}

impl Bench<'_> {
    fn timed(&mut self) -> Vec<Table> {
        let mut running = Vec::new();
        for (_, protocols) in PAIRS {
            let row: Vec<_> = (0..self.proxies.len())
                .map(|column| {
                    self.start(column, protocols, &[])
                        .map_err(|error| self.note(column, "start", &error))
                        .ok()
                })
                .collect();
            running.push(row);
        }
        let mut samples = vec![vec![Vec::new(); self.proxies.len()]; PAIRS.len()];
        for round in 1..=self.options.rounds {
            for (row, (title, protocols)) in PAIRS.iter().enumerate() {
                eprintln!("round {round}: {title}");
                for (column, proxy) in running[row].iter().enumerate() {
                    let Some(proxy) = proxy else { continue };
                    match sample(proxy, protocols.client) {
                        Ok(sample) => samples[row][column].push(sample),
                        Err(error) => self.note(column, title, &error),
                    }
                }
            }
        }
        let pick = |value: fn(&Sample) -> f64| -> Vec<Vec<Option<f64>>> {
            let cell = |cell: &Vec<Sample>| median(cell.iter().map(value).collect());
            samples
                .iter()
                .map(|row| row.iter().map(cell).collect())
                .collect()
        };
        vec![
            self.table("CPU µs per request (user + system)", 1, pick(|s| s.cpu)),
            self.table("Of it in user space", 1, pick(|s| s.user)),
            self.table("Requests per second", 0, pick(|s| s.rate)),
        ]
    }

    fn counted(&mut self) -> Table {
        let mut rows = Vec::new();
        for (title, protocols) in PAIRS {
            eprintln!("instructions: {title}");
            let columns = 0..self.proxies.len();
            let row = columns.map(|column| {
                self.instructions(column, protocols)
                    .map_err(|error| self.note(column, "instructions", &error))
                    .ok()
            });
            rows.push(row.collect());
        }
        self.table("User-space instructions per request", 0, rows)
    }

    fn instructions(&self, column: usize, protocols: Protocols) -> Result<f64> {
        let prefix = self.scratch.join(format!("callgrind.{column}"));
        let instrument = instructions::instrument(&prefix);
        let proxy = self.start(column, protocols, &instrument)?;
        let load = |count| load(proxy.listen, protocols.client, count);
        let sample = instructions::count(&proxy, &prefix, 1, COUNTED, load)?;
        Ok(sample.instructions)
    }

    fn idle(&mut self) -> Table {
        machine::raise_descriptor_limit();
        let protocols = PAIRS[0].1;
        let mut row = Vec::new();
        for column in 0..self.proxies.len() {
            eprintln!("idle connections: {}", self.proxies[column].proxy.name());
            let found = self
                .start(column, protocols, &[])
                .and_then(kib_per_connection);
            row.push(
                found
                    .map_err(|error| self.note(column, "idle", &error))
                    .ok(),
            );
        }
        Table {
            title: String::from("Memory of idle HTTP/2 connections, KiB of RSS each"),
            digits: 2,
            columns: self.columns(),
            rows: vec![(format!("{IDLE} connections, one request each"), row)],
        }
    }

    fn start(&self, column: usize, protocols: Protocols, instrument: &[String]) -> Result<Running> {
        let origin = self.origins[protocols.origin as usize];
        self.proxies[column].start_with(protocols, origin, instrument, self.cores.proxy)
    }

    fn table(&self, title: &str, digits: usize, values: Vec<Vec<Option<f64>>>) -> Table {
        let rows = PAIRS.iter().map(|(title, _)| String::from(*title));
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
            "{date}. {about}.\n\n{versions}. {rounds} round(s) of {REQUESTS} requests, {CONNECTIONS} \
             connections with {STREAMS} requests at a time each, or {H1} with HTTP/1; medians; in \
             parentheses the ratio to ours (above 1: more than ours).\n",
            date = machine::today(),
            H1 = scenario::CONNECTIONS,
            versions = versions.join(", "),
            rounds = self.options.rounds,
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

/// One round.
#[derive(Clone, Copy, Debug)]
struct Sample {
    rate: f64,
    cpu: f64,
    user: f64,
}

fn sample(proxy: &Running, client: Protocol) -> Result<Sample> {
    load(proxy.listen, client, WARM_UP)?;
    let before = proxy.process.cpu_time()?;
    let start = std::time::Instant::now();
    load(proxy.listen, client, REQUESTS)?;
    let elapsed = start.elapsed();
    let after = proxy.process.cpu_time()?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / REQUESTS as f64;
    let user = micros(after.user - before.user);
    Ok(Sample {
        rate: REQUESTS as f64 / elapsed.as_secs_f64(),
        cpu: user + micros(after.system - before.system),
        user,
    })
}

/// Makes so many requests.
fn load(listen: SocketAddr, client: Protocol, count: u64) -> Result<()> {
    match client {
        Protocol::H1 => {
            let mut load = Load::open(scenario::ALL[0].plan(listen))?;
            load.run(Pace::Closed, Amount::Requests(count)).map(|_| ())
        }
        Protocol::H2 => h2load(listen, count),
    }
}

/// Makes so many requests; fails unless each was answered with success.
fn h2load(listen: SocketAddr, count: u64) -> Result<()> {
    let url = format!("http://{listen}/small");
    let numbers = [count, CONNECTIONS, STREAMS].map(|number| number.to_string());
    let [count, connections, streams] = &numbers;
    let args = ["-n", count, "-c", connections, "-m", streams, &url];
    let text = output("h2load", &args)
        .ok_or("h2load is not installed (apt-get install nghttp2-client)")?;
    let answered = format!("status codes: {count} 2xx");
    match text.contains(&answered) {
        true => Ok(()),
        false => Err(text
            .lines()
            .find(|line| line.starts_with("requests:"))
            .unwrap_or("h2load made no requests")
            .to_string()),
    }
}

/// Starts an origin that speaks HTTP/2, with the small answer of the other one.
fn nghttpd(cores: &Cores, scratch: &Path) -> Result<(Process, SocketAddr)> {
    let folder = scratch.join("origin");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("small"), vec![b'x'; SMALL]))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let listen = free_address()?;
    let mut command = Command::new("nghttpd");
    command
        .args(["--no-tls", "-a", "127.0.0.1", "-d"])
        .arg(&folder)
        .arg(listen.port().to_string());
    let missing = |error| format!("{error} (apt-get install nghttp2-server)");
    let mut process = Process::start("nghttpd", &command, cores.origin).map_err(missing)?;
    process.wait_for(listen, START_LIMIT).map_err(missing)?;
    Ok((process, listen))
}

/// Returns the KiB a connection adds that did one request and idles.
fn kib_per_connection(proxy: Running) -> Result<f64> {
    h2load(proxy.listen, WARM_UP)?;
    let before = idle::settled_kib(&proxy)?;
    let failed = |error: std::io::Error| format!("connection: {error}");
    let connections: Vec<TcpStream> = (0..IDLE)
        .map(|_| one_request(proxy.listen))
        .collect::<std::io::Result<_>>()
        .map_err(failed)?;
    let after = idle::settled_kib(&proxy)?;
    // The connections have to live until here.
    drop(connections);
    Ok((after as f64 - before as f64) / IDLE as f64)
}

const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;

/// Connects, makes the smallest request there is, reads the answer and returns the connection.
fn one_request(listen: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(listen)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    // :method GET, :scheme http, :path and :authority in full (RFC 7541, appendix A).
    let mut head = vec![0x82, 0x86];
    for (index, value) in [(4, "/small"), (1, "bench.example")] {
        head.extend([index, value.len() as u8]);
        head.extend(value.as_bytes());
    }
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    stream.write_all(&frame(1, 4 | END_STREAM, 1, &head))?;
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        stream.read_exact(&mut vec![0; length as usize])?;
        let (kind, flags, id) = (header[3], header[4], header[8]);
        if kind == SETTINGS && flags & ACK == 0 {
            stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?;
        }
        if id == 1 && kind <= 1 && flags & END_STREAM != 0 {
            return Ok(stream);
        }
    }
}

fn frame(kind: u8, flags: u8, id: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, id];
    frame.extend(payload);
    frame
}
