//! [`Session`]: what a hook can do with the request at hand.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream as Messages;
use log::debug;
use pingora_core::modules::http::{HttpModuleCtx, HttpModules};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::compression::ResponseCompressionCtx;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::server::ShutdownWatch;
use pingora_error::{ErrorType::ReadError, OkOrErr, Result};
use pingora_http::ResponseHeader;

use crate::SubrequestSpawner;
use crate::exchange::FilteredBody;
#[cfg(feature = "upstream_modules")]
use crate::exchange::append;
use crate::subrequest::Ctx;

/// What a client sends beside its request.
type CustomMessages = Box<dyn Messages<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// A request of a client, from its first byte to the last of the response.
///
/// Derefs to the [`ServerSession`] of the client; writing through the methods here also passes
/// the modules.
///
/// ```
/// # tokio_test::block_on(async {
/// use pingora_proxy::Session;
/// use tokio::io::AsyncWriteExt;
///
/// let (mut client, server) = tokio::io::duplex(1024);
/// client.write_all(b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n").await.unwrap();
///
/// // For tests: a session without a proxy.
/// let mut session = Session::new_h1(Box::new(server));
/// session.read_request().await.unwrap();
/// assert_eq!(session.req_header().uri.path(), "/a");
/// # })
/// ```
pub struct Session {
    /// The side of the client.
    pub downstream_session: Box<ServerSession>,
    /// The modules of the proxy, as this request goes through them.
    pub downstream_modules_ctx: HttpModuleCtx,
    /// The modules on the side of the upstream, as this response goes through them.
    #[cfg(feature = "upstream_modules")]
    pub upstream_modules_ctx: HttpModuleCtx,
    /// They have seen the head of a response.
    #[cfg(feature = "upstream_modules")]
    pub(crate) upstream_modules_began: bool,
    /// Compresses or decompresses what the upstream sends, before any hook sees it. Off until its
    /// settings are changed, at the latest in
    /// [`upstream_request_filter`](crate::ProxyHttp::upstream_request_filter).
    pub upstream_compression: ResponseCompressionCtx,
    /// Ignore `Range` headers of the client: the response is sent whole.
    pub ignore_downstream_range: bool,
    /// What a subrequest knows about itself; `None` in the request of a client.
    pub subrequest_ctx: Option<Box<Ctx>>,
    /// Makes subrequests, if [`ProxyHttp::allow_spawning_subrequest`](crate::ProxyHttp) allows it.
    pub subrequest_spawner: Option<SubrequestSpawner>,
    pub(crate) upstream: UpstreamCounters,
    /// What the modules made of the request body, once there was something for them to see.
    pub(crate) filtered_body: Option<Box<FilteredBody>>,
    shutdown: Option<ShutdownWatch>,
}

/// What the exchange counted on the side of the upstream.
#[derive(Clone, Copy, Default)]
pub(crate) struct UpstreamCounters {
    pub(crate) body_bytes_received: usize,
    pub(crate) body_bytes_sent: Option<usize>,
    pub(crate) write_pending_time: Duration,
}

impl Session {
    pub(crate) fn new(
        downstream: ServerSession,
        modules: &HttpModules,
        shutdown: Option<ShutdownWatch>,
    ) -> Self {
        Session {
            downstream_session: Box::new(downstream),
            downstream_modules_ctx: modules.build_ctx(),
            #[cfg(feature = "upstream_modules")]
            upstream_modules_ctx: HttpModuleCtx::empty(),
            #[cfg(feature = "upstream_modules")]
            upstream_modules_began: false,
            upstream_compression: ResponseCompressionCtx::default(),
            ignore_downstream_range: false,
            subrequest_ctx: None,
            subrequest_spawner: None,
            upstream: UpstreamCounters::default(),
            filtered_body: None,
            shutdown,
        }
    }

    /// Returns a session on an HTTP/1 connection, without modules: for tests.
    pub fn new_h1(stream: Stream) -> Self {
        Self::new_h1_with_modules(stream, &HttpModules::new())
    }

    /// Returns a session on an HTTP/1 connection, with modules: for tests.
    pub fn new_h1_with_modules(stream: Stream, downstream_modules: &HttpModules) -> Self {
        Self::new(ServerSession::new_http1(stream), downstream_modules, None)
    }

    /// Returns the side of the client.
    pub fn as_downstream(&self) -> &ServerSession {
        &self.downstream_session
    }

    /// Returns the side of the client, to change.
    pub fn as_downstream_mut(&mut self) -> &mut ServerSession {
        &mut self.downstream_session
    }

    /// Answers with this status and no body; the connection is closed afterwards.
    pub async fn respond_error(&mut self, error: u16) -> Result<()> {
        self.as_downstream_mut().respond_error(error).await
    }

    /// Answers with this status and body; the connection is closed afterwards.
    pub async fn respond_error_with_body(&mut self, error: u16, body: Bytes) -> Result<()> {
        self.as_downstream_mut()
            .respond_error_with_body(error, body)
            .await
    }

    /// Sends a response head through the modules; `end_of_stream` when no body follows.
    pub async fn write_response_header(
        &mut self,
        mut resp: Box<ResponseHeader>,
        end_of_stream: bool,
    ) -> Result<()> {
        self.downstream_modules_ctx
            .response_header_filter(&mut resp, end_of_stream)
            .await?;
        self.respect_shutdown();
        self.downstream_session.write_response_header(resp).await?;
        if end_of_stream {
            self.downstream_session.finish_body().await?;
        }
        Ok(())
    }

    /// Sends a response head given by reference through the modules.
    pub async fn write_response_header_ref(
        &mut self,
        resp: &ResponseHeader,
        end_of_stream: bool,
    ) -> Result<(), Box<pingora_error::Error>> {
        self.write_response_header(Box::new(resp.clone()), end_of_stream)
            .await
    }

    /// Sends a piece of the response body through the modules.
    pub async fn write_response_body(
        &mut self,
        mut body: Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<()> {
        self.downstream_modules_ctx
            .response_body_filter(&mut body, end_of_stream)?;
        let rest = if end_of_stream {
            self.downstream_modules_ctx.response_done_filter()?
        } else {
            None
        };
        let tasks = [body, rest]
            .into_iter()
            .flatten()
            .map(|data| HttpTask::Body(Some(data), false))
            .chain(end_of_stream.then_some(HttpTask::Done))
            .collect();
        self.downstream_session.response_duplex_vec(tasks).await?;
        Ok(())
    }

    /// Sends pieces of a response through the modules; returns whether it has ended.
    pub async fn write_response_tasks(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut filtered = Vec::with_capacity(tasks.len());
        for task in tasks {
            self.filter_task(task, &mut filtered).await?;
        }
        self.downstream_session.response_duplex_vec(filtered).await
    }

    /// Sets whether pieces may be queued by the calls below.
    pub fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        self.downstream_session.set_proxy_tasks_enabled(enabled);
    }

    /// Queues a piece of the response, through the modules; sends first when much is queued.
    pub async fn send_downstream_proxy_task(&mut self, task: HttpTask) -> Result<()> {
        let mut filtered = Vec::with_capacity(2);
        self.filter_task(task, &mut filtered).await?;
        for task in filtered {
            self.downstream_session.send_downstream_proxy_task(task);
        }
        // Never more than a client that reads would have taken by now.
        match self.downstream_session.as_http1_mut() {
            Some(h1) if h1.wants_flush() => h1.flush_queued().await,
            _ => Ok(()),
        }
    }

    /// Sends what was queued; returns whether the response has ended. Cancel-safe.
    pub async fn write_downstream_proxy_tasks(&mut self) -> Result<bool> {
        self.downstream_session.write_downstream_proxy_tasks().await
    }

    /// Returns whether queued pieces wait to be sent.
    pub fn has_pending_downstream_tasks(&self) -> bool {
        self.downstream_session.has_pending_downstream_proxy_tasks()
    }

    /// Takes the messages a client sends beside the request, in a protocol of the application's own;
    /// `None` when the client speaks HTTP.
    ///
    /// # Errors
    /// `ReadError` when they were taken before.
    pub fn downstream_custom_message(&mut self) -> Result<Option<CustomMessages>> {
        let Some(session) = self.downstream_session.as_custom_mut() else {
            return Ok(None);
        };
        let messages = session.take_custom_message_reader();
        messages
            .or_err(ReadError, "the messages of the client were taken before")
            .map(Some)
    }

    /// Returns the number of body bytes received from the upstream.
    pub fn upstream_body_bytes_received(&self) -> usize {
        self.upstream.body_bytes_received
    }

    /// Returns the number of body bytes sent to the upstream; `None` before there was one.
    pub fn upstream_body_bytes_sent(&self) -> Option<usize> {
        self.upstream.body_bytes_sent
    }

    /// Returns how long writes to the upstream had to wait.
    pub fn upstream_write_pending_time(&self) -> Duration {
        self.upstream.write_pending_time
    }

    /// Returns whether the server is stopping: a readiness probe should fail now.
    pub fn is_process_shutting_down(&self) -> bool {
        self.shutdown
            .as_ref()
            .is_some_and(|shutdown| *shutdown.borrow())
    }

    #[cfg(feature = "upstream_modules")]
    pub(crate) fn with_upstream_modules(mut self, modules: &HttpModules) -> Self {
        self.upstream_modules_ctx = modules.build_ctx();
        self
    }

    /// Returns the modules on the side of the upstream, if there are any.
    pub(crate) fn upstream_modules(&mut self) -> Option<&mut HttpModuleCtx> {
        #[cfg(feature = "upstream_modules")]
        return Some(&mut self.upstream_modules_ctx).filter(|modules| !modules.is_empty());
        #[cfg(not(feature = "upstream_modules"))]
        None
    }

    /// Passes one piece of a response through the modules on the side of the upstream.
    ///
    /// What ends a body takes the place of the piece that ended it; trailers a module turned into
    /// bytes become the end of the body.
    #[cfg(feature = "upstream_modules")]
    pub async fn upstream_modules_filter_task(&mut self, t: &mut HttpTask) -> Result<()> {
        let modules = &mut self.upstream_modules_ctx;
        match t {
            HttpTask::Header(head, end) => modules.response_header_filter(head, *end).await,
            HttpTask::Body(data, end) => {
                modules.response_body_filter(data, *end)?;
                if *end {
                    append(data, modules.response_done_filter()?);
                }
                Ok(())
            }
            HttpTask::Trailer(trailers) => {
                if let Some(bytes) = modules.response_trailer_filter(trailers)? {
                    *t = HttpTask::Body(Some(bytes), true);
                }
                Ok(())
            }
            HttpTask::Done => {
                if let Some(bytes) = modules.response_done_filter()? {
                    *t = HttpTask::Body(Some(bytes), true);
                }
                Ok(())
            }
            HttpTask::UpgradedBody(..) | HttpTask::Failed(_) => Ok(()),
        }
    }

    /// Gives up keep-alive when the server began to stop since the request came in.
    pub(crate) fn respect_shutdown(&mut self) {
        // Cheaper than a look at the value, which takes a lock.
        if self
            .shutdown
            .as_ref()
            .is_some_and(|shutdown| shutdown.has_changed().unwrap_or(false))
        {
            self.downstream_session.set_keepalive(None);
        }
    }

    /// Passes one piece through the modules; it may become none or several.
    pub(crate) async fn filter_task(
        &mut self,
        task: HttpTask,
        out: &mut Vec<HttpTask>,
    ) -> Result<()> {
        let modules = &mut self.downstream_modules_ctx;
        match task {
            HttpTask::Header(mut header, end) => {
                modules.response_header_filter(&mut header, end).await?;
                out.push(HttpTask::Header(header, end));
            }
            HttpTask::Body(mut data, end) => {
                modules.response_body_filter(&mut data, end)?;
                let rest = if end {
                    modules.response_done_filter()?
                } else {
                    None
                };
                if let Some(rest) = rest {
                    out.push(HttpTask::Body(data, false));
                    out.push(HttpTask::Body(Some(rest), true));
                } else {
                    out.push(HttpTask::Body(data, end));
                }
            }
            HttpTask::Trailer(mut trailers) => {
                if let Some(rest) = modules.response_trailer_filter(&mut trailers)? {
                    out.push(HttpTask::Body(Some(rest), false));
                }
                out.push(HttpTask::Trailer(trailers));
            }
            HttpTask::Done => {
                if let Some(rest) = modules.response_done_filter()? {
                    out.push(HttpTask::Body(Some(rest), true));
                } else {
                    out.push(HttpTask::Done);
                }
            }
            tunnel @ HttpTask::UpgradedBody(..) => out.push(tunnel),
            HttpTask::Failed(e) => {
                debug!("the response broke off: {e}");
                out.push(HttpTask::Failed(e));
            }
        }
        Ok(())
    }
}

impl AsRef<ServerSession> for Session {
    fn as_ref(&self) -> &ServerSession {
        &self.downstream_session
    }
}

impl AsMut<ServerSession> for Session {
    fn as_mut(&mut self) -> &mut ServerSession {
        &mut self.downstream_session
    }
}

impl Deref for Session {
    type Target = ServerSession;

    fn deref(&self) -> &Self::Target {
        &self.downstream_session
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.downstream_session
    }
}
