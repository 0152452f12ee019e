//! The downstream side of a custom protocol.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::CustomMessageWrite;
use crate::protocols::Digest;
use crate::protocols::http::HttpTask;
use crate::protocols::l4::socket::SocketAddr;

/// The code of a session that was given up without an error.
const NO_ERROR: u32 = 0;

/// A server session of a custom protocol: one request and its response.
#[doc(hidden)]
#[async_trait]
pub trait Session: Send + Sync + Unpin + 'static {
    /// Returns the head of the request.
    fn req_header(&self) -> &RequestHeader;

    /// Returns the head of the request, for changing.
    fn req_header_mut(&mut self) -> &mut RequestHeader;

    /// Receives a piece of the request body, `None` at its end.
    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>>;

    /// Reads the rest of the request body and drops it.
    async fn drain_request_body(&mut self) -> Result<()>;

    /// Sends the head of a response, which ends with it when `end`.
    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, end: bool) -> Result<()>;

    /// Sends a copy of the head of a response, which ends with it when `end`.
    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()>;

    /// Sends a piece of the response body, the last one when `end`.
    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()>;

    /// Sends the trailers, which end the response.
    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()>;

    /// Sends several pieces of a response and returns whether the last one ended it.
    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool>;

    /// Sets how long one read may take; `None` for no limit.
    fn set_read_timeout(&mut self, timeout: Option<Duration>);

    /// Returns how long one read may take.
    fn get_read_timeout(&self) -> Option<Duration>;

    /// Sets how long one write may take; `None` for no limit.
    fn set_write_timeout(&mut self, timeout: Option<Duration>);

    /// Returns how long one write may take.
    fn get_write_timeout(&self) -> Option<Duration>;

    /// Sets how long draining the request body may take; `None` for no limit.
    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>);

    /// Returns how long draining the request body may take.
    fn get_total_drain_timeout(&self) -> Option<Duration>;

    /// Returns method, target and host in one line, for logs.
    fn request_summary(&self) -> String;

    /// Returns the head of the response, once it was sent.
    fn response_written(&self) -> Option<&ResponseHeader>;

    /// Ends the session with an error code of the protocol; `ctx` says why, for logs.
    async fn shutdown(&mut self, code: u32, ctx: &str);

    /// Ends a session nobody is interested in any more; `ctx` says why, for logs.
    ///
    /// Shuts down with code 0 by default.
    async fn abandon(&mut self, ctx: &str) {
        self.shutdown(NO_ERROR, ctx).await;
    }

    /// Returns whether the request body was received to its end.
    fn is_body_done(&mut self) -> bool;

    /// Returns whether the request has no body.
    fn is_body_empty(&mut self) -> bool;

    /// Sends the end of the response.
    async fn finish(&mut self) -> Result<()>;

    /// Receives a piece of the request body, or, when there is none to expect, waits until the
    /// client is gone.
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>>;

    /// Returns how many bytes of the request body were received.
    fn body_bytes_read(&self) -> usize;

    /// Returns how many bytes of the response body were sent.
    fn body_bytes_sent(&self) -> usize;

    /// Returns what is known of the connection.
    fn digest(&self) -> Option<&Digest>;

    /// Returns what is known of the connection, for changing.
    fn digest_mut(&mut self) -> Option<&mut Digest>;

    /// Returns the address of the client.
    fn client_addr(&self) -> Option<&SocketAddr>;

    /// Returns our own address.
    fn server_addr(&self) -> Option<&SocketAddr>;

    /// Returns the head of the request as HTTP/1 would have written it.
    fn pseudo_raw_h1_request_header(&self) -> Bytes;

    /// Keeps a copy of the request body from now on, for sending it again.
    fn enable_retry_buffering(&mut self);

    /// Returns whether the request body was too long to be kept.
    fn retry_buffer_truncated(&self) -> bool;

    /// Returns the copy of the request body.
    fn get_retry_buffer(&self) -> Option<Bytes>;

    /// Sends the end of the custom messages.
    async fn finish_custom(&mut self) -> Result<()>;

    /// Takes out the custom messages of the client.
    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>>;

    /// Puts back the custom messages of the client.
    fn restore_custom_message_reader(
        &mut self,
        reader: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()>;

    /// Takes out what writes custom messages to the client.
    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>>;

    /// Puts back what writes custom messages to the client.
    fn restore_custom_message_writer(&mut self, writer: Box<dyn CustomMessageWrite>) -> Result<()>;

    /// Returns whether the request asks to become a tunnel; false by default.
    fn is_upgrade_req(&self) -> bool {
        false
    }

    /// Returns whether the session became a tunnel; false by default.
    fn was_upgraded(&self) -> bool {
        false
    }

    /// Returns whether the session queues the pieces of a response; false by default.
    ///
    /// Only then are the next four methods of use.
    fn proxy_tasks_enabled(&self) -> bool {
        false
    }

    /// Sets whether to queue the pieces of a response; a session without a queue ignores it.
    fn set_proxy_tasks_enabled(&mut self, _enabled: bool) {}

    /// Queues a piece of a response; a session without a queue drops it.
    fn send_proxy_task(&mut self, _task: HttpTask) {}

    /// Returns whether pieces of a response are queued; false by default.
    fn has_pending_proxy_tasks(&self) -> bool {
        false
    }

    /// Sends the queued pieces and returns whether the last one ended the response; sends nothing
    /// by default.
    async fn write_proxy_tasks(&mut self) -> Result<bool> {
        Ok(false)
    }
}
