//! What the driver takes on its command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Result;
use crate::proxies::{self, Library, Proxy};
use crate::scenario::{self, Scenario};

/// What `--help` prints.
pub const HELP: &str = "\
usage: bench TASK [OPTIONS]

tasks:
  h1               HTTP/1: this proxy beside Pingora, hyper, nginx and HAProxy
  h2               HTTP/2 with clients, origins or both, of the same proxies; takes the options of h1
  tls              TLS with clients, on each of our libraries, of the same proxies but hyper; takes those options too
  protocols        gRPC, WebSocket and TCP, of the same proxies; takes the options of h1
  crates           the crates people take alone, each beside the best of its kind
  policies [TRACE] the experiment behind the policy of the in-memory cache; parts of names of traces, --quick
  build [FOLDER]   what compiling the load balancer example costs, of the checkout in FOLDER
  origin ADDR      the origin alone, until killed

options of h1:
  --quick           about a minute: one short round, fewer counted scenarios
  --scenario NAME   this one only, of h1 (repeatable): small, browser, 64k, 64k-chunked, 1m, upload, connect
  --only A,B        these proxies only: ours, pingora, hyper, nginx, haproxy
  --library A,B     these TLS libraries only, of tls: openssl, boringssl, rustls, s2n
  --rounds N        rounds per scenario (default 5)
  --timing          requests per second, CPU time and latency only, no instruments
  --ours PROGRAM    measure this instead of building minimal_proxy: before and after a change
  --write           put the tables into docs/benchmarks.md also if the run was a partial one

options of crates:
  --quick           a few seconds per crate, half a minute for tinyufo
  --only A,B        these crates only: header_serde, ketama, limits, lru, memory_cache, pool, timeout, tinyufo
  --write           put the tables into docs/benchmarks.md also if the run was a partial one

A whole run of h1, h2, tls, protocols, crates or build replaces its part of docs/benchmarks.md.
";

/// The options of `h1`.
#[derive(Debug)]
pub struct Options {
    /// What is measured with.
    pub scenarios: Vec<&'static Scenario>,
    /// What is measured.
    pub proxies: Vec<Proxy>,
    /// With which TLS libraries, where they matter.
    pub libraries: Vec<Library>,
    /// Rounds per scenario.
    pub rounds: usize,
    /// Length of one.
    pub time: Duration,
    /// Scenarios for strace and callgrind, the first of `scenarios` so many.
    pub counted: usize,
    /// Whether the tables go into docs/benchmarks.md.
    pub write: bool,
    /// Whether memory, system calls and instructions are measured.
    pub instruments: bool,
    /// A build of `minimal_proxy` to measure instead of a new one.
    pub ours: Option<PathBuf>,
}

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);
const QUICK_TIME: Duration = Duration::from_millis(500);

impl Options {
    /// Reads the arguments after `h1`.
    pub fn parse(args: &[String]) -> Result<Self> {
        let (mut quick, mut write, mut timing, mut ours) = (false, false, false, None);
        let (mut scenarios, mut proxies, mut rounds) = (Vec::new(), Vec::new(), None);
        let mut libraries = Vec::new();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--quick" => quick = true,
                "--write" => write = true,
                "--timing" => timing = true,
                "--ours" => {
                    let path = Path::new(value()?);
                    let found = path.canonicalize();
                    ours = Some(found.map_err(|error| format!("{}: {error}", path.display()))?);
                }
                "--scenario" => scenarios.push(scenario::named(value()?)?),
                "--only" => {
                    for name in value()?.split(',') {
                        proxies.push(proxy_named(name)?);
                    }
                }
                "--library" => {
                    for name in value()?.split(',') {
                        libraries.push(library_named(name)?);
                    }
                }
                "--rounds" => {
                    let count = value()?;
                    let count: usize = count.parse().map_err(|_| format!("--rounds {count}"))?;
                    rounds = Some(count.clamp(1, 100));
                }
                _ => return Err(format!("{arg} is no option of h1 (see --help)")),
            }
        }
        let whole = !quick
            && !timing
            && ours.is_none()
            && rounds.is_none()
            && scenarios.is_empty()
            && libraries.is_empty()
            && proxies.is_empty();
        if scenarios.is_empty() {
            scenarios = scenario::ALL.iter().collect();
        }
        if proxies.is_empty() {
            proxies = proxies::ALL.to_vec();
        }
        if libraries.is_empty() {
            libraries = Library::ALL.to_vec();
        }
        Ok(Self {
            counted: if quick { 1 } else { scenarios.len() },
            scenarios,
            proxies,
            libraries,
            rounds: rounds.unwrap_or(if quick { 1 } else { ROUNDS }),
            time: if quick { QUICK_TIME } else { TIME },
            write: write || whole,
            instruments: !timing,
            ours,
        })
    }
}

fn proxy_named(name: &str) -> Result<Proxy> {
    let found = proxies::ALL.iter().find(|proxy| proxy.name() == name);
    found
        .copied()
        .ok_or_else(|| format!("no proxy is called {name} (see --help)"))
}

fn library_named(name: &str) -> Result<Library> {
    let mut all = Library::ALL.into_iter();
    let found = all.find(|library| library.name() == name);
    found.ok_or_else(|| format!("no library is called {name} (see --help)"))
}
