//! The machine: its cores, its limits, and what the report says about it.

use std::fs;

use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;

use crate::Result;
use crate::process::output;

/// Which core does what: the proxy has one for itself.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// For the program under test.
    pub proxy: usize,
    /// For the load generator.
    pub client: usize,
    /// For the origin: the client's own if there is no third.
    pub origin: usize,
}

impl Cores {
    /// Divides the cores this process may use.
    pub fn divide() -> Result<Self> {
        let allowed = rustix::thread::sched_getaffinity(None).map_err(|error| error.to_string())?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|core| allowed.is_set(*core))
            .collect();
        let first = *cores.first().ok_or("no core to run on")?;
        let client = cores.get(1).copied().unwrap_or(first);
        Ok(Self {
            proxy: first,
            client,
            origin: cores.get(2).copied().unwrap_or(client),
        })
    }

    /// Moves the calling thread to the client's core.
    pub fn pin_client(&self) -> Result<()> {
        let mut set = CpuSet::new();
        set.set(self.client);
        rustix::thread::sched_setaffinity(None, &set).map_err(|error| error.to_string())
    }
}

/// Raises the limit of open descriptors as far as allowed and returns it.
pub fn raise_descriptor_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Raising the soft limit to the hard one is always allowed; if not, the old one stays.
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    let now = rustix::process::getrlimit(Resource::Nofile).current;
    now.unwrap_or(u64::MAX)
}

/// Returns one line about the machine.
pub fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown CPU", |(_, model)| model.trim());
    let cores = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let compiler = output("rustc", &["--version"]).unwrap_or_default();
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    format!(
        "{cores} × {model}, {arch}, Linux {kernel}, {compiler}; load average at the start {load}",
        arch = std::env::consts::ARCH,
        kernel = kernel.trim(),
        compiler = compiler.split('(').next().unwrap_or_default().trim(),
    )
}

/// Returns today's date, or an empty string without `date`.
pub fn today() -> String {
    let date = output("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default();
    String::from(date.trim())
}
