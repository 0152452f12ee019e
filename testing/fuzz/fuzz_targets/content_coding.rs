//! Content codings. Read next: `content_coding` in `../src/content_coding.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pingora_fuzz::content_coding(data));
