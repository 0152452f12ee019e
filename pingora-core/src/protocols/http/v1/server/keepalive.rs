//! What becomes of the connection after the response: another request, or the end.

use futures_util::future::BoxFuture;
use log::debug;
use pingora_error::Result;

use super::HttpSession;
use crate::protocols::Stream;
use crate::protocols::http::server::ReusableHttpStream;
use crate::protocols::l4::stream::Stream as L4Stream;

impl HttpSession {
    /// Sets how long the connection is kept for a next request: seconds, 0 without limit.
    ///
    /// `None`, the default of a bare session, closes it after the response.
    pub fn set_server_keepalive(&mut self, keepalive: Option<u64>) {
        self.state.keepalive_timeout = keepalive;
    }

    /// Returns how long the connection is kept: seconds, 0 without limit, `None` to close.
    pub fn get_keepalive_timeout(&self) -> Option<u64> {
        self.state.keepalive_timeout
    }

    /// Sets how many more requests the connection may carry; `None`: without limit.
    pub fn set_keepalive_reuses_remaining(&mut self, remaining: Option<u32>) {
        self.state.keepalive_reuses_remaining = remaining;
    }

    /// Returns how many more requests the connection may carry.
    pub fn get_keepalive_reuses_remaining(&self) -> Option<u32> {
        self.state.keepalive_reuses_remaining
    }

    /// Gives up keep-alive when the client does not want it; harmless to call again.
    pub fn respect_keepalive(&mut self) {
        if self.state.req.is_some() && !self.state.client_keepalive {
            self.state.keepalive_timeout = None;
        }
    }

    /// Returns whether the connection will carry another request.
    #[inline]
    pub fn will_keepalive(&self) -> bool {
        self.state.keepalive_timeout.is_some()
            && self.state.client_keepalive
            && !self.state.broken
            && !self.state.upgraded
            && self.state.keepalive_reuses_remaining != Some(0)
            && !self.state.encoder.is_until_close()
            && (!self.state.wire.input.eof || !self.state.wire.input.buf.is_empty())
            && (self.state.options.pipelining
                || !self.state.body.is_done()
                || self.state.wire.input.buf.is_empty())
            && !self.may_withhold_body()
    }

    /// Ends the exchange; returns the connection when it can carry another request.
    ///
    /// What is left of the request body is read within limits first, so that the next request
    /// cannot be mistaken for it. Otherwise the connection is closed.
    pub async fn reuse(mut self) -> Result<Option<ReusableHttpStream>> {
        if !self.is_response_whole() {
            // Cut short: only closing can tell the client.
            self.state.broken = true;
        }
        let clean = self.state.wire.output.is_flushed() && self.state.body.is_done();
        if !clean || !self.will_keepalive() {
            self.settle_boxed().await?;
        }
        if !self.will_keepalive() {
            return Ok(None);
        }
        let input = &mut self.state.wire.input;
        let prefix = (!input.buf.is_empty()).then(|| input.take());
        Ok(Some(ReusableHttpStream::new(
            self.state.wire.stream,
            prefix,
        )))
    }

    /// Boxed: most connections are reused as they are, and need not carry this future, nor must each
    /// program compile it.
    fn settle_boxed(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.settle())
    }

    /// Sends and reads what is left, then closes unless the connection can be used again.
    async fn settle(&mut self) -> Result<()> {
        if !self.state.broken {
            self.flush_queued().await?;
        }
        if self.will_keepalive() && !self.state.body.is_done() {
            if self.state.options.close_on_early_response {
                self.state.broken = true;
            } else if let Err(e) = self.drain_request_body().await {
                debug!("closing instead of reusing: {e}");
                self.state.broken = true;
            }
        }
        if !self.will_keepalive() {
            self.close().await;
        }
        Ok(())
    }

    fn is_response_whole(&self) -> bool {
        self.state.resp.is_some() && (self.state.encoder.is_done() || self.state.upgraded)
    }

    /// Closes so that the client gets the whole response.
    ///
    /// A socket closed with unread input answers with a reset, which can overtake the response
    /// (RFC 9112 section 9.6): send our end, then read for a moment what the client still sends.
    async fn close(&mut self) {
        // A client in a tunnel may be sending at any time.
        let nothing_comes = self.state.wire.input.eof
            || (!self.state.broken && !self.state.upgraded && self.state.body.is_done());
        let is_told_by_closing =
            !self.ends_by_closing_only() && self.state.wire.output.is_flushed();
        if nothing_comes && is_told_by_closing && ends_when_dropped(&self.state.wire.stream) {
            return;
        }
        self.shutdown().await;
        if !nothing_comes {
            linger(&mut self.state.wire).await;
        }
    }
}

/// Returns whether dropping the stream says all that ending it would: one system call less.
pub(in crate::protocols::http::v1) fn ends_when_dropped(stream: &Stream) -> bool {
    let socket = (**stream).as_any().downcast_ref::<L4Stream>();
    socket.is_some_and(L4Stream::ends_when_dropped)
}

/// How long a closed connection is read before its descriptor is given back.
const LINGER_TIME: std::time::Duration = std::time::Duration::from_secs(2);

/// How much of that is read at once, and the pause before each further read: who has much to send
/// is to have the time to read the answer, not to be read to the end.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Ends our side; a peer that takes nothing cannot hold up what a stream wants to say at its end.
pub(in crate::protocols::http::v1) async fn end_stream(stream: &mut crate::protocols::Stream) {
    let _ = pingora_timeout::timeout(LINGER_TIME, stream.shutdown()).await;
}

async fn linger(wire: &mut crate::protocols::http::wire::Wire) {
    let read_rest = async {
        let mut read = 0;
        // Ends with the time, or the connection.
        loop {
            wire.input.buf.clear();
            match std::future::poll_fn(|cx| wire.poll_fill(cx)).await {
                Ok(n) if n > 0 => read += n,
                _ => return,
            }
            if read > LINGER_BYTES {
                pingora_timeout::sleep(LINGER_PAUSE).await;
            }
        }
    };
    let _ = pingora_timeout::timeout(LINGER_TIME, read_rest).await;
}
