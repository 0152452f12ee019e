//! What a server says about itself: through the log, or on standard error when the program has
//! not installed a logger.
//!
//! Next: `failure.rs` for the errors that end a server.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;

use log::{Level, error, info, warn};
use pingora_error::{BError, Error};

use super::configuration::{VERSION, program_name};
use super::failure;

/// Says that the server runs: `NAME VERSION pid PID`.
pub(crate) fn started() {
    line(
        Level::Info,
        &format_args!("{} {VERSION} pid {}", program_name(), std::process::id()),
    );
}

/// Says that a service listens on an address, and lets a waiting parent of a daemon know.
///
/// To be called by a service once for each of its addresses, when connections to it succeed.
/// `proto` is what is spoken there, as `tcp`, `tls` or `unix`.
pub(crate) fn listening(service_name: &str, addr: &str, proto: &str) {
    line(
        Level::Info,
        &format_args!("listening on {addr} {proto} (service \"{service_name}\")"),
    );
    failure::count_listener();
}

/// Says that something is wrong but not fatal.
pub(crate) fn warning(text: &str) {
    line(Level::Warn, &text);
}

/// Says in one line why the server ends or does not start.
pub(crate) fn fatal(error: &Error) {
    line(Level::Error, &describe(error));
}

/// Returns an error as one line: what was attempted, and the reason in plain words.
pub(crate) fn describe(error: &Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut current = error;
    loop {
        if let Some(context) = &current.context {
            parts.push(context.as_str().to_string());
        }
        let Some(cause) = current.cause.as_deref() else {
            break;
        };
        let inner = cause.downcast_ref::<BError>().map(|e| &**e);
        let Some(inner) = inner.or_else(|| cause.downcast_ref::<Error>()) else {
            parts.push(match cause.downcast_ref::<io::Error>() {
                Some(e) => io_reason(e),
                None => one_line(cause),
            });
            break;
        };
        current = inner;
    }
    if parts.is_empty() {
        return error.reason_str().to_string();
    }
    parts.join(": ")
}

/// Returns the reason of an I/O error without its number, in lower case.
pub(crate) fn io_reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut letters = text.chars();
    let Some(first) = letters.next() else {
        return text.to_string();
    };
    first.to_lowercase().chain(letters).collect()
}

fn one_line(error: &(dyn StdError + Send + Sync)) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_string()
}

/// Writes one line: to the log if it takes lines of this level from here, else to standard error.
/// A line that a logger leaves out on purpose stays out, unless it is an error.
#[allow(clippy::print_stderr)]
fn line(level: Level, text: &dyn Display) {
    let silenced = log::max_level() == log::LevelFilter::Off;
    let lost = level == Level::Error && !log::log_enabled!(Level::Error);
    if silenced || lost {
        eprintln!("{text}");
        return;
    }
    match level {
        Level::Error => error!("{text}"),
        Level::Warn => warn!("{text}"),
        _ => info!("{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_error::ErrorType;

    #[test]
    fn errors_become_one_plain_line() {
        let in_use = || io::Error::from_raw_os_error(libc::EADDRINUSE);
        let bind =
            |cause| Error::because(ErrorType::BindError, "cannot listen on 127.0.0.1:80", cause);
        let expected = "cannot listen on 127.0.0.1:80: address already in use";
        assert_eq!(describe(&bind(in_use())), expected);
        let outer = bind(in_use()).more_context("service \"x\"");
        assert_eq!(describe(&outer), format!("service \"x\": {expected}"));
        assert_eq!(describe(&Error::new(ErrorType::BindError)), "BindError");
        let two_lines = Error::because(ErrorType::BindError, "a", "b\nc");
        assert_eq!(describe(&two_lines), "a: b");
    }
}
