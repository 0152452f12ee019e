//! What can be set of a session, and asked about it: times, reuse of the connection, and what is kept
//! for it.

use std::any::Any;
use std::time::Duration;

use bytes::BytesMut;

use super::{Session, each, h1};

impl Session {
    /// Sets how long the connection is kept for a next request: seconds, 0 without limit.
    ///
    /// `None` closes it after the response. HTTP/1 only.
    pub fn set_keepalive(&mut self, duration: Option<u64>) {
        h1!(self, s => s.set_server_keepalive(duration), ());
    }

    /// Returns how long the connection is kept for a next request.
    pub fn get_keepalive(&self) -> Option<u64> {
        h1!(self, s => s.get_keepalive_timeout(), None)
    }

    /// Sets how many more requests the connection may carry. HTTP/1 only.
    pub fn set_keepalive_reuses_remaining(&mut self, reuses: Option<u32>) {
        h1!(self, s => s.set_keepalive_reuses_remaining(reuses), ());
    }

    /// Returns how many more requests the connection may carry.
    pub fn get_keepalive_reuses_remaining(&self) -> Option<u32> {
        h1!(self, s => s.get_keepalive_reuses_remaining(), None)
    }

    /// Sets how long to wait for the client's next bytes.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        each!(self, s => s.set_read_timeout(timeout));
    }

    /// Returns how long to wait for the client's next bytes.
    pub fn get_read_timeout(&self) -> Option<Duration> {
        each!(self, s => s.get_read_timeout())
    }

    /// Sets how long the client may take no bytes while some are waiting.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        each!(self, s => s.set_write_timeout(timeout));
    }

    /// Returns how long the client may take no bytes while some are waiting.
    pub fn get_write_timeout(&self) -> Option<Duration> {
        each!(self, s => s.get_write_timeout())
    }

    /// Sets how long reading the rest of a request body may take in all.
    pub fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        each!(self, s => s.set_total_drain_timeout(timeout));
    }

    /// Returns how long reading the rest of a request body may take in all.
    pub fn get_total_drain_timeout(&self) -> Option<Duration> {
        each!(self, s => s.get_total_drain_timeout())
    }

    /// Sets the bytes per second the client must take at least. HTTP/1 only.
    pub fn set_min_send_rate(&mut self, rate: Option<usize>) {
        h1!(self, s => s.set_min_send_rate(rate), ());
    }

    /// Sets whether informational responses are dropped.
    pub fn set_ignore_info_resp(&mut self, ignore: bool) {
        match self {
            Session::H1(session) => session.set_ignore_info_resp(ignore),
            Session::H2(session) => session.set_ignore_info_resp(ignore),
            Session::Subrequest(_) | Session::Custom(_) => (),
        }
    }

    /// Sets whether to close instead of reading the rest of a request that was answered early.
    pub fn set_close_on_response_before_downstream_finish(&mut self, close: bool) {
        h1!(self, s => s.set_close_on_response_before_downstream_finish(close), ());
    }

    /// Sets whether a client that goes away ends the exchange; on by default.
    pub fn set_abort_on_close(&mut self, abort: bool) {
        h1!(self, s => s.set_abort_on_close(abort), ());
    }

    /// Sets whether bytes behind this request are kept as the next one.
    pub fn set_pipelining_enabled(&mut self, enabled: bool) {
        h1!(self, s => s.set_pipelining_enabled(enabled), ());
    }

    /// Returns whether bytes behind this request are kept as the next one.
    pub fn pipelining_enabled(&self) -> bool {
        h1!(self, s => s.pipelining_enabled(), false)
    }

    /// Hands over bytes of this request that were received before the session was made.
    pub fn set_pipelined_prefix(&mut self, prefix: BytesMut) {
        h1!(self, s => s.set_pipelined_prefix(prefix), ());
    }

    /// Sets a value that lives as long as the connection. HTTP/1 only.
    pub fn set_connection_user_context(&mut self, ctx: Option<Box<dyn Any + Send + Sync>>) {
        h1!(self, s => s.set_connection_user_context(ctx), ());
    }

    /// Takes the value set for the connection.
    pub fn take_connection_user_context(&mut self) -> Option<Box<dyn Any + Send + Sync>> {
        h1!(self, s => s.take_connection_user_context(), None)
    }
}
