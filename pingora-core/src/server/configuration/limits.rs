//! The ranges of the configuration's values.
//!
//! Next: `yaml.rs`, which adds file and position to these errors.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::ServerConf;

/// A value out of its range. Displays as `KEY: expected WHAT, found VALUE`.
#[derive(Debug)]
pub(super) struct OutOfRange {
    pub(super) key: &'static str,
    pub(super) expected: String,
    pub(super) found: String,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutOfRange {
            key,
            expected,
            found,
        } = self;
        write!(f, "{key}: expected {expected}, found {found}")
    }
}

/// The most threads of one service and tasks of one socket: a guard against a typing error, far
/// above what machines have.
const MAX_THREADS: u64 = 4096;

/// The most threads for blocking work of one runtime.
const MAX_BLOCKING_THREADS: u64 = 65_536;

/// The most buckets of the poll time histogram: each worker thread keeps them all.
const MAX_BUCKETS: u64 = 1024;

/// The longest wait: one year of 366 days, in seconds.
const MAX_SECONDS: u64 = 366 * 24 * 3600;

/// A key, its value if there is one, the lowest and the highest allowed.
type Range = (&'static str, Option<u64>, u64, u64);

impl ServerConf {
    /// Returns the first value that is out of range.
    pub(super) fn out_of_range(&self) -> Option<OutOfRange> {
        let [v4, v6] = [&self.client_bind_to_ipv4, &self.client_bind_to_ipv6];
        let mut numbers = self.counts().into_iter().chain(self.times());
        numbers
            .find_map(out_of)
            .or_else(|| self.bad_path())
            .or_else(|| bad_address::<Ipv4Addr>("client_bind_to_ipv4", "IPv4", v4))
            .or_else(|| bad_address::<Ipv6Addr>("client_bind_to_ipv6", "IPv6", v6))
    }

    fn counts(&self) -> [Range; 8] {
        let threads = |key, value: Option<usize>, min| {
            let value = value.map(|n| n as u64);
            (key, value, min, MAX_THREADS)
        };
        let blocking = self.max_blocking_threads.map(|n| n as u64);
        let buckets = self.runtime_metrics_poll_time_histogram_buckets;
        let buckets = buckets.map(|n| n as u64);
        [
            threads("threads", Some(self.threads), 1),
            threads("listener_tasks_per_fd", Some(self.listener_tasks_per_fd), 1),
            threads(
                "upstream_connect_offload_threadpools",
                self.upstream_connect_offload_threadpools,
                0,
            ),
            threads(
                "upstream_connect_offload_thread_per_pool",
                self.upstream_connect_offload_thread_per_pool,
                0,
            ),
            threads(
                "downstream_tls_offload_threadpools",
                self.downstream_tls_offload_threadpools,
                0,
            ),
            threads(
                "downstream_tls_offload_thread_per_pool",
                self.downstream_tls_offload_thread_per_pool,
                0,
            ),
            ("max_blocking_threads", blocking, 1, MAX_BLOCKING_THREADS),
            (
                "runtime_metrics_poll_time_histogram_buckets",
                buckets,
                1,
                MAX_BUCKETS,
            ),
        ]
    }

    fn times(&self) -> [Range; 6] {
        let time = |key, value, min| (key, value, min, MAX_SECONDS);
        let timeout = self.graceful_shutdown_timeout_seconds;
        let resolution = self.runtime_metrics_poll_time_histogram_resolution_micros;
        let ready = self.daemon_ready_timeout_seconds.map(u64::from);
        let notify = self.daemon_notify_timeout_seconds.map(u64::from);
        let blocking = self.blocking_threads_ttl_seconds;
        [
            time("grace_period_seconds", self.grace_period_seconds, 0),
            time("graceful_shutdown_timeout_seconds", timeout, 0),
            time("blocking_threads_ttl_seconds", blocking, 0),
            time(
                "runtime_metrics_poll_time_histogram_resolution_micros",
                resolution,
                1,
            ),
            time("daemon_ready_timeout_seconds", ready, 1),
            time("daemon_notify_timeout_seconds", notify, 1),
        ]
    }

    fn bad_path(&self) -> Option<OutOfRange> {
        let paths = [
            ("pid_file", self.pid_file.as_str()),
            ("upgrade_sock", self.upgrade_sock.as_str()),
        ];
        let (key, _) = paths.iter().find(|(_, path)| path.is_empty())?;
        Some(OutOfRange {
            key,
            expected: "a path".to_string(),
            found: "\"\"".to_string(),
        })
    }
}

fn out_of((key, value, min, max): Range) -> Option<OutOfRange> {
    let found = value.filter(|value| !(min..=max).contains(value))?;
    Some(OutOfRange {
        key,
        expected: format!("a number from {min} to {max}"),
        found: found.to_string(),
    })
}

fn bad_address<A: std::str::FromStr>(
    key: &'static str,
    kind: &str,
    addresses: &[String],
) -> Option<OutOfRange> {
    let bad = addresses.iter().find(|a| a.parse::<A>().is_err())?;
    Some(OutOfRange {
        key,
        expected: format!("{kind} addresses without port"),
        found: format!("{bad:?}"),
    })
}
