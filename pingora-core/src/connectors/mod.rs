//! Outgoing connections: made, pooled, taken again.
//!
//! [`TransportConnector`] gives a [`Stream`](crate::protocols::Stream) to a
//! [`Peer`](crate::upstreams::peer::Peer): an idle one from its pool (`idle.rs`), else a new one
//! ([`l4`], through a proxy or not, then TLS). [`http`] gives HTTP sessions on such streams.
//! Names are looked up in `resolve.rs` and their addresses raced in `race.rs`.

pub mod http;
pub mod l4;

// What a connector is made from.
mod options;
// Streams to peers: the pool, or a new connection.
mod transport;
// Unused connections.
mod idle;
// From host names to addresses.
mod resolve;
// Several addresses, the first to answer wins (RFC 8305).
mod race;
// TLS on a new connection.
mod tls;
// Which peers do not speak what was hoped for.
mod preferred;
// Connecting on threads of its own.
mod offload;

pub use self::l4::Connect as L4Connect;
pub use self::options::{ConnectorOptions, PoolCallback};
pub use self::transport::TransportConnector;

#[cfg(test)]
mod tests;
