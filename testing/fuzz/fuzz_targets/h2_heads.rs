//! Requests of HTTP/2. Read next: `h2_heads` in `../src/h2_heads.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pingora_fuzz::h2_heads(data));
