//! `()` as a session: the type argument of connectors and sessions without a custom protocol.
//!
//! No value of it is ever made into a session, so nothing here is reached; what can fail fails,
//! what must return something says that it cannot.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::{BodyWrite, CustomMessageWrite, MessageReader, client, server};
use crate::protocols::http::HttpTask;
use crate::protocols::l4::socket::SocketAddr;
use crate::protocols::{Digest, UniqueIDType};

/// The error of everything a missing protocol is asked to do.
fn no_protocol<T>() -> Result<T> {
    Error::e_explain(ErrorType::InternalError, "there is no custom protocol")
}

#[async_trait]
impl client::Session for () {
    async fn write_request_header(&mut self, _req: Box<RequestHeader>, _end: bool) -> Result<()> {
        no_protocol()
    }

    async fn write_request_body(&mut self, _data: Bytes, _end: bool) -> Result<()> {
        no_protocol()
    }

    async fn finish_request_body(&mut self) -> Result<()> {
        no_protocol()
    }

    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    async fn read_response_header(&mut self) -> Result<()> {
        no_protocol()
    }

    async fn read_response_body(&mut self) -> Result<Option<Bytes>> {
        no_protocol()
    }

    fn response_finished(&self) -> bool {
        true
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {}

    fn response_header(&self) -> Option<&ResponseHeader> {
        None
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    async fn read_trailers(&mut self) -> Result<Option<HeaderMap>> {
        no_protocol()
    }

    fn fd(&self) -> UniqueIDType {
        0
    }

    async fn check_response_end_or_error(&mut self, _headers: bool) -> Result<bool> {
        no_protocol()
    }

    fn take_request_body_writer(&mut self) -> Option<Box<dyn BodyWrite>> {
        None
    }

    async fn finish_custom(&mut self) -> Result<()> {
        no_protocol()
    }

    fn take_custom_message_reader(&mut self) -> Option<MessageReader> {
        None
    }

    async fn drain_custom_messages(&mut self) -> Result<()> {
        no_protocol()
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }
}

#[async_trait]
impl server::Session for () {
    fn req_header(&self) -> &RequestHeader {
        unreachable!("there is no custom protocol, so no session of it")
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        unreachable!("there is no custom protocol, so no session of it")
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        no_protocol()
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        no_protocol()
    }

    async fn write_response_header(
        &mut self,
        _resp: Box<ResponseHeader>,
        _end: bool,
    ) -> Result<()> {
        no_protocol()
    }

    async fn write_response_header_ref(
        &mut self,
        _resp: &ResponseHeader,
        _end: bool,
    ) -> Result<()> {
        no_protocol()
    }

    async fn write_body(&mut self, _data: Bytes, _end: bool) -> Result<()> {
        no_protocol()
    }

    async fn write_trailers(&mut self, _trailers: HeaderMap) -> Result<()> {
        no_protocol()
    }

    async fn response_duplex_vec(&mut self, _tasks: Vec<HttpTask>) -> Result<bool> {
        no_protocol()
    }

    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        String::new()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        None
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {}

    fn is_body_done(&mut self) -> bool {
        true
    }

    fn is_body_empty(&mut self) -> bool {
        true
    }

    async fn finish(&mut self) -> Result<()> {
        no_protocol()
    }

    async fn read_body_or_idle(&mut self, _no_body_expected: bool) -> Result<Option<Bytes>> {
        no_protocol()
    }

    fn body_bytes_read(&self) -> usize {
        0
    }

    fn body_bytes_sent(&self) -> usize {
        0
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }

    async fn finish_custom(&mut self) -> Result<()> {
        no_protocol()
    }

    fn take_custom_message_reader(&mut self) -> Option<MessageReader> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: MessageReader) -> Result<()> {
        no_protocol()
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        no_protocol()
    }
}
