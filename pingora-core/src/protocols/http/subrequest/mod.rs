//! Requests a proxy makes to itself: a session whose client is another session of this process.
//!
//! ```text
//!  main session            handle.rs (channels)             server.rs
//!  body pieces  ──────────> tx ───────── body.rs ─────────> read_body_bytes
//!  response     <────────── rx <──────── pipe.rs <───────── queue_task, flush
//!               <────────── subreq_wants_body, subreq_proxy_error
//! ```
//!
//! Both channels hold a few pieces: a side that is slow makes the other one wait. Start reading in
//! `server.rs`.

mod body;
mod handle;
mod pipe;
pub mod server;

#[cfg(test)]
mod tests;
