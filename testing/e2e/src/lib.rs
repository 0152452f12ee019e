//! Whole-server tests over real sockets: the harness. The tests are in `tests/it`.
//!
//! [`harness`] starts a server in this process, on a port the system chooses, and stops it when
//! the test is over. Peers (origins, clients, scripted connections) come from
//! `pingora-test-support`, which knows nothing of the stack and reads what it sends strictly.
//!
//! ```
//! use pingora_e2e::harness;
//! use pingora_test_support::client;
//! use pingora_test_support::origin::{Origin, Reply};
//!
//! harness::run(async {
//!     let origin = Origin::start(|request| Reply::ok(format!("{} here", request.target))).await;
//!     let proxy = harness::forward(origin.addr()).await;
//!     assert_eq!(client::get(proxy.addr(), "/who").await.text(), "/who here");
//! });
//! ```

#![forbid(unsafe_code)]

pub mod frames;
pub mod h2;
pub mod harness;
#[cfg(doctest)]
mod snippets;
