//! What the comparisons of proxies share: who takes part, rounds that are interleaved, what went
//! wrong, and the report.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::args::Options;
use crate::machine::{self, Cores};
use crate::proxies::{Entry, Protocols, Ready, Running};
use crate::report::{self, Row, Table, median};

/// A whole run takes a quarter of this on two slow cores.
const RUN_LIMIT: Duration = Duration::from_secs(3600);

/// Runs `measure` with a folder for what it writes, prints its report, and puts it into the part
/// `section` of docs/benchmarks.md if the run was a whole one.
pub fn run(
    section: &str,
    options: &Options,
    measure: impl FnOnce(&Path) -> Result<String>,
) -> Result<()> {
    limit_time();
    let scratch = std::env::temp_dir().join(format!("bench-{}", std::process::id()));
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let outcome = measure(&scratch);
    // Left over, it costs nothing but disk.
    let _ = fs::remove_dir_all(&scratch);
    let text = outcome?;
    println!("{text}");
    if options.write {
        report::write_section(section, &text)?;
        eprintln!("written to docs/benchmarks.md");
    }
    Ok(())
}

/// Ends the driver, and with it all it started, if something waits for ever.
fn limit_time() {
    std::thread::spawn(|| {
        std::thread::sleep(RUN_LIMIT);
        eprintln!("bench: still not done after an hour, giving up");
        std::process::exit(1);
    });
}

/// The proxies of a comparison, a column each.
pub struct Contest<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// Where files may be left.
    pub scratch: &'a Path,
    /// Who runs where; this thread is on the client's.
    pub cores: Cores,
    /// Those that could be built or found.
    pub proxies: Vec<Ready>,
    about: String,
    notes: Vec<String>,
}

impl<'a> Contest<'a> {
    /// Builds or finds everyone. Who is missing is noted and left out.
    pub fn prepare(
        options: &'a Options,
        scratch: &'a Path,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<Self> {
        let about = machine::describe();
        let (mut notes, mut proxies) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry.prepare(scratch, options.ours.as_deref()) {
                Ok(ready) => proxies.push(ready),
                Err(error) => notes.push(format!("{}: not measured: {error}", entry.name())),
            }
        }
        if proxies.is_empty() {
            return Err(notes.join("\n"));
        }
        let cores = Cores::divide()?;
        cores.pin_client()?;
        Ok(Self {
            options,
            scratch,
            cores,
            proxies,
            about,
            notes,
        })
    }

    /// Returns the names of the columns.
    pub fn columns(&self) -> Vec<String> {
        self.proxies.iter().map(Ready::name).collect()
    }

    /// Starts the proxy of a column on its core.
    pub fn start(
        &self,
        column: usize,
        protocols: Protocols,
        origin: SocketAddr,
        instrument: &[String],
    ) -> Result<Running> {
        self.proxies[column].start(protocols, origin, instrument, self.cores.proxy)
    }

    /// Starts those that can.
    pub fn start_all(&mut self, protocols: Protocols, origin: SocketAddr) -> Vec<Option<Running>> {
        (0..self.proxies.len())
            .map(|column| {
                let started = self.start(column, protocols, origin, &[]);
                self.noted(column, "start", started)
            })
            .collect()
    }

    /// Measures each row with each column, then again, as many rounds as were asked for. `once`
    /// returns nothing for who cannot take part.
    pub fn rounds<T>(
        &mut self,
        rows: &[&str],
        mut once: impl FnMut(usize, usize) -> Option<Result<T>>,
    ) -> Samples<T> {
        let columns = self.proxies.len();
        let row = || (0..columns).map(|_| Vec::new()).collect();
        let mut samples: Vec<Vec<Vec<T>>> = rows.iter().map(|_| row()).collect();
        for round in 1..=self.options.rounds {
            for (row, (title, cells)) in rows.iter().zip(&mut samples).enumerate() {
                eprintln!("round {round}: {title}");
                for (column, cell) in cells.iter_mut().enumerate() {
                    let Some(outcome) = once(row, column) else {
                        continue;
                    };
                    cell.extend(self.noted(column, title, outcome));
                }
            }
        }
        Samples(samples)
    }

    /// Returns what `measure` finds for each column.
    pub fn each<T>(
        &mut self,
        what: &str,
        mut measure: impl FnMut(&Self, usize) -> Result<T>,
    ) -> Vec<Option<T>> {
        (0..self.proxies.len())
            .map(|column| {
                eprintln!("{what}: {}", self.proxies[column].name());
                let outcome = measure(self, column);
                self.noted(column, what, outcome)
            })
            .collect()
    }

    /// Returns what succeeded; what did not is a note of the report.
    pub fn noted<T>(&mut self, column: usize, what: &str, outcome: Result<T>) -> Option<T> {
        let error = match outcome {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let note = format!("{}: {what}: {error}", self.proxies[column].name());
        eprintln!("  {note}");
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
        None
    }

    /// Returns a table of all columns.
    pub fn table<'t>(
        &self,
        title: impl Into<String>,
        digits: usize,
        rows: impl IntoIterator<Item = &'t str>,
        values: Vec<Vec<Option<f64>>>,
    ) -> Table {
        let rows = rows.into_iter().zip(values);
        let row = |(name, values): (&str, _)| Row {
            name: String::from(name),
            digits,
            values,
        };
        Table {
            title: title.into(),
            columns: self.columns(),
            rows: rows.map(row).collect(),
        }
    }

    /// Returns the report: the machine, the programs, how it was measured, what went wrong, and
    /// the tables.
    pub fn report(&self, how: &str, tables: &[Table]) -> String {
        let version = |ready: &Ready| format!("{} {}", ready.name(), ready.version);
        let versions: Vec<String> = self.proxies.iter().map(version).collect();
        let mut text = format!(
            "{date}. {about}.\n\n{versions}. {rounds} round(s) of {how}; medians; in parentheses \
             the ratio to ours (above 1: more than ours).\n",
            date = machine::today(),
            about = self.about,
            versions = versions.join(", "),
            rounds = self.options.rounds,
        );
        for note in &self.notes {
            text.push_str(&format!("\n- {note}"));
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for table in tables {
            text.push('\n');
            text.push_str(&table.markdown());
        }
        text
    }
}

/// What the rounds found, by row and column.
pub struct Samples<T>(Vec<Vec<Vec<T>>>);

impl<T> Samples<T> {
    /// Returns the medians of one quantity, by row and column.
    pub fn medians(&self, value: fn(&T) -> f64) -> Vec<Vec<Option<f64>>> {
        let cell = |cell: &Vec<T>| median(cell.iter().map(value).collect());
        let row = |row: &Vec<Vec<T>>| row.iter().map(cell).collect();
        self.0.iter().map(row).collect()
    }
}
