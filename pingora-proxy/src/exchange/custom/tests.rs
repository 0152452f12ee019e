//! Clients of HTTP/1 before a server of a custom protocol that does what a test wants.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use pingora_core::apps::HttpServerApp;
use pingora_core::connectors::http::Connector as HttpConnector;
use pingora_core::connectors::http::custom::{Connection, Connector};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::custom::{BodyWrite, CustomMessageWrite, client};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::tls::{ALPN, CustomALPN};
use pingora_core::protocols::{Digest, UniqueIDType};
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::exchange::ByCustomLeg;
use crate::{HttpProxy, ProxyHttp, Session};

type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// What the server says.
#[derive(Clone)]
pub(in crate::exchange) enum Say {
    Head(u16),
    Body(&'static str),
    Trailer(&'static str),
    /// Waits for the end of the request.
    Await,
    /// Breaks off.
    Break,
    /// Says nothing more.
    Hang,
    /// Waits for so many messages.
    Heard(usize),
}

/// Messages that were written down before.
pub(in crate::exchange) struct Script(pub(in crate::exchange) VecDeque<Result<Bytes>>);

impl Script {
    pub(in crate::exchange) fn boxed(texts: &[&'static str]) -> Messages {
        let broken = || Error::e_explain(ErrorType::ReadError, "broken off");
        let message = |text: &&'static str| match *text {
            "BROKEN" => broken(),
            text => Ok(Bytes::from(text)),
        };
        Box::new(Script(texts.iter().map(message).collect()))
    }
}

impl Stream for Script {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(self.0.pop_front())
    }
}

/// Writes messages down, and their end as an empty one.
pub(in crate::exchange) struct Notes<F>(pub(in crate::exchange) F);

#[async_trait]
impl<F: Fn(&str) + Send + Sync + Unpin + 'static> CustomMessageWrite for Notes<F> {
    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    async fn write_custom_message(&mut self, msg: Bytes) -> Result<()> {
        tokio::task::yield_now().await;
        self.0(std::str::from_utf8(&msg).unwrap());
        Ok(())
    }

    async fn finish_custom(&mut self) -> Result<()> {
        self.0("");
        Ok(())
    }
}

/// What the server has seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::exchange) struct Seen {
    head: String,
    ended_with_head: bool,
    pub(in crate::exchange) body: String,
    finished: bool,
    upgraded: bool,
    cleaned: bool,
    released: bool,
    abandoned: bool,
    pub(in crate::exchange) shut: bool,
    pub(in crate::exchange) messages: Vec<String>,
}

#[derive(Default)]
pub(in crate::exchange) struct World {
    seen: Mutex<Seen>,
    ended: Notify,
    /// The server takes no request.
    deaf: bool,
    /// The server takes no body.
    stuck: bool,
    tunnel: bool,
    /// What the server says beside its responses.
    messages: &'static [&'static str],
}

impl World {
    /// Returns a world whose server says something beside its responses.
    pub(in crate::exchange) fn with_messages(messages: &'static [&'static str]) -> Arc<Self> {
        Arc::new(World {
            messages,
            ..World::default()
        })
    }

    pub(in crate::exchange) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap());
    }
}

pub(in crate::exchange) struct Server {
    world: Arc<World>,
    says: VecDeque<Say>,
    head: Option<ResponseHeader>,
    finished: bool,
}

impl Server {
    /// No good cancelled: what was taken is gone.
    async fn next(&mut self) -> Result<Option<Say>> {
        loop {
            let next = self.says.pop_front();
            tokio::task::yield_now().await;
            match next {
                Some(Say::Await) => self.world.ended.notified().await,
                Some(Say::Heard(count)) => {
                    while self.world.seen().messages.len() < count {
                        tokio::task::yield_now().await;
                    }
                }
                Some(Say::Hang) => std::future::pending().await,
                Some(Say::Break) => return Error::e_explain(ErrorType::ReadError, "broken off"),
                next => return Ok(next),
            }
        }
    }
}

#[async_trait]
impl client::Session for Server {
    async fn write_request_header(&mut self, req: Box<RequestHeader>, end: bool) -> Result<()> {
        tokio::task::yield_now().await;
        if self.world.deaf {
            return Error::e_explain(ErrorType::WriteError, "deaf");
        }
        self.world.note(|seen| {
            seen.head = format!("{} {}", req.method(), req.uri);
            seen.ended_with_head = end;
        });
        if end {
            self.world.ended.notify_one();
        }
        Ok(())
    }

    async fn write_request_body(&mut self, _: Bytes, _: bool) -> Result<()> {
        Error::e_explain(ErrorType::InternalError, "that is for the writer")
    }

    async fn finish_request_body(&mut self) -> Result<()> {
        Error::e_explain(ErrorType::InternalError, "that is for the writer")
    }

    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    async fn read_response_header(&mut self) -> Result<()> {
        match self.next().await? {
            Some(Say::Head(status)) => {
                let mut head = ResponseHeader::build(status, None)?;
                head.insert_header("x-server", "custom")?;
                self.head = Some(head);
                Ok(())
            }
            _ => Error::e_explain(ErrorType::ReadError, "no head"),
        }
    }

    async fn read_response_body(&mut self) -> Result<Option<Bytes>> {
        if matches!(self.says.front(), Some(Say::Trailer(_))) {
            return Ok(None);
        }
        match self.next().await? {
            Some(Say::Body(text)) => Ok(Some(text.into())),
            _ => {
                self.finished = true;
                Ok(None)
            }
        }
    }

    fn response_finished(&self) -> bool {
        self.finished
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        self.world.note(|seen| seen.shut = true);
    }

    async fn abandon(&mut self, _: &str) {
        self.world.note(|seen| seen.abandoned = true);
    }

    fn response_header(&self) -> Option<&ResponseHeader> {
        self.head.as_ref()
    }

    fn was_upgraded(&self) -> bool {
        self.world.tunnel && self.head.as_ref().is_some_and(|head| head.status() == 101)
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    async fn read_trailers(&mut self) -> Result<Option<HeaderMap>> {
        let Some(Say::Trailer(text)) = self.next().await? else {
            return Ok(None);
        };
        self.finished = true;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-trailer", text.parse().unwrap());
        Ok(Some(trailers))
    }

    fn fd(&self) -> UniqueIDType {
        -1
    }

    async fn check_response_end_or_error(&mut self, _: bool) -> Result<bool> {
        Ok(self.finished)
    }

    fn take_request_body_writer(&mut self) -> Option<Box<dyn BodyWrite>> {
        Some(Box::new(Writer(Arc::clone(&self.world))))
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        Some(Script::boxed(self.world.messages))
    }

    async fn drain_custom_messages(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        let world = Arc::clone(&self.world);
        let note = move |text: &str| world.note(|seen| seen.messages.push(text.to_string()));
        Some(Box::new(Notes(note)))
    }
}

struct Writer(Arc<World>);

#[async_trait]
impl BodyWrite for Writer {
    /// No good cancelled either.
    async fn write_all_buf(&mut self, data: &mut Bytes) -> Result<()> {
        if self.0.stuck {
            std::future::pending::<()>().await;
        }
        let data = data.split_to(data.len());
        tokio::task::yield_now().await;
        let text = String::from_utf8(data.to_vec()).unwrap();
        self.0.note(|seen| seen.body.push_str(&text));
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        tokio::task::yield_now().await;
        self.0.note(|seen| seen.finished = true);
        self.0.ended.notify_one();
        Ok(())
    }

    async fn cleanup(&mut self) -> Result<()> {
        self.0.note(|seen| seen.cleaned = true);
        Ok(())
    }

    fn upgrade_body_writer(&mut self) {
        self.0.note(|seen| seen.upgraded = true);
    }
}

pub(in crate::exchange) struct Servers {
    world: Arc<World>,
    says: Vec<Say>,
}

impl Servers {
    pub(in crate::exchange) fn new(world: &Arc<World>, says: Vec<Say>) -> Self {
        let world = Arc::clone(world);
        Servers { world, says }
    }
}

#[async_trait]
impl Connector for Servers {
    type Session = Server;

    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        _: &P,
    ) -> Result<(Connection<Server>, bool)> {
        let server = Server {
            world: Arc::clone(&self.world),
            says: self.says.iter().cloned().collect(),
            head: None,
            finished: false,
        };
        Ok((Connection::Session(server), false))
    }

    async fn reused_http_session<P: Peer + Send + Sync + 'static>(&self, _: &P) -> Option<Server> {
        None
    }

    async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        session: Server,
        _: &P,
        _: Option<Duration>,
    ) {
        session.world.note(|seen| seen.released = true);
    }
}

pub(in crate::exchange) struct ToCustom;

#[async_trait]
impl ProxyHttp for ToCustom {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new("127.0.0.1:1", true, "a".to_string());
        peer.options.alpn = ALPN::Custom(CustomALPN::new(b"test".to_vec()));
        if session.req_header().raw_path() == b"/impatient" {
            peer.options.read_timeout = Some(Duration::from_millis(20));
        }
        Ok(Box::new(peer))
    }
}

/// Returns what the client and the server have seen.
async fn exchange(request: &str, says: &[Say], world: World) -> (String, Seen) {
    let world = Arc::new(world);
    let servers = Servers::new(&world, says.to_vec());
    let connector = HttpConnector::new_custom(None, servers);
    let conf = ServerConf::default();
    let proxy = Arc::new(HttpProxy::with_connector(
        ToCustom,
        &conf,
        connector,
        None,
        Some(Box::new(ByCustomLeg)),
    ));
    let (near, mut client) = tokio::io::duplex(64 * 1024);
    client.write_all(request.as_bytes()).await.unwrap();
    let (_stop, shutdown) = tokio::sync::watch::channel(false);
    let session = ServerSession::new_http1(Box::new(near));
    let hear = async move {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let serve = async { drop(proxy.process_new_http(session, &shutdown).await) };
    let both = async { tokio::join!(serve, hear) };
    let limit = Duration::from_secs(10);
    let ((), answer) = tokio::time::timeout(limit, both).await.unwrap();
    (answer, world.seen())
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn responses_pass() {
    use Say::{Await, Body, Head, Trailer};
    let cases: [(&str, &[Say], &[&str]); 6] = [
        (
            GET,
            &[Head(200), Body("ab"), Body("cd")],
            &["HTTP/1.1 200 ", "ab", "cd"],
        ),
        (GET, &[Head(204)], &["HTTP/1.1 204 "]),
        (
            GET,
            &[Head(103), Head(200), Body("ab")],
            &["HTTP/1.1 103 ", "HTTP/1.1 200 ", "ab"],
        ),
        (
            GET,
            &[Head(200), Body("ab"), Trailer("t")],
            &["HTTP/1.1 200 ", "ab", "x-trailer: t"],
        ),
        (
            POST,
            &[Await, Head(200), Body("ab")],
            &["HTTP/1.1 200 ", "ab"],
        ),
        (
            POST,
            &[Head(200), Body("ab"), Await, Body("cd")],
            &["HTTP/1.1 200 ", "ab", "cd"],
        ),
    ];
    for (request, says, expected) in cases {
        let (answer, seen) = exchange(request, says, World::default()).await;
        let mut rest = answer.as_str();
        for part in expected {
            let (_, after) = rest
                .split_once(part)
                .unwrap_or_else(|| panic!("{part}: {answer}"));
            rest = after;
        }
        let post = request == POST;
        let expected = Seen {
            head: format!("{} /a", if post { "POST" } else { "GET" }),
            ended_with_head: !post,
            body: if post {
                "hello".to_string()
            } else {
                String::new()
            },
            finished: post,
            released: true,
            // Nobody has anything to say, and this is said.
            messages: vec![String::new()],
            ..Seen::default()
        };
        assert_eq!(seen, expected, "{answer}");
    }
}

#[tokio::test]
async fn a_response_may_come_before_the_request_ends() {
    let world = World {
        stuck: true,
        ..World::default()
    };
    let (answer, seen) = exchange(POST, &[Say::Head(413), Say::Body("no")], world).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        !seen.finished && !seen.released && seen.abandoned && seen.shut,
        "{seen:?}"
    );
}

#[tokio::test]
async fn errors_of_the_server() {
    let deaf = World {
        deaf: true,
        ..World::default()
    };
    let (answer, seen) = exchange(GET, &[], deaf).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(seen.shut && !seen.released, "{seen:?}");

    let (answer, seen) = exchange(POST, &[Say::Break], World::default()).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(seen.shut && !seen.released, "{seen:?}");

    let impatient = "GET /impatient HTTP/1.1\r\nHost: a\r\n\r\n";
    let (answer, seen) = exchange(impatient, &[Say::Hang], World::default()).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(seen.shut && !seen.released, "{seen:?}");

    let says = [Say::Head(200), Say::Body("ab"), Say::Break];
    let (answer, seen) = exchange(GET, &says, World::default()).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("ab"),
        "{answer}"
    );
    assert!(
        !answer.ends_with("0\r\n\r\n"),
        "the response broke off: {answer}"
    );
    assert!(seen.shut && !seen.released, "{seen:?}");
}

#[tokio::test]
async fn a_tunnel() {
    let request =
        "GET /t HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw";
    let world = World {
        tunnel: true,
        ..World::default()
    };
    let says = [Say::Head(101), Say::Body("up"), Say::Body("per")];
    let (answer, seen) = exchange(request, &says, world).await;
    assert!(
        answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("upper"),
        "{answer}"
    );
    assert!(seen.upgraded && !seen.ended_with_head, "{seen:?}");
}
