#![doc = include_str!("../README.md")]
//!
//! # Reading order
//!
//! A connection walks down this list: a [`server`] runs [`services`]; a listening service owns
//! [`listeners`], which turn bytes into a [`protocols::Stream`]; an [`apps`] application turns a
//! stream into HTTP sessions ([`protocols::http`]); what it needs from other servers it gets from
//! [`connectors`], which are told where to go by an [`upstreams::peer`].

// What a process is: configuration, start, signals, stop.
pub mod server;
// What runs in a server, and in which order.
pub mod services;
// Sockets that accept.
pub mod listeners;
// What an accepted connection is given to.
pub mod apps;
// Bytes, streams, HTTP.
pub mod protocols;
// HTTP filters that plug into a proxy or an HTTP server.
pub mod modules;
// Outgoing connections and their pools.
pub mod connectors;
// Where outgoing connections go.
pub mod upstreams;
// Spans into buffers.
pub mod utils;

// The only place that names a TLS library.
mod backend;
// The only place that names an operating system.
mod sys;

pub use crate::backend::library as tls;
pub use pingora_error::{ErrorType::*, *};

/// What most programs import: `use pingora_core::prelude::*`.
pub mod prelude {
    pub use crate::server::Server;
    pub use crate::server::configuration::Opt;
    pub use crate::services::background::background_service;
    pub use crate::upstreams::peer::HttpPeer;
    pub use pingora_error::{ErrorType::*, *};
}
