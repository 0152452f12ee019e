//! The backend on s2n-tls.
//!
//! Reading order: `listener` (settings, accepting), `chooser` (the configuration of each
//! connection), `connector` (connecting), `verifier` (for which names a certificate is valid),
//! `stream` (the connection both give), `cert`, `psk`.

pub(crate) mod callbacks;
pub(crate) mod cert;
pub(crate) mod connector;
pub(crate) mod listener;
mod stream;

mod chooser;
pub(crate) mod psk;
mod verifier;

use std::ffi::c_void;
use std::slice;

use pingora_error::{Error, Result};

use super::keylog::KeyLog;
use super::library::library::config::Builder;
use super::library::library::ffi;
use super::library::{S2NError, S2NPolicy};
use super::settings::TLS_CONF_ERR;

/// The certificates of the authorities to trust.
pub type CaType = cert::X509Pem;

/// What `protocols::tls` shows of this backend.
pub(crate) mod protocol {
    pub use super::CaType;
    pub use super::connector::client;
    pub use super::listener::server;
    pub use super::psk::{Psk, PskConfig, PskType};
    pub use super::stream::{AutoFlushableStream, S2NConnectionBuilder, TlsRef, TlsStream};
}

/// TLS 1.2 and 1.3 with forward secrecy, authenticated encryption only and post-quantum key
/// exchange: a policy of the library that will not change.
const INTERMEDIATE: &str = "20251014";

/// TLS 1.3 only, with post-quantum key exchange.
const MODERN: &str = "CloudFront-TLS-1-3-2025";

/// Sets the policy, or one of ours by its name, and how long errors are kept from the other side.
///
/// The library answers errors after a random delay of up to 30 seconds, so that how long they took
/// to find tells nothing. With authenticated encryption there is nothing to tell: with the policies
/// here there is no delay unless one is asked for.
fn set_policy(
    builder: &mut Builder,
    chosen: Option<&S2NPolicy>,
    ours: &str,
    max_blinding_delay: Option<u32>,
) -> Result<(), S2NError> {
    let delay = match chosen {
        Some(policy) => {
            builder.set_security_policy(policy)?;
            max_blinding_delay
        }
        None => {
            builder.set_security_policy(&S2NPolicy::from_version(ours)?)?;
            Some(max_blinding_delay.unwrap_or(0))
        }
    };
    if let Some(seconds) = delay {
        builder.set_max_blinding_delay(seconds)?;
    }
    Ok(())
}

/// Has the secrets of connections written to `log`, which is there for good: the library does not
/// say when it is done with it.
fn set_keylog(builder: &mut Builder, log: &'static KeyLog) -> Result<(), S2NError> {
    let context = std::ptr::from_ref(log).cast_mut().cast();
    // SAFETY: the log is never dropped, and `write_line` uses it as what it is, by shared reference.
    unsafe { builder.set_key_log_callback(Some(write_line), context) }?;
    Ok(())
}

unsafe extern "C" fn write_line(
    log: *mut c_void,
    _connection: *mut ffi::s2n_connection,
    line: *mut u8,
    length: usize,
) -> std::ffi::c_int {
    // SAFETY: `set_keylog` gave the library this pointer to a log that is never dropped.
    let log = unsafe { &*log.cast_const().cast::<KeyLog>() };
    // SAFETY: the library gives a line of this length, for as long as this call.
    let line = unsafe { slice::from_raw_parts(line, length) };
    log.write(&String::from_utf8_lossy(line));
    0
}

/// Returns why a call or a handshake failed, in one line.
fn reason(e: &S2NError) -> String {
    use super::library::library::error::ErrorType;
    match (e.application_error(), e.kind()) {
        (Some(e), _) => e.to_string(),
        (None, ErrorType::ConnectionClosed) => "the connection was closed".to_string(),
        (None, _) => e.message().to_string(),
    }
}

#[cold]
fn unusable(what: &str, e: &S2NError) -> Box<Error> {
    Error::explain(TLS_CONF_ERR, format!("{what}: {}", reason(e))).into_in()
}

#[cfg(test)]
mod tests;
