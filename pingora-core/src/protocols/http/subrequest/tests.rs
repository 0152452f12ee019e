//! A subrequest and its maker, without a proxy between them.

use std::time::Duration;

use bytes::Bytes;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use tokio::io::AsyncWriteExt;

use super::server::{HttpSession, SubrequestHandle};
use crate::protocols::http::{HttpTask, ServerSession};

async fn main_session(request: &str) -> ServerSession {
    let (mut client, server) = tokio::io::duplex(4096);
    client.write_all(request.as_bytes()).await.unwrap();
    let mut session = ServerSession::new_http1(Box::new(server));
    assert!(session.read_request().await.unwrap());
    session
}

async fn subrequest(fields: &str) -> (HttpSession, SubrequestHandle) {
    let request = format!("POST /p?q HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    HttpSession::new_from_session(&main_session(&request).await)
}

fn body(data: &'static str, end: bool) -> HttpTask {
    HttpTask::Body(Some(Bytes::from_static(data.as_bytes())), end)
}

async fn read_all(session: &mut HttpSession) -> Result<Vec<u8>> {
    let mut all = vec![];
    while let Some(data) = session.read_body_bytes().await? {
        all.extend_from_slice(&data);
    }
    Ok(all)
}

/// The body is what the head announced, or an error.
#[tokio::test]
async fn bodies_are_held_to_their_announcement() {
    let cases: [(&str, Vec<HttpTask>, Result<&str, ErrorType>); 10] = [
        ("", vec![], Ok("")),
        ("Content-Length: 0\r\n", vec![], Ok("")),
        ("Content-Length: 3\r\n", vec![body("abc", true)], Ok("abc")),
        (
            "Content-Length: 3\r\n",
            vec![body("a", false), body("", false), body("bc", false)],
            Ok("abc"),
        ),
        (
            "Content-Length: 3\r\n",
            vec![body("abcd", true)],
            Err(ErrorType::InvalidHTTPHeader),
        ),
        (
            "Content-Length: 3\r\n",
            vec![body("ab", true)],
            Err(ErrorType::InvalidHTTPHeader),
        ),
        (
            "Content-Length: 3\r\n",
            vec![body("ab", false), HttpTask::Done],
            Err(ErrorType::InvalidHTTPHeader),
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            vec![body("ab", false), body("c", false), HttpTask::Done],
            Ok("abc"),
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            vec![body("ab", false)],
            Err(ErrorType::ConnectionClosed),
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            vec![HttpTask::Failed(Error::new(ErrorType::ReadTimedout))],
            Err(ErrorType::ReadTimedout),
        ),
    ];
    for (fields, tasks, expected) in cases {
        let (mut session, handle) = subrequest(fields).await;
        for task in tasks {
            handle.tx.send(task).await.unwrap();
        }
        drop(handle);
        let got = read_all(&mut session).await;
        let got = got.as_deref().map_err(|e| e.etype().clone());
        assert_eq!(got, expected.map(str::as_bytes), "{fields:?}");
    }
}

#[tokio::test]
async fn the_body_is_asked_for_when_it_is_read() {
    let (mut session, mut handle) = subrequest("Content-Length: 1\r\n").await;
    assert!(handle.subreq_wants_body.try_recv().is_err());
    let reader = tokio::spawn(async move { read_all(&mut session).await });
    handle.subreq_wants_body.await.unwrap();
    handle.tx.send(body("x", true)).await.unwrap();
    assert_eq!(reader.await.unwrap().unwrap(), b"x");
}

#[tokio::test]
async fn a_request_without_its_body_announces_none() {
    let fields = "Content-Length: 5\r\nContent-Type: a/b\r\nExpect: 100-continue\r\nX: y\r\n";
    let (mut session, _handle) = subrequest(fields).await;
    session.enable_retry_buffering();
    session.clear_request_body_headers();
    assert!(session.is_body_empty());
    assert_eq!(session.read_body_bytes().await.unwrap(), None);
    session.write_continue_response().await.unwrap();
    let raw = session.get_headers_raw_bytes();
    assert_eq!(&raw[..], b"POST /p?q HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n");
}

/// A client of HTTP/2 names the host in its target.
#[tokio::test]
async fn the_host_of_a_target_is_told() {
    let (mut session, _handle) = subrequest("").await;
    let head = http::Request::get("http://a.example/x").version(http::Version::HTTP_2);
    let (parts, ()) = head.body(()).unwrap().into_parts();
    *session.req_header_mut() = parts.into();
    assert_eq!(session.request_summary(), "GET /x, Host: a.example");
    let raw = session.get_headers_raw_bytes();
    assert_eq!(&raw[..], b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
}

#[tokio::test]
async fn a_response_arrives_as_it_was_written() {
    let (mut session, mut handle) = subrequest("").await;
    let writer = tokio::spawn(async move {
        let early = ResponseHeader::build(103, None).unwrap();
        session.write_response_header_ref(&early).await.unwrap();
        let head = ResponseHeader::build(200, None).unwrap();
        session.write_response_header_ref(&head).await.unwrap();
        session.write_response_header_ref(&head).await.unwrap();
        // More than fits between the two: the writer has to wait for the reader.
        for _ in 0..20 {
            assert_eq!(session.write_body("abc".into()).await.unwrap(), Some(3));
        }
        assert_eq!(session.finish().await.unwrap(), Some(60));
        assert_eq!(session.write_body("late".into()).await.unwrap(), None);
        assert_eq!(session.body_bytes_sent(), 60);
    });
    let mut seen = vec![];
    while let Some(task) = handle.rx.recv().await {
        seen.push(match task {
            HttpTask::Header(head, false) => head.status().as_u16().to_string(),
            HttpTask::Body(Some(data), false) => String::from_utf8(data.to_vec()).unwrap(),
            other => other.type_str().to_string(),
        });
    }
    writer.await.unwrap();
    let mut expected = vec!["103".to_string(), "200".to_string()];
    expected.extend(std::iter::repeat_n("abc".to_string(), 20));
    expected.push("Done".to_string());
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn waits_are_limited() {
    let (mut session, _handle) = subrequest("Content-Length: 1\r\n").await;
    session.set_read_timeout(Some(Duration::from_secs(1)));
    let e = session.read_body_bytes().await.unwrap_err();
    assert_eq!(*e.etype(), ErrorType::ReadTimedout);

    let head = ResponseHeader::build(200, None).unwrap();
    session.write_response_header_ref(&head).await.unwrap();
    session.set_write_timeout(Some(Duration::from_secs(1)));
    let e = loop {
        if let Err(e) = session.write_body("x".into()).await {
            break e;
        }
    };
    assert_eq!(*e.etype(), ErrorType::WriteTimedout);
}

#[tokio::test]
async fn a_dropped_handle_ends_the_subrequest() {
    let (mut session, handle) = subrequest("").await;
    drop(handle);
    let e = session.read_body_or_idle(true).await.unwrap_err();
    assert_eq!(*e.etype(), ErrorType::ConnectionClosed);
    let head = ResponseHeader::build(200, None).unwrap();
    let e = session.write_response_header_ref(&head).await.unwrap_err();
    assert_eq!(*e.etype(), ErrorType::ConnectionClosed);
    assert!(session.idle().await.is_err());
}

#[tokio::test]
async fn a_drained_subrequest_runs_to_its_end() {
    let (mut session, handle) = subrequest("").await;
    let drained = handle.drain_tasks();
    let head = ResponseHeader::build(200, None).unwrap();
    session.write_response_header_ref(&head).await.unwrap();
    for _ in 0..100 {
        session.write_body("x".into()).await.unwrap();
    }
    session.finish().await.unwrap();
    drop(session);
    drained.await.unwrap();
}

#[tokio::test]
async fn failures_reach_the_maker() {
    let (mut session, mut handle) = subrequest("").await;
    session.on_proxy_failure(Error::new_up(ErrorType::ConnectTimedout));
    drop(session);
    let e = handle.subreq_proxy_error.await.unwrap();
    assert_eq!(*e.etype(), ErrorType::ConnectTimedout);
    assert!(handle.rx.recv().await.is_none());
}

#[tokio::test]
async fn upgrades_carry_bytes_both_ways() {
    let fields = "Connection: upgrade\r\nUpgrade: x\r\n";
    let (mut session, mut handle) = subrequest(fields).await;
    let mut head = ResponseHeader::build(101, None).unwrap();
    head.insert_header("Upgrade", "x").unwrap();
    session.write_response_header_ref(&head).await.unwrap();
    assert!(session.was_upgraded());
    let up = HttpTask::UpgradedBody(Some("up".into()), true);
    handle.tx.send(up).await.unwrap();
    assert_eq!(read_all(&mut session).await.unwrap(), b"up");
    let down = vec![HttpTask::UpgradedBody(Some("down".into()), true)];
    assert!(session.response_duplex_vec(down).await.unwrap());
    assert!(matches!(handle.rx.recv().await, Some(HttpTask::Header(..))));
    let next = handle.rx.recv().await;
    assert!(matches!(next, Some(HttpTask::UpgradedBody(Some(_), true))));

    let (mut plain, _handle) = subrequest("").await;
    assert!(plain.write_response_header_ref(&head).await.is_err());
}

#[tokio::test]
async fn the_start_of_a_body_can_be_replayed() {
    let (mut session, handle) = subrequest("Content-Length: 3\r\n").await;
    session.enable_retry_buffering();
    handle.tx.send(body("abc", true)).await.unwrap();
    read_all(&mut session).await.unwrap();
    assert_eq!(session.get_retry_buffer().unwrap(), "abc");
    assert!(!session.retry_buffer_truncated());
}
