//! The upstream side of a custom protocol.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::{BodyWrite, CustomMessageWrite};
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, UniqueIDType};

/// The code of a session that was given up without an error.
const NO_ERROR: u32 = 0;

/// A client session of a custom protocol: one request and its response.
#[doc(hidden)]
#[async_trait]
pub trait Session: Send + Sync + Unpin + 'static {
    /// Sends the head of the request, which ends with it when `end`.
    async fn write_request_header(&mut self, req: Box<RequestHeader>, end: bool) -> Result<()>;

    /// Sends a piece of the request body, the last one when `end`.
    async fn write_request_body(&mut self, data: Bytes, end: bool) -> Result<()>;

    /// Sends the end of the request body.
    async fn finish_request_body(&mut self) -> Result<()>;

    /// Sets how long one read may take; `None` for no limit.
    fn set_read_timeout(&mut self, timeout: Option<Duration>);

    /// Sets how long one write may take; `None` for no limit.
    fn set_write_timeout(&mut self, timeout: Option<Duration>);

    /// Receives the head of the response.
    async fn read_response_header(&mut self) -> Result<()>;

    /// Receives a piece of the response body, `None` at its end.
    async fn read_response_body(&mut self) -> Result<Option<Bytes>>;

    /// Returns whether the response was received to its end.
    fn response_finished(&self) -> bool;

    /// Ends the session with an error code of the protocol; `ctx` says why, for logs.
    async fn shutdown(&mut self, code: u32, ctx: &str);

    /// Ends a session nobody is interested in any more; `ctx` says why, for logs.
    ///
    /// Shuts down with code 0 by default.
    async fn abandon(&mut self, ctx: &str) {
        self.shutdown(NO_ERROR, ctx).await;
    }

    /// Returns the head of the response, once it was received.
    fn response_header(&self) -> Option<&ResponseHeader>;

    /// Returns whether the session became a tunnel; false by default.
    fn was_upgraded(&self) -> bool {
        false
    }

    /// Returns what is known of the connection.
    fn digest(&self) -> Option<&Digest>;

    /// Returns what is known of the connection, for changing.
    fn digest_mut(&mut self) -> Option<&mut Digest>;

    /// Returns the address of the server.
    fn server_addr(&self) -> Option<&SocketAddr>;

    /// Returns our own address.
    fn client_addr(&self) -> Option<&SocketAddr>;

    /// Receives the trailers, `None` when there are none.
    async fn read_trailers(&mut self) -> Result<Option<HeaderMap>>;

    /// Returns the identifier of the connection.
    fn fd(&self) -> UniqueIDType;

    /// Returns whether the response has ended, with its head when `headers`; fails when it was
    /// broken off.
    async fn check_response_end_or_error(&mut self, headers: bool) -> Result<bool>;

    /// Takes out what writes the request body.
    fn take_request_body_writer(&mut self) -> Option<Box<dyn BodyWrite>>;

    /// Sends the end of the custom messages.
    async fn finish_custom(&mut self) -> Result<()>;

    /// Takes out the custom messages of the server.
    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>>;

    /// Reads and drops the custom messages of the server until they end.
    async fn drain_custom_messages(&mut self) -> Result<()>;

    /// Takes out what writes custom messages to the server.
    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>>;
}
