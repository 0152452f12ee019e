//! `cargo xtask sanitize`: the tests under AddressSanitizer, on a nightly toolchain.

use crate::jobs::{TLS, everything};
use crate::steps::{Cmd, Steps, has_toolchain};

pub(crate) const HELP: &str = "\
usage: cargo xtask sanitize [CRATE ...]

Runs unit and integration tests under AddressSanitizer; without CRATE, those of the workspace with
all features. Built apart from everything else, under target/sanitize. Needs a nightly toolchain:
  rustup toolchain install nightly
";

/// `cargo xtask sanitize`.
pub(crate) fn run(args: &[String], steps: &mut Steps) -> Result<(), String> {
    if let Some(option) = args.iter().find(|arg| arg.starts_with('-')) {
        return Err(format!("unknown option `{option}`; see --help"));
    }
    if !has_toolchain("nightly") {
        return Err(String::from(
            "no nightly toolchain (rustup toolchain install nightly)",
        ));
    }
    let version = Cmd::new("rustc +nightly -vV").output().unwrap_or_default();
    let host = host(&version).ok_or("rustc +nightly -vV names no host")?;
    // A named target keeps the sanitizer out of build scripts and procedural macros.
    let cmd = Cmd::new(&format!(
        "cargo +nightly test --lib --bins --tests --target {host} --target-dir target/sanitize"
    ))
    .args(packages(args)?)
    .env("RUSTFLAGS", "-Zsanitizer=address")
    .count_tests();
    steps.run("AddressSanitizer", cmd)
}

fn packages(crates: &[String]) -> Result<Vec<String>, String> {
    if crates.is_empty() {
        let all = format!("--workspace {}", everything(TLS)?);
        return Ok(all.split(' ').map(str::to_owned).collect());
    }
    let one = |name: &String| ["-p".to_owned(), name.clone()];
    Ok(crates.iter().flat_map(one).collect())
}

/// Returns the triple in the output of `rustc -vV`.
fn host(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("host: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_and_the_packages() {
        let version = "rustc 1.97.0-nightly\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n";
        assert_eq!(host(version), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(host(""), None);
        let crates = ["a".to_owned(), "b".to_owned()];
        assert_eq!(packages(&crates).unwrap(), ["-p", "a", "-p", "b"]);
    }
}
