//! The chunked coding, both ways. Read next: `chunked` in `../src/chunked.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pingora_fuzz::chunked(data));
