//! HTTP sessions: what a server and a client of HTTP hold while a request is served.
//!
//! [`server::Session`] is the downstream side, [`client::HttpSession`] the upstream side; each is
//! an enum over the protocols in the modules below. Between the two travels one type only:
//! [`HttpTask`]. Read [`v1`] for HTTP/1.

pub mod authority;
pub mod body_buffer;
pub mod client;
pub mod conditional_filter;
pub mod custom;
pub mod date;
pub mod error_resp;
mod limits;
pub mod server;
mod task;
pub mod v1;

pub use self::limits::HttpLimits;
pub use self::server::{ReusableHttpStream, Session as ServerSession};
pub use self::task::HttpTask;

/// What the `Server` header of answers made by the proxy itself says.
pub const SERVER_NAME: &[u8; 7] = b"Pingora";
