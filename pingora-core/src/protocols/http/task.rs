//! [`HttpTask`]: the pieces of a response on their way from upstream to downstream.

use bytes::Bytes;
use http::HeaderMap;
use pingora_error::BError;
use pingora_http::ResponseHeader;

/// A piece of a response.
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

impl HttpTask {
    /// Returns whether the response ends with this piece.
    pub fn is_end(&self) -> bool {
        match self {
            HttpTask::Header(_, end) | HttpTask::Body(_, end) | HttpTask::UpgradedBody(_, end) => {
                *end
            }
            HttpTask::Trailer(_) | HttpTask::Done | HttpTask::Failed(_) => true,
        }
    }

    /// Returns the name of the variant, for logs.
    pub fn type_str(&self) -> &'static str {
        match self {
            HttpTask::Header(..) => "Header",
            HttpTask::Body(..) => "Body",
            HttpTask::UpgradedBody(..) => "UpgradedBody",
            HttpTask::Trailer(_) => "Trailer",
            HttpTask::Done => "Done",
            HttpTask::Failed(_) => "Failed",
        }
    }
}
