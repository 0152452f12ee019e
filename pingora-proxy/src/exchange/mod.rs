//! The exchange: request up, response down, both at once, in one future.
//!
//! ```text
//!            poll_read_body          request filters            Leg::send_body
//!  client ────────────────────> ... ────────────────> ... ──────────────────────> server
//!         <──────────────────── ... <──────────────── ... <──────────────────────
//!            queue_task, flush       response filters           Leg::poll_task
//! ```
//!
//! `leg.rs` is what an upstream protocol does differently, `h1.rs`, `h2.rs` and `custom.rs` are those
//! there are, the last behind `custom_exchange.rs`; `duplex.rs` waits and dispatches, `custom_client.rs`
//! does for clients of a custom protocol; `state.rs` remembers how far both sides are; `filter.rs` calls the hooks; `messages.rs`
//! passes what custom protocols say beside requests and responses; `modules.rs` lets modules see each piece of a request
//! body once.

mod custom;
mod custom_client;
mod custom_exchange;
mod duplex;
mod filter;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod h1;
mod h2;
mod leg;
mod messages;
mod modules;
mod side;
mod state;

#[cfg(test)]
mod tests;

pub(crate) use self::custom_exchange::{ByCustomLeg, CustomExchange};
pub(crate) use self::duplex::Exchange;
#[cfg(feature = "upstream_modules")]
pub(crate) use self::filter::append;
pub(crate) use self::h1::H1Leg;
pub(crate) use self::h2::H2Leg;
pub(crate) use self::modules::FilteredBody;
