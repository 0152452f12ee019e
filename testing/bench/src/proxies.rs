//! The programs under test: how each is built, configured and started.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Result;
use crate::machine::raise_descriptor_limit;
use crate::process::{Process, free_address, output};

/// A program under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// `minimal_proxy` among the examples of this repository.
    Ours,
    /// Pingora from the registry.
    Pingora,
    /// hyper with hyper-util's client.
    Hyper,
    /// nginx from the system.
    Nginx,
    /// HAProxy from the system.
    HaProxy,
}

/// A version of HTTP, in cleartext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2 with prior knowledge.
    H2,
}

/// What a proxy speaks on its two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// With clients.
    pub client: Protocol,
    /// With the origin.
    pub origin: Protocol,
}

impl Protocols {
    /// Returns the pair.
    pub const fn new(client: Protocol, origin: Protocol) -> Self {
        Self { client, origin }
    }
}

/// A proxy that is ready to be started, any number of times.
#[derive(Debug)]
pub struct Ready {
    /// Which one.
    pub proxy: Proxy,
    /// As it says itself.
    pub version: String,
    program: PathBuf,
    scratch: PathBuf,
}

/// A started proxy.
#[derive(Debug)]
pub struct Running {
    /// Its process; under an instrument, the instrument's.
    pub process: Process,
    /// Where it listens.
    pub listen: SocketAddr,
}

/// All of them, in the order of the report.
pub const ALL: [Proxy; 5] = [
    Proxy::Ours,
    Proxy::Pingora,
    Proxy::Hyper,
    Proxy::Nginx,
    Proxy::HaProxy,
];

/// A program listens within this time, also under instrumentation.
const START_LIMIT: Duration = Duration::from_secs(60);

impl Proxy {
    /// Returns what `--only` takes and the report says.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Pingora => "pingora",
            Self::Hyper => "hyper",
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
        }
    }

    /// Builds or finds the program; an error says what is missing. A program of ours made earlier
    /// is taken as it is.
    pub fn prepare(self, scratch: &Path, ours: Option<&Path>) -> Result<Ready> {
        let scratch = scratch.join(self.name());
        fs::create_dir_all(&scratch).map_err(|error| error.to_string())?;
        let (program, version) = match (self, ours) {
            (Self::Ours, Some(ours)) => (ours.into(), String::from("made earlier")),
            (Self::Ours, None) => (
                build(
                    "../..",
                    &[
                        "-p",
                        "pingora-proxy",
                        "--example",
                        "minimal_proxy",
                        "--profile",
                        "dist",
                    ],
                )?,
                locked("../../Cargo.lock", "pingora-proxy"),
            ),
            (Self::Pingora, _) => (
                build(".", &["-p", "bench-pingora", "--release"])?,
                locked("Cargo.lock", "pingora"),
            ),
            (Self::Hyper, _) => (
                build(".", &["-p", "bench-hyper", "--release"])?,
                locked("Cargo.lock", "hyper"),
            ),
            (Self::Nginx, _) => installed("nginx")?,
            (Self::HaProxy, _) => installed("haproxy")?,
        };
        Ok(Ready {
            proxy: self,
            version,
            program,
            scratch,
        })
    }
}

impl Ready {
    /// Starts the program in front of `origin`, behind `instrument` (a command that runs the
    /// command following it, or nothing).
    pub fn start(&self, origin: SocketAddr, instrument: &[String], core: usize) -> Result<Running> {
        let protocols = Protocols::new(Protocol::H1, Protocol::H1);
        self.start_with(protocols, origin, instrument, core)
    }

    /// Starts the program, speaking these protocols.
    pub fn start_with(
        &self,
        protocols: Protocols,
        origin: SocketAddr,
        instrument: &[String],
        core: usize,
    ) -> Result<Running> {
        let listen = free_address()?;
        let mut line = instrument.to_vec();
        line.push(self.program.display().to_string());
        line.extend(self.arguments(protocols, listen, origin)?);
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).current_dir(&self.scratch);
        let mut process = Process::start(self.proxy.name(), &command, core)?;
        process.wait_for(listen, START_LIMIT)?;
        Ok(Running { process, listen })
    }

    fn arguments(
        &self,
        protocols: Protocols,
        listen: SocketAddr,
        origin: SocketAddr,
    ) -> Result<Vec<String>> {
        let (to_client, to_origin) = (
            protocols.client == Protocol::H2,
            protocols.origin == Protocol::H2,
        );
        if self.proxy == Proxy::Nginx && to_origin {
            return Err(String::from("speaks no HTTP/2 with upstreams"));
        }
        let configured = |template: &str, name: &str, h2: &str| -> Result<String> {
            let word = |on: bool| if on { h2 } else { "" };
            let text = template
                .replace("TO_CLIENT", word(to_client))
                .replace("TO_ORIGIN", word(to_origin))
                .replace("LISTEN", &listen.to_string())
                .replace("UPSTREAM", &origin.to_string())
                .replace("FILES", &raise_descriptor_limit().to_string());
            let path = self.scratch.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(path.display().to_string())
        };
        let nginx = include_str!("../proxies/nginx.conf");
        let haproxy = include_str!("../proxies/haproxy.cfg");
        // The comments speak of the words to be filled in.
        let body = |text: &str| -> String {
            let lines = text.lines().skip(1);
            lines.map(|line| format!("{line}\n")).collect()
        };
        let here = self.scratch.display().to_string();
        let args: Vec<String> = match self.proxy {
            Proxy::Nginx => {
                let conf = configured(&body(nginx), "nginx.conf", "http2")?;
                vec![
                    "-p".into(),
                    here,
                    "-e".into(),
                    "stderr".into(),
                    "-c".into(),
                    conf,
                ]
            }
            Proxy::HaProxy => {
                let conf = configured(&body(haproxy), "haproxy.cfg", "proto h2")?;
                // -db: stay in the foreground, one process.
                vec!["-db".into(), "-f".into(), conf]
            }
            Proxy::Ours | Proxy::Pingora | Proxy::Hyper => {
                let version = |h2: bool| String::from(if h2 { "h2" } else { "h1" });
                vec![
                    "--listen".into(),
                    listen.to_string(),
                    "--upstream".into(),
                    origin.to_string(),
                    "--to-client".into(),
                    version(to_client),
                    "--to-origin".into(),
                    version(to_origin),
                ]
            }
        };
        Ok(args)
    }
}

/// Builds with cargo in `folder` (relative to this package) and returns the path of the program.
pub fn build(folder: &str, what: &[&str]) -> Result<PathBuf> {
    let manifest = here().join(folder).join("Cargo.toml");
    eprintln!("building {}", what.join(" "));
    let output = Command::new("cargo")
        .args(["build", "--message-format=json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(&manifest)
        .args(what)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("`cargo build {}` failed", what.join(" ")));
    }
    // One JSON object per line; those of programs name them.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next())
        .next_back()
        .map(PathBuf::from)
        .ok_or_else(|| format!("`cargo build {}` made no program", what.join(" ")))
}

/// Returns the folder of this package.
pub fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the version of `package` a lock file settled on.
fn locked(lock: &str, package: &str) -> String {
    let lock = fs::read_to_string(here().join(lock)).unwrap_or_default();
    let line = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|found| *found != line);
    let version = lines.nth(1).unwrap_or_default();
    String::from(version.trim_start_matches("version = ").trim_matches('"'))
}

fn installed(program: &str) -> Result<(PathBuf, String)> {
    let missing = || format!("{program} is not installed (apt-get install {program})");
    let text = output(program, &["-v"]).ok_or_else(missing)?;
    // Both name themselves and their version on the first line.
    let version = text
        .split(|mark: char| mark.is_whitespace() || mark == '/' || mark == '-')
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'))
        .map(String::from)
        .unwrap_or_default();
    Ok((PathBuf::from(program), version))
}
