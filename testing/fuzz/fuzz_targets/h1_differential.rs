//! Heads and their framing against a parser written from the RFC. Read next: `h1_differential` in `../src/differential.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pingora_fuzz::h1_differential(data));
