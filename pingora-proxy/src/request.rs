//! A request's walk through the phases, up to the response.

use std::future::Future;
use std::sync::Arc;

use log::{debug, warn};
use pingora_core::connectors::http::custom;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::custom::client::Session as CustomSession;
use pingora_core::protocols::{ALPN, UniqueID};
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{
    BError, Error,
    ErrorType::{H2Downgrade, HTTPStatus, InternalError},
    Result,
};

use crate::exchange::{Exchange, FilteredBody, H1Leg, H2Leg};
use crate::{HttpProxy, ProxyHttp, ProxyWarnLogContext, Session, SubrequestSpawner};

/// How the phases of a request ended.
pub(crate) enum Outcome {
    /// A hook has answered.
    Answered,
    /// The response of an upstream was passed on whole.
    Proxied,
    /// Something failed; `tries` at upstreams were made.
    Failed {
        /// The error to answer and log.
        error: BError,
        /// How many upstreams were tried.
        tries: usize,
    },
}

impl<SV, C> HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
{
    /// Runs the hooks in order until one answers, an upstream does, or something fails.
    pub(crate) async fn run_phases(
        self: &Arc<Self>,
        session: &mut Session,
        ctx: &mut SV::CTX,
    ) -> Outcome {
        match self.before_upstream(session, ctx).await {
            Ok(true) => self.try_upstreams(session, ctx).await,
            Ok(false) => Outcome::Answered,
            Err(error) => Outcome::Failed { error, tries: 0 },
        }
    }

    /// Returns whether to go upstream.
    async fn before_upstream(
        self: &Arc<Self>,
        session: &mut Session,
        ctx: &mut SV::CTX,
    ) -> Result<bool> {
        self.inner.early_request_filter(session, ctx).await?;
        if self.inner.allow_spawning_subrequest(session, ctx) {
            session.subrequest_spawner = Some(SubrequestSpawner::new(self.clone()));
        }
        if !session.downstream_modules_ctx.is_empty() {
            let Session {
                downstream_session,
                downstream_modules_ctx,
                ..
            } = session;
            downstream_modules_ctx
                .request_header_filter(downstream_session.req_header_mut())
                .await?;
        }
        if self.inner.request_filter(session, ctx).await? {
            return Ok(false);
        }
        if self.inner.proxy_upstream_filter(session, ctx).await? {
            return Ok(true);
        }
        if session.response_written().is_none() {
            return Error::e_explain(HTTPStatus(502), "not allowed to go upstream");
        }
        Ok(false)
    }

    async fn try_upstreams(&self, session: &mut Session, ctx: &mut SV::CTX) -> Outcome {
        let max_tries = self.max_retries.max(1);
        if !session.is_body_empty() {
            session.enable_retry_buffering();
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let Err(mut error) = self.try_upstream(session, ctx).await else {
                return Outcome::Proxied;
            };
            // Whatever a hook says: nothing is sent twice that the client has seen begin, and no
            // body of which a part is gone.
            let lacks = |filtered: &FilteredBody| !filtered.is_whole();
            if session.response_written().is_some()
                || session.retry_buffer_truncated()
                || session.filtered_body.as_deref().is_some_and(lacks)
            {
                error.set_retry(false);
            }
            if !error.retry() || tries >= max_tries {
                return Outcome::Failed { error, tries };
            }
            if !self.inner.suppress_proxy_warn_log(
                session,
                ctx,
                &error,
                ProxyWarnLogContext::UpstreamRetry,
            ) {
                warn!(
                    "trying again: {error}, tries: {tries}, {}",
                    self.inner.request_summary(session, ctx)
                );
            }
            self.restart(session);
        }
    }

    /// Brings what had begun on the try that failed back to where the next one begins.
    fn restart(&self, session: &mut Session) {
        session.upstream_compression.restart();
        #[cfg(feature = "upstream_modules")]
        if std::mem::take(&mut session.upstream_modules_began) {
            session.upstream_modules_ctx = self.upstream_modules.build_ctx();
        }
    }

    async fn try_upstream(&self, session: &mut Session, ctx: &mut SV::CTX) -> Result<()> {
        let mut peer = self.inner.upstream_peer(session, ctx).await?;
        if session.is_upgrade_req() && peer.options.alpn == ALPN::H2H1 {
            // Every server that upgrades can do so by HTTP/1, not every one by HTTP/2.
            peer.options.alpn = ALPN::H1;
        }
        let (mut upstream, reused) = (self.connector.get_http_session(&*peer).await)
            .map_err(|e| (self.inner).fail_to_connect(session, &peer, ctx, e.into_up()))?;
        let result = self
            .exchange(&mut upstream, reused, &peer, session, ctx)
            .await;
        if may_reuse(&result, &mut upstream) {
            self.connector
                .release_http_session(upstream, &*peer, peer.idle_timeout())
                .await;
        } else {
            upstream.shutdown().await;
        }
        let Err(e) = result else {
            return Ok(());
        };
        if *e.etype() == H2Downgrade {
            self.connector.prefer_h1(&*peer);
        }
        Err(self.inner.error_while_proxy(&peer, session, e, ctx, reused))
    }

    /// Passes the request to the upstream and the response back; returns whether the upstream may
    /// be left to the connector.
    // No `async fn`: that would keep its arguments twice, in the future of every request.
    fn exchange(
        &self,
        upstream: &mut HttpSession<C::Session>,
        reused: bool,
        peer: &HttpPeer,
        session: &mut Session,
        ctx: &mut SV::CTX,
    ) -> impl Future<Output = Result<bool>> + Send {
        debug!("connected to {peer}, reused: {reused}");
        let fd = match upstream {
            HttpSession::H1(upstream) => upstream.id(),
            HttpSession::H2(upstream) => upstream.fd(),
            HttpSession::Custom(upstream) => upstream.fd(),
        };
        async move {
            self.inner
                .connected_to_upstream(session, reused, peer, fd, upstream.digest(), ctx)
                .await?;
            match upstream {
                HttpSession::H1(upstream) => {
                    Exchange::new(&self.inner, session, ctx, H1Leg::new(upstream))
                        .run(peer)
                        .await?;
                }
                HttpSession::H2(upstream) => {
                    let leg = H2Leg::new(upstream);
                    // Boxed: the exchanges of the legs are not to lie side by side in every request.
                    Box::pin(async move {
                        Exchange::new(&self.inner, session, ctx, leg)
                            .run(peer)
                            .await
                    })
                    .await?;
                }
                HttpSession::Custom(upstream) => {
                    let Some(custom) = &self.custom_exchange else {
                        let context = "the proxy was made without a custom protocol";
                        return Error::e_explain(InternalError, context);
                    };
                    return custom.run(&self.inner, session, ctx, upstream, peer).await;
                }
            }
            Ok(true)
        }
    }
}

/// Returns whether an upstream may be left to the connector after an exchange.
///
/// An error may be that of a hook that does not like the response: one of HTTP/1 that came whole
/// leaves a connection as good as any.
fn may_reuse<S: CustomSession>(result: &Result<bool>, upstream: &mut HttpSession<S>) -> bool {
    match (result, upstream) {
        (Ok(may), _) => *may,
        (Err(_), HttpSession::H1(session)) => session.skip_received_body(),
        (Err(_), _) => false,
    }
}
