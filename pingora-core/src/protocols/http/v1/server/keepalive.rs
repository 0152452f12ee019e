//! What becomes of the connection after the response: another request, or the end.

use log::debug;
use pingora_error::Result;

use super::HttpSession;
use crate::protocols::http::server::ReusableHttpStream;

impl HttpSession {
    /// Sets how long the connection is kept for a next request: seconds, 0 without limit.
    ///
    /// `None`, the default of a bare session, closes it after the response.
    pub fn set_server_keepalive(&mut self, keepalive: Option<u64>) {
        self.keepalive_timeout = keepalive;
    }

    /// Returns how long the connection is kept: seconds, 0 without limit, `None` to close.
    pub fn get_keepalive_timeout(&self) -> Option<u64> {
        self.keepalive_timeout
    }

    /// Sets how many more requests the connection may carry; `None`: without limit.
    pub fn set_keepalive_reuses_remaining(&mut self, remaining: Option<u32>) {
        self.keepalive_reuses_remaining = remaining;
    }

    /// Returns how many more requests the connection may carry.
    pub fn get_keepalive_reuses_remaining(&self) -> Option<u32> {
        self.keepalive_reuses_remaining
    }

    /// Gives up keep-alive when the client does not want it; harmless to call again.
    pub fn respect_keepalive(&mut self) {
        if self.req.is_some() && !self.client_keepalive {
            self.keepalive_timeout = None;
        }
    }

    /// Returns whether the connection will carry another request.
    pub fn will_keepalive(&self) -> bool {
        self.keepalive_timeout.is_some()
            && self.client_keepalive
            && !self.broken
            && !self.upgraded
            && self.keepalive_reuses_remaining != Some(0)
            && !self.encoder.is_until_close()
            && !self.wire.input.eof
    }

    /// Ends the exchange; returns the connection when it can carry another request.
    ///
    /// What is left of the request body is read within limits first, so that the next request
    /// cannot be mistaken for it. Otherwise the connection is closed.
    pub async fn reuse(mut self) -> Result<Option<ReusableHttpStream>> {
        if !self.encoder.is_done() && self.resp.is_some() && !self.upgraded {
            // Cut short: only closing can tell the client.
            self.broken = true;
        }
        if self.resp.is_none() {
            self.broken = true;
        }
        if !self.broken {
            self.flush_queued().await?;
        }
        if self.will_keepalive() && !self.body.is_done() {
            if self.options.close_on_early_response {
                self.broken = true;
            } else if let Err(e) = self.drain_request_body().await {
                debug!("closing instead of reusing: {e}");
                self.broken = true;
            }
        }
        if !self.will_keepalive() {
            self.close().await;
            return Ok(None);
        }
        let input = std::mem::take(&mut self.wire.input.buf);
        if !input.is_empty() && !self.options.pipelining {
            debug!("closing: {} bytes follow the request", input.len());
            self.close().await;
            return Ok(None);
        }
        let prefix = (!input.is_empty()).then_some(input);
        Ok(Some(ReusableHttpStream::new(self.wire.stream, prefix)))
    }

    /// Closes so that the client gets the whole response.
    ///
    /// A socket closed with unread input answers with a reset, which can overtake the response
    /// (RFC 9112 section 9.6): send our end, then read for a moment what the client still sends.
    async fn close(&mut self) {
        self.wire.stream.shutdown().await;
        if self.wire.input.eof || self.upgraded || (!self.broken && self.body.is_done()) {
            return;
        }
        linger(&mut self.wire).await;
    }
}

/// How long and how much a closed connection is read before its descriptor is given back.
const LINGER_TIME: std::time::Duration = std::time::Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

async fn linger(wire: &mut super::super::wire::Wire) {
    let read_rest = async {
        let mut read = 0;
        while read < LINGER_BYTES {
            wire.input.buf.clear();
            match std::future::poll_fn(|cx| wire.poll_fill(cx)).await {
                Ok(n) if n > 0 => read += n,
                _ => return,
            }
        }
    };
    let _ = pingora_timeout::timeout(LINGER_TIME, read_rest).await;
}
