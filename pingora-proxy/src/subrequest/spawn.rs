//! [`SubrequestSpawner`]: makes subrequests and runs them in tasks of their own.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::connectors::http::custom;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::subrequest::server::{HttpSession, SubrequestHandle};
use tokio::task::JoinHandle;

use super::{BodyMode, Ctx};
use crate::{HttpProxy, ProxyHttp};

/// What can serve a subrequest: every [`HttpProxy`].
#[async_trait]
pub trait Subrequest {
    /// Serves `session`, whose request was read, to its end; failures reach its maker.
    async fn process_subrequest(
        self: Arc<Self>,
        session: Box<ServerSession>,
        sub_req_ctx: Box<Ctx>,
    );
}

#[async_trait]
impl<SV, C> Subrequest for HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
{
    async fn process_subrequest(
        self: Arc<Self>,
        session: Box<ServerSession>,
        sub_req_ctx: Box<Ctx>,
    ) {
        let mut session = self.session(*session, None);
        session.subrequest_ctx = Some(sub_req_ctx);
        let mut ctx = self.inner.new_ctx();
        let outcome = self.run_phases(&mut session, &mut ctx).await;
        // There is no connection to keep.
        let _ = self.finish(&mut session, ctx, outcome).await;
    }
}

/// Makes subrequests of the proxy it belongs to.
///
/// ```
/// use pingora_proxy::subrequest::Ctx;
/// use pingora_proxy::Session;
///
/// /// For a hook: asks the own proxy for the same thing, in the background.
/// fn warm_up(session: &Session) {
///     if let Some(spawner) = &session.subrequest_spawner {
///         spawner.spawn_background_subrequest(session, Ctx::builder().build());
///     }
/// }
/// ```
#[derive(Clone)]
pub struct SubrequestSpawner {
    app: Arc<dyn Subrequest + Send + Sync>,
}

impl SubrequestSpawner {
    /// Returns a spawner of subrequests to `app`.
    pub fn new(app: Arc<dyn Subrequest + Send + Sync>) -> SubrequestSpawner {
        SubrequestSpawner { app }
    }

    /// Starts a subrequest with the request head of `session` and drops its response.
    ///
    /// With [`BodyMode::ExpectBody`] it fails when it reads the body, as nobody sends one. Needs a
    /// runtime of tokio; the task ends with the subrequest.
    pub fn spawn_background_subrequest(&self, session: &ServerSession, ctx: Ctx) -> JoinHandle<()> {
        let (subrequest, handle) = self.create_subrequest(session, ctx);
        handle.drain_tasks();
        tokio::spawn(subrequest.run())
    }

    /// Returns a subrequest with the request head of `session`, to change and run, and the other
    /// end of it.
    pub fn create_subrequest(
        &self,
        session: &ServerSession,
        ctx: Ctx,
    ) -> (PreparedSubrequest, SubrequestHandle) {
        let (mut subrequest, handle) = HttpSession::new_from_session(session);
        if ctx.body_mode() == BodyMode::NoBody {
            subrequest.clear_request_body_headers();
        }
        let prepared = PreparedSubrequest {
            app: self.app.clone(),
            session: Box::new(ServerSession::new_subrequest(subrequest)),
            ctx: Box::new(ctx),
        };
        (prepared, handle)
    }
}

/// A subrequest that was not started yet; [`pipe_subrequest`](super::pipe::pipe_subrequest) has an
/// example.
pub struct PreparedSubrequest {
    app: Arc<dyn Subrequest + Send + Sync>,
    session: Box<ServerSession>,
    ctx: Box<Ctx>,
}

impl PreparedSubrequest {
    /// Serves the subrequest to its end; its response goes to the handle.
    pub async fn run(self) {
        self.app.process_subrequest(self.session, self.ctx).await;
    }

    /// Returns the session of the subrequest.
    pub fn session(&self) -> &ServerSession {
        &self.session
    }

    /// Returns the session of the subrequest, to change its request.
    pub fn session_mut(&mut self) -> &mut ServerSession {
        &mut self.session
    }
}
