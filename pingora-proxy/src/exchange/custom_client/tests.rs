//! Clients of a custom protocol before servers of HTTP/1 and of a custom one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use pingora_core::apps::HttpServerApp;
use pingora_core::connectors::http::Connector as HttpConnector;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::custom::{CustomMessageWrite, server};
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::exchange::ByCustomLeg;
use crate::exchange::custom::tests::{Notes, Say, Script, Servers, ToCustom, World};
use crate::{HttpProxy, ProxyHttp, Session};

type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// What the client has heard.
#[derive(Default)]
pub(in crate::exchange) struct Heard {
    pub(in crate::exchange) statuses: Vec<u16>,
    body: String,
    trailer: Option<String>,
    ended: bool,
    shut: bool,
    pub(in crate::exchange) messages: Vec<String>,
    /// Reader and writer of messages that were given back.
    pub(in crate::exchange) given_back: usize,
}

pub(in crate::exchange) struct Client {
    req: RequestHeader,
    resp: Option<ResponseHeader>,
    body: VecDeque<&'static str>,
    /// It goes away when it has nothing more to say.
    leaves: bool,
    heard: Arc<Mutex<Heard>>,
    /// What it says beside its request.
    pub(in crate::exchange) messages: &'static [&'static str],
}

impl Client {
    pub(in crate::exchange) fn new(
        body: &[&'static str],
        leaves: bool,
    ) -> (Self, Arc<Mutex<Heard>>) {
        let method: &[u8] = if body.is_empty() { b"GET" } else { b"POST" };
        let mut req = RequestHeader::build(method, b"/c", None).unwrap();
        req.insert_header("Host", "a").unwrap();
        if !body.is_empty() {
            let length: usize = body.iter().map(|piece| piece.len()).sum();
            req.insert_header("Content-Length", length.to_string())
                .unwrap();
        }
        let heard = Arc::new(Mutex::new(Heard::default()));
        let client = Client {
            req,
            resp: None,
            body: body.iter().copied().collect(),
            leaves,
            heard: Arc::clone(&heard),
            messages: &[],
        };
        (client, heard)
    }

    fn hear(&self, hear: impl FnOnce(&mut Heard)) {
        hear(&mut self.heard.lock().unwrap());
    }
}

#[async_trait]
impl server::Session for Client {
    fn req_header(&self) -> &RequestHeader {
        &self.req
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.req
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        tokio::task::yield_now().await;
        Ok(self.body.pop_front().map(Bytes::from))
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.body.clear();
        Ok(())
    }

    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.write_response_header_ref(&resp, end).await
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()> {
        tokio::task::yield_now().await;
        self.hear(|heard| {
            heard.statuses.push(resp.status().as_u16());
            heard.ended |= end;
        });
        self.resp = Some(resp.clone());
        Ok(())
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.hear(|heard| {
            heard.body.push_str(std::str::from_utf8(&data).unwrap());
            heard.ended |= end;
        });
        Ok(())
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.hear(|heard| {
            let value = trailers["x-trailer"].to_str().unwrap();
            heard.trailer = Some(value.to_string());
            heard.ended = true;
        });
        Ok(())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        for task in tasks {
            match task {
                HttpTask::Header(head, end) => self.write_response_header(head, end).await?,
                HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => {
                    self.write_body(data.unwrap_or_default(), end).await?;
                }
                HttpTask::Trailer(Some(trailers)) => self.write_trailers(*trailers).await?,
                HttpTask::Trailer(None) | HttpTask::Done => self.hear(|heard| heard.ended = true),
                HttpTask::Failed(e) => return Err(e),
            }
        }
        Ok(self.heard.lock().unwrap().ended)
    }

    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        "/c".to_string()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.resp.as_ref()
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        self.hear(|heard| heard.shut = true);
    }

    fn is_body_done(&mut self) -> bool {
        self.body.is_empty()
    }

    fn is_body_empty(&mut self) -> bool {
        self.req.method() == "GET"
    }

    async fn finish(&mut self) -> Result<()> {
        self.hear(|heard| heard.ended = true);
        Ok(())
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected {
            return self.read_body_bytes().await;
        }
        if self.leaves {
            return Error::e_explain(ErrorType::ConnectionClosed, "the client left");
        }
        std::future::pending().await
    }

    fn body_bytes_read(&self) -> usize {
        0
    }

    fn body_bytes_sent(&self) -> usize {
        0
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
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
        Some(Script::boxed(std::mem::take(&mut self.messages)))
    }

    fn restore_custom_message_reader(&mut self, _: Messages) -> Result<()> {
        self.hear(|heard| heard.given_back += 1);
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        let heard = Arc::clone(&self.heard);
        let note = move |text: &str| heard.lock().unwrap().messages.push(text.to_string());
        Some(Box::new(Notes(note)))
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        self.hear(|heard| heard.given_back += 1);
        Ok(())
    }
}

pub(in crate::exchange) struct ToPort(u16);

#[async_trait]
impl ProxyHttp for ToPort {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(
            ("127.0.0.1", self.0),
            false,
            String::new(),
        )))
    }
}

pub(in crate::exchange) async fn serve<A: HttpServerApp>(proxy: A, client: Client) {
    let (_stop, shutdown) = tokio::sync::watch::channel(false);
    let session = ServerSession::new_custom(Box::new(client));
    let proxy = Arc::new(proxy);
    let served = proxy.process_new_http(session, &shutdown);
    let limit = Duration::from_secs(10);
    assert!(tokio::time::timeout(limit, served).await.unwrap().is_none());
}

/// Answers one request, up to `until`, with `answer`; returns the request.
pub(in crate::exchange) async fn answer_once(
    listener: TcpListener,
    until: &str,
    answer: &str,
) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(until.as_bytes()) {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(request).unwrap()
}

async fn over_h1(client: Client, until: &str, answer: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let proxy = HttpProxy::new(ToPort(port), Arc::new(ServerConf::default()));
    let (request, ()) = tokio::join!(answer_once(listener, until, answer), serve(proxy, client));
    request
}

#[tokio::test]
async fn http1_answers_custom_clients() {
    let (client, heard) = Client::new(&[], false);
    let answer = "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
    let request = over_h1(client, "\r\n\r\n", answer).await;
    assert!(request.starts_with("GET /c HTTP/1.1\r\n"), "{request}");
    {
        let heard = heard.lock().unwrap();
        assert_eq!(heard.statuses, [103, 200]);
        assert!(heard.body == "ab" && heard.ended && !heard.shut);
    }

    let (client, heard) = Client::new(&["he", "llo"], false);
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\
                  x-trailer: t\r\n\r\n";
    let request = over_h1(client, "hello", answer).await;
    assert!(request.starts_with("POST /c HTTP/1.1\r\n"), "{request}");
    let heard = heard.lock().unwrap();
    assert!(heard.body == "ab" && heard.ended && !heard.shut);
    assert_eq!(heard.trailer.as_deref(), Some("t"));
}

#[tokio::test]
async fn http1_breaks_off_before_custom_clients() {
    let (client, heard) = Client::new(&[], false);
    over_h1(client, "\r\n\r\n", "").await;
    assert_eq!(heard.lock().unwrap().statuses, [502]);

    let (client, heard) = Client::new(&[], false);
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab";
    over_h1(client, "\r\n\r\n", answer).await;
    let heard = heard.lock().unwrap();
    assert_eq!(heard.statuses, [200]);
    assert!(heard.body == "ab" && !heard.ended && heard.shut);
}

async fn over_custom(client: Client, says: Vec<Say>) -> Arc<World> {
    let world = Arc::new(World::default());
    let connector = HttpConnector::new_custom(None, Servers::new(&world, says));
    let proxy = HttpProxy::with_connector(
        ToCustom,
        &ServerConf::default(),
        connector,
        None,
        Some(Box::new(ByCustomLeg)),
    );
    serve(proxy, client).await;
    world
}

#[tokio::test]
async fn custom_servers_answer_custom_clients() {
    let (client, heard) = Client::new(&["he", "llo"], false);
    let says = vec![
        Say::Await,
        Say::Head(200),
        Say::Body("ab"),
        Say::Trailer("t"),
    ];
    let world = over_custom(client, says).await;
    assert_eq!(world.seen().body, "hello");
    let heard = heard.lock().unwrap();
    assert!(heard.body == "ab" && heard.ended && !heard.shut);
    assert_eq!(heard.trailer.as_deref(), Some("t"));
}

#[tokio::test]
async fn a_custom_client_leaves() {
    let (client, heard) = Client::new(&[], true);
    let world = over_custom(client, vec![Say::Head(200), Say::Hang]).await;
    assert!(!heard.lock().unwrap().ended && world.seen().shut);
}
