//! `cargo xtask fuzz`: the targets of testing/fuzz, through cargo-fuzz on a nightly toolchain.

use std::path::Path;

use crate::steps::{Cmd, Steps, has_toolchain};

pub(crate) const HELP: &str = "\
usage: cargo xtask fuzz [--seconds N] [TARGET ...]

Builds the fuzz targets of testing/fuzz and runs each for N seconds (default 60).
Without TARGET, all of them. Needs a nightly toolchain and cargo-fuzz:
  rustup toolchain install nightly && cargo install cargo-fuzz
";

const FOLDER: &str = "testing/fuzz";

/// `cargo xtask fuzz`.
pub(crate) fn run(args: &[String], steps: &mut Steps) -> Result<(), String> {
    let mut seconds = 60;
    let mut targets = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--seconds" {
            let value = args.next().ok_or("--seconds needs a number")?;
            seconds = value
                .parse()
                .map_err(|_| format!("--seconds: `{value}` is not a number"))?;
        } else if arg.starts_with('-') {
            return Err(format!("unknown option `{arg}`; see --help"));
        } else {
            targets.push(arg.clone());
        }
    }
    if let Some(why) = missing() {
        return Err(why);
    }
    build_and_run(steps, seconds, targets)
}

/// Runs every target for a few seconds if the machine can, else leaves a note.
pub(crate) fn smoke(steps: &mut Steps, seconds: u32) -> Result<(), String> {
    match missing() {
        Some(why) => {
            steps.note(format!("fuzz targets: {why}"));
            Ok(())
        }
        None => build_and_run(steps, seconds, Vec::new()),
    }
}

/// Returns what is missing to run a fuzz target, if anything is.
fn missing() -> Option<String> {
    if !Path::new(FOLDER).join("Cargo.toml").exists() {
        return Some(format!("no {FOLDER}/Cargo.toml"));
    }
    if !has_toolchain("nightly") {
        return Some(String::from(
            "no nightly toolchain (rustup toolchain install nightly)",
        ));
    }
    if Cmd::new("cargo fuzz --version").output().is_none() {
        return Some(String::from(
            "cargo-fuzz is not installed (cargo install cargo-fuzz)",
        ));
    }
    None
}

fn build_and_run(steps: &mut Steps, seconds: u32, mut targets: Vec<String>) -> Result<(), String> {
    let cargo_fuzz =
        |verb: &str| Cmd::new(&format!("cargo +nightly fuzz {verb} --fuzz-dir {FOLDER}"));
    if targets.is_empty() {
        let list = cargo_fuzz("list").output().ok_or("cargo fuzz list fails")?;
        targets = list.split_whitespace().map(str::to_owned).collect();
    }
    if targets.is_empty() {
        return Err(format!("{FOLDER} has no targets"));
    }
    steps.run("fuzz: build", cargo_fuzz("build"))?;
    for target in targets {
        let time = format!("-max_total_time={seconds}");
        let cmd =
            cargo_fuzz("run").args([target.as_str(), "--", &time, "-timeout=10", "-verbosity=0"]);
        steps.run(&format!("fuzz: {target}, {seconds} s"), cmd)?;
    }
    Ok(())
}
