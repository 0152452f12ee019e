//! Range requests. Read next: `range` in `../src/range.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pingora_fuzz::range(data));
