//! The server configuration: [`ServerConf`], read from YAML, and [`Opt`], the command line.
//!
//! This file holds the keys with their meaning and defaults. Reading, and what is said about a
//! file that is wrong, is in `yaml.rs`, on the tree of `node.rs`; the ranges of the values are in
//! `limits.rs`; the command line is in `opt.rs`.

use std::fmt::Display;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use pingora_error::Result;
use pingora_runtime::{BlockingPoolOpts, RuntimeMetricsOpts, RuntimeOpts};
use serde::{Deserialize, Serialize};

mod keys;
mod limits;
mod node;
mod opt;
mod scalar;
mod values;
mod writer;
mod yaml;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

pub(crate) use opt::{VERSION, program_name};
pub use pingora_runtime::RuntimeMetricsPollTimeHistogramScale;

/// The configuration of a [`Server`](crate::server::Server): what the YAML file can say.
///
/// Every key may be left out. A key this version does not know is warned about, with the nearest
/// known key, and ignored. A value of the wrong type or out of range is an error.
///
/// ```
/// use pingora_core::server::configuration::ServerConf;
///
/// let conf = ServerConf::from_yaml("---\nversion: 1\nthreads: 4\n").unwrap();
/// assert_eq!(conf.threads, 4);
/// assert_eq!(conf.max_retries, 16);
///
/// let error = ServerConf::from_yaml("threads: many").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "yaml:1:10: threads: expected a number, found \"many\"",
/// );
/// ```
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerConf {
    /// The version of the file format: 1. Default: 0, which means the same;
    /// [`ServerConf::new`] sets 1.
    pub version: usize,
    /// Whether to run in the background (Unix only). Default: false.
    pub daemon: bool,
    /// The file that receives standard error of a daemon, by default the log.
    /// Default: none, standard error is discarded.
    pub error_log: Option<String>,
    /// The file that holds the process id of a daemon. Default: `/tmp/pingora.pid`.
    pub pid_file: String,
    /// The Unix socket over which an old process hands its listening sockets to a new one.
    /// Default: `/tmp/pingora_upgrade.sock`.
    pub upgrade_sock: String,
    /// The user a daemon runs as, by name. Default: none, the user that starts it.
    pub user: Option<String>,
    /// The group a daemon runs as, by name. Default: none, the main group of `user`, or else the
    /// group that starts it.
    pub group: Option<String>,
    /// The directory a daemon changes to. Default: none, which is `/`.
    pub working_directory: Option<PathBuf>,
    /// The number of threads of each service that does not set its own. Default: 1.
    pub threads: usize,
    /// The number of tasks that accept connections on each listening socket. Default: 1.
    pub listener_tasks_per_fd: usize,
    /// Whether the threads of a service take work from each other. Default: true.
    pub work_stealing: bool,
    /// Whether to use the alternative timer of tokio, which exists in builds with
    /// `--cfg tokio_unstable`. Default: false.
    pub runtime_enable_alt_timer: bool,
    /// The file of the certificates trusted to sign those of upstreams.
    /// Default: none, those of the system.
    pub ca_file: Option<String>,
    /// The longest wait for the work in progress at a graceful shutdown, in seconds. The server
    /// ends as soon as all its services have. Default: none, which is 300.
    pub grace_period_seconds: Option<u64>,
    /// The longest wait for the runtimes to end after that, in seconds.
    /// Default: none, which is 5.
    pub graceful_shutdown_timeout_seconds: Option<u64>,
    /// The IPv4 addresses upstream connections may be made from. Default: empty, the system
    /// chooses.
    pub client_bind_to_ipv4: Vec<String>,
    /// The IPv6 addresses upstream connections may be made from. Default: empty, the system
    /// chooses.
    pub client_bind_to_ipv6: Vec<String>,
    /// The number of idle upstream connections kept for each of `threads`, which share them.
    /// Default: 128.
    pub upstream_keepalive_pool_size: usize,
    /// The number of separate thread pools upstream connections are made on. Takes effect
    /// together with `upstream_connect_offload_thread_per_pool`. Default: none.
    pub upstream_connect_offload_threadpools: Option<usize>,
    /// The number of threads of each of these pools. Default: none.
    pub upstream_connect_offload_thread_per_pool: Option<usize>,
    /// The number of separate thread pools that do TLS handshakes with clients. Takes effect
    /// together with `downstream_tls_offload_thread_per_pool`. Default: none.
    pub downstream_tls_offload_threadpools: Option<usize>,
    /// The number of threads of each of these pools. Default: none.
    pub downstream_tls_offload_thread_per_pool: Option<usize>,
    /// Whether the TLS keys of upstream connections are written to the file that the environment
    /// variable `SSLKEYLOGFILE` names. Default: false.
    pub upstream_debug_ssl_keylog: bool,
    /// For how many peers a connector on s2n keeps TLS configurations, and the sessions in them.
    /// Default: none, which is 1024.
    #[cfg(feature = "s2n")]
    pub s2n_config_cache_size: Option<usize>,
    /// The most tries of one request in all; of one connection in TCP proxies, of one session in UDP
    /// proxies. 0 means 1. Default: 16.
    pub max_retries: usize,
    /// The number of times, one second apart, that the processes of an upgrade try to reach each
    /// other. Default: none, which is 5.
    pub upgrade_sock_connect_accept_max_retries: Option<usize>,
    /// The most threads for blocking work of each runtime. Default: none, which is 512.
    pub max_blocking_threads: Option<usize>,
    /// The time after which an idle thread for blocking work ends, in seconds.
    /// Default: none, which is 10.
    pub blocking_threads_ttl_seconds: Option<u64>,
    /// Timeouts above this, in seconds, use the exact timer of tokio rather than the coarse one.
    /// Default: 900. `null`: never.
    pub fast_timeout_to_tokio_threshold_seconds: Option<u64>,
    /// Whether runtimes count how long the polls of their tasks take, in builds with
    /// `--cfg tokio_unstable`. Default: false.
    pub runtime_metrics_poll_time_histogram: bool,
    /// The scale of that histogram, `linear` or `log`. Default: none, which is that of tokio.
    pub runtime_metrics_poll_time_histogram_scale: Option<RuntimeMetricsPollTimeHistogramScale>,
    /// The width of its first bucket, in microseconds. Default: none, which is that of tokio.
    pub runtime_metrics_poll_time_histogram_resolution_micros: Option<u64>,
    /// The number of its buckets, 1 to 1024. Default: none, which is that of tokio.
    pub runtime_metrics_poll_time_histogram_buckets: Option<usize>,
    /// Whether the command that starts a daemon waits until its services are ready, and fails
    /// when they do not become so. Default: false.
    pub daemon_wait_for_ready: bool,
    /// The longest such wait, in seconds. Default: none, which is 600.
    pub daemon_ready_timeout_seconds: Option<NonZeroU64>,
    /// The longest a daemon tries to tell the waiting command that it is ready, in seconds.
    /// Default: none, which is 60.
    pub daemon_notify_timeout_seconds: Option<NonZeroU64>,
}

impl Default for ServerConf {
    /// Returns the configuration of an empty file.
    fn default() -> Self {
        ServerConf {
            version: 0,
            daemon: false,
            error_log: None,
            pid_file: "/tmp/pingora.pid".to_string(),
            upgrade_sock: "/tmp/pingora_upgrade.sock".to_string(),
            user: None,
            group: None,
            working_directory: None,
            threads: 1,
            listener_tasks_per_fd: 1,
            work_stealing: true,
            runtime_enable_alt_timer: false,
            ca_file: None,
            grace_period_seconds: None,
            graceful_shutdown_timeout_seconds: None,
            client_bind_to_ipv4: Vec::new(),
            client_bind_to_ipv6: Vec::new(),
            upstream_keepalive_pool_size: 128,
            upstream_connect_offload_threadpools: None,
            upstream_connect_offload_thread_per_pool: None,
            downstream_tls_offload_threadpools: None,
            downstream_tls_offload_thread_per_pool: None,
            upstream_debug_ssl_keylog: false,
            #[cfg(feature = "s2n")]
            s2n_config_cache_size: None,
            max_retries: 16,
            upgrade_sock_connect_accept_max_retries: None,
            max_blocking_threads: None,
            blocking_threads_ttl_seconds: None,
            fast_timeout_to_tokio_threshold_seconds: Some(900),
            runtime_metrics_poll_time_histogram: false,
            runtime_metrics_poll_time_histogram_scale: None,
            runtime_metrics_poll_time_histogram_resolution_micros: None,
            runtime_metrics_poll_time_histogram_buckets: None,
            daemon_wait_for_ready: false,
            daemon_ready_timeout_seconds: None,
            daemon_notify_timeout_seconds: None,
        }
    }
}

impl ServerConf {
    /// Returns the default configuration with `version` 1. It is never `None`.
    pub fn new() -> Option<Self> {
        Some(ServerConf {
            version: 1,
            ..Default::default()
        })
    }

    /// Returns the default configuration with what the command line changes. It is never `None`.
    pub fn new_with_opt_override(opt: &Opt) -> Option<Self> {
        let mut conf = Self::new()?;
        conf.merge_with_opt(opt);
        Some(conf)
    }

    /// Reads and checks the YAML file at `path`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or its content is wrong: see [`ServerConf::from_yaml`]. The error
    /// displays as one line that starts with the path as given and, for content, line and column.
    pub fn load_from_yaml<P>(path: P) -> Result<Self>
    where
        P: AsRef<Path> + Display,
    {
        let name = path.to_string();
        match fs::read_to_string(path.as_ref()) {
            Ok(text) => yaml::parse(&name, &text),
            Err(e) => {
                let why = crate::server::report::io_reason(&e);
                Err(yaml::error(format!("{name}: cannot read the file: {why}")))
            }
        }
    }

    /// Reads the file the command line names, or takes the defaults when it names none, then
    /// applies what else the command line changes.
    ///
    /// # Errors
    ///
    /// Those of [`ServerConf::load_from_yaml`].
    pub fn load_yaml_with_opt_override(opt: &Opt) -> Result<Self> {
        let mut conf = match &opt.conf {
            Some(path) => Self::load_from_yaml(path)?,
            None => Self {
                version: 1,
                ..Default::default()
            },
        };
        conf.merge_with_opt(opt);
        Ok(conf)
    }

    /// Reads and checks a configuration in YAML.
    ///
    /// # Errors
    ///
    /// The text is not YAML, a value has the wrong type, or it is out of range. The error displays
    /// as one line with position, key, expectation and value. The text of that line stays
    /// allocated for the rest of the program.
    pub fn from_yaml(conf_str: &str) -> Result<Self> {
        yaml::parse("yaml", conf_str)
    }

    /// Returns the configuration as YAML which [`ServerConf::from_yaml`] reads back.
    pub fn to_yaml(&self) -> String {
        writer::write(self).expect("numbers, strings and lists of them have a form")
    }

    /// Returns the configuration if all its values are in range.
    ///
    /// # Errors
    ///
    /// A line that names the first key that is not, its value, and what is expected.
    pub fn validate(self) -> Result<Self> {
        self.check_ranges()?;
        Ok(self)
    }

    /// Applies what the command line changes: `--daemon` turns `daemon` on.
    pub fn merge_with_opt(&mut self, opt: &Opt) {
        if opt.daemon {
            self.daemon = true;
        }
    }

    /// Returns the options of the runtimes that services run on.
    pub fn runtime_opts(&self) -> RuntimeOpts {
        let resolution = self.runtime_metrics_poll_time_histogram_resolution_micros;
        RuntimeOpts {
            enable_alt_timer: self.runtime_enable_alt_timer,
            metrics: RuntimeMetricsOpts {
                poll_time_histogram: self.runtime_metrics_poll_time_histogram,
                poll_time_histogram_scale: self.runtime_metrics_poll_time_histogram_scale,
                poll_time_histogram_resolution: resolution.map(Duration::from_micros),
                poll_time_histogram_buckets: self.runtime_metrics_poll_time_histogram_buckets,
            },
        }
    }

    /// Returns number and size of the thread pools that upstream connections are made on, or
    /// `None` unless both are set and above 0.
    pub fn upstream_connect_offload_threadpool(&self) -> Option<(usize, usize)> {
        both_positive(
            self.upstream_connect_offload_threadpools,
            self.upstream_connect_offload_thread_per_pool,
        )
    }

    /// Returns number and size of the thread pools for TLS handshakes with clients, or `None`
    /// unless both are set and above 0.
    pub fn downstream_tls_offload_threadpool(&self) -> Option<(usize, usize)> {
        both_positive(
            self.downstream_tls_offload_threadpools,
            self.downstream_tls_offload_thread_per_pool,
        )
    }

    /// Checks what [`ServerConf::validate`] does.
    pub(crate) fn check_ranges(&self) -> Result<()> {
        match self.out_of_range() {
            None => Ok(()),
            Some(wrong) => Err(yaml::error(wrong.to_string())),
        }
    }

    /// Returns the options of the threads for blocking work.
    pub(crate) fn blocking_pool_opts(&self) -> BlockingPoolOpts {
        BlockingPoolOpts {
            max_threads: self.max_blocking_threads,
            thread_keep_alive: self.blocking_threads_ttl_seconds.map(Duration::from_secs),
        }
    }

    /// Returns the longest wait for work in progress at a graceful shutdown.
    pub(crate) fn grace_period(&self) -> Duration {
        Duration::from_secs(self.grace_period_seconds.unwrap_or(300))
    }

    /// Returns the longest wait for the runtimes at a graceful shutdown.
    pub(crate) fn graceful_shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.graceful_shutdown_timeout_seconds.unwrap_or(5))
    }
}

// The doc comment becomes part of the help of a program that flattens these options into its own,
// so it says what the options are for, and no more.
/// Command line options of the server
///
/// ```
/// use pingora_core::server::configuration::Opt;
///
/// let opt = Opt::parse_from_args(["my-proxy", "-d", "-c", "conf.yaml"]);
/// assert!(opt.daemon);
/// assert_eq!(opt.conf.as_deref(), Some("conf.yaml"));
/// ```
#[derive(Parser, Debug, Default)]
#[command(about = "A network service built with pingora", long_about = None)]
pub struct Opt {
    /// Take over the listening sockets of the running server, which then finishes and ends
    ///
    /// Start the new server with this, then send SIGQUIT to the old one. Both need the same
    /// `upgrade_sock` in their configuration.
    #[arg(short, long)]
    pub upgrade: bool,

    /// Run in the background, as `daemon: true` in the configuration
    #[arg(short, long)]
    pub daemon: bool,

    /// Has no effect: lets the test harness pass its own option
    #[arg(long, hide = true)]
    pub nocapture: bool,

    /// Check the configuration and whether its addresses can be listened on, then end: with
    /// status 0 if all is well, else 1
    #[arg(short, long)]
    pub test: bool,

    /// The configuration file, in YAML. Without it, all values are the defaults
    #[arg(short, long, value_name = "FILE")]
    pub conf: Option<String>,
}

fn both_positive(pools: Option<usize>, threads: Option<usize>) -> Option<(usize, usize)> {
    match (pools?, threads?) {
        (0, _) | (_, 0) => None,
        both => Some(both),
    }
}

#[cfg(test)]
mod tests;
