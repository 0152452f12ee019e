//! Calls the hooks on what passes: the only place that does, for all upstream protocols.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use pingora_core::protocols::http::HttpTask;
use pingora_error::{BError, Result};
use pingora_http::ResponseHeader;
use pingora_timeout::fast_timeout::Deadline;

use super::duplex::{Exchange, Front, Next};
use super::leg::Leg;
use super::modules;
use crate::ProxyHttp;

/// What is done for each request: compiled for each protocol, so that it becomes part of its caller.
impl<SV, L> Exchange<'_, SV, L>
where
    SV: ProxyHttp + Send + Sync,
    SV::CTX: Send + Sync,
    L: Leg,
{
    /// Passes a piece of the request body to the upstream; `None` is its end.
    pub(super) async fn on_request(&mut self, data: &mut Option<Bytes>) -> Result<()> {
        let front = &mut self.front;
        // Bytes kept from an earlier try are not the end, even if nothing follows them.
        let end = data.is_none() || (front.session.is_body_done() && !front.is_tunnel());
        if !front.session.downstream_modules_ctx.is_empty() {
            modules::filter(front.session, data, end).await?;
        }
        front
            .proxy
            .request_body_filter(front.session, data, end, front.ctx)
            .await?;
        let data = data.take();
        if !end {
            return self.leg.send_body(data, false);
        }
        front.progress.request_ended();
        match front.session.request_trailers().cloned() {
            None => self.leg.send_body(data, true),
            Some(trailers) => {
                self.leg.send_body(data, false)?;
                self.leg.send_trailers(trailers)
            }
        }
    }

    /// Passes a piece of the response to the client, as far as its hooks do not wait.
    pub(super) fn on_response(&mut self, task: HttpTask) -> Result<Next> {
        match task {
            HttpTask::Header(head, end) => return Ok(Next::Head(head, end)),
            HttpTask::Trailer(Some(trailers)) => return Ok(Next::Trailers(trailers)),
            HttpTask::Body(data, end) => self.front.on_body(data, end)?,
            HttpTask::UpgradedBody(data, end) => self.front.on_tunnel(data, end)?,
            HttpTask::Trailer(None) | HttpTask::Done => self.front.on_body(None, true)?,
            HttpTask::Failed(e) => return Err(e),
        }
        Ok(Next::Wait)
    }

    pub(super) async fn on_head(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<()> {
        let Exchange { front, leg } = self;
        let upgraded = leg.is_tunnel();
        leg.normalize(&mut head);
        if head.status().is_informational() && !upgraded {
            return front.queue(HttpTask::Header(head, false));
        }
        let had_no_body = forbids_body(head.status());
        let compression = &mut front.session.upstream_compression;
        // What flows in a tunnel is no content.
        if compression.is_enabled() && !upgraded {
            compression.request_filter(front.session.downstream_session.req_header());
            compression.response_header_filter(&mut head, end);
        }
        front
            .proxy
            .upstream_response_filter(front.session, &mut head, front.ctx)
            .await?;
        #[cfg(feature = "upstream_modules")]
        {
            front.session.upstream_modules_began = true;
            front
                .proxy
                .adjust_upstream_modules(front.session, &head, end, front.ctx)
                .await?;
        }
        if let Some(modules) = front.session.upstream_modules() {
            modules.response_header_filter(&mut head, end).await?;
        }
        front
            .proxy
            .response_filter(front.session, &mut head, front.ctx)
            .await?;
        if !front.session.downstream_modules_ctx.is_empty() {
            front
                .session
                .downstream_modules_ctx
                .response_header_filter(&mut head, end)
                .await?;
        }
        let has_no_body =
            forbids_body(head.status()) || front.session.req_header().method() == Method::HEAD;
        if had_no_body && !has_no_body && end {
            // A filter made a response with a body out of one without: its length is the body's.
            head.remove_header("content-length");
        }
        front.session.respect_shutdown();
        front.queue(HttpTask::Header(head, false))?;
        if upgraded {
            // A custom client has its tunnel when it was told so.
            Box::pin(front.send_tasks()).await?;
        }
        if upgraded && front.is_tunnel() {
            front.progress.upgraded();
            leg.upgrade();
            return Ok(());
        }
        front.progress.head_passed();
        // A filter may have made a refusal out of what would have been a tunnel.
        if end || upgraded {
            front.on_body(None, true)?;
        }
        Ok(())
    }
}

impl<SV> Front<'_, SV>
where
    SV: ProxyHttp + Send + Sync,
    SV::CTX: Send + Sync,
{
    fn on_body(&mut self, mut data: Option<Bytes>, end: bool) -> Result<()> {
        self.filter_body(&mut data, end)?;
        let rest = if end && !self.session.downstream_modules_ctx.is_empty() {
            self.session.downstream_modules_ctx.response_done_filter()?
        } else {
            None
        };
        if data.is_some() {
            self.queue(HttpTask::Body(data, false))?;
        }
        if rest.is_some() {
            self.queue(HttpTask::Body(rest, false))?;
        }
        if end { self.end() } else { Ok(()) }
    }

    fn on_tunnel(&mut self, mut data: Option<Bytes>, end: bool) -> Result<()> {
        self.filter_body(&mut data, end)?;
        if data.is_some() {
            self.queue(HttpTask::UpgradedBody(data, false))?;
        }
        if end { self.end() } else { Ok(()) }
    }

    pub(super) async fn on_trailers(&mut self, mut trailers: Box<HeaderMap>) -> Result<()> {
        // The body ends before its trailers: what filters held back goes out first.
        let compression = &mut self.session.upstream_compression;
        let mut last = compression.finish().map_err(|e: BError| e.into_up())?;
        let first = self.upstream_on_body(&mut last, true)?;
        self.proxy
            .upstream_response_trailer_filter(self.session, &mut trailers, self.ctx)?;
        let mut trailers = Some(trailers);
        if let Some(modules) = self.session.upstream_modules() {
            append(&mut last, modules.response_trailer_filter(&mut trailers)?);
        }
        let second = self
            .proxy
            .response_body_filter(self.session, &mut last, true, self.ctx)?;
        self.pause_for(first, second);
        let mut data = match &mut trailers {
            Some(trailers) => {
                self.proxy
                    .response_trailer_filter(self.session, trailers, self.ctx)
                    .await?
            }
            None => None,
        };
        let mut rest = None;
        if !self.session.downstream_modules_ctx.is_empty() {
            let modules = &mut self.session.downstream_modules_ctx;
            // To them the body ends once, with what a hook made of the trailers.
            modules.response_body_filter(&mut last, data.is_none())?;
            if data.is_some() {
                modules.response_body_filter(&mut data, true)?;
            }
            rest = modules.response_trailer_filter(&mut trailers)?;
        }
        self.queue_some(last)?;
        self.queue_some(data)?;
        self.queue_some(rest)?;
        self.queue(HttpTask::Trailer(trailers))?;
        self.progress.response_ended();
        Ok(())
    }

    fn filter_body(&mut self, data: &mut Option<Bytes>, end: bool) -> Result<()> {
        self.hooks_on_body(data, end)?;
        if !self.session.downstream_modules_ctx.is_empty() && !self.is_tunnel() {
            self.session
                .downstream_modules_ctx
                .response_body_filter(data, end)?;
        }
        Ok(())
    }

    fn hooks_on_body(&mut self, data: &mut Option<Bytes>, end: bool) -> Result<()> {
        let compression = &mut self.session.upstream_compression;
        if compression.is_enabled() {
            let coded = compression.try_response_body_filter(data.as_ref(), end);
            if let Some(coded) = coded.map_err(|e: BError| e.into_up())? {
                *data = Some(coded).filter(|coded| !coded.is_empty());
            }
        }
        let first = self.upstream_on_body(data, end)?;
        if end
            && !self.is_tunnel()
            && let Some(modules) = self.session.upstream_modules()
        {
            append(data, modules.response_done_filter()?);
        }
        let second = self
            .proxy
            .response_body_filter(self.session, data, end, self.ctx)?;
        self.pause_for(first, second);
        Ok(())
    }

    /// Calls what is on the side of the upstream; returns the pause asked for.
    fn upstream_on_body(
        &mut self,
        data: &mut Option<Bytes>,
        end: bool,
    ) -> Result<Option<Duration>> {
        let pause = self
            .proxy
            .upstream_response_body_filter(self.session, data, end, self.ctx)?;
        if !self.is_tunnel()
            && let Some(modules) = self.session.upstream_modules()
        {
            modules.response_body_filter(data, end)?;
        }
        Ok(pause)
    }

    fn pause_for(&mut self, first: Option<Duration>, second: Option<Duration>) {
        if first.is_some() || second.is_some() {
            let pause: Duration = first
                .unwrap_or_default()
                .saturating_add(second.unwrap_or_default());
            self.pause = (!pause.is_zero()).then(|| Box::new(Deadline::new(pause)));
        }
    }

    fn queue_some(&mut self, data: Option<Bytes>) -> Result<()> {
        match data {
            Some(data) => self.queue(HttpTask::Body(Some(data), false)),
            None => Ok(()),
        }
    }

    fn queue(&mut self, task: HttpTask) -> Result<()> {
        if self.session.is_custom() {
            self.tasks.get_or_insert_default().0.push(task);
            return Ok(());
        }
        self.downstream().queue_task(task).map(|_| ())
    }

    fn end(&mut self) -> Result<()> {
        self.queue(HttpTask::Done)?;
        self.progress.response_ended();
        Ok(())
    }

    fn is_tunnel(&self) -> bool {
        self.session.was_upgraded()
    }
}

/// Appends what a module ends a body with.
pub(crate) fn append(data: &mut Option<Bytes>, rest: Option<Bytes>) {
    let Some(rest) = rest else {
        return;
    };
    *data = Some(match data.take() {
        Some(data) if !data.is_empty() => [data, rest].concat().into(),
        _ => rest,
    });
}

fn forbids_body(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}
