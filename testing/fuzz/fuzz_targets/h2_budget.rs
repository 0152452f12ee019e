//! What a client of HTTP/2 may waste. Read next: `h2_budget` in `../src/h2_budget.rs`.
#![no_main]

use pingora_fuzz::Resets;

libfuzzer_sys::fuzz_target!(|input: Resets| pingora_fuzz::h2_budget(&input));
