//! What is measured. Each file is one instrument: it takes a started proxy, or starts its own.

pub mod idle;
pub mod instructions;
pub mod latency;
pub mod syscalls;
pub mod throughput;
