//! The known keys of the configuration, what each takes, and the nearest one to a misspelt key.
//!
//! Next: `yaml.rs`, which uses these in its messages.

/// Returns what the value of a known key has to be, as in "expected a number".
pub(super) fn expectation(key: &str) -> Option<&'static str> {
    let index = KEYS.iter().position(|(name, _)| *name == key)?;
    Some(KEYS[index].1)
}

/// Returns the known key that needs at most two typing errors to become `unknown`.
pub(super) fn nearest(unknown: &str) -> Option<&'static str> {
    let unknown: Vec<char> = unknown.chars().take(MAX_KEY_LENGTH + 1).collect();
    if unknown.len() > MAX_KEY_LENGTH {
        return None;
    }
    KEYS.iter()
        .map(|(key, _)| (distance(&unknown, &key.chars().collect::<Vec<_>>()), *key))
        // A word of three letters is two errors away from many others.
        .filter(|(errors, key)| *errors <= 2 && errors * 2 < key.len())
        .min()
        .map(|(_, key)| key)
}

/// Returns the number of insertions, deletions, replacements and swaps of neighbours between two
/// words: the Damerau-Levenshtein distance in the form where no part is edited twice.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The longest unknown key a nearest one is sought for: the longest known key has 53 characters.
const MAX_KEY_LENGTH: usize = 64;

const NUMBER: &str = "a number";
const POSITIVE: &str = "a number above 0";
const BOOL: &str = "true or false";
const STRING: &str = "a string";
pub(super) const ADDRESSES: &str = "a list of addresses";

pub(super) const KEYS: &[(&str, &str)] = &[
    ("version", NUMBER),
    ("daemon", BOOL),
    ("error_log", STRING),
    ("pid_file", STRING),
    ("upgrade_sock", STRING),
    ("user", STRING),
    ("group", STRING),
    ("working_directory", STRING),
    ("threads", NUMBER),
    ("listener_tasks_per_fd", NUMBER),
    ("work_stealing", BOOL),
    ("runtime_enable_alt_timer", BOOL),
    ("ca_file", STRING),
    ("grace_period_seconds", NUMBER),
    ("graceful_shutdown_timeout_seconds", NUMBER),
    ("client_bind_to_ipv4", ADDRESSES),
    ("client_bind_to_ipv6", ADDRESSES),
    ("upstream_keepalive_pool_size", NUMBER),
    ("upstream_connect_offload_threadpools", NUMBER),
    ("upstream_connect_offload_thread_per_pool", NUMBER),
    ("downstream_tls_offload_threadpools", NUMBER),
    ("downstream_tls_offload_thread_per_pool", NUMBER),
    ("upstream_debug_ssl_keylog", BOOL),
    #[cfg(feature = "s2n")]
    ("s2n_config_cache_size", NUMBER),
    ("max_retries", NUMBER),
    ("upgrade_sock_connect_accept_max_retries", NUMBER),
    ("max_blocking_threads", NUMBER),
    ("blocking_threads_ttl_seconds", NUMBER),
    ("fast_timeout_to_tokio_threshold_seconds", NUMBER),
    ("runtime_metrics_poll_time_histogram", BOOL),
    ("runtime_metrics_poll_time_histogram_scale", "linear or log"),
    (
        "runtime_metrics_poll_time_histogram_resolution_micros",
        NUMBER,
    ),
    ("runtime_metrics_poll_time_histogram_buckets", NUMBER),
    ("daemon_wait_for_ready", BOOL),
    ("daemon_ready_timeout_seconds", POSITIVE),
    ("daemon_notify_timeout_seconds", POSITIVE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_nearest_key() {
        for (unknown, expected) in [
            ("thread", Some("threads")),
            ("treads", Some("threads")),
            ("thraeds", Some("threads")),
            ("deamon", Some("daemon")),
            ("pidfile", Some("pid_file")),
            ("usr", Some("user")),
            ("ca-file", Some("ca_file")),
            ("client_bind_to_ipv5", Some("client_bind_to_ipv4")),
            ("listen", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(unknown), expected, "{unknown}");
        }
        assert_eq!(nearest(&"threads".repeat(1000)), None);
    }

    #[test]
    fn distance_counts_swaps_once() {
        let check = |a: &str, b: &str, expected| {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            assert_eq!(distance(&chars(a), &chars(b)), expected, "{a} {b}");
            assert_eq!(distance(&chars(b), &chars(a)), expected, "{b} {a}");
        };
        check("", "", 0);
        check("", "abc", 3);
        check("abc", "acb", 1);
        check("abc", "axc", 1);
        check("abcd", "badc", 2);
        check("kitten", "sitting", 3);
    }
}
