//! The PROXY protocol. Read next: `proxy_protocol` in `../src/proxy_protocol.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pingora_fuzz::proxy_protocol(data));
