//! What each job consists of. `test` is the README's promise, `ci` the same jobs one by one for the
//! workflow; both are made of the functions below, so that they cannot drift apart.

use std::fs;
use std::path::Path;

use crate::steps::{Cmd, Steps, has_toolchain};
use crate::{fuzz, layers, manifest, marks, packages};

pub(crate) const TEST_HELP: &str = "\
usage: cargo xtask test

Every test of the repository, in this order:
  system packages   installs what is missing (apt-get as root or with passwordless sudo), else names it
  style             rustfmt, the layer check, marks left in the code
  clippy            all targets, with and without features, warnings are errors
  tests             unit and integration tests with and without features, the TLS tests with each
                    library, then every doc example
  benches           each benchmark compiled and run once
  features          every feature of every crate on its own
  docs              rustdoc, warnings are errors
  fuzz              each fuzz target for a few seconds, if cargo-fuzz and a nightly toolchain exist
  msrv, deny        if the oldest supported toolchain and cargo-deny are installed
What cannot run on this machine is said in one line and repeated at the end.
nextest runs the tests when it is installed, else cargo test.
";

pub(crate) const CI_HELP: &str = "\
usage: cargo xtask ci [JOB ...]

The jobs of .github/workflows/ci.yml; without JOB, all of them:
  style clippy test docs msrv deny
Unlike `cargo xtask test`, a missing tool is a failure here.
";

pub(crate) const STYLE_HELP: &str = "\
usage: cargo xtask style [--fix]

rustfmt, the layer check of ARCHITECTURE.md, and marks that must not stay in the code.
--fix formats instead of checking.
";

pub(crate) const FEATURES_HELP: &str = "\
usage: cargo xtask features

Checks each published crate without features and with each feature alone, the facade with each TLS
library, and core with each pair of TLS libraries. Prints the matrix of the libraries.
";

/// Seconds per fuzz target in `cargo xtask test`.
const FUZZ_SECONDS: u32 = 5;

/// The TLS libraries, as features of the crates above them. Any set of these compiles, but only the
/// first of the gate's order serves, so that jobs name the one they want.
const LIBRARIES: &[&str] = &["boringssl", "openssl", "rustls", "s2n"];

/// The library of the jobs that test everything; the others have the TLS tests alone.
pub(crate) const TLS: &str = "openssl";

/// Features that are tested with the libraries, or that only those set.
const TLS_FEATURES: &[&str] = &[
    "__rustls",
    "any_tls",
    "aws-lc-rs",
    "boringssl",
    "default",
    "openssl",
    "openssl_derived",
    "ring",
    "rustls",
    "rustls-ring",
    "s2n",
    // These build a library from source, with tools that nothing else here needs.
    "fips",
    "openssl-vendored",
    "rustls-fips",
    "vendored",
    // Of the crate of BoringSSL alone, whose doc examples run apart.
    "pq_use_second_keyshare",
];

/// No features, where that is something: a crate of rustls needs a provider of cryptography.
const NO_FEATURES: &str = "--no-default-features --exclude pingora-rustls";

/// A job's name and function.
type Job = (&'static str, fn(&mut Steps) -> Result<(), String>);

/// Tests that are programs of their own, which nextest cannot list: package and target. The same
/// ones are left out in .config/nextest.toml.
const WITHOUT_HARNESS: &[(&str, &str)] = &[("pingora-timeout", "fork")];

const CI_JOBS: &[Job] = &[
    ("style", check_style),
    ("clippy", clippy),
    ("test", all_tests),
    ("docs", docs),
    ("msrv", msrv),
    ("deny", deny),
];

/// `cargo xtask test`.
pub(crate) fn test(args: &[String], steps: &mut Steps) -> Result<(), String> {
    none_expected(args)?;
    packages::install(steps)?;
    check_style(steps)?;
    clippy(steps)?;
    tests(steps)?;
    benches(steps)?;
    check_features(steps)?;
    docs(steps)?;
    fuzz::smoke(steps, FUZZ_SECONDS)?;
    let toolchain = msrv_toolchain()?;
    if has_toolchain(&toolchain) {
        msrv(steps)?;
    } else {
        steps.note(format!("msrv: toolchain {toolchain} is not installed"));
    }
    if Cmd::new("cargo deny --version").output().is_some() {
        deny(steps)?;
    } else {
        steps.note("deny: cargo-deny is not installed");
    }
    Ok(())
}

/// `cargo xtask ci`.
pub(crate) fn ci(args: &[String], steps: &mut Steps) -> Result<(), String> {
    let known = || {
        CI_JOBS
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(name) = args
        .iter()
        .find(|arg| !CI_JOBS.iter().any(|(name, _)| name == arg))
    {
        return Err(format!("no job is called `{name}`; there are {}", known()));
    }
    let chosen = |name: &str| args.is_empty() || args.iter().any(|arg| arg == name);
    CI_JOBS
        .iter()
        .filter(|(name, _)| chosen(name))
        .try_for_each(|(_, job)| job(steps))
}

/// `cargo xtask style`.
pub(crate) fn style(args: &[String], steps: &mut Steps) -> Result<(), String> {
    match args {
        [] => check_style(steps),
        [fix] if fix == "--fix" => {
            steps.run("rustfmt", Cmd::new("cargo fmt --all"))?;
            sources(steps)
        }
        _ => Err(String::from("takes --fix or nothing; see --help")),
    }
}

/// `cargo xtask features`.
pub(crate) fn features(args: &[String], steps: &mut Steps) -> Result<(), String> {
    none_expected(args)?;
    check_features(steps)
}

fn check_style(steps: &mut Steps) -> Result<(), String> {
    let format = steps.run("rustfmt", Cmd::new("cargo fmt --all --check"));
    // Both answers are wanted at once: they take a second together.
    let sources = sources(steps);
    format.and(sources)
}

fn sources(steps: &mut Steps) -> Result<(), String> {
    let layers = steps.step("layers", || none_wrong(layers::check()?));
    let marks = steps.step("marks", || none_wrong(marks::check()?));
    layers.and(marks)
}

fn clippy(steps: &mut Steps) -> Result<(), String> {
    packages::install(steps)?;
    for features in [NO_FEATURES, &everything(TLS)?] {
        let cmd = Cmd::new(&format!(
            "cargo clippy --workspace --all-targets {features} -- -D warnings"
        ));
        steps.run(&format!("clippy {features}"), cmd)?;
    }
    Ok(())
}

fn all_tests(steps: &mut Steps) -> Result<(), String> {
    packages::install(steps)?;
    tests(steps)?;
    benches(steps)?;
    check_features(steps)
}

fn tests(steps: &mut Steps) -> Result<(), String> {
    let nextest = Cmd::new("cargo nextest --version").output().is_some();
    let runner = if nextest {
        "cargo nextest run"
    } else {
        "cargo test --lib --bins --tests --examples"
    };
    for features in [NO_FEATURES, &everything(TLS)?] {
        let cmd = Cmd::new(&format!("{runner} --workspace {features}")).count_tests();
        steps.run(&format!("tests {features}"), cmd)?;
    }
    for library in LIBRARIES.iter().filter(|library| **library != TLS) {
        let cmd = Cmd::new(&format!(
            "cargo test -p pingora-core -p pingora-e2e --lib --test it --features {library} -- \
             backend:: tls::"
        ));
        steps.run(&format!("tests of TLS with {library}"), cmd.count_tests())?;
    }
    for (package, target) in WITHOUT_HARNESS.iter().filter(|_| nextest) {
        let cmd = Cmd::new(&format!("cargo test -p {package} --test {target}"));
        steps.run(&format!("test {package} {target}"), cmd)?;
    }
    // Apart: doc examples are linked with the folders of all libraries built beside them, and two
    // have a `libssl`.
    let all = everything(TLS)?;
    for packages in [
        format!("--workspace --exclude pingora-boringssl {all}"),
        "-p pingora-boringssl --features pq_use_second_keyshare".to_owned(),
    ] {
        let cmd = Cmd::new(&format!("cargo test --doc {packages}")).count_tests();
        steps.run(&format!("doc examples {packages}"), cmd)?;
    }
    Ok(())
}

/// Runs every criterion benchmark once, unoptimised: it must compile and must not panic.
fn benches(steps: &mut Steps) -> Result<(), String> {
    let has_benches = |folder: &str| Path::new(folder).join("benches").is_dir();
    if !manifest::workspace()?
        .iter()
        .any(|package| has_benches(&package.folder))
    {
        return Ok(());
    }
    steps.run(
        "benches, one iteration",
        Cmd::new(&format!(
            "cargo test --workspace {} --bench",
            everything(TLS)?
        ))
        .args(["*"]),
    )
}

fn docs(steps: &mut Steps) -> Result<(), String> {
    packages::install(steps)?;
    let cmd = Cmd::new(&format!(
        "cargo doc --workspace {} --no-deps",
        everything(TLS)?
    ))
    .deny_doc_warnings();
    steps.run("docs", cmd)
}

/// Returns the argument for every feature of the workspace but those of TLS, and the library `tls`.
pub(crate) fn everything(tls: &str) -> Result<String, String> {
    let packages = manifest::workspace()?;
    let mut features: Vec<&str> = packages
        .iter()
        .flat_map(|package| package.features.iter().map(String::as_str))
        .filter(|feature| !TLS_FEATURES.contains(feature))
        .collect();
    features.push(tls);
    features.sort_unstable();
    features.dedup();
    Ok(format!("--features {}", features.join(",")))
}

fn check_features(steps: &mut Steps) -> Result<(), String> {
    for package in manifest::workspace()?
        .iter()
        .filter(|package| package.is_published())
    {
        let own = |feature: &&String| !TLS_FEATURES.contains(&feature.as_str());
        let features: Vec<&String> = package.features.iter().filter(own).collect();
        if features.is_empty() {
            continue;
        }
        let check = format!(
            "cargo check --quiet -p {} --no-default-features",
            package.name
        );
        steps.run(
            &format!("features: {} without", package.name),
            Cmd::new(&check),
        )?;
        for feature in features {
            let cmd = Cmd::new(&check).args(["--features", feature]);
            steps.run(&format!("features: {} with {feature}", package.name), cmd)?;
        }
    }
    tls_matrix(steps)
}

/// Checks the facade with each library, and core with each pair of them; prints what there is.
fn tls_matrix(steps: &mut Steps) -> Result<(), String> {
    let mut matrix = String::from("\n   library      alone, proxy, lb   pairs\n");
    for (at, library) in LIBRARIES.iter().enumerate() {
        for with in ["", ",proxy", ",lb"] {
            let cmd = Cmd::new(&format!(
                "cargo check --quiet -p pingora --no-default-features --features {library}{with}"
            ));
            steps.run(&format!("features: pingora with {library}{with}"), cmd)?;
        }
        let mut pairs = Vec::new();
        for other in &LIBRARIES[at + 1..] {
            let cmd = Cmd::new(&format!(
                "cargo check --quiet -p pingora-core --features {library},{other}"
            ));
            steps.run(&format!("features: {library} and {other}"), cmd)?;
            pairs.push(*other);
        }
        matrix += &format!("   {library:<12} ok                 {}\n", pairs.join(", "));
    }
    println!("{matrix}");
    Ok(())
}

/// Builds what users build with the oldest supported compiler.
fn msrv(steps: &mut Steps) -> Result<(), String> {
    packages::install(steps)?;
    let toolchain = msrv_toolchain()?;
    let cmd = Cmd::new(&format!(
        "cargo +{toolchain} check --workspace {} --lib --bins --examples",
        everything(TLS)?
    ));
    steps.run(&format!("msrv {toolchain}"), cmd)
}

/// Returns the `rust-version` of the workspace.
fn msrv_toolchain() -> Result<String, String> {
    let text = fs::read_to_string("Cargo.toml").map_err(|error| format!("Cargo.toml: {error}"))?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""));
    let value = value
        .and_then(|rest| rest.split('"').next())
        .ok_or("Cargo.toml: no rust-version")?;
    Ok(value.to_owned())
}

fn deny(steps: &mut Steps) -> Result<(), String> {
    steps.run("deny", Cmd::new("cargo deny --all-features check"))
}

fn none_wrong(wrong: Vec<String>) -> Result<(), String> {
    if wrong.is_empty() {
        return Ok(());
    }
    for line in &wrong {
        println!("   {line}");
    }
    Err(format!(
        "{} places; repeat it with:\n  cargo xtask style",
        wrong.len()
    ))
}

fn none_expected(args: &[String]) -> Result<(), String> {
    match args.first() {
        None => Ok(()),
        Some(arg) => Err(format!("unexpected argument `{arg}`; see --help")),
    }
}
