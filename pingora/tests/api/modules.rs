//! HTTP modules: filters every request and response passes through.

use std::any::Any;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{HMap, RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module};
use pingora::prelude::*;

#[derive(Default)]
pub(crate) struct Counter {
    pub(crate) calls: usize,
}

#[async_trait]
impl HttpModule for Counter {
    async fn request_header_filter(&mut self, _req: &mut RequestHeader) -> Result<()> {
        self.calls += 1;
        Ok(())
    }

    async fn request_body_filter(
        &mut self,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
    ) -> Result<()> {
        self.calls += 1;
        Ok(())
    }

    async fn response_header_filter(
        &mut self,
        resp: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        self.calls += 1;
        resp.insert_header("X-Module", "seen")
    }

    fn response_body_filter(
        &mut self,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
    ) -> Result<()> {
        self.calls += 1;
        Ok(())
    }

    fn response_trailer_filter(
        &mut self,
        _trailers: &mut Option<Box<HMap>>,
    ) -> Result<Option<Bytes>> {
        self.calls += 1;
        Ok(None)
    }

    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        self.calls += 1;
        Ok(None)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

pub(crate) struct Builder;

impl HttpModuleBuilder for Builder {
    fn order(&self) -> i16 {
        -1
    }

    fn init(&self) -> Module {
        Box::new(Counter::default())
    }
}

#[tokio::test]
async fn a_module_sees_everything() -> Result<()> {
    let mut modules = HttpModules::new();
    modules.add_module(Box::new(Builder));
    let mut ctx = modules.build_ctx();
    ctx.request_header_filter(&mut RequestHeader::build("GET", b"/", None)?)
        .await?;
    ctx.request_body_filter(&mut None, true).await?;
    ctx.response_header_filter(&mut ResponseHeader::build(200, None)?, false)
        .await?;
    ctx.response_body_filter(&mut None, false)?;
    ctx.response_trailer_filter(&mut None)?;
    ctx.response_done_filter()?;
    assert_eq!(ctx.get::<Counter>().map(|counter| counter.calls), Some(6));
    ctx.get_mut::<Counter>().expect("added above").calls = 0;
    Ok(())
}
