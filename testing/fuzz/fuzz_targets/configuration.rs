//! The configuration file. Read next: `configuration` in `../src/configuration.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pingora_fuzz::configuration(data));
