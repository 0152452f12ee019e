//! The driver: `cargo run --release --manifest-path testing/bench/Cargo.toml -- h1`.

use std::process::ExitCode;

use bench::Result;
use bench::args::{HELP, Options};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["h1", ..] => bench::compare::h1(&Options::parse(&args[1..])?),
        ["h2", ..] => bench::h2::run(&Options::parse(&args[1..])?),
        ["tls", ..] => bench::tls::run(&Options::parse(&args[1..])?),
        ["protocols", ..] => bench::protocols::run(&Options::parse(&args[1..])?),
        ["crates", ..] => bench::crates::run(&args[1..]),
        ["policies", ..] => bench::policies::run(&args[1..]),
        ["build"] => bench::build_cost::run(None),
        ["build", checkout] => bench::build_cost::run(Some(checkout)),
        ["origin", listen] => bench::origin::serve_at(listen),
        _ => Err(format!("what to do?\n\n{HELP}")),
    }
}
