//! What the settings of all libraries have in common: their errors, files and choices.

use std::fmt;

use pingora_error::{Error, ErrorType, Result};

/// What was wrong with the settings of TLS.
pub const TLS_CONF_ERR: ErrorType = ErrorType::Custom("TLSConfigError");

/// Whether clients must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are asked for one and may have none; a bad one is refused.
    Optional,
    /// Those without one are refused.
    Required,
}

/// Returns the content of a file named in a configuration.
pub(super) fn read_file(what: &'static str, path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        Error::because(TLS_CONF_ERR, format!("cannot read {what} {path}"), e).into_in()
    })
}

/// Returns the error for a file that can be read but not used.
#[cold]
pub(super) fn bad_file(what: &'static str, path: &str, why: impl fmt::Display) -> Box<Error> {
    Error::explain(TLS_CONF_ERR, format!("cannot use {what} {path}: {why}")).into_in()
}
