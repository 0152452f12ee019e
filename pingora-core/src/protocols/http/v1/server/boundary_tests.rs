//! Where one message ends and the next begins: whatever is doubtful closes the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::HttpSession;
use crate::protocols::http::{HttpTask, ServerSession};
use crate::protocols::raw_connect::ProxyDigest;
use crate::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};

const OK: &str = "HTTP/1.1 200 OK";

async fn asked(request: &str) -> (HttpSession, DuplexStream) {
    let (near, mut client) = tokio::io::duplex(64 * 1024);
    let mut session = HttpSession::new(Box::new(near));
    client.write_all(request.as_bytes()).await.unwrap();
    session.read_request().await.unwrap().unwrap();
    session.set_server_keepalive(Some(60));
    session.set_pipelining_enabled(true);
    (session, client)
}

fn head(status: u16, fields: &[(&'static str, &str)]) -> Box<ResponseHeader> {
    let mut head = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    Box::new(head)
}

async fn seen_by(mut client: DuplexStream) -> String {
    let mut all = String::new();
    client.read_to_string(&mut all).await.unwrap();
    all
}

const EXPECT: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nExpect: 100-continue\r\n\r\n";

/// The client may send the body or leave it: nobody can tell where its next request starts.
#[tokio::test]
async fn an_early_answer_to_an_expectation_closes() {
    let (mut session, mut client) = asked(EXPECT).await;
    let refusal = head(413, &[("Content-Length", "0")]);
    session.write_response_header(refusal).await.unwrap();
    session.finish_body().await.unwrap();
    client
        .write_all(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n............")
        .await
        .unwrap();
    AsyncWriteExt::shutdown(&mut client).await.unwrap();
    assert!(session.reuse().await.unwrap().is_none());
    let seen = seen_by(client).await;
    assert!(seen.contains("\r\nConnection: close\r\n"), "{seen}");
}

/// Once the body comes, it is clear where it ends.
#[tokio::test]
async fn an_answer_after_a_continue_drains() {
    let (mut session, mut client) = asked(EXPECT).await;
    session.write_continue_response().await.unwrap();
    client.write_all(&[b'x'; 40]).await.unwrap();
    let refusal = head(413, &[("Content-Length", "0")]);
    session.write_response_header(refusal).await.unwrap();
    session.finish_body().await.unwrap();
    assert!(session.reuse().await.unwrap().is_some());
    drop(client);
}

#[tokio::test]
async fn a_granted_connect_is_a_tunnel() {
    let (mut session, mut client) =
        asked("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nearly").await;
    let granted = head(200, &[("Transfer-Encoding", "chunked")]);
    session.write_response_header(granted).await.unwrap();
    assert!(session.was_upgraded());
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "early");
    let tunnel = HttpTask::UpgradedBody(Some(Bytes::from_static(b"hello")), true);
    assert!(session.response_duplex_vec(vec![tunnel]).await.unwrap());
    AsyncWriteExt::shutdown(&mut client).await.unwrap();
    assert!(session.reuse().await.unwrap().is_none());
    let seen = seen_by(client).await;
    assert!(
        seen.starts_with(OK) && seen.ends_with("\r\n\r\nhello"),
        "{seen}"
    );
    assert!(
        !seen.contains("Connection") && !seen.contains("chunked"),
        "{seen}"
    );
}

/// In a tunnel a response head would be data.
#[tokio::test]
async fn no_head_is_written_into_a_tunnel() {
    let (mut session, client) =
        asked("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: w\r\n\r\n").await;
    let switch = head(101, &[("Upgrade", "w"), ("Connection", "Upgrade")]);
    session.write_response_header(switch).await.unwrap();
    session.write_response_header(head(200, &[])).await.unwrap();
    session.write_body(b"raw").await.unwrap();
    assert_eq!(session.response_written().unwrap().status(), 101);
    drop(session);
    let seen = seen_by(client).await;
    assert!(
        seen.ends_with("\r\n\r\nraw") && !seen.contains(OK),
        "{seen}"
    );
}

/// A client that reads framing into a head without a body would miss the one that follows.
#[tokio::test]
async fn informational_heads_have_no_framing() {
    let (mut session, client) = asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let fields = [
        ("Link", "</a>"),
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
    ];
    session
        .write_response_header(head(103, &fields))
        .await
        .unwrap();
    drop(session);
    let seen = seen_by(client).await;
    assert_eq!(seen, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
}

/// Answers a client that takes a byte a millisecond, until that is too slow; returns how many it took.
async fn dripped(limit: impl FnOnce(&mut HttpSession)) -> usize {
    let (near, mut client) = tokio::io::duplex(64);
    let mut session = HttpSession::new(Box::new(near));
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    session.read_request().await.unwrap().unwrap();
    limit(&mut session);
    let drip = tokio::spawn(async move {
        let mut byte = [0; 1];
        let mut read = 0;
        while let Ok(1) = client.read(&mut byte).await {
            read += 1;
            // Far more often than the deadline of what is left.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        read
    });
    let tasks = vec![
        HttpTask::Header(head(200, &[("Content-Length", "20000")]), false),
        HttpTask::Body(Some(Bytes::from(vec![b'x'; 20_000])), true),
    ];
    let e = session.response_duplex_vec(tasks).await.unwrap_err();
    assert_eq!(e.etype(), &pingora_error::ErrorType::WriteTimedout);
    drop(session);
    drip.await.unwrap()
}

/// A hundred bytes a second are a hundred bytes a second, not one byte per timeout.
#[tokio::test]
async fn dripping_does_not_fulfil_a_minimum_rate() {
    let taken = dripped(|session| session.set_min_send_rate(Some(100_000))).await;
    assert!(taken < 20_000);
}

/// Nor does it put off the write timeout for ever.
#[tokio::test]
async fn dripping_does_not_put_off_the_write_timeout() {
    let limit = Some(Duration::from_millis(100));
    let taken = dripped(|session| session.set_write_timeout(limit)).await;
    // Less than is taken in time: that would have begun it anew.
    assert!(taken < 4 * 1024);
}

/// A stream that takes everything at once and passes it on in a second flush.
#[derive(Debug)]
struct Gathering {
    far: DuplexStream,
    gathered: Vec<u8>,
    flushes: usize,
    stuck: bool,
}

impl AsyncRead for Gathering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.far).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gathering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.gathered.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes += 1;
        if self.flushes % 2 == 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let this = &mut *self;
        match Pin::new(&mut this.far).poll_write(cx, &this.gathered) {
            Poll::Ready(Ok(sent)) => {
                assert_eq!(sent, this.gathered.len(), "the pipe has room");
                this.gathered.clear();
                Poll::Ready(Ok(()))
            }
            other => other.map_ok(|_| ()),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.far).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Gathering {
    async fn shutdown(&mut self) {
        if self.stuck {
            std::future::pending::<()>().await;
        }
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Gathering {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for Gathering {}

impl Peek for Gathering {}

impl GetTimingDigest for Gathering {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Gathering {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Gathering {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

/// What a stream below us gathered (TLS does) was not sent until the stream says so.
#[tokio::test]
async fn a_flush_waits_for_the_stream() {
    let (far, mut client) = tokio::io::duplex(64 * 1024);
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let stream = Gathering {
        far,
        gathered: Vec::new(),
        flushes: 0,
        stuck: false,
    };
    let mut session = ServerSession::new_http1(Box::new(stream));
    assert!(session.read_request().await.unwrap());
    session.set_keepalive(Some(60));
    session.respond_error(404).await.unwrap();
    let _open = session;
    let mut first = [0; 12];
    client.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 404");
}

/// Nothing a peer does, or does not do, may hold a connection for good.
#[tokio::test]
async fn waits_have_limits_by_default() {
    let (session, _client) = asked("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let minute = Some(Duration::from_secs(60));
    assert_eq!(session.get_read_timeout(), minute);
    assert_eq!(session.get_write_timeout(), minute);
    assert_eq!(session.get_total_drain_timeout(), minute);
}

/// A stream whose end waits for the peer, as that of TLS does.
#[tokio::test]
async fn a_stream_that_does_not_end_is_left() {
    let (far, client) = tokio::io::duplex(1);
    let stream = Gathering {
        far,
        gathered: Vec::new(),
        flushes: 0,
        stuck: true,
    };
    let mut session = HttpSession::new(Box::new(stream));
    session.shutdown().await;
    drop(client);
}
