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

/// A TLS library that this proxy and Pingora can be built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// OpenSSL, that of the system.
    OpenSsl,
    /// BoringSSL.
    BoringSsl,
    /// rustls, with aws-lc.
    Rustls,
    /// s2n-tls.
    S2n,
}

impl Library {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 4] = [Self::OpenSsl, Self::BoringSsl, Self::Rustls, Self::S2n];

    /// Returns what `--library` takes, which is also the name of the feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenSsl => "openssl",
            Self::BoringSsl => "boringssl",
            Self::Rustls => "rustls",
            Self::S2n => "s2n",
        }
    }
}

/// A protocol, in cleartext unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2 with prior knowledge.
    H2,
    /// HTTP/1.1 over TLS; with clients only.
    Tls,
    /// HTTP/2 over TLS; with clients only.
    H2Tls,
    /// HTTP/2 that carries gRPC; on both sides.
    Grpc,
    /// Bytes that are passed on, whatever they are; on both sides.
    Tcp,
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

/// What takes part in a comparison: a proxy, built with a TLS library if it is measured with one.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Which one.
    pub proxy: Proxy,
    /// What it is built with; programs of the system are taken as they are.
    pub library: Option<Library>,
}

/// A proxy that is ready to be started, any number of times.
#[derive(Debug)]
pub struct Ready {
    /// What it is.
    pub entry: Entry,
    /// As it says itself.
    pub version: String,
    program: PathBuf,
    scratch: PathBuf,
    certificate: Certificate,
}

/// The files of the certificate that all proxies present.
#[derive(Clone, Debug)]
struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    /// One after the other.
    both: PathBuf,
}

impl Certificate {
    /// Returns the paths in `folder`, where they may not exist yet.
    fn within(folder: &Path) -> Self {
        Self {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            both: folder.join("both.pem"),
        }
    }
}

/// Makes the certificate for [`Protocol::Tls`] in `scratch`: its key is of the curve P-256.
pub fn make_certificate(scratch: &Path) -> Result<()> {
    let files = Certificate::within(scratch);
    let [certificate, key] =
        [&files.certificate, &files.key].map(|path| path.display().to_string());
    let args = "req -x509 -nodes -days 30 -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
                -subj /CN=bench.example -addext subjectAltName=DNS:bench.example";
    let mut args: Vec<&str> = args.split_whitespace().collect();
    args.extend(["-out", &certificate, "-keyout", &key]);
    let said =
        output("openssl", &args).ok_or("openssl is not installed (apt-get install openssl)")?;
    let read = |path: &Path| fs::read(path).map_err(|_| format!("openssl: {said}"));
    let both = [read(&files.certificate)?, read(&files.key)?].concat();
    fs::write(&files.both, both).map_err(|error| format!("{}: {error}", files.both.display()))
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
}

impl Entry {
    /// Returns the entry of a proxy without TLS.
    pub const fn plain(proxy: Proxy) -> Self {
        let library = None;
        Self { proxy, library }
    }

    /// Returns the name of the proxy and, if it has one, of its library.
    pub fn name(self) -> String {
        match self.library {
            Some(library) => format!("{} ({})", self.proxy.name(), library.name()),
            None => String::from(self.proxy.name()),
        }
    }

    /// Builds or finds the program; an error says what is missing. A program of ours made earlier
    /// is taken as it is.
    pub fn prepare(self, scratch: &Path, ours: Option<&Path>) -> Result<Ready> {
        let certificate = Certificate::within(scratch);
        let scratch = scratch.join(self.name().replace(' ', "-"));
        fs::create_dir_all(&scratch).map_err(|error| error.to_string())?;
        let (program, version) = match (self.proxy, ours) {
            (Proxy::Ours, Some(ours)) => (ours.into(), String::from("made earlier")),
            (Proxy::Ours, None) => (
                self.build(
                    "../..",
                    "-p pingora-proxy --example minimal_proxy --profile dist",
                )?,
                locked("../../Cargo.lock", "pingora-proxy"),
            ),
            (Proxy::Pingora, _) => (
                self.build(".", "-p bench-pingora --release")?,
                locked("Cargo.lock", "pingora"),
            ),
            (Proxy::Hyper, _) => (
                self.build(".", "-p bench-hyper --release")?,
                locked("Cargo.lock", "hyper"),
            ),
            (Proxy::Nginx, _) => installed("nginx")?,
            (Proxy::HaProxy, _) => installed("haproxy")?,
        };
        Ok(Ready {
            entry: self,
            version,
            program,
            scratch,
            certificate,
        })
    }

    /// Builds the program with the library, and gives it a name of its own: the builds with all
    /// the libraries are of the same name.
    fn build(self, folder: &str, what: &str) -> Result<PathBuf> {
        let mut what: Vec<&str> = what.split(' ').collect();
        let Some(library) = self.library.map(Library::name) else {
            return build(folder, &what);
        };
        what.extend(["--features", library]);
        let built = build(folder, &what)?;
        let mut name = built.clone().into_os_string();
        name.push("-");
        name.push(library);
        let named = PathBuf::from(name);
        let failed = |error| format!("{}: {error}", named.display());
        fs::copy(&built, &named).map_err(failed)?;
        Ok(named)
    }
}

impl Ready {
    /// Returns what the report calls it.
    pub fn name(&self) -> String {
        self.entry.name()
    }

    /// Starts the program on `core` in front of `origin`, speaking these protocols, behind
    /// `instrument` (a command that runs the command following it, or nothing).
    pub fn start(
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
        let mut process = Process::start(&self.name(), &command, core)?;
        process.wait_for(listen, START_LIMIT)?;
        Ok(Running { process, listen })
    }

    fn arguments(
        &self,
        protocols: Protocols,
        listen: SocketAddr,
        origin: SocketAddr,
    ) -> Result<Vec<String>> {
        if self.entry.proxy == Proxy::Nginx && protocols.origin == Protocol::H2 {
            return Err(String::from("speaks no HTTP/2 with upstreams"));
        }
        let here = self.scratch.display().to_string();
        let words = |line: &str| line.split(' ').map(String::from).collect::<Vec<_>>();
        Ok(match self.entry.proxy {
            Proxy::Pingora | Proxy::Hyper if protocols.client == Protocol::Tcp => {
                return Err(String::from("what is measured here speaks HTTP only"));
            }
            Proxy::Nginx if protocols.client == Protocol::Tcp => {
                let template = include_str!("../proxies/nginx-tcp.conf");
                let module = nginx_module("ngx_stream_module.so")?;
                let filled = [("MODULE", &*module)];
                let path = self.configuration("nginx.conf", template, &filled, listen, origin)?;
                words(&format!("-p {here} -e stderr -c {path}"))
            }
            Proxy::HaProxy if protocols.client == Protocol::Tcp => {
                let template = include_str!("../proxies/haproxy-tcp.cfg");
                let path = self.configuration("haproxy.cfg", template, &[], listen, origin)?;
                words(&format!("-db -f {path}"))
            }
            Proxy::Nginx => {
                let template = include_str!("../proxies/nginx.conf");
                let files = &self.certificate;
                let tls = format!(
                    "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3;",
                    files.certificate.display(),
                    files.key.display(),
                );
                let (to_client, settings) = match protocols.client {
                    Protocol::H1 | Protocol::Tcp => ("", ""),
                    Protocol::H2 | Protocol::Grpc => ("http2", ""),
                    Protocol::Tls => ("ssl", &*tls),
                    Protocol::H2Tls => ("ssl http2", &*tls),
                };
                let filled = [("TO_CLIENT", to_client), ("SETTINGS", settings)];
                let path = self.configuration("nginx.conf", template, &filled, listen, origin)?;
                words(&format!("-p {here} -e stderr -c {path}"))
            }
            Proxy::HaProxy => {
                let template = include_str!("../proxies/haproxy.cfg");
                let tls = format!("ssl crt {}", self.certificate.both.display());
                let h2_tls = format!("{tls} alpn h2");
                let side = |protocol| match protocol {
                    Protocol::H1 | Protocol::Tcp => "",
                    Protocol::H2 | Protocol::Grpc => "proto h2",
                    Protocol::Tls => &*tls,
                    Protocol::H2Tls => &*h2_tls,
                };
                let filled = [
                    ("TO_CLIENT", side(protocols.client)),
                    ("TO_ORIGIN", side(protocols.origin)),
                ];
                let path = self.configuration("haproxy.cfg", template, &filled, listen, origin)?;
                // -db: stay in the foreground, one process.
                words(&format!("-db -f {path}"))
            }
            Proxy::Ours | Proxy::Pingora | Proxy::Hyper => {
                let mut args = words(&format!("--listen {listen} --upstream {origin}"));
                for (name, protocol) in [
                    ("--to-client", protocols.client),
                    ("--to-origin", protocols.origin),
                ] {
                    let value = match protocol {
                        Protocol::H1 | Protocol::Tls => "h1",
                        Protocol::H2 | Protocol::H2Tls | Protocol::Grpc => "h2",
                        Protocol::Tcp => "tcp",
                    };
                    args.extend([name, value].map(String::from));
                }
                if matches!(protocols.client, Protocol::Tls | Protocol::H2Tls) {
                    let files = &self.certificate;
                    for (name, path) in [("--cert", &files.certificate), ("--key", &files.key)] {
                        args.extend([String::from(name), path.display().to_string()]);
                    }
                }
                args
            }
        })
    }

    /// Writes a configuration, its words filled in, and returns its path.
    fn configuration(
        &self,
        name: &str,
        template: &str,
        words: &[(&str, &str)],
        listen: SocketAddr,
        origin: SocketAddr,
    ) -> Result<String> {
        // The first line, a comment, speaks of the words to be filled in.
        let lines = template.lines().skip(1);
        let mut text: String = lines.map(|line| format!("{line}\n")).collect();
        for (word, value) in words {
            text = text.replace(word, value);
        }
        let text = text
            .replace("LISTEN", &listen.to_string())
            .replace("UPSTREAM", &origin.to_string())
            .replace("FILES", &raise_descriptor_limit().to_string());
        let path = self.scratch.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path.display().to_string())
    }
}

/// Builds with cargo in `folder` (relative to this package) and returns the path of the program.
pub fn build(folder: &str, what: &[&str]) -> Result<PathBuf> {
    let manifest = here().join(folder).join("Cargo.toml");
    eprintln!("building {}", what.join(" "));
    // Of the system, like that of the others: Pingora would build one of its own.
    let output = Command::new("cargo")
        .env("OPENSSL_NO_VENDOR", "1")
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

/// Returns the path of a module of nginx that is installed apart.
fn nginx_module(name: &str) -> Result<String> {
    let built = output("nginx", &["-V"]).unwrap_or_default();
    let folder = built
        .split_whitespace()
        .find_map(|option| option.strip_prefix("--modules-path="))
        .unwrap_or("/usr/lib/nginx/modules");
    let path = Path::new(folder).join(name);
    match path.exists() {
        true => Ok(path.display().to_string()),
        false => Err(format!(
            "{name} is not installed (apt-get install libnginx-mod-stream)"
        )),
    }
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
