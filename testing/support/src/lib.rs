//! Fakes and helpers for tests; depends on no crate of the stack, so that the unit tests of any
//! crate may use it without meeting two copies of their own types.
//!
//! | module | what it is |
//! |---|---|
//! | [`origin`] | an HTTP/1 origin in the same process, programmed by a closure |
//! | [`raw`] | a scripted peer: expect these bytes, send those, close or reset; server or client |
//! | [`client`] | a small HTTP/1 client that parses responses strictly |
//! | [`io`] | streams that deliver in pieces, stall, or end early |
//! | [`http_file`] | reads the tables in `testing/fixtures/requests/*.http` |
//! | [`check`] | byte strings compared and shown so that a person can read them |
//! | [`limit`] | the time limit everything here obeys, and [`Gate`] to order events without sleeping |
//!
//! Nothing here uses a fixed port, sleeps, or leaves the loopback interface. Everything that waits
//! has a limit of [`limit::LIMIT`] and panics with what it waited for, so a hanging test fails.
//! Under paused time (`tokio::time::pause`) that limit passes at once when a test waits for real
//! sockets; use [`io`] there.
//!
//! ```
//! use pingora_test_support::{client::Client, origin::{Origin, Reply}};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let origin = Origin::start(|request| Reply::ok(format!("you asked for {}", request.target))).await;
//! let mut client = Client::connect(origin.addr()).await;
//! let response = client.get("/here").await;
//! assert_eq!((response.status, response.text()), (200, "you asked for /here"));
//! assert_eq!((origin.connections(), origin.requests().len()), (1, 1));
//! # });
//! ```

pub mod check;
pub mod client;
pub mod http_file;
pub mod io;
pub mod limit;
pub mod message;
pub mod origin;
pub mod raw;

pub use limit::{Gate, within};
