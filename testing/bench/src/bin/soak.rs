//! `testing/soak.sh MINUTES`: a long mixed load; see `src/soak/`.

use std::process::ExitCode;

use bench::soak::{self, HELP};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let outcome = match args.first().map(String::as_str) {
        // The origins it starts are this same program.
        Some("origin") => {
            bench::origin::serve_at(args.get(1).map_or("", String::as_str)).map(|()| true)
        }
        _ => soak::run(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::from(2)
        }
    }
}
