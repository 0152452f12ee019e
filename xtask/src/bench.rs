//! `cargo xtask bench`: hands its arguments to the comparison harness in testing/bench, which is a
//! workspace of its own because it alone may depend on the programs we compare with.

use std::path::Path;

use crate::steps::{Cmd, Steps};

pub(crate) const HELP: &str = "\
usage: cargo xtask bench [ARGUMENTS OF THE HARNESS]

Builds testing/bench in release mode and runs it, e.g.
  cargo xtask bench h1             the HTTP/1 comparison; writes docs/benchmarks.md
  cargo xtask bench -- --help      what the harness itself takes
";

const MANIFEST: &str = "testing/bench/Cargo.toml";

/// `cargo xtask bench`.
pub(crate) fn run(args: &[String], steps: &mut Steps) -> Result<(), String> {
    if !Path::new(MANIFEST).exists() {
        return Err(format!("{MANIFEST} does not exist"));
    }
    let args = args.iter().skip_while(|arg| *arg == "--").cloned();
    let cmd = Cmd::new(&format!(
        "cargo run --release --manifest-path {MANIFEST} --"
    ))
    .args(args);
    steps.run("bench", cmd)
}
