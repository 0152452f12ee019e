//! The end of a request: error answers, the log, and what becomes of the connection.

use std::sync::atomic::Ordering;

use log::{debug, error};
use pingora_core::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora_core::connectors::http::custom;
use pingora_error::{BError, Error};

use crate::request::Outcome;
use crate::{HttpProxy, ProxyHttp, Session};

impl<SV, C> HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
{
    /// Answers what failed, logs, and returns the connection when it can carry another request.
    pub(crate) async fn finish(
        &self,
        mut session: Session,
        mut ctx: SV::CTX,
        outcome: Outcome,
    ) -> Option<ReusedHttpStream> {
        let (error, reusable) = match outcome {
            Outcome::Answered | Outcome::Proxied => (None, true),
            Outcome::Failed { error, tries } => {
                let answer = self.answer(&mut session, &mut ctx, &error, tries);
                let reusable = Box::pin(answer).await;
                (Some(error), reusable)
            }
        };
        self.inner.logging(&mut session, error.as_deref(), &mut ctx).await;
        self.reuse(session, &ctx, reusable).await
    }

    /// Has the failure answered; returns whether the connection may be used again.
    async fn answer(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        e: &BError,
        tries: usize,
    ) -> bool {
        let began = session.response_written().is_some();
        let answered = self.inner.fail_to_proxy(session, e, ctx).await;
        if !self.inner.suppress_error_log(session, ctx, e) {
            self.log_failure(session, ctx, e, answered.error_code, tries);
        }
        answered.can_reuse_downstream && !began
    }

    #[cold]
    fn log_failure(
        &self,
        session: &Session,
        ctx: &SV::CTX,
        e: &Error,
        status: u16,
        tries: usize,
    ) {
        let summary = self.inner.request_summary(session, ctx);
        if status == 0 {
            debug!("client is gone: {e}, tries: {tries}, {summary}");
            return;
        }
        error!(
            "fail to proxy: {e}, status: {status}, tries: {tries}, retry: {}, {summary}",
            e.retry()
        );
    }

    /// Where connection errors become decisions about reuse.
    async fn reuse(
        &self,
        session: Session,
        ctx: &SV::CTX,
        reusable: bool,
    ) -> Option<ReusedHttpStream> {
        let persisted = self.inner.persist_connection_context(&session, ctx);
        let mut downstream = *session.downstream_session;
        if !reusable {
            downstream.set_keepalive(None);
        }
        if self.shutting_down.load(Ordering::Relaxed) {
            downstream.set_keepalive(None);
        }
        let ended = downstream.response_written().is_some();
        let mut settings = HttpPersistentSettings::for_session(&downstream);
        if let Some(ctx) = persisted {
            settings.set_user_context(ctx);
        }
        if !reusable && !ended {
            downstream.shutdown().await;
            return None;
        }
        match downstream.finish().await {
            Ok(reusable) => Some(ReusedHttpStream::from_reusable_stream(reusable?, settings)),
            Err(e) => {
                debug!("the response could not be ended: {e}");
                None
            }
        }
    }
}
