//! The module that lets gRPC-web clients talk to gRPC servers.
//! What it does is in [`protocols::http::bridge::grpc_web`](crate::protocols::http::bridge::grpc_web).

use std::any::Any;
use std::ops::{Deref, DerefMut};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::{HttpModule, HttpModuleBuilder, Module};
use crate::protocols::http::bridge::grpc_web::{Bridge, GrpcWebCtx};

/// The module, off until [`init`](GrpcWebCtx::init) is called for a request.
///
/// ```
/// use pingora_core::modules::http::HttpModules;
/// use pingora_core::modules::http::grpc_web::{GrpcWeb, GrpcWebBridge};
///
/// let mut modules = HttpModules::new();
/// modules.add_module(Box::new(GrpcWeb));
///
/// // For one request, before its head is looked at:
/// let mut of_request = modules.build_ctx();
/// of_request.get_mut::<GrpcWebBridge>().expect("added above").init();
/// ```
#[derive(Default)]
pub struct GrpcWebBridge(Bridge);

impl Deref for GrpcWebBridge {
    type Target = GrpcWebCtx;

    fn deref(&self) -> &Self::Target {
        &self.0.ctx
    }
}

impl DerefMut for GrpcWebBridge {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0.ctx
    }
}

#[async_trait]
impl HttpModule for GrpcWebBridge {
    async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        self.0.request_header(req);
        Ok(())
    }

    async fn request_body_filter(
        &mut self,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<()>
    where
        Self: Send,
    {
        self.0.request_body(body, end_of_stream)
    }

    async fn response_header_filter(
        &mut self,
        resp: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        self.0.response_header(resp);
        Ok(())
    }

    fn response_body_filter(
        &mut self,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
    ) -> Result<()> {
        self.0.response_body(body);
        Ok(())
    }

    fn response_trailer_filter(
        &mut self,
        trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        self.0.response_trailers(trailers)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Makes the module.
pub struct GrpcWeb;

impl HttpModuleBuilder for GrpcWeb {
    fn init(&self) -> Module {
        Box::new(GrpcWebBridge::default())
    }

    fn is_dormant(&self) -> bool {
        true
    }
}
