//! The in-memory cache against a map. Read next: `tinyufo_ops` in `../src/tinyufo_ops.rs`.
#![no_main]

use pingora_fuzz::TinyUfoOps;

libfuzzer_sys::fuzz_target!(|input: TinyUfoOps| pingora_fuzz::tinyufo_ops(&input));
