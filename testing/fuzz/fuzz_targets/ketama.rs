//! Consistent hashing against a naive ring. Read next: `ketama` in `../src/ketama.rs`.
#![no_main]

use pingora_fuzz::Rings;

libfuzzer_sys::fuzz_target!(|input: Rings| pingora_fuzz::ketama(&input));
