//! `cargo xtask api`: what each published crate exports, against what is recorded in testing/api.

use std::fs;
use std::path::PathBuf;

use crate::manifest::{self, Package};
use crate::steps::{Cmd, Steps};

pub(crate) const HELP: &str = "\
usage: cargo xtask api [--bless] [CRATE ...]

Lists the public API of each published crate (all features) with cargo-public-api and compares it
with testing/api/CRATE.txt. --bless records what there is; do it in the commit that changes the API.
Needs: cargo install cargo-public-api
";

const FOLDER: &str = "testing/api";

/// `cargo xtask api`.
pub(crate) fn run(args: &[String], steps: &mut Steps) -> Result<(), String> {
    let bless = args.iter().any(|arg| arg == "--bless");
    let wanted: Vec<&String> = args.iter().filter(|arg| *arg != "--bless").collect();
    if let Some(option) = wanted.iter().find(|arg| arg.starts_with('-')) {
        return Err(format!("unknown option `{option}`; see --help"));
    }
    if Cmd::new("cargo public-api --version").output().is_none() {
        return Err(String::from(
            "cargo-public-api is not installed (cargo install cargo-public-api)",
        ));
    }
    let packages = manifest::workspace()?;
    if let Some(name) = wanted
        .iter()
        .find(|name| !packages.iter().any(|package| package.name == ***name))
    {
        return Err(format!("no crate is called `{name}`"));
    }
    let chosen = |package: &&Package| {
        package.is_published() && (wanted.is_empty() || wanted.contains(&&package.name))
    };
    let mut failures = Vec::new();
    for package in packages.iter().filter(chosen) {
        let step = steps.step(&format!("api: {}", package.name), || {
            compare(&package.name, bless)
        });
        failures.extend(step.err());
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("\n"))
    }
}

fn compare(name: &str, bless: bool) -> Result<(), String> {
    // The JSON form of rustdoc is not stable yet: this variable lets a stable compiler write it.
    let cmd = Cmd::new("cargo public-api -sss --all-features -p")
        .args([name])
        .env("RUSTC_BOOTSTRAP", "1");
    let now = cmd.output().ok_or("cargo public-api fails")?;
    let file = PathBuf::from(FOLDER).join(format!("{name}.txt"));
    if bless {
        fs::create_dir_all(FOLDER).map_err(|error| format!("cannot create {FOLDER}: {error}"))?;
        return fs::write(&file, now)
            .map_err(|error| format!("cannot write {}: {error}", file.display()));
    }
    let recorded = fs::read_to_string(&file).map_err(|error| {
        format!(
            "cannot read {}: {error}; record it with --bless",
            file.display()
        )
    })?;
    let only_in = |left: &str, right: &str, sign: char| {
        let lines = left
            .lines()
            .filter(|line| !right.lines().any(|other| other == *line));
        lines
            .map(|line| format!("{sign} {line}\n"))
            .collect::<String>()
    };
    let difference = only_in(&recorded, &now, '-') + &only_in(&now, &recorded, '+');
    if difference.is_empty() {
        return Ok(());
    }
    print!("{difference}");
    Err(format!(
        "differs from {}; if it should, repeat with --bless",
        file.display()
    ))
}
