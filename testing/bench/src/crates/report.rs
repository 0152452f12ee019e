//! Measures operations of several candidates in interleaved rounds, and collects the rows.

use std::fmt::Write as _;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::report::{grouped, median};

/// Rounds of each candidate; the median of them counts.
const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;
/// Length of a round.
const ROUND: Duration = Duration::from_millis(20);
const QUICK_ROUND: Duration = Duration::from_millis(4);
/// More iterations than any round can hold: ends calibration of an operation that is optimised away.
const MAX_ITERATIONS: u64 = 1 << 32;
/// What the candidate of this repository is called.
pub const OURS: &str = "ours";

/// What takes part in a comparison: a name and something that repeats an operation.
pub struct Candidate<'a> {
    name: &'a str,
    is_floor: bool,
    run: Box<dyn FnMut(u64) -> Duration + 'a>,
}

impl<'a> Candidate<'a> {
    /// Returns a candidate whose `repeat` does the operation so many times, and nothing else worth
    /// mentioning. Pass inputs and results through [`std::hint::black_box`].
    ///
    /// Measured is the CPU time of this thread, which other programs on the machine disturb least.
    pub fn new(name: &'a str, mut repeat: impl FnMut(u64) + 'a) -> Self {
        Self::timed(name, move |iterations| {
            let start = thread_time();
            repeat(iterations);
            thread_time() - start
        })
    }

    /// Returns a candidate that takes the time itself (see [`thread_time`]): for operations that need
    /// something prepared, which should not count.
    pub fn timed(name: &'a str, run: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self {
            name,
            is_floor: false,
            run: Box::new(run),
        }
    }

    /// Returns a candidate whose `repeat` runs on so many threads at once; it is given the number of
    /// its thread, from zero. Measured is the CPU time per operation of the busiest thread: what
    /// contention costs is in it, as far as threads do not sleep.
    pub fn threads(name: &'a str, threads: usize, repeat: impl Fn(usize, u64) + Sync + 'a) -> Self {
        Self::timed(name, move |iterations| {
            let barrier = Barrier::new(threads);
            let one = |number| {
                barrier.wait();
                let start = thread_time();
                repeat(number, iterations);
                thread_time() - start
            };
            thread::scope(|scope| {
                let one = &one;
                let threads: Vec<_> = (0..threads)
                    .map(|number| scope.spawn(move || one(number)))
                    .collect();
                let times = threads.into_iter().map(|thread| thread.join());
                let times = times.map(|time| time.expect("a measurement does not panic"));
                times.max().unwrap_or_default()
            })
        })
    }

    /// Marks what is no peer but a bound, such as the bare future a timeout is around: shown, and
    /// left out of the ratio.
    pub fn floor(mut self) -> Self {
        self.is_floor = true;
        self
    }
}

/// The rows and tables so far.
pub struct Report {
    quick: bool,
    crate_name: String,
    rows: Vec<Row>,
    tables: String,
}

/// One operation, or another quantity.
struct Row {
    crate_name: String,
    operation: String,
    unit: &'static str,
    /// Name, value, and whether it is a floor.
    values: Vec<(String, f64, bool)>,
}

impl Report {
    pub(super) fn new(quick: bool) -> Self {
        Self {
            quick,
            crate_name: String::new(),
            rows: Vec::new(),
            tables: String::new(),
        }
    }

    pub(super) fn start(&mut self, crate_name: &str) {
        self.crate_name = String::from(crate_name);
    }

    /// Returns whether `--quick` was given: shorten traces and the like.
    pub fn is_quick(&self) -> bool {
        self.quick
    }

    /// Measures the candidates in interleaved rounds and adds a row with the medians, in
    /// nanoseconds per operation. One candidate is called [`OURS`].
    pub fn compare(&mut self, operation: &str, mut candidates: Vec<Candidate<'_>>) {
        let (rounds, round) = match self.quick {
            true => (QUICK_ROUNDS, QUICK_ROUND),
            false => (ROUNDS, ROUND),
        };
        let iterations: Vec<u64> = candidates
            .iter_mut()
            .map(|candidate| calibrate(candidate, round))
            .collect();
        let mut times = vec![Vec::new(); candidates.len()];
        for _ in 0..rounds {
            for (index, candidate) in candidates.iter_mut().enumerate() {
                let time = (candidate.run)(iterations[index]);
                times[index].push(time.as_nanos() as f64 / iterations[index] as f64);
            }
        }
        let values = candidates.iter().zip(times).map(|(candidate, times)| {
            let time = median(times).unwrap_or_default();
            (String::from(candidate.name), time, candidate.is_floor)
        });
        let values = values.collect();
        self.push(operation, "ns", values);
    }

    /// Adds a row with other quantities, such as bytes; less is better. One is called [`OURS`].
    pub fn values(&mut self, operation: &str, unit: &'static str, values: &[(&str, f64)]) {
        let values = values
            .iter()
            .map(|(name, value)| (String::from(*name), *value, false));
        self.push(operation, unit, values.collect());
    }

    /// Adds a table of its own, for hit ratios and the like: names of the columns, then rows of as
    /// many cells.
    pub fn table(&mut self, title: &str, columns: &[&str], rows: &[Vec<String>]) {
        let mut text = format!("### {title}\n\n| {} |\n|", columns.join(" | "));
        text.push_str("---|");
        text.push_str(&"---:|".repeat(columns.len().saturating_sub(1)));
        for row in rows {
            let _ = write!(text, "\n| {} |", row.join(" | "));
        }
        eprintln!("{text}\n");
        let _ = write!(self.tables, "\n{text}\n");
    }

    fn push(&mut self, operation: &str, unit: &'static str, values: Vec<(String, f64, bool)>) {
        let row = Row {
            crate_name: self.crate_name.clone(),
            operation: String::from(operation),
            unit,
            values,
        };
        eprintln!("{}", row.markdown());
        self.rows.push(row);
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = String::from(
            "| crate | operation | ours | peers | ours / best peer |\n|---|---|---:|---|---:|\n",
        );
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.markdown());
        }
        text + &self.tables
    }
}

impl Row {
    fn markdown(&self) -> String {
        let ours = self.values.iter().find(|(name, ..)| name == OURS);
        let ours = ours.map(|(_, value, _)| *value);
        let others = || self.values.iter().filter(|(name, ..)| name != OURS);
        let peers: Vec<String> = others()
            .map(|(name, value, is_floor)| match is_floor {
                true => format!("({name} {})", number(*value)),
                false => format!("{name} {}", number(*value)),
            })
            .collect();
        let best = others()
            .filter(|(_, _, is_floor)| !is_floor)
            .map(|(_, value, _)| *value)
            .min_by(f64::total_cmp);
        let ratio = match (ours, best) {
            (Some(ours), Some(best)) if best > 0.0 => format!("{:.2}", ours / best),
            _ => String::from("–"),
        };
        format!(
            "| {} | {} | {} {} | {} | {ratio} |",
            self.crate_name,
            self.operation,
            ours.map_or(String::from("–"), number),
            self.unit,
            peers.join(", "),
        )
    }
}

/// Returns the CPU time of the calling thread so far.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Three digits are all that such a measurement gives.
fn number(value: f64) -> String {
    match value {
        value if value < 10.0 => grouped(value, 2),
        value if value < 100.0 => grouped(value, 1),
        value => grouped(value, 0),
    }
}

/// Returns how many iterations fill a round; warms up meanwhile.
fn calibrate(candidate: &mut Candidate<'_>, round: Duration) -> u64 {
    let mut iterations = 1;
    loop {
        let time = (candidate.run)(iterations);
        if time * 2 >= round || iterations >= MAX_ITERATIONS {
            let per_iteration = (time.as_nanos() as f64 / iterations as f64).max(0.01);
            return ((round.as_nanos() as f64 / per_iteration) as u64).clamp(1, MAX_ITERATIONS);
        }
        iterations *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, OURS, Report};

    #[test]
    fn rows_show_the_ratio_to_the_best_peer() {
        let mut report = Report::new(true);
        report.start("pool");
        let values = [("slow", 300.0), (OURS, 50.0), ("fast", 25.0)];
        report.values("size", "B", &values);
        report.table("Hits", &["trace", "ours"], &[vec!["a".into(), "1".into()]]);
        let text = report.markdown();
        assert!(text.contains("| pool | size | 50.0 B | slow 300, fast 25.0 | 2.00 |\n"));
        assert!(text.ends_with("\n### Hits\n\n| trace | ours |\n|---|---:|\n| a | 1 |\n"));
    }

    #[test]
    fn comparisons_run_every_candidate() {
        let mut report = Report::new(true);
        let (mut calls, spins) = (0, std::sync::atomic::AtomicU64::new(0));
        let spin = |iterations: u64| {
            for number in 0..iterations {
                std::hint::black_box(number);
            }
        };
        report.compare(
            "spin",
            vec![
                Candidate::new(OURS, |iterations| {
                    calls += 1;
                    spin(iterations);
                }),
                Candidate::threads("two", 2, |_, iterations| {
                    spins.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    spin(iterations);
                }),
                Candidate::new("bound", spin).floor(),
            ],
        );
        assert!(calls > 5 && spins.into_inner() > 10);
        let row = &report.rows[0];
        assert!(row.values.iter().all(|(_, value, _)| *value > 0.0));
        assert!(row.markdown().contains("two ") && row.markdown().contains("(bound "));
    }
}
