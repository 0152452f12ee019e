//! A protocol of one's own, downstream and upstream.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use pingora::connectors::http::custom::{Connection, Connector};
use pingora::http::{HMap, RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora::protocols::http::custom::{
    BodyWrite, CustomMessageWrite, client, drain_custom_messages, server,
};
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::{Digest, UniqueIDType};
use pingora::proxy::{ProcessCustomSession, http_proxy_service_with_name_custom};
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::Peer;

type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// A session whose other side says what it is told to.
struct Puppet {
    req: RequestHeader,
    resp: Option<ResponseHeader>,
    digest: Digest,
    sent: usize,
    finished: bool,
}

impl Puppet {
    fn new() -> Self {
        Puppet {
            req: RequestHeader::build("GET", b"/puppet", None).expect("a valid head"),
            resp: None,
            digest: Digest::default(),
            sent: 0,
            finished: false,
        }
    }
}

#[async_trait]
impl server::Session for Puppet {
    fn req_header(&self) -> &RequestHeader {
        &self.req
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.req
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.resp = Some(*resp);
        self.finished |= end;
        Ok(())
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()> {
        self.resp = Some(resp.clone());
        self.finished |= end;
        Ok(())
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.sent += data.len();
        self.finished |= end;
        Ok(())
    }

    async fn write_trailers(&mut self, _trailers: HMap) -> Result<()> {
        Ok(())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        Ok(tasks.iter().any(HttpTask::is_end))
    }

    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        "a puppet's request".to_string()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.resp.as_ref()
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {}

    async fn abandon(&mut self, _ctx: &str) {}

    fn is_body_done(&mut self) -> bool {
        true
    }

    async fn finish(&mut self) -> Result<()> {
        self.finished = true;
        Ok(())
    }

    fn is_body_empty(&mut self) -> bool {
        true
    }

    async fn read_body_or_idle(&mut self, _no_body_expected: bool) -> Result<Option<Bytes>> {
        Ok(None)
    }

    fn body_bytes_read(&self) -> usize {
        0
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Messages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        Some(Box::new(Writer))
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }

    fn is_upgrade_req(&self) -> bool {
        false
    }

    fn was_upgraded(&self) -> bool {
        false
    }

    fn proxy_tasks_enabled(&self) -> bool {
        false
    }

    fn set_proxy_tasks_enabled(&mut self, _enabled: bool) {}

    fn send_proxy_task(&mut self, _task: HttpTask) {}

    fn has_pending_proxy_tasks(&self) -> bool {
        false
    }

    async fn write_proxy_tasks(&mut self) -> Result<bool> {
        Ok(false)
    }
}

#[async_trait]
impl client::Session for Puppet {
    async fn write_request_header(&mut self, req: Box<RequestHeader>, _end: bool) -> Result<()> {
        self.req = *req;
        Ok(())
    }

    async fn write_request_body(&mut self, data: Bytes, _end: bool) -> Result<()> {
        self.sent += data.len();
        Ok(())
    }

    async fn finish_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    async fn read_response_header(&mut self) -> Result<()> {
        self.resp = Some(ResponseHeader::build(200, None)?);
        Ok(())
    }

    async fn read_response_body(&mut self) -> Result<Option<Bytes>> {
        self.finished = true;
        Ok(None)
    }

    fn response_finished(&self) -> bool {
        self.finished
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {}

    async fn abandon(&mut self, _ctx: &str) {}

    fn response_header(&self) -> Option<&ResponseHeader> {
        self.resp.as_ref()
    }

    fn was_upgraded(&self) -> bool {
        false
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(&mut self.digest)
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    async fn read_trailers(&mut self) -> Result<Option<HMap>> {
        Ok(None)
    }

    fn fd(&self) -> UniqueIDType {
        -1
    }

    async fn check_response_end_or_error(&mut self, _headers: bool) -> Result<bool> {
        Ok(self.finished)
    }

    fn take_request_body_writer(&mut self) -> Option<Box<dyn BodyWrite>> {
        Some(Box::new(Writer))
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    async fn drain_custom_messages(&mut self) -> Result<()> {
        drain_custom_messages(None).await
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }
}

struct Writer;

#[async_trait]
impl BodyWrite for Writer {
    async fn write_all_buf(&mut self, data: &mut Bytes) -> Result<()> {
        data.clear();
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    async fn cleanup(&mut self) -> Result<()> {
        Ok(())
    }

    fn upgrade_body_writer(&mut self) {}
}

#[async_trait]
impl CustomMessageWrite for Writer {
    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    async fn write_custom_message(&mut self, _msg: Bytes) -> Result<()> {
        Ok(())
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }
}

struct Puppets;

#[async_trait]
impl Connector for Puppets {
    type Session = Puppet;

    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        _peer: &P,
    ) -> Result<(Connection<Self::Session>, bool)> {
        Ok((Connection::Session(Puppet::new()), false))
    }

    async fn reused_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        _peer: &P,
    ) -> Option<Self::Session> {
        None
    }

    async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        _session: Self::Session,
        _peer: &P,
        _idle_timeout: Option<Duration>,
    ) {
    }
}

struct Refusing;

#[async_trait]
impl ProxyHttp for Refusing {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Error::e_explain(HTTPStatus(503), "nobody is there")
    }
}

#[tokio::test]
async fn a_session_of_ones_own_is_a_session() -> Result<()> {
    let mut session = ServerSession::new_custom(Box::new(Puppet::new()));
    assert!(session.as_custom().is_some() && session.as_http1().is_none());
    assert!(session.read_request().await?);
    assert_eq!(session.req_header().raw_path(), b"/puppet");
    session.respond_error(404).await?;
    assert_eq!(
        session.response_written().map(|resp| resp.status.as_u16()),
        Some(404)
    );
    assert!(session.as_custom_mut().is_some());
    assert!(session.finish().await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_protocol_of_ones_own_is_connected_to() -> Result<()> {
    use pingora::connectors::http::Connector as HttpConnector;
    use pingora::protocols::tls::{ALPN, CustomALPN};

    let connector = HttpConnector::new_custom(None, Puppets);
    let mut peer = HttpPeer::new("127.0.0.1:1", true, "a".to_string());
    peer.options.alpn = ALPN::Custom(CustomALPN::new(b"puppet".to_vec()));
    let (mut session, reused) = connector.get_http_session(&peer).await?;
    assert!(!reused);
    session
        .write_request_header(Box::new(RequestHeader::build("GET", b"/", None)?))
        .await?;
    session.finish_request_body().await?;
    session.read_response_header().await?;
    assert_eq!(
        session.response_header().map(|resp| resp.status.as_u16()),
        Some(200)
    );
    assert_eq!(session.read_response_body().await?, None);
    connector.release_http_session(session, &peer, None).await;
    Ok(())
}

#[test]
fn a_proxy_speaks_a_protocol_of_ones_own() {
    let on_custom: ProcessCustomSession<Refusing, Puppets> =
        Arc::new(|_proxy, stream, _shutdown| Box::pin(async move { Some(stream) }));
    let conf = Arc::new(ServerConf::default());
    let service =
        http_proxy_service_with_name_custom(&conf, Refusing, "puppets", Puppets, on_custom);
    assert!(service.app_logic().is_some());
}
