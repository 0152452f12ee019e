//! Makes a dictionary for `HeaderSerde::new` from sample heads.
//!
//! ```console
//! $ trainer SAMPLES DICTIONARY
//! ```
//!
//! SAMPLES is a folder with one response head, as HTTP/1 text, in each file; DICTIONARY is written.

use std::process::ExitCode;
use std::{env, fs};

use pingora_header_serde::dict::train;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [samples, dictionary] = arguments.as_slice() else {
        eprintln!("usage: trainer SAMPLES DICTIONARY");
        return ExitCode::from(2);
    };
    let trained = train(samples);
    if let Err(error) = fs::write(dictionary, &trained) {
        eprintln!("cannot write {}: {error}", dictionary.display());
        return ExitCode::FAILURE;
    }
    println!("{} bytes in {}", trained.len(), dictionary.display());
    ExitCode::SUCCESS
}
