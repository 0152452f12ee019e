//! `bench crates`: the crates that people take alone, each beside the best of its kind.
//!
//! A crate is a file here, a `mod` line and a line in [`all`], both behind a feature of its name
//! (Cargo.toml), so that measuring one crate compiles the peers of no other. `report.rs` measures
//! and prints; read `timeout.rs` for an example.

use crate::Result;
use crate::{machine, report as page};

pub mod report;

use report::Report;

// pingora-header-serde
#[cfg(feature = "header_serde")]
mod header_serde;

// pingora-ketama
#[cfg(feature = "ketama")]
mod ketama;

// pingora-limits
#[cfg(feature = "limits")]
mod limits;

// pingora-lru
#[cfg(feature = "lru")]
mod lru;

// pingora-memory-cache
#[cfg(feature = "memory_cache")]
mod memory_cache;

// pingora-pool
#[cfg(feature = "pool")]
mod pool;

// pingora-timeout
#[cfg(feature = "timeout")]
mod timeout;

// tinyufo
#[cfg(feature = "tinyufo")]
mod tinyufo;

/// Measures one crate.
type Run = fn(&mut Report);

/// Returns the names and measurements of what was compiled in.
fn all() -> Vec<(&'static str, Run)> {
    vec![
        // pingora-header-serde
        #[cfg(feature = "header_serde")]
        ("header-serde", header_serde::run as Run),
        // pingora-ketama
        #[cfg(feature = "ketama")]
        ("ketama", ketama::run as Run),
        // pingora-limits
        #[cfg(feature = "limits")]
        ("limits", limits::run as Run),
        // pingora-lru
        #[cfg(feature = "lru")]
        ("lru", lru::run as Run),
        // pingora-memory-cache
        #[cfg(feature = "memory_cache")]
        ("memory-cache", memory_cache::run as Run),
        // pingora-pool
        #[cfg(feature = "pool")]
        ("pool", pool::run as Run),
        // pingora-timeout
        #[cfg(feature = "timeout")]
        ("timeout", timeout::run as Run),
        // tinyufo
        #[cfg(feature = "tinyufo")]
        ("tinyufo", tinyufo::run as Run),
    ]
}

/// Runs `bench crates` with the arguments after it.
pub fn run(args: &[String]) -> Result<()> {
    let options = Options::parse(args)?;
    let mut report = Report::new(options.quick);
    let start = format!("{}. {}.", machine::today(), machine::describe());
    for (name, run) in chosen(&options.only)? {
        report.start(name);
        run(&mut report);
    }
    let text = format!("{start}\n\n{}", report.markdown());
    println!("{text}");
    match options.write {
        true => page::write_section("crates", &text),
        false => Ok(()),
    }
}

fn chosen(only: &[String]) -> Result<Vec<(&'static str, Run)>> {
    let all = all();
    if all.is_empty() {
        return Err(String::from(
            "built without a crate: use `cargo xtask bench crates`, or a feature of its name",
        ));
    }
    // As a feature or as a crate is spelt.
    let is = |known: &str, name: &str| known.replace('-', "_") == name.replace('-', "_");
    for name in only {
        if !all.iter().any(|(known, _)| is(known, name)) {
            let known: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            return Err(format!("no crate is called {name}; compiled in: {known:?}"));
        }
    }
    let is_chosen = |name: &str| only.is_empty() || only.iter().any(|chosen| is(name, chosen));
    Ok(all
        .into_iter()
        .filter(|(name, _)| is_chosen(name))
        .collect())
}

/// The options of `crates`.
struct Options {
    /// Short rounds: the ratios are right to a tenth or two.
    quick: bool,
    /// Names of crates; empty means all.
    only: Vec<String>,
    /// Whether the tables go into docs/benchmarks.md.
    write: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let (mut quick, mut write, mut only) = (false, false, Vec::new());
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--quick" => quick = true,
                "--write" => write = true,
                "--only" => {
                    let names = args.next().ok_or("--only needs names")?;
                    only.extend(names.split(',').map(String::from));
                }
                _ => return Err(format!("{arg} is no option of crates (see --help)")),
            }
        }
        let whole = !quick && only.is_empty();
        Ok(Self {
            quick,
            only,
            write: write || whole,
        })
    }
}
