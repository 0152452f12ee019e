//! The LRU against naive twins. Read next: `lru_ops` in `../src/lru_ops.rs`.
#![no_main]

use pingora_fuzz::LruOps;

libfuzzer_sys::fuzz_target!(|input: LruOps| pingora_fuzz::lru_ops(&input));
