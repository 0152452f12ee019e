//! The first message of TLS. Read next: `client_hello` in `../src/client_hello.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pingora_fuzz::client_hello(data));
