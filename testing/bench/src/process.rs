//! Starting, pinning, watching and ending the programs under test.
//!
//! Nothing started here outlives the driver: each program is killed when its [`Process`] is dropped,
//! and by the kernel when the driver itself is killed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::Result;
use crate::machine::Cores;

/// A running program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

/// Where a program's CPU time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// In its own code.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

/// `/proc/PID/stat` counts in hundredths of a second, whatever the kernel's own tick is.
const TICK: Duration = Duration::from_millis(10);
/// How long a program may take to end on its own before it is killed.
const GOODBYE: Duration = Duration::from_secs(3);
/// Pause between two looks at something that is about to happen.
const POLL: Duration = Duration::from_millis(20);

impl Process {
    /// Starts `command` on `core`, its output discarded, bound to the life of the driver.
    pub fn start(name: &str, command: &Command, core: usize) -> Result<Self> {
        Self::spawn(name, command, core, Stdio::null(), Stdio::null())
    }

    /// Starts `command` like [`Process::start`], its output in the file `log`.
    pub fn start_logged(name: &str, command: &Command, core: usize, log: &Path) -> Result<Self> {
        let failed = |error| format!("{}: {error}", log.display());
        let stdout = File::create(log).map_err(failed)?;
        let stderr = stdout.try_clone().map_err(failed)?;
        Self::spawn(name, command, core, stdout.into(), stderr.into())
    }

    /// Starts the origin, which is this very program with other arguments, and returns its address.
    pub fn origin(cores: &Cores, listen: SocketAddr) -> Result<(Self, SocketAddr)> {
        // Not by the path of its file: a build may have put another one there meanwhile.
        let mut command = Command::new(format!("/proc/{}/exe", std::process::id()));
        command.arg("origin").arg(listen.to_string());
        let mut process = Self::spawn(
            "origin",
            &command,
            cores.origin,
            Stdio::piped(),
            Stdio::null(),
        )?;
        let mut line = String::new();
        let stdout = process.child.stdout.take();
        if let Some(stdout) = stdout {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(|error| format!("origin: {error}"))?;
        }
        let bound = line
            .trim()
            .parse()
            .map_err(|_| format!("origin: it did not say where it listens: {line:?}"))?;
        Ok((process, bound))
    }

    fn spawn(
        name: &str,
        command: &Command,
        core: usize,
        stdout: Stdio,
        stderr: Stdio,
    ) -> Result<Self> {
        // Each of these replaces itself with the next: the process id is the program's.
        let mut bound = Command::new("setpriv");
        bound
            .args(["--pdeathsig", "KILL", "taskset", "-c", &core.to_string()])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        if let Some(folder) = command.get_current_dir() {
            bound.current_dir(folder);
        }
        let child = bound.spawn().map_err(|error| format!("{name}: {error}"))?;
        Ok(Self {
            child,
            name: String::from(name),
        })
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program accepts connections.
    pub fn wait_for(&mut self, listen: SocketAddr, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while TcpStream::connect(listen).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended at once: {status}", self.name));
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not listen on {listen}", self.name));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Returns whether the program still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal and waits for the end, a kill at the latest.
    pub fn end(&mut self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id.filter(|_| self.is_alive()) {
            // Fails only if the process is gone already.
            let _ = rustix::process::kill_process(id, signal);
        }
        let deadline = Instant::now() + GOODBYE;
        while self.is_alive() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Returns the CPU time of all threads so far.
    pub fn cpu_time(&self) -> Result<CpuTime> {
        let stat = self.read("stat")?;
        // The name may contain spaces; what follows its parenthesis does not.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let mut ticks = fields.split_whitespace().skip(11).map(str::parse);
        match (ticks.next(), ticks.next()) {
            (Some(Ok(user)), Some(Ok(system))) => Ok(CpuTime {
                user: TICK * user,
                system: TICK * system,
            }),
            _ => Err(format!("{}: /proc/PID/stat has changed", self.name)),
        }
    }

    /// Returns the resident memory in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = self.read("status")?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
            .ok_or_else(|| format!("{}: /proc/PID/status has changed", self.name))
    }

    /// Returns the number of open descriptors.
    pub fn descriptors(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.id());
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", self.name))?;
        Ok(entries.count())
    }

    fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.id()))
            .map_err(|error| format!("{}: {error}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a loopback address that was free a moment ago.
pub fn free_address() -> Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("no free port: {error}"))
}

/// Runs a program to its end and returns what it printed on both streams.
pub fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Some(text)
}
