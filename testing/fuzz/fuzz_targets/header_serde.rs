//! Stored heads. Read next: `header_serde` in `../src/header_serde.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pingora_fuzz::header_serde(data));
