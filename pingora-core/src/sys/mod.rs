//! The only place that names an operating system.
//!
//! Contract: every system supplies the same functions. What works the same on all Unix systems is
//! in `unix`; what only Linux has is in `linux`; `fallback` stands in for it elsewhere, refusing
//! what a caller would miss and ignoring what merely makes things faster. All functions take bare
//! descriptors and answer `EBADF` for a negative one. Read `unix` next.
//!
//! | function | without kernel support |
//! |---|---|
//! | buffer sizes, keepalive, nodelay | every Unix has them |
//! | DSCP, TCP Fast Open, original destination, cookie, TCP_INFO, receive timestamps | `Unsupported` |
//! | user timeout, late port choice | ignored |
//! | keeping connections from the backlog at shutdown | `Unsupported`: a few may be reset |

mod unix;
pub(crate) use self::unix::*;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use self::linux::*;

#[cfg(not(target_os = "linux"))]
mod fallback;
#[cfg(not(target_os = "linux"))]
pub(crate) use self::fallback::*;

#[cfg(test)]
mod tests;
