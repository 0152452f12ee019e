//! A long mixed load on the load balancer example: looks for leaks, panics and hangs, not for speed.
//!
//! `clients.rs` is what is done to it, `verdict.rs` what is concluded. Here: three origins of which
//! one or another is dead now and then, the clients, and a look at memory and descriptors every few
//! seconds.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Result;
use crate::machine::{self, Cores};
use crate::process::{Process, free_address};
use crate::proxies;
use clients::{Counters, Role};

pub mod clients;
pub mod verdict;

use verdict::{Look, Verdict};

/// What `--help` prints.
pub const HELP: &str = "\
usage: soak MINUTES [PROGRAM ARGUMENT...]

Runs the load balancer example (or PROGRAM, with `{listen}` and `{origin1}` to `{origin3}` replaced
in its arguments) under a mixed load for so many minutes, and says whether memory and descriptors
stayed flat and nothing panicked. The exit status is 0 if so.
";

/// Looks at memory and descriptors per run, so many at least.
const LOOKS: u32 = 120;
/// But not more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// An origin lives this long before it is killed, and is gone for [`DEAD`].
const ALIVE: Duration = Duration::from_secs(12);
const DEAD: Duration = Duration::from_secs(3);
/// After the load, the proxy has this long to get rid of what clients left behind.
const SETTLE: Duration = Duration::from_secs(20);
/// A run lasts this long at most.
const MAX_MINUTES: f64 = 24.0 * 60.0;
/// The clients: how many threads play each role.
const CAST: [(Role, usize); 5] = [
    (Role::KeepAlive, 8),
    (Role::Reconnect, 2),
    (Role::Abort, 4),
    (Role::Slow, 24),
    (Role::Idle, 4),
];

/// Runs a soak and prints what was seen; the result is whether all is well.
pub fn run(args: &[String]) -> Result<bool> {
    let minutes: f64 = match args.first().map(|minutes| minutes.parse()) {
        Some(Ok(minutes)) if (0.0..=MAX_MINUTES).contains(&minutes) => minutes,
        _ => return Err(String::from(HELP)),
    };
    let scratch = std::env::temp_dir().join(format!("soak-{}", std::process::id()));
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let outcome = Soak::start(&args[1..], &scratch)
        .and_then(|mut soak| soak.run(Duration::from_secs_f64(minutes * 60.0)));
    match outcome {
        Ok(verdict) => {
            println!("{verdict}");
            let good = verdict.is_good();
            if good {
                // Left over, it costs nothing but disk.
                let _ = fs::remove_dir_all(&scratch);
            } else {
                println!("the log is in {}", scratch.display());
            }
            Ok(good)
        }
        Err(error) => Err(format!("{error} (the log is in {})", scratch.display())),
    }
}

struct Soak {
    proxy: Process,
    listen: SocketAddr,
    origins: Vec<(Option<Process>, SocketAddr)>,
    cores: Cores,
    log: PathBuf,
}

impl Soak {
    fn start(program: &[String], scratch: &Path) -> Result<Self> {
        let mut line = program.to_vec();
        if line.is_empty() {
            let example = proxies::build("../..", &["--example", "load_balancer"])?;
            line.push(example.display().to_string());
            let backends = ["--listen", "{listen}", "--backend", "{origin1}"];
            line.extend(backends.map(String::from));
            let backends = ["--backend", "{origin2}", "--backend", "{origin3}"];
            line.extend(backends.map(String::from));
        }
        let cores = Cores::divide()?;
        machine::raise_descriptor_limit();
        let mut origins = Vec::new();
        for _ in 0..3 {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let (process, address) = Process::origin(&cores, any)?;
            origins.push((Some(process), address));
        }
        let listen = free_address()?;
        for argument in &mut line {
            *argument = argument.replace("{listen}", &listen.to_string());
            for (index, (_, address)) in origins.iter().enumerate() {
                let name = format!("{{origin{}}}", index + 1);
                *argument = argument.replace(&name, &address.to_string());
            }
        }
        let log = scratch.join("log");
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        let mut proxy = Process::start_logged("proxy", &command, cores.proxy, &log)?;
        proxy.wait_for(listen, Duration::from_secs(20))?;
        Ok(Self {
            proxy,
            listen,
            origins,
            cores,
            log,
        })
    }

    fn run(&mut self, time: Duration) -> Result<Verdict> {
        let counters = Arc::new(Counters::default());
        let clients = self.send_in(&counters);
        let start = Instant::now();
        let pause = (time / LOOKS).max(SHORTEST_PAUSE);
        let mut looks = vec![self.look(start)?];
        while start.elapsed() < time && self.proxy.is_alive() {
            let next = Instant::now() + pause;
            while Instant::now() < next {
                self.turn_origins(start.elapsed())?;
                thread::sleep(Duration::from_millis(100));
            }
            let look = self.look(start)?;
            println!("{look}, {counters}");
            looks.push(look);
        }
        counters.stop();
        for client in clients {
            client
                .join()
                .map_err(|_| String::from("a client panicked"))?;
        }
        let settled = Instant::now() + SETTLE;
        let mut last = self.look(start)?;
        while Instant::now() < settled && last.descriptors > looks[0].descriptors {
            thread::sleep(SHORTEST_PAUSE);
            last = self.look(start)?;
        }
        let log = fs::read(&self.log).map_err(|error| error.to_string())?;
        Ok(Verdict {
            alive: self.proxy.is_alive(),
            panics: count(&log, b"panicked at"),
            log_bytes: log.len(),
            answers: counters.totals(),
            looks,
            last,
        })
    }

    fn send_in(&self, counters: &Arc<Counters>) -> Vec<JoinHandle<()>> {
        let mut threads = Vec::new();
        for (role, number) in CAST {
            for _ in 0..number {
                let (counters, listen) = (Arc::clone(counters), self.listen);
                let seed = threads.len() as u64 + 1;
                threads.push(thread::spawn(move || {
                    clients::play(role, listen, seed, &counters);
                }));
            }
        }
        threads
    }

    /// Kills and revives origins in turn: one is dead for [`DEAD`] out of every [`ALIVE`] + [`DEAD`].
    fn turn_origins(&mut self, elapsed: Duration) -> Result<()> {
        let period = (ALIVE + DEAD).as_millis();
        let victim = (elapsed.as_millis() / period) as usize % self.origins.len();
        let dead = elapsed.as_millis() % period > ALIVE.as_millis();
        for (index, (process, address)) in self.origins.iter_mut().enumerate() {
            if dead && index == victim {
                // Dropping it kills it, connections and all.
                *process = None;
            } else if process.is_none() {
                *process = Some(Process::origin(&self.cores, *address)?.0);
            }
        }
        Ok(())
    }

    fn look(&self, start: Instant) -> Result<Look> {
        Ok(Look {
            after: start.elapsed(),
            resident_kib: self.proxy.resident_kib()?,
            descriptors: self.proxy.descriptors()?,
        })
    }
}

fn count(text: &[u8], what: &[u8]) -> usize {
    text.windows(what.len())
        .filter(|found| *found == what)
        .count()
}
