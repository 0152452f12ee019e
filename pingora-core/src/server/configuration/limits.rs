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

impl ServerConf {
    /// Returns the first value that is out of range.
    pub(super) fn out_of_range(&self) -> Option<OutOfRange> {
        let numbers = self.numbers();
        let number = numbers.iter().find_map(|(key, value, min, max)| {
            let value = (*value)?;
            (!(*min..=*max).contains(&value)).then(|| OutOfRange {
                key,
                expected: format!("a number from {min} to {max}"),
                found: value.to_string(),
            })
        });
        number.or_else(|| self.bad_path()).or_else(|| {
            bad_address::<Ipv4Addr>("client_bind_to_ipv4", "IPv4", &self.client_bind_to_ipv4)
                .or_else(|| {
                    bad_address::<Ipv6Addr>(
                        "client_bind_to_ipv6",
                        "IPv6",
                        &self.client_bind_to_ipv6,
                    )
                })
        })
    }

    // Key, value, lowest, highest.
    fn numbers(&self) -> Vec<(&'static str, Option<u64>, u64, u64)> {
        let wide = |n: usize| n as u64;
        vec![
            ("threads", Some(wide(self.threads)), 1, MAX_THREADS),
            (
                "listener_tasks_per_fd",
                Some(wide(self.listener_tasks_per_fd)),
                1,
                MAX_THREADS,
            ),
            (
                "upstream_connect_offload_threadpools",
                self.upstream_connect_offload_threadpools.map(wide),
                0,
                MAX_THREADS,
            ),
            (
                "upstream_connect_offload_thread_per_pool",
                self.upstream_connect_offload_thread_per_pool.map(wide),
                0,
                MAX_THREADS,
            ),
            (
                "downstream_tls_offload_threadpools",
                self.downstream_tls_offload_threadpools.map(wide),
                0,
                MAX_THREADS,
            ),
            (
                "downstream_tls_offload_thread_per_pool",
                self.downstream_tls_offload_thread_per_pool.map(wide),
                0,
                MAX_THREADS,
            ),
            (
                "max_blocking_threads",
                self.max_blocking_threads.map(wide),
                1,
                MAX_BLOCKING_THREADS,
            ),
            (
                "runtime_metrics_poll_time_histogram_resolution_micros",
                self.runtime_metrics_poll_time_histogram_resolution_micros,
                1,
                MAX_SECONDS,
            ),
            (
                "runtime_metrics_poll_time_histogram_buckets",
                self.runtime_metrics_poll_time_histogram_buckets.map(wide),
                1,
                MAX_BUCKETS,
            ),
            (
                "grace_period_seconds",
                self.grace_period_seconds,
                0,
                MAX_SECONDS,
            ),
            (
                "graceful_shutdown_timeout_seconds",
                self.graceful_shutdown_timeout_seconds,
                0,
                MAX_SECONDS,
            ),
            (
                "blocking_threads_ttl_seconds",
                self.blocking_threads_ttl_seconds,
                0,
                MAX_SECONDS,
            ),
            (
                "daemon_ready_timeout_seconds",
                self.daemon_ready_timeout_seconds.map(u64::from),
                1,
                MAX_SECONDS,
            ),
            (
                "daemon_notify_timeout_seconds",
                self.daemon_notify_timeout_seconds.map(u64::from),
                1,
                MAX_SECONDS,
            ),
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
