//! What the fuzz targets check. Each function takes one input and panics if a promise is broken.
//!
//! ```text
//! heads.rs            h1_request, h1_response: any split gives the same head; what is written is read back
//! chunked.rs          chunked: any split gives the same body; encoder and decoders agree
//! configuration.rs    configuration: any text is read or refused, what is read is written
//! content_coding.rs   content_coding: decoding what an upstream sends; negotiation with a client
//! differential.rs     h1_differential: our parser and framing against reference/
//! header_ops.rs       header_ops: changes of a head against a list of fields
//! header_serde.rs     header_serde: stored heads, damaged or forged
//! ketama.rs           ketama: the ring against an ordered map
//! lru_ops.rs          lru_ops: the LRU and its list against deques
//! pool_ops.rs         pool_ops: the pools against vectors
//! client_hello.rs     client_hello: a cut message is never read as another one
//! proxy_protocol.rs   proxy_protocol: cut headers are not read as others, what is read is written
//! range.rs            range: parts of a response exist and are no more than the whole
//! tinyufo_ops.rs      tinyufo_ops: the in-memory cache against a map
//! h2_heads.rs         h2_heads: what HTTP/2 takes can be written as HTTP/1 and HTTP/2, and means the same
//! h2_budget.rs        h2_budget: never more than a burst and what a span of time gives back
//! h2_session.rs       h2_session: a whole connection of a client, whatever it sends
//! h2_client_session.rs  h2_client_session: a whole connection to a server, whatever it sends
//! h2_frames.rs        the frames of both, and the stream that delivers them
//! hpack.rs            hpack: any header block is decoded or refused, what is encoded is decoded
//! udp.rs              udp: the sessions of a UDP proxy against a list
//! exchange_events.rs  exchange_events: the state of an exchange against its history
//! split.rs            how inputs are cut
//! reference/          a parser written from the RFCs, byte by byte, and slow
//! ```
//!
//! `cargo xtask fuzz [TARGET ...]` builds and runs them; inputs are what a peer would send, so the
//! corpus of a protocol target is readable text. A crash becomes a unit test of the crate it is in.
//! `cargo test` in this folder replays the corpora without a fuzzer.

mod chunked;
mod client_hello;
mod configuration;
mod content_coding;
mod differential;
mod exchange_events;
mod h2_budget;
mod h2_client_session;
mod h2_frames;
mod h2_heads;
mod h2_session;
mod header_ops;
mod header_serde;
mod heads;
mod hpack;
mod ketama;
mod lru_ops;
mod pool_ops;
mod proxy_protocol;
mod range;
pub mod reference;
mod split;
mod tinyufo_ops;
mod udp;

pub use self::chunked::chunked;
pub use self::client_hello::client_hello;
pub use self::configuration::configuration;
pub use self::content_coding::content_coding;
pub use self::differential::h1_differential;
pub use self::exchange_events::{Events, exchange_events};
pub use self::h2_budget::{Resets, h2_budget};
pub use self::h2_client_session::{ClientSession, h2_client_session};
pub use self::h2_heads::h2_heads;
pub use self::h2_session::{Session, h2_session};
pub use self::header_ops::{HeaderOps, header_ops};
pub use self::header_serde::header_serde;
pub use self::heads::{h1_request, h1_response};
pub use self::hpack::{Blocks, hpack};
pub use self::ketama::{Rings, ketama};
pub use self::lru_ops::{LruOps, lru_ops};
pub use self::pool_ops::{PoolOps, pool_ops};
pub use self::proxy_protocol::proxy_protocol;
pub use self::range::range;
pub use self::tinyufo_ops::{TinyUfoOps, tinyufo_ops};
pub use self::udp::{Sessions, udp};

#[cfg(test)]
mod tests;
