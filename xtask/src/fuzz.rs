//! `cargo xtask fuzz`: the targets of testing/fuzz, through cargo-fuzz on a nightly toolchain.

use std::path::Path;
use std::{env, fs};

use crate::packages::find;
use crate::steps::{Cmd, Steps, has_toolchain};

pub(crate) const HELP: &str = "\
usage: cargo xtask fuzz [--seconds N] [TARGET ...]

Builds the fuzz targets of testing/fuzz and runs each for N seconds (default 60).
Without TARGET, all of them. New inputs are kept in fuzz-corpus/ of the build folder; crashes are
written to testing/fuzz/artifacts/. Needs a C++ compiler, a nightly toolchain and cargo-fuzz:
  rustup toolchain install nightly && cargo install cargo-fuzz
";

const FOLDER: &str = "testing/fuzz";

/// What HTTP/1 is made of; the other targets do not mind.
const DICTIONARY: &str = "testing/fuzz/http1.dict";

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
    if !["c++", "g++", "clang++"]
        .iter()
        .any(|program| find(program).is_some())
    {
        return Some(String::from("no C++ compiler, which libFuzzer needs"));
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
        let cmd = cargo_fuzz("run")
            .args([target.clone()])
            .args(corpora(&target)?);
        let time = format!("-max_total_time={seconds}");
        let dictionary = format!("-dict={DICTIONARY}");
        let cmd = cmd.args(["--", &time, &dictionary, "-timeout=10", "-verbosity=0"]);
        steps.run(&format!("fuzz: {target}, {seconds} s"), cmd)?;
    }
    Ok(())
}

/// Returns the folders with inputs: first the one that new inputs are written to, which is not in
/// the checkout, then the one that is checked in.
fn corpora(target: &str) -> Result<Vec<String>, String> {
    let output = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| String::from("target"));
    let found = format!("{output}/fuzz-corpus/{target}");
    fs::create_dir_all(&found).map_err(|error| format!("cannot create {found}: {error}"))?;
    let checked_in = format!("{FOLDER}/corpus/{target}");
    let mut folders = vec![found];
    if Path::new(&checked_in).is_dir() {
        folders.push(checked_in);
    }
    Ok(folders)
}
