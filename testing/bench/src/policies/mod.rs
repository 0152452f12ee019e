//! `bench policies`: the experiment behind the policy of the in-memory cache
//! (docs/design/0005-what-the-cache-keeps.md). Policies with exact counts and without locks, bounded
//! memories or fingerprints, so that they are compared and not their implementations.
//!
//! `traces.rs` makes up what is asked for, `simulator.rs` has the policies.

use crate::Result;

mod simulator;
pub mod traces;

use simulator::{Policy, Simulator, Way};

/// What is tried: a name, a way, and how newcomers and counts are treated.
fn policies() -> Vec<(&'static str, Policy)> {
    let frequent = |newcomers, halved_every| {
        Policy::Fixed(Way::Frequent {
            newcomers,
            halved_every,
        })
    };
    vec![
        ("uses never halved, 1 % newcomers", frequent(0.01, None)),
        (
            "halved every 50 cachefuls of requests",
            frequent(0.01, Some(50)),
        ),
        ("halved every 10", frequent(0.01, Some(10))),
        ("halved every 50, 10 % newcomers", frequent(0.1, Some(50))),
        ("S3-FIFO", Policy::Fixed(Way::Recent)),
        ("the duel of the second and the last", Policy::Duel),
    ]
}

/// Caches tried on each trace that is named here in part, or given on the command line.
const CHOSEN: [(&str, usize); 4] = [
    ("Zipf 0.9", 5_000),
    ("loop over 25,000", 20_000),
    ("young keys of 10000, 30", 5_000),
    ("slide every 4", 5_000),
];

/// Runs `bench policies` with the arguments after it: `--quick`, or parts of names of traces, which are
/// then tried with all their sizes.
pub fn run(args: &[String]) -> Result<()> {
    let (options, names): (Vec<_>, Vec<_>) = args.iter().partition(|arg| arg.starts_with('-'));
    let quick = options.iter().any(|option| *option == "--quick");
    if let Some(unknown) = options.iter().find(|option| **option != "--quick") {
        return Err(format!("{unknown} is no option of policies (see --help)"));
    }
    let traces = traces::all(quick);
    println!("| hits per hundred lookups | entries | policy |\n|---:|---:|---|");
    for trace in &traces {
        let chosen = CHOSEN.iter().filter(|(name, _)| trace.name.contains(name));
        let sizes: Vec<usize> = match names.is_empty() {
            true => chosen.map(|(_, size)| *size).collect(),
            false if names.iter().any(|name| trace.name.contains(*name)) => trace.sizes.clone(),
            false => Vec::new(),
        };
        for size in sizes {
            println!("| {} | {size} | |", trace.name);
            for (name, policy) in policies() {
                let mut simulator = Simulator::new(policy, size);
                let found = trace.keys.iter().filter(|key| simulator.ask(**key)).count();
                let percent = 100.0 * found as f64 / trace.keys.len() as f64;
                println!("| {percent:.1} | {size} | {name} |");
            }
        }
    }
    Ok(())
}
