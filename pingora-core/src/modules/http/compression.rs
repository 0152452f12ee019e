//! The module that compresses and decompresses responses on their way to the client.
//! What it does is in [`protocols::http::compression`](crate::protocols::http::compression).

use std::any::Any;
use std::ops::{Deref, DerefMut};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::{HttpModule, HttpModuleBuilder, Module, ModuleBuilder};
use crate::protocols::http::compression::ResponseCompressionCtx;

/// The module; derefs to the [`ResponseCompressionCtx`] that holds its settings.
///
/// ```
/// use pingora_core::modules::http::HttpModules;
/// use pingora_core::modules::http::compression::{ResponseCompression, ResponseCompressionBuilder};
///
/// let mut modules = HttpModules::new();
/// modules.add_module(ResponseCompressionBuilder::enable(0));
///
/// // For one request, before its head is looked at:
/// let mut of_request = modules.build_ctx();
/// of_request.get_mut::<ResponseCompression>().expect("added above").adjust_level(6);
/// ```
pub struct ResponseCompression(ResponseCompressionCtx);

impl Deref for ResponseCompression {
    type Target = ResponseCompressionCtx;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for ResponseCompression {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

#[async_trait]
impl HttpModule for ResponseCompression {
    async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        self.0.request_filter(req);
        Ok(())
    }

    async fn response_header_filter(
        &mut self,
        resp: &mut ResponseHeader,
        end_of_stream: bool,
    ) -> Result<()> {
        self.0.response_header_filter(resp, end_of_stream);
        Ok(())
    }

    fn response_body_filter(
        &mut self,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<()> {
        let coded = self
            .0
            .try_response_body_filter(body.as_ref(), end_of_stream)?;
        if let Some(coded) = coded {
            *body = Some(coded).filter(|coded| !coded.is_empty());
        }
        Ok(())
    }

    fn response_trailer_filter(
        &mut self,
        _trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        self.0.finish()
    }

    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        self.0.finish()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Makes the module.
pub struct ResponseCompressionBuilder {
    is_off: bool,
    make: Box<dyn Fn() -> ResponseCompressionCtx + Send + Sync>,
}

impl ResponseCompressionBuilder {
    /// Returns a maker of modules that compress with this level.
    ///
    /// With level 0 the module does nothing until its settings are changed for a request.
    pub fn enable(level: u32) -> ModuleBuilder {
        Box::new(ResponseCompressionBuilder {
            is_off: level == 0,
            make: Box::new(move || ResponseCompressionCtx::new(level, false, false)),
        })
    }

    /// Returns a maker of modules that do nothing until their settings are changed for a request.
    ///
    /// The same as [`enable(0)`](Self::enable), but for one thing: a program that switches nothing
    /// on anywhere is linked without the libraries of the codings.
    pub fn switched_off() -> ModuleBuilder {
        Box::new(ResponseCompressionBuilder {
            is_off: true,
            make: Box::new(ResponseCompressionCtx::default),
        })
    }
}

impl HttpModuleBuilder for ResponseCompressionBuilder {
    /// Returns a low order: the body is compressed as other modules have made it.
    fn order(&self) -> i16 {
        i16::MIN / 2
    }

    fn init(&self) -> Module {
        Box::new(ResponseCompression((self.make)()))
    }

    fn is_dormant(&self) -> bool {
        self.is_off
    }
}
