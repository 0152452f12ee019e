#![doc = include_str!("../README.md")]
//!
//! # Reading order
//!
//! [`ProxyHttp`] is what users implement. A request comes in through [`HttpProxy`], walks the
//! phases in `request.rs`, is exchanged with an upstream in `exchange/` and ends in `finish.rs`.
#![forbid(unsafe_code)]

// The trait and the order of its hooks.
mod phases;
// What a hook can do with the request at hand.
mod session;
// Where requests come in.
mod proxy;
// From a ProxyHttp to a service.
mod builder;
// The phases up to the upstream, and tries at it.
mod request;
// The head that goes upstream: hop-by-hop fields, upgrades, Host.
mod forward;
// Request up, response down.
mod exchange;
// Error answers, the log, the fate of the connection.
mod finish;
// Parts of a response.
mod range;
// Connections passed on as they are.
pub mod tcp;
// Datagrams passed on as they are.
pub mod udp;
// Requests the proxy makes to itself.
pub mod subrequest;

pub use self::builder::{
    ProcessCustomSession, ProxyServiceBuilder, http_proxy, http_proxy_service,
    http_proxy_service_with_name, http_proxy_service_with_name_custom,
};
pub use self::phases::{FailToProxy, ProxyHttp, ProxyWarnLogContext};
pub use self::proxy::HttpProxy;
pub use self::range::{MultiRangeInfo, RangeType, range_header_filter};
pub use self::session::Session;
pub use self::subrequest::spawn::{PreparedSubrequest, Subrequest, SubrequestSpawner};

/// The state of an exchange and the heads that go upstream, for fuzzing.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::exchange::fuzzing::*;
    pub use crate::forward::fuzzing::*;
}

/// What most proxies import: `use pingora_proxy::prelude::*`.
pub mod prelude {
    pub use crate::{ProxyHttp, ProxyWarnLogContext, Session, http_proxy, http_proxy_service};
}
