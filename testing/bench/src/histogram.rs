//! Latencies in buckets of about 1.5 % width, up to minutes, in a few kilobytes.

use std::time::Duration;

/// Counts of durations; the width of a bucket grows with the value.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

/// Buckets per power of two: 64 makes them 1.6 % wide at most.
const STEPS_LOG2: u32 = 6;
const STEPS: u64 = 1 << STEPS_LOG2;
/// 2^36 ns is a minute and then some; longer ones count as that.
const MAX_NS: u64 = 1 << 36;

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; bucket(MAX_NS) + 1],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(MAX_NS);
        self.counts[bucket(ns.min(MAX_NS))] += 1;
        self.total += 1;
    }

    /// Returns the duration below which the share `quantile` (0 to 1) of all lies, zero if there is none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let rank = (self.total as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_edge(index));
            }
        }
        Duration::ZERO
    }
}

fn bucket(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let shift = ns.ilog2() - STEPS_LOG2;
    // `ns >> shift` lies in STEPS..2*STEPS.
    (u64::from(shift) * STEPS + (ns >> shift)) as usize
}

fn upper_edge(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    ((index - shift * STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, upper_edge};
    use std::time::Duration;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for ns in (0..5_000).chain((5_000..50_000_000).step_by(9_973)) {
            let index = bucket(ns);
            assert!(ns <= upper_edge(index), "{ns}");
            assert!(index == 0 || ns > upper_edge(index - 1), "{ns}");
        }
    }

    #[test]
    fn quantiles_are_within_two_percent() {
        let mut histogram = Histogram::default();
        for micros in 1..=1_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (quantile, micros) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = histogram.quantile(quantile).as_secs_f64() * 1e6;
            assert!((found / micros - 1.0).abs() < 0.02, "{quantile}: {found}");
        }
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
    }
}
