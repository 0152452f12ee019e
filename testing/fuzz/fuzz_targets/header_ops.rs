//! Changes of a head against a naive twin. Read next: `header_ops` in `../src/header_ops.rs`.
#![no_main]

use pingora_fuzz::HeaderOps;

libfuzzer_sys::fuzz_target!(|input: HeaderOps| pingora_fuzz::header_ops(&input));
