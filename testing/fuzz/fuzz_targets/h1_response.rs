//! Response heads, whole and in pieces. Read next: `h1_response` in `../src/heads.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pingora_fuzz::h1_response(data));
