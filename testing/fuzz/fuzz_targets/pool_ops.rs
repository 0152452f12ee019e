//! The pools against naive twins. Read next: `pool_ops` in `../src/pool_ops.rs`.
#![no_main]

use pingora_fuzz::PoolOps;

libfuzzer_sys::fuzz_target!(|input: PoolOps| pingora_fuzz::pool_ops(&input));
