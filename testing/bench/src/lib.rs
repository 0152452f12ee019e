//! Measures a reverse proxy beside its peers, each as a black box.
//!
//! Reading order: `measure/` holds what is measured and how, `proxies.rs` the programs, `scenario.rs`
//! the requests; `load.rs` (client) and `origin.rs` (server) make the traffic over `framing.rs`;
//! `process.rs` starts, pins and ends programs; `report.rs` prints. `soak.rs` is a tool of its own:
//! a long mixed load that looks for leaks, not for speed. `contest.rs` runs a comparison and writes its
//! report; `compare.rs` is the one over HTTP/1, `h2.rs` over HTTP/2, `tls.rs` over TLS,
//! `protocols.rs` of gRPC, WebSocket and TCP.
//! `crates/` is apart from all that: it measures the crates that people take alone, in this process.
//! `policies/` is an experiment with what a cache keeps.

pub mod args;
pub mod build_cost;
pub mod compare;
pub mod contest;
pub mod crates;
pub mod framing;
pub mod h2;
pub mod h2_client;
pub mod histogram;
pub mod load;
pub mod machine;
pub mod measure;
pub mod nghttp2;
pub mod origin;
pub mod policies;
pub mod process;
pub mod protocols;
pub mod proxies;
pub mod report;
pub mod scenario;
pub mod soak;
pub mod tls;
pub mod tls_client;

/// What everything here returns: errors are read by a person at a terminal.
pub type Result<T, E = String> = std::result::Result<T, E>;
