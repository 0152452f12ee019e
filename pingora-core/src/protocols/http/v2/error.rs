//! [`StreamError`]: why a stream is no more, whoever frames it.

use std::fmt;

use h2::Reason;
use pingora_error::{
    BError, Error,
    ErrorType::{ConnectionClosed, H2Error},
};

use super::engine::Failure;

/// Why a stream is no more.
#[derive(Debug)]
pub(crate) enum StreamError {
    Ours(Failure),
    H2(h2::Error),
}

impl StreamError {
    /// Returns whether the connection broke.
    pub(super) fn is_io(&self) -> bool {
        match self {
            StreamError::Ours(failure) => matches!(failure, Failure::Io(_)),
            StreamError::H2(e) => e.is_io(),
        }
    }

    /// Returns whether the peer has sent it.
    pub(super) fn is_remote(&self) -> bool {
        match self {
            StreamError::Ours(failure) => matches!(
                failure,
                Failure::Reset { by_peer: true, .. } | Failure::GoAway { by_peer: true, .. }
            ),
            StreamError::H2(e) => e.is_remote(),
        }
    }

    /// Returns whether the stream was reset.
    pub(super) fn is_reset(&self) -> bool {
        match self {
            StreamError::Ours(failure) => matches!(failure, Failure::Reset { .. }),
            StreamError::H2(e) => e.is_reset(),
        }
    }

    /// Returns whether the connection was ended.
    pub(super) fn is_go_away(&self) -> bool {
        match self {
            StreamError::Ours(failure) => matches!(failure, Failure::GoAway { .. }),
            StreamError::H2(e) => e.is_go_away(),
        }
    }

    /// Returns the error code, if one was sent.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self {
            StreamError::Ours(failure) => failure.reason(),
            StreamError::H2(e) => e.reason(),
        }
    }

    /// Returns it as the error of `h2` nearest to it.
    pub(super) fn into_h2(self) -> h2::Error {
        match self {
            StreamError::Ours(failure) => failure.reason().unwrap_or(Reason::CANCEL).into(),
            StreamError::H2(e) => e,
        }
    }
}

impl From<Failure> for StreamError {
    fn from(failure: Failure) -> Self {
        StreamError::Ours(failure)
    }
}

impl From<h2::Error> for StreamError {
    fn from(e: h2::Error) -> Self {
        StreamError::H2(e)
    }
}

impl From<Reason> for StreamError {
    fn from(reason: Reason) -> Self {
        StreamError::H2(reason.into())
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamError::Ours(failure) => failure.fmt(f),
            StreamError::H2(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for StreamError {}

/// Returns the error of a stream or connection as ours; the caller says whose fault it is.
#[cold]
pub(crate) fn stream_error(e: impl Into<StreamError>, what: &'static str) -> BError {
    let e = e.into();
    let gone = e.is_io() || (e.is_remote() && (e.is_reset() || e.is_go_away()));
    let etype = if gone { ConnectionClosed } else { H2Error };
    Error::because(etype, what, e)
}

/// The error of a stream the peer has reset.
#[cold]
pub(crate) fn reset_error(reason: Reason, what: &'static str) -> BError {
    Error::explain(
        ConnectionClosed,
        format!("{what}: stream reset, {}", reason.description()),
    )
}
