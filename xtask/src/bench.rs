//! `cargo xtask bench`: hands its arguments to the comparison harness in testing/bench, which is a
//! workspace of its own because it alone may depend on the programs we compare with.

use std::path::Path;

use crate::steps::{Cmd, Steps};

pub(crate) const HELP: &str = "\
usage: cargo xtask bench [ARGUMENTS OF THE HARNESS]

Builds testing/bench in release mode and runs it, e.g.
  cargo xtask bench h1             the HTTP/1 comparison; writes docs/benchmarks.md
  cargo xtask bench h2             the same over HTTP/2
  cargo xtask bench tls            the same over TLS, on each library
  cargo xtask bench protocols      gRPC, WebSocket and TCP
  cargo xtask bench crates         the crates people take alone, beside the best of their kind
  cargo xtask bench build          what compiling a load balancer costs, and on Pingora
  cargo xtask bench -- --help      what the harness itself takes
";

const MANIFEST: &str = "testing/bench/Cargo.toml";

/// `cargo xtask bench`.
pub(crate) fn run(args: &[String], steps: &mut Steps) -> Result<(), String> {
    if !Path::new(MANIFEST).exists() {
        return Err(format!("{MANIFEST} does not exist"));
    }
    let args: Vec<String> = args
        .iter()
        .skip_while(|arg| *arg == "--")
        .cloned()
        .collect();
    let build = build_options(&args);
    let cmd = Cmd::new(&format!("cargo run {build} --manifest-path {MANIFEST} --")).args(args);
    steps.run("bench", cmd)
}

/// Returns what cargo is told: `crates` needs features, which are its crates' names, and builds as
/// users do.
fn build_options(args: &[String]) -> String {
    if args.first().is_none_or(|task| task != "crates") {
        return "--release".to_owned();
    }
    let only = args.iter().skip_while(|arg| *arg != "--only").nth(1);
    let features = only.map_or("crates".to_owned(), |only| only.replace('-', "_"));
    format!("--profile crates --features {features}")
}

#[cfg(test)]
mod tests {
    use super::build_options;

    #[test]
    fn measuring_a_crate_builds_its_peers_only() {
        for (args, options) in [
            ("h1 --quick", "--release"),
            ("crates", "--profile crates --features crates"),
            (
                "crates --quick --only lru,memory-cache",
                "--profile crates --features lru,memory_cache",
            ),
        ] {
            let args: Vec<String> = args.split(' ').map(str::to_owned).collect();
            assert_eq!(build_options(&args), options);
        }
    }
}
