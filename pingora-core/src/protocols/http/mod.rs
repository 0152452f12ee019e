//! HTTP sessions: what a server and a client of HTTP hold while a request is served.
//!
//! [`server::Session`] is the downstream side, [`client::HttpSession`] the upstream side; each is
//! an enum over the protocols in the modules below. Between the two travels one type only:
//! [`HttpTask`]. Read [`v1`] for HTTP/1 and [`v2`] for HTTP/2.

pub mod authority;
mod base64;
pub mod body_buffer;
pub mod bridge;
mod buffers;
mod byte_set;
pub mod client;
pub mod compression;
pub mod conditional_filter;
pub mod custom;
pub mod date;
pub mod error_resp;
mod limits;
mod pace;
pub mod server;
pub mod subrequest;
mod task;
pub mod v1;
pub mod v2;
pub(crate) mod wire;

use bytes::Bytes;
use http::HeaderMap;
use pingora_error::BError;
use pingora_http::ResponseHeader;

pub use self::limits::HttpLimits;
pub use self::server::{ReusableHttpStream, Session as ServerSession};

/// What the `Server` header of answers made by the proxy itself says.
pub const SERVER_NAME: &[u8; 7] = b"Pingora";

/// A piece of a response on its way from upstream to downstream.
///
/// ```
/// use pingora_core::protocols::http::HttpTask;
///
/// let last = HttpTask::Body(Some("hello".into()), true);
/// assert!(last.is_end());
/// assert_eq!(last.type_str(), "Body");
/// ```
#[derive(Debug)]
pub enum HttpTask {
    /// The head, and whether the response ends with it.
    Header(Box<ResponseHeader>, bool),
    /// A piece of the body, and whether it is the last.
    Body(Option<Bytes>, bool),
    /// A piece of what follows a `101 Switching Protocols`, and whether it is the last.
    UpgradedBody(Option<Bytes>, bool),
    /// The trailer section, which ends the response.
    Trailer(Option<Box<HeaderMap>>),
    /// The response has ended.
    Done,
    /// The response broke off.
    Failed(BError),
}
