//! A proxy with every hook.

use std::any::Any;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::connectors::ConnectorOptions;
use pingora::http::{HMap, RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::prelude::*;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, HttpProxy, ProxyServiceBuilder, http_proxy_service_with_name};
use pingora::server::configuration::ServerConf;
use tokio::sync::{mpsc, watch};

use crate::ask;
use crate::upstream::Answers;

/// The names of the hooks, in the order they were called.
type Trail = Vec<&'static str>;

pub(crate) struct EveryHook {
    /// Receives the trail of each request.
    trails: mpsc::UnboundedSender<Trail>,
    answer: &'static str,
}

#[async_trait]
impl ProxyHttp for EveryHook {
    type CTX = Trail;

    fn new_ctx(&self) -> Self::CTX {
        vec!["new_ctx"]
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(crate::modules::Builder));
    }

    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        ctx: &mut Self::CTX,
        prev_ctx: Box<dyn Any + Send + Sync>,
    ) {
        assert_eq!(prev_ctx.downcast_ref::<u8>(), Some(&7));
        ctx.push("on_connection_reuse");
    }

    async fn early_request_filter(&self, _session: &mut Session, ctx: &mut Self::CTX) -> Result<()>
    where
        Self::CTX: Send + Sync,
    {
        ctx.push("early_request_filter");
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool>
    where
        Self::CTX: Send + Sync,
    {
        ctx.push("request_filter");
        if session.req_header().uri.path() == "/answered" {
            session
                .respond_error_with_body(403, Bytes::from_static(b"no"))
                .await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn proxy_upstream_filter(
        &self,
        _session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<bool>
    where
        Self::CTX: Send + Sync,
    {
        ctx.push("proxy_upstream_filter");
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        ctx.push("upstream_peer");
        let mut peer = Box::new(HttpPeer::new("127.0.0.1:1", false, String::new()));
        if self.answer.is_empty() {
            peer.options.connection_timeout = Some(Duration::from_secs(5));
        } else {
            peer.options.custom_l4 = Some(Arc::new(Answers(self.answer)));
        }
        Ok(peer)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Self::CTX,
        e: Box<Error>,
    ) -> Box<Error> {
        ctx.push("fail_to_connect");
        e
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        #[cfg(unix)] _fd: RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
    {
        ctx.push("connected_to_upstream");
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
    {
        ctx.push("upstream_request_filter");
        upstream_request.insert_header("X-Forwarded-Proto", "http")
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
    {
        ctx.push(if end_of_stream {
            "request_body_filter"
        } else {
            "more"
        });
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        _upstream_response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
    {
        ctx.push("upstream_response_filter");
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        upstream_response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()>
    where
        Self::CTX: Send + Sync,
    {
        ctx.push("response_filter");
        upstream_response.insert_header("X-Proxied", "yes")
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        ctx.push("upstream_response_body_filter");
        Ok(None)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>>
    where
        Self::CTX: Send + Sync,
    {
        ctx.push("response_body_filter");
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        _upstream_trailers: &mut HMap,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        ctx.push("upstream_response_trailer_filter");
        Ok(())
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _upstream_trailers: &mut HMap,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Bytes>>
    where
        Self::CTX: Send + Sync,
    {
        ctx.push("response_trailer_filter");
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        _session: &mut Session,
        e: Box<Error>,
        ctx: &mut Self::CTX,
        _client_reused: bool,
    ) -> Box<Error> {
        ctx.push("error_while_proxy");
        e.more_context(format!("Peer: {peer}"))
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        _e: &Error,
        ctx: &mut Self::CTX,
    ) -> FailToProxy
    where
        Self::CTX: Send + Sync,
    {
        ctx.push("fail_to_proxy");
        let _ = session.respond_error(555).await;
        FailToProxy {
            error_code: 555,
            can_reuse_downstream: false,
        }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Self::CTX, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, session: &Session, _ctx: &Self::CTX) -> String {
        session.as_downstream().request_summary()
    }

    async fn logging(&self, _session: &mut Session, _e: Option<&Error>, ctx: &mut Self::CTX)
    where
        Self::CTX: Send + Sync,
    {
        ctx.push("logging");
        self.trails
            .send(std::mem::take(ctx))
            .expect("the test listens");
    }

    fn persist_connection_context(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
    ) -> Option<Box<dyn Any + Send + Sync>> {
        Some(Box::new(7_u8))
    }
}

/// Sends `request` through the proxy to a server that answers `answer`; returns the response and
/// the hooks called for each request.
async fn proxied(answer: &'static str, request: &str) -> (String, Vec<Trail>) {
    let (trails, mut seen) = mpsc::unbounded_channel();
    let (_stop, shutdown) = watch::channel(false);
    let proxy = http_proxy(
        &Arc::new(ServerConf::default()),
        EveryHook { trails, answer },
    );
    let (client, server) = tokio::io::duplex(64 * 1024);
    let served = tokio::spawn(async move {
        Arc::new(proxy)
            .process_new(Box::new(server), &shutdown)
            .await
            .is_none()
    });
    let response = ask(client, request).await;
    assert!(served.await.expect("no panic"));
    let mut all = vec![];
    while let Some(trail) = seen.recv().await {
        all.push(trail);
    }
    (response, all)
}

const TO_UPSTREAM: [&str; 8] = [
    "new_ctx",
    "early_request_filter",
    "request_filter",
    "proxy_upstream_filter",
    "upstream_peer",
    "connected_to_upstream",
    "upstream_request_filter",
    "request_body_filter",
];

#[tokio::test]
async fn hooks_run_in_order() {
    let (response, trails) = proxied(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(response.contains("\r\nX-Proxied: yes\r\n"), "{response}");
    assert!(response.contains("\r\nX-Module: seen\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\nhi"), "{response}");
    let trail = &trails[0];
    assert_eq!(trail[..8], TO_UPSTREAM);
    assert_eq!(
        trail[8..10],
        ["upstream_response_filter", "response_filter"]
    );
    for pair in trail[10..trail.len() - 1].chunks(2) {
        assert_eq!(
            pair,
            ["upstream_response_body_filter", "response_body_filter"]
        );
    }
    assert_eq!(trail.last(), Some(&"logging"));
}

#[tokio::test]
async fn trailers_have_hooks() {
    let (response, trails) = proxied(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        response.to_lowercase().contains("\r\n0\r\nt: 1\r\n\r\n"),
        "{response}"
    );
    assert!(trails[0].contains(&"upstream_response_trailer_filter"));
    assert!(trails[0].contains(&"response_trailer_filter"));
}

#[tokio::test]
async fn connections_have_a_memory() {
    let (_, trails) = proxied(
        "HTTP/1.1 204 No Content\r\n\r\n",
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(trails.len(), 2);
    assert_eq!(trails[1][..2], ["new_ctx", "on_connection_reuse"]);
}

#[tokio::test]
async fn a_filter_may_answer() {
    let (response, trails) = proxied("", "GET /answered HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(
        response.starts_with("HTTP/1.1 403 Forbidden\r\n"),
        "{response}"
    );
    assert!(response.ends_with("\r\n\r\nno"), "{response}");
    assert_eq!(
        trails[0],
        [
            "new_ctx",
            "early_request_filter",
            "request_filter",
            "logging"
        ]
    );
}

#[tokio::test]
async fn failures_have_hooks() {
    let (response, trails) = proxied("", "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 555 "), "{response}");
    let end = [
        "upstream_peer",
        "fail_to_connect",
        "fail_to_proxy",
        "logging",
    ];
    assert!(trails[0].ends_with(&end), "{trails:?}");

    let (response, trails) = proxied(
        "no HTTP at all\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    assert!(response.starts_with("HTTP/1.1 555 "), "{response}");
    assert!(
        trails[0].ends_with(&["error_while_proxy", "fail_to_proxy", "logging"]),
        "{trails:?}"
    );
}

#[tokio::test]
async fn sessions_answer_for_a_proxy() -> Result<()> {
    use tokio::io::AsyncWriteExt;

    let (mut client, server) = tokio::io::duplex(1024);
    client
        .write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .or_err(WriteError, "ask")?;
    let mut session = Session::new_h1(Box::new(server));
    assert!(session.read_request().await?);
    session
        .write_response_header(Box::new(ResponseHeader::build(200, None)?), false)
        .await?;
    session
        .write_response_body(Some(Bytes::from_static(b"ab")), false)
        .await?;
    session.write_response_body(None, true).await?;
    assert_eq!(session.body_bytes_sent(), 2);
    assert!(!session.is_process_shutting_down());
    assert_eq!(session.upstream_body_bytes_received(), 0);
    assert!(!session.has_pending_downstream_tasks());
    assert!(session.downstream_custom_message()?.is_none());
    Ok(())
}

#[test]
fn services_are_built_in_every_way() {
    let conf = Arc::new(ServerConf::default());
    let hooks = || EveryHook {
        trails: mpsc::unbounded_channel().0,
        answer: "",
    };
    let mut service = http_proxy_service(&conf, hooks());
    service.add_tcp("127.0.0.1:0");
    if let Some(proxy) = service.app_logic_mut() {
        let mut options = HttpServerOptions::default();
        options.keepalive_request_limit = Some(10);
        proxy.server_options = Some(options);
    }
    let _ = http_proxy_service_with_name(&conf, hooks(), "named");
    let _ = ProxyServiceBuilder::new(&conf, hooks())
        .name("built")
        .client_options(ConnectorOptions::new(4))
        .server_options(HttpServerOptions::default())
        .runtime_opts_override(|global| Some(global.clone()))
        .build();
    let mut proxy: HttpProxy<EveryHook> = HttpProxy::new(hooks(), conf);
    proxy.handle_init_modules();
    assert_eq!(proxy.unexpected_data_connection_count(), 0);
}
