//! What is concluded from a soak.

use std::fmt;
use std::time::Duration;

use super::clients::Totals;
use crate::report::median;

/// One look at the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Since the start.
    pub after: Duration,
    /// Resident memory.
    pub resident_kib: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// What was seen.
#[derive(Debug)]
pub struct Verdict {
    /// Whether the proxy still ran at the end.
    pub alive: bool,
    /// Panics in its log.
    pub panics: usize,
    /// Size of the log: a proxy that complains about every client fills disks.
    pub log_bytes: usize,
    /// What clients that behave got.
    pub answers: Totals,
    /// Under load, in order; the first before it.
    pub looks: Vec<Look>,
    /// After the load.
    pub last: Look,
}

/// The first part of a run is warm-up.
const WARM_UP_SHARE: usize = 3;
/// Memory may grow by so much from the first to the last part after the warm-up: noise of an
/// allocator, not a leak, which would add up over the run.
const GROWTH: f64 = 1.05;
const GROWTH_KIB: f64 = 2_048.0;
/// Descriptors left after the load: the default size of the pool of idle upstream connections.
const POOL: usize = 128;
/// Clients that behave get this share of right answers at least, though origins die.
const RIGHT: f64 = 0.99;

impl Verdict {
    /// Returns whether nothing was found.
    pub fn is_good(&self) -> bool {
        self.findings().is_empty()
    }

    fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut find = |wrong: bool, what: String| {
            if wrong {
                findings.push(what);
            }
        };
        let (early, late) = self.resident();
        let (first, last) = (self.looks[0].descriptors, self.last.descriptors);
        let (right, all) = (self.answers.right, self.answers.all());
        find(!self.alive, String::from("the proxy ended"));
        find(self.panics > 0, format!("{} panics", self.panics));
        find(
            late > early * GROWTH + GROWTH_KIB,
            format!("memory grew from {early:.0} to {late:.0} KiB"),
        );
        find(
            last > first + POOL,
            format!("{last} descriptors after the load, {first} before"),
        );
        find(
            all == 0 || (right as f64) < all as f64 * RIGHT,
            format!("only {right} of {all} answers were right"),
        );
        findings
    }

    /// Returns the median memory of the first and of the last part after the warm-up.
    fn resident(&self) -> (f64, f64) {
        let warm = &self.looks[self.looks.len() / WARM_UP_SHARE..];
        let part = (warm.len() / 4).max(1);
        let middle = |looks: &[Look]| {
            let values = looks.iter().map(|look| look.resident_kib as f64);
            median(values.collect()).unwrap_or_default()
        };
        (middle(&warm[..part]), middle(&warm[warm.len() - part..]))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (early, late) = self.resident();
        let peak = self.looks.iter().map(|look| look.descriptors).max();
        writeln!(
            f,
            "\nmemory: {} KiB at the start, {early:.0} after the warm-up, {late:.0} at the end, {} after the load",
            self.looks[0].resident_kib, self.last.resident_kib
        )?;
        writeln!(
            f,
            "descriptors: {} at the start, {} at most, {} after the load",
            self.looks[0].descriptors,
            peak.unwrap_or_default(),
            self.last.descriptors
        )?;
        writeln!(f, "log: {} bytes, {} panics", self.log_bytes, self.panics)?;
        writeln!(f, "clients that behave: {}", self.answers)?;
        let findings = self.findings();
        match findings.is_empty() {
            true => write!(f, "verdict: good"),
            false => write!(f, "verdict: BAD: {}", findings.join("; ")),
        }
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>6.0} s: {} KiB, {} descriptors",
            self.after.as_secs_f64(),
            self.resident_kib,
            self.descriptors
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Look, Totals, Verdict};
    use std::time::Duration;

    fn verdict(resident_kib: impl Fn(u64) -> u64) -> Verdict {
        let look = |second| Look {
            after: Duration::from_secs(second),
            resident_kib: resident_kib(second),
            descriptors: 20,
        };
        Verdict {
            alive: true,
            panics: 0,
            log_bytes: 0,
            answers: Totals {
                right: 1_000,
                wrong_status: 1,
                broken: 1,
            },
            looks: (0..120).map(look).collect(),
            last: look(120),
        }
    }

    #[test]
    fn leaks_are_told_from_warm_up() {
        assert!(verdict(|second| 10_000 + second.min(30) * 500).is_good());
        assert!(!verdict(|second| 10_000 + second * 500).is_good());
    }

    #[test]
    fn everything_else_counts_too() {
        let spoil: [fn(&mut Verdict); 4] = [
            |verdict| verdict.alive = false,
            |verdict| verdict.panics = 1,
            |verdict| verdict.last.descriptors = 200,
            |verdict| verdict.answers.broken = 100,
        ];
        for spoil in spoil {
            let mut verdict = verdict(|_| 10_000);
            spoil(&mut verdict);
            assert!(!verdict.is_good(), "{verdict}");
        }
    }
}
