//! The tasks of this repository, run as `cargo xtask TASK`.
//!
//! Plain std, no dependencies: the first `cargo xtask test` on a bare machine must not wait for a
//! task runner to compile. Reading order: this file dispatches, `steps.rs` runs commands and keeps
//! the time, `jobs.rs` says what each job consists of, `packages.rs` brings the system packages,
//! `layers.rs` and `marks.rs` check the sources, `fuzz.rs`, `sanitize.rs`, `bench.rs`,
//! `certs.rs` and `api.rs` hold one task each.

mod api;
mod bench;
mod certs;
mod fuzz;
mod jobs;
mod layers;
mod manifest;
mod marks;
mod packages;
mod sanitize;
mod steps;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use steps::Steps;

/// What a task function takes: the arguments after its name, and where to record its steps.
type Task = fn(&[String], &mut Steps) -> Result<(), String>;

/// Every task: name, one line of help, the full help, the function.
const TASKS: &[(&str, &str, &str, Task)] = &[
    (
        "test",
        "every test of the repository, as README.md promises",
        jobs::TEST_HELP,
        jobs::test,
    ),
    (
        "ci",
        "one or all jobs of the pull-request workflow",
        jobs::CI_HELP,
        jobs::ci,
    ),
    (
        "style",
        "formatting, layers, marks left in the code",
        jobs::STYLE_HELP,
        jobs::style,
    ),
    (
        "features",
        "every feature of every crate, alone and together",
        jobs::FEATURES_HELP,
        jobs::features,
    ),
    (
        "fuzz",
        "build and run the fuzz targets",
        fuzz::HELP,
        fuzz::run,
    ),
    (
        "sanitize",
        "the tests under AddressSanitizer",
        sanitize::HELP,
        sanitize::run,
    ),
    (
        "bench",
        "the comparison harness in testing/bench",
        bench::HELP,
        bench::run,
    ),
    (
        "certs",
        "the certificates of the TLS tests, made anew",
        certs::HELP,
        certs::run,
    ),
    (
        "api",
        "the public API against the recorded one",
        api::HELP,
        api::run,
    ),
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let wants_help = |arg: &String| arg == "--help" || arg == "-h";
    let Some(name) = args
        .first()
        .filter(|arg| !wants_help(arg) && *arg != "help")
    else {
        print!("{}", overview());
        return if args.is_empty() {
            ExitCode::from(2)
        } else {
            ExitCode::SUCCESS
        };
    };
    let Some((_, _, help, task)) = TASKS.iter().find(|(task, ..)| task == name) else {
        eprintln!("xtask: no task is called `{name}`\n\n{}", overview());
        return ExitCode::from(2);
    };
    // What follows `--` belongs to the program a task starts.
    let own = args.iter().take_while(|arg| *arg != "--");
    if own.into_iter().any(wants_help) {
        print!("{help}");
        return ExitCode::SUCCESS;
    }
    if let Err(error) = env::set_current_dir(root()) {
        eprintln!("xtask: cannot enter {}: {error}", root().display());
        return ExitCode::FAILURE;
    }
    let mut steps = Steps::new();
    let outcome = task(&args[1..], &mut steps);
    steps.summary();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the top folder of the repository.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

fn overview() -> String {
    let mut text =
        String::from("usage: cargo xtask TASK [ARGUMENTS]\n\ntasks (each has --help):\n");
    for (name, line, ..) in TASKS {
        text.push_str(&format!("  {name:<10} {line}\n"));
    }
    text
}
