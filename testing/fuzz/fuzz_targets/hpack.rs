//! The header blocks of HTTP/2. Read next: `hpack` in `../src/hpack.rs`.
#![no_main]

use pingora_fuzz::Blocks;

libfuzzer_sys::fuzz_target!(|input: Blocks| pingora_fuzz::hpack(&input));
