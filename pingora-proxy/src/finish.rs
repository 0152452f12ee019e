//! The end of a request: error answers, the log, and what becomes of the connection.

use futures_core::future::BoxFuture;
use log::{debug, error};
use pingora_core::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora_core::connectors::http::custom;
use pingora_core::protocols::http::ServerSession;
use pingora_error::{BError, Error};

use crate::request::Outcome;
use crate::{HttpProxy, ProxyHttp, Session};

/// What becomes of the connection of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It carries another request, if the client and the settings agree.
    Reuse,
    /// The response is ended, then the connection is.
    Close,
    /// The response broke off: only the end of the connection can tell the client.
    Abort,
}

impl<SV, C> HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
{
    /// Answers what failed, logs, and returns the connection when it can carry another request.
    pub(crate) async fn finish(
        &self,
        session: &mut Session,
        mut ctx: SV::CTX,
        outcome: Outcome,
    ) -> Option<ReusedHttpStream> {
        let (error, fate) = match outcome {
            Outcome::Answered | Outcome::Proxied => (None, Fate::Reuse),
            Outcome::Failed { error, tries } => {
                let answer = self.answer(session, &mut ctx, &error, tries);
                let fate = Box::pin(answer).await;
                (Some(error), fate)
            }
        };
        self.inner
            .logging(session, error.as_deref(), &mut ctx)
            .await;
        self.settle(session, &ctx, error, fate).await
    }

    /// Has the failure answered; returns what becomes of the connection.
    async fn answer(
        &self,
        session: &mut Session,
        ctx: &mut SV::CTX,
        e: &BError,
        tries: usize,
    ) -> Fate {
        let began = session.response_written().is_some();
        let answered = self.inner.fail_to_proxy(session, e, ctx).await;
        if !self.inner.suppress_error_log(session, ctx, e) {
            self.log_failure(session, ctx, e, answered.error_code, tries);
        }
        let broke_off = began && !is_whole(session);
        match (
            broke_off || session.response_written().is_none(),
            answered.can_reuse_downstream,
        ) {
            (true, _) => Fate::Abort,
            (false, true) => Fate::Reuse,
            (false, false) => Fate::Close,
        }
    }

    #[cold]
    fn log_failure(&self, session: &Session, ctx: &SV::CTX, e: &Error, status: u16, tries: usize) {
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
    async fn settle(
        &self,
        session: &mut Session,
        ctx: &SV::CTX,
        error: Option<BError>,
        fate: Fate,
    ) -> Option<ReusedHttpStream> {
        if fate == Fate::Abort || (error.is_some() && session.is_subrequest()) {
            fail(session, error, fate).await;
            return None;
        }
        if fate == Fate::Close {
            session.set_keepalive(None);
        }
        let persisted = if session.as_http1().is_some_and(|h1| h1.will_keepalive()) {
            self.inner.persist_connection_context(session, ctx)
        } else {
            None
        };
        // By reference to here: each future that took the session would have room for all of it.
        let nothing = ServerSession::new_custom(Box::new(()));
        let downstream = std::mem::replace(&mut *session.downstream_session, nothing);
        let mut settings = HttpPersistentSettings::for_session(&downstream);
        if let Some(ctx) = persisted {
            settings.set_user_context(ctx);
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

/// Returns whether the client was sent all of a response: a hook may answer, and then return an error.
///
/// HTTP/1 only. A stream of HTTP/2 that has ended is not reset in any case.
fn is_whole(session: &Session) -> bool {
    let http1 = session.as_http1();
    http1.is_some_and(|http1| !http1.was_upgraded() && !http1.needs_end())
}

/// Ends the exchange with the client after a failure. Boxed: this is rare.
fn fail(session: &mut Session, error: Option<BError>, fate: Fate) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        if fate == Fate::Abort {
            if let Some(e) = error {
                session.on_proxy_failure(e);
            }
            session.shutdown().await;
            return;
        }
        // The maker of a subrequest gets the answer whole, and learns why it is one.
        if let Err(e) = session.finish_body().await {
            debug!("the response of a subrequest could not be ended: {e}");
        }
        if let Some(e) = error {
            session.on_proxy_failure(e);
        }
    })
}
