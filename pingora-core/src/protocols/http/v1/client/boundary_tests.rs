//! Where a response ends, and which connections must never carry another request.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use pingora_error::ErrorType;
use pingora_http::RequestHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::HttpSession;
use crate::protocols::http::HttpTask;

/// A session that has sent a request of this method, and the server.
async fn asked(method: &str, target: &str) -> (HttpSession, DuplexStream) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let mut session = HttpSession::new(Box::new(near));
    let mut req = RequestHeader::build(method, target.as_bytes(), None).unwrap();
    req.insert_header("Host", "a").unwrap();
    session.write_request_header(Box::new(req)).await.unwrap();
    session.finish_body().await.unwrap();
    (session, far)
}

/// Behind a granted CONNECT is somebody else's server: the next request is not for it.
#[tokio::test]
async fn a_granted_connect_is_never_reused() {
    let (mut session, mut server) = asked("CONNECT", "a:443").await;
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        .await
        .unwrap();
    let task = session.read_response_task().await.unwrap();
    assert!(matches!(task, HttpTask::Header(head, false) if head.status() == 200));
    assert!(session.was_upgraded() && !session.will_keepalive());
    let task = session.read_response_task().await.unwrap();
    assert!(matches!(task, HttpTask::UpgradedBody(Some(data), false) if data == "hello"));
    session.maybe_upgrade_body_writer();
    session.write_body(b"raw").await.unwrap();
    let mut all = String::new();
    assert!(session.reuse().await.is_none());
    server.read_to_string(&mut all).await.unwrap();
    assert!(all.ends_with("\r\n\r\nraw"), "{all}");
}

#[tokio::test]
async fn a_refused_connect_is_a_response() {
    let (mut session, mut server) = asked("CONNECT", "a:443").await;
    server
        .write_all(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        .await
        .unwrap();
    session.read_response().await.unwrap();
    assert!(!session.was_upgraded());
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "no");
    assert!(session.reuse().await.is_some());
}

/// A length that was ignored must not reach a client that would not ignore it.
#[tokio::test]
async fn an_ignored_length_is_not_passed_on() {
    for length in ["x", "5\r\nContent-Length: 6"] {
        let (mut session, mut server) = asked("GET", "/").await;
        session.set_allow_h1_response_invalid_content_length(true);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nbody");
        server.write_all(head.as_bytes()).await.unwrap();
        session.read_response().await.unwrap();
        assert!(session.get_header("content-length").is_none(), "{length}");
    }
}

/// A server that is still taking the request is not late with its answer.
#[tokio::test]
async fn the_read_timeout_waits_for_the_request() {
    const LIMIT: Duration = Duration::from_millis(100);
    let (near, mut server) = tokio::io::duplex(64);
    let mut session = HttpSession::new(Box::new(near));
    session.read_timeout = Some(LIMIT);
    let mut req = RequestHeader::build("PUT", b"/", None).unwrap();
    req.insert_header("Host", "a").unwrap();
    req.insert_header("Content-Length", "9000").unwrap();
    session.queue_request_header(Box::new(req));
    session.queue_body(Bytes::from(vec![b'x'; 9000])).unwrap();
    session.queue_finish().unwrap();
    // As an exchange does: both directions at once.
    let mut both = async || {
        poll_fn(|cx| {
            assert!(session.poll_flush(cx).is_pending());
            Poll::Ready(session.poll_read_task(cx))
        })
        .await
    };
    assert!(both().await.is_pending());
    tokio::time::sleep(LIMIT + Duration::from_millis(20)).await;
    server.read_exact(&mut [0; 10]).await.unwrap();
    assert!(both().await.is_pending());
    tokio::time::sleep(LIMIT + Duration::from_millis(20)).await;
    let Poll::Ready(Err(e)) = both().await else {
        panic!("a server that takes nothing is late");
    };
    assert_eq!(e.etype(), &ErrorType::ReadTimedout);
}
