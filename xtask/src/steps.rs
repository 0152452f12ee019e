//! Runs commands one after the other: a heading and the time for each, the command to repeat a
//! failed one, and the tests that cargo and nextest report, added up.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, io};

/// What ran so far.
pub(crate) struct Steps {
    started: Instant,
    done: Vec<(String, Duration, bool)>,
    notes: Vec<String>,
    counts: Arc<Counts>,
}

/// Tests as their runners report them.
#[derive(Default)]
struct Counts {
    passed: AtomicU64,
    failed: AtomicU64,
}

/// A command line with the environment it needs.
pub(crate) struct Cmd {
    words: Vec<String>,
    env: Vec<(String, String)>,
    count_tests: bool,
}

impl Cmd {
    /// Splits `line` at spaces; no quoting, because no argument of ours has a space.
    pub(crate) fn new(line: &str) -> Self {
        let words = line.split_whitespace().map(str::to_owned).collect();
        Self {
            words,
            env: Vec::new(),
            count_tests: false,
        }
    }

    /// Appends arguments as they are.
    pub(crate) fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.words.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable for the command.
    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets rustc and rustdoc to treat warnings as errors, keeping flags that are set already.
    pub(crate) fn deny_doc_warnings(self) -> Self {
        let flags = env::var("RUSTDOCFLAGS").unwrap_or_default();
        self.env("RUSTDOCFLAGS", format!("{flags} -D warnings").trim())
    }

    /// Reads the output for test results and adds them to the total.
    pub(crate) fn count_tests(mut self) -> Self {
        self.count_tests = true;
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Returns the line a person would type to run this again.
    fn line(&self) -> String {
        let quote = |word: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%".contains(c);
            if word.chars().all(plain) {
                word.to_owned()
            } else {
                format!("'{word}'")
            }
        };
        let env = self.env.iter().map(|(k, v)| format!("{k}={}", quote(v)));
        let words = self.words.iter().map(|word| quote(word));
        env.chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Runs the command quietly and returns its standard output, or `None` if it fails.
    pub(crate) fn output(&self) -> Option<String> {
        let output = self
            .command()
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Returns whether rustup has this toolchain. Asking `cargo +NAME` instead might install it.
pub(crate) fn has_toolchain(name: &str) -> bool {
    let list = Cmd::new("rustup toolchain list")
        .output()
        .unwrap_or_default();
    let mut names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names.any(|known| {
        known == name
            || known
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('-'))
    })
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            done: Vec::new(),
            notes: Vec::new(),
            counts: Arc::default(),
        }
    }

    /// Runs `cmd` under the heading `name`; the error names the command to repeat.
    pub(crate) fn run(&mut self, name: &str, cmd: Cmd) -> Result<(), String> {
        let counts = cmd.count_tests.then(|| self.counts.clone());
        let line = cmd.line();
        self.step(name, || {
            println!("   $ {line}");
            let success = match counts {
                Some(counts) => run_counting(cmd.command(), &counts),
                None => cmd
                    .command()
                    .stdin(Stdio::null())
                    .status()
                    .map(|status| status.success()),
            };
            match success {
                Ok(true) => Ok(()),
                Ok(false) => Err(format!("failed; repeat it with:\n  {line}")),
                Err(error) => Err(format!("cannot start `{line}`: {error}")),
            }
        })
    }

    /// Runs `work` under the heading `name` and keeps its time.
    pub(crate) fn step(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        println!("\n== {name}");
        flush();
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        println!(
            "   {} in {}",
            if result.is_ok() { "ok" } else { "FAILED" },
            seconds(took)
        );
        flush();
        self.done.push((name.to_owned(), took, result.is_ok()));
        result.map_err(|why| format!("{name}: {why}"))
    }

    /// Says in one line what is left out and why; repeated in the summary.
    pub(crate) fn note(&mut self, line: impl Into<String>) {
        let line = line.into();
        println!("\n-- {line}");
        self.notes.push(line);
    }

    /// Prints every step with its time, the notes and the number of tests.
    pub(crate) fn summary(&self) {
        if self.done.len() < 2 {
            return;
        }
        println!("\n== summary");
        for (name, took, ok) in &self.done {
            println!(
                "   {:>8}  {} {name}",
                seconds(*took),
                if *ok { "ok    " } else { "FAILED" }
            );
        }
        println!("   {:>8}  total", seconds(self.started.elapsed()));
        for note in &self.notes {
            println!("   left out: {note}");
        }
        let passed = self.counts.passed.load(Ordering::Relaxed);
        let failed = self.counts.failed.load(Ordering::Relaxed);
        if passed + failed > 0 {
            println!("   tests: {passed} passed, {failed} failed");
        }
        flush();
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Headings must not arrive after the output of the command they announce.
fn flush() {
    // A closed standard output is no reason to stop testing.
    let _ = io::stdout().flush();
}

/// Runs a test command, passes its output on line by line and adds up the results it prints.
fn run_counting(mut command: Command, counts: &Arc<Counts>) -> io::Result<bool> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stdout = child
        .stdout
        .take()
        .map(|pipe| pass_on(pipe, io::stdout(), counts.clone()));
    let stderr = child
        .stderr
        .take()
        .map(|pipe| pass_on(pipe, io::stderr(), counts.clone()));
    let status = child.wait()?;
    for reader in [stdout, stderr].into_iter().flatten() {
        // A reader ends when the pipe closes; it has nothing to report.
        let _ = reader.join();
    }
    Ok(status.success())
}

fn pass_on(
    from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    counts: Arc<Counts>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let _ = to.write_all(&line);
            let (passed, failed) = results(&String::from_utf8_lossy(&line));
            counts.passed.fetch_add(passed, Ordering::Relaxed);
            counts.failed.fetch_add(failed, Ordering::Relaxed);
            line.clear();
        }
        let _ = to.flush();
    })
}

/// Returns the tests (passed, failed) that a summary line of cargo test or nextest reports.
fn results(line: &str) -> (u64, u64) {
    let line = line.trim_start();
    if !line.starts_with("test result:") && !line.starts_with("Summary [") {
        return (0, 0);
    }
    let words: Vec<&str> = line
        .split([' ', ',', ';'])
        .filter(|word| !word.is_empty())
        .collect();
    let before = |name: &str| {
        let pair = words.windows(2).find(|pair| pair[1] == name);
        pair.and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
    };
    (before("passed"), before("failed") + before("timed"))
}

#[cfg(test)]
mod tests {
    use super::{Cmd, results};

    #[test]
    fn summary_lines_are_counted() {
        let cases = [
            (
                "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured",
                (12, 0),
            ),
            ("test result: FAILED. 3 passed; 2 failed; 0 ignored", (3, 2)),
            (
                "     Summary [   0.052s] 31 tests run: 30 passed (1 slow), 1 failed, 2 skipped",
                (30, 1),
            ),
            (
                "     Summary [   9.1s] 5 tests run: 3 passed, 1 failed, 1 timed out",
                (3, 2),
            ),
            ("running 12 tests", (0, 0)),
            ("test a::b ... ok", (0, 0)),
        ];
        for (line, expected) in cases {
            assert_eq!(results(line), expected, "{line}");
        }
    }

    #[test]
    fn repeat_line_can_be_pasted() {
        let cmd = Cmd::new("cargo doc --no-deps")
            .env("RUSTDOCFLAGS", "-D warnings")
            .args(["--bench", "*"]);
        assert_eq!(
            cmd.line(),
            "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --bench '*'"
        );
    }
}
