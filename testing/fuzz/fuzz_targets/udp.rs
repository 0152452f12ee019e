//! The sessions of a UDP proxy. Read next: `udp` in `../src/udp.rs`.
#![no_main]

use pingora_fuzz::Sessions;

libfuzzer_sys::fuzz_target!(|input: Sessions| pingora_fuzz::udp(&input));
