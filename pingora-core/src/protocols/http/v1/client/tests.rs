//! The session as another test suite would see it: through the public API, on mocked streams.

use std::time::Duration;

use http::Method;
use pingora_error::{Error, ErrorSource, ErrorType, RetryType};
use pingora_http::RequestHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_test::io::Builder;

use super::{HttpSession, http_req_header_to_wire};
use crate::protocols::http::HttpTask;
use crate::protocols::{Stream, UniqueID};
use crate::upstreams::peer::HttpPeer;

/// Short enough to wait for, long enough to be a timeout.
const SOON: Duration = Duration::from_millis(20);

/// A connection that stays open, and the server.
fn connected(capacity: usize) -> (HttpSession, DuplexStream) {
    let (near, far) = tokio::io::duplex(capacity);
    (HttpSession::new(Box::new(near)), far)
}

fn request(method: &str, fields: &[(&'static str, &str)]) -> Box<RequestHeader> {
    let mut req = RequestHeader::build(method, b"/a", None).unwrap();
    req.insert_header("Host", "pingora.org").unwrap();
    for (name, value) in fields {
        req.append_header(*name, *value).unwrap();
    }
    Box::new(req)
}

fn upgrade() -> Box<RequestHeader> {
    request(
        "GET",
        &[("Connection", "Upgrade"), ("Upgrade", "websocket")],
    )
}

/// A session that has sent this request and receives these pieces; then the server closes.
async fn answered(req: Box<RequestHeader>, pieces: &[&[u8]]) -> HttpSession {
    let mut mock = Builder::new();
    mock.write(&http_req_header_to_wire(&req).unwrap());
    for piece in pieces {
        mock.read(piece);
    }
    let mut session = HttpSession::new(Box::new(mock.build()));
    session.write_request_header(req).await.unwrap();
    session
}

async fn ask(session: &mut HttpSession, method: &str, fields: &[(&'static str, &str)]) -> usize {
    let head = request(method, fields);
    session.write_request_header(head).await.unwrap()
}

/// A session that has sent a GET, and a server that has answered so and stays.
async fn asked(response: &str) -> (HttpSession, DuplexStream) {
    let (mut session, mut server) = connected(64 * 1024);
    ask(&mut session, "GET", &[]).await;
    session.finish_body().await.unwrap();
    server.write_all(response.as_bytes()).await.unwrap();
    (session, server)
}

fn facts(e: &Error) -> (ErrorType, ErrorSource) {
    (e.etype().clone(), e.esource().clone())
}

/// Shows a task in a word.
fn name_of(task: &HttpTask) -> String {
    let text = |data: &Option<bytes::Bytes>| match data {
        Some(data) => String::from_utf8_lossy(data).into_owned(),
        None => "-".to_string(),
    };
    match task {
        HttpTask::Header(head, end) => format!("{} {end}", head.status.as_u16()),
        HttpTask::Body(data, end) => format!("{} {end}", text(data)),
        HttpTask::UpgradedBody(data, end) => format!("tunnel {} {end}", text(data)),
        HttpTask::Trailer(trailers) => format!("trailers {}", trailers.as_ref().unwrap().len()),
        HttpTask::Done => "done".to_string(),
        HttpTask::Failed(e) => format!("failed {e}"),
    }
}

/// The next task of a response, in a word.
async fn next_task(session: &mut HttpSession) -> String {
    name_of(&session.read_response_task().await.unwrap())
}

// --- requests ---

#[tokio::test]
async fn writes_a_head_as_it_was_built() {
    let mut req = RequestHeader::build("GET", b"/a?b", None).unwrap();
    req.insert_header("hOsT", "pingora.org").unwrap();
    req.append_header("Foo", "1").unwrap();
    req.append_header("fOO", "2").unwrap();
    let wire = b"GET /a?b HTTP/1.1\r\nhOsT: pingora.org\r\nFoo: 1\r\nfOO: 2\r\n\r\n";
    assert_eq!(http_req_header_to_wire(&req).unwrap(), &wire[..]);

    let mut mock = Builder::new();
    mock.write(wire);
    let mut session = HttpSession::new(Box::new(mock.build()));
    assert_eq!(
        session.write_request_header(Box::new(req)).await.unwrap(),
        wire.len()
    );
    assert_eq!(session.finish_body().await.unwrap(), Some(0));
    assert_eq!(session.body_bytes_sent(), 0);

    let mut old = request("GET", &[]);
    old.set_version(http::Version::HTTP_10);
    let wire = http_req_header_to_wire(&old).unwrap();
    assert!(wire.starts_with(b"GET /a HTTP/1.0\r\n"));
}

#[tokio::test]
async fn writes_bodies_as_the_head_says() {
    let table: &[(&str, &[(&'static str, &str)], &[&str], &str)] = &[
        ("POST", &[("Content-Length", "5")], &["he", "llo"], "hello"),
        (
            "POST",
            &[("Content-Length", "5")],
            &["hello, world"],
            "hello",
        ),
        ("POST", &[("Content-Length", "0")], &["x"], ""),
        (
            "POST",
            &[("Transfer-Encoding", "chunked")],
            &["he", "", "llo"],
            "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ),
        ("PUT", &[("Transfer-Encoding", "chunked")], &[], "0\r\n\r\n"),
        ("POST", &[], &["x"], ""),
        ("GET", &[], &["x"], ""),
    ];
    for (method, fields, pieces, expected) in table {
        let (mut session, mut server) = connected(1024);
        let head = ask(&mut session, method, fields).await;
        for piece in *pieces {
            session.write_body(piece.as_bytes()).await.unwrap();
        }
        session.finish_body().await.unwrap();
        session.finish_body().await.unwrap();
        drop(session);
        let mut wire = String::new();
        server.read_to_string(&mut wire).await.unwrap();
        assert_eq!(&wire[head..], *expected, "{method} {fields:?}");
    }
}

#[tokio::test]
async fn counts_the_bytes_of_a_body() {
    let (mut session, _server) = connected(1024);
    ask(&mut session, "POST", &[("Content-Length", "5")]).await;
    assert_eq!(session.write_body(b"hel").await.unwrap(), Some(3));
    assert_eq!(session.write_body(b"lo, world").await.unwrap(), Some(2));
    assert_eq!(session.write_body(b"more").await.unwrap(), None);
    assert_eq!(session.finish_body().await.unwrap(), Some(5));
    assert_eq!(session.body_bytes_sent(), 5);

    let (mut session, _server) = connected(1024);
    ask(&mut session, "POST", &[("Content-Length", "5")]).await;
    session.write_body(b"hel").await.unwrap();
    let e = session.finish_body().await.unwrap_err();
    assert_eq!(facts(&e), (ErrorType::WriteError, ErrorSource::Upstream));
    assert!(session.reuse().await.is_none());
}

#[tokio::test]
async fn a_server_that_takes_nothing_times_out() {
    let (mut session, _server) = connected(16);
    session.write_timeout = Some(SOON);
    let e = session
        .write_request_header(request("GET", &[]))
        .await
        .unwrap_err();
    assert_eq!(facts(&e), (ErrorType::WriteTimedout, ErrorSource::Upstream));

    let (mut session, server) = connected(16);
    drop(server);
    let e = session
        .write_request_header(request("GET", &[]))
        .await
        .unwrap_err();
    assert_eq!(
        facts(&e),
        (ErrorType::ConnectionClosed, ErrorSource::Upstream)
    );
}

// --- response heads ---

#[tokio::test]
async fn reads_a_head_however_it_is_cut() {
    let response = b"HTTP/1.1 200 Fine\r\nfOO: Bar\r\nFoo: 2\r\nContent-Length: 0\r\n\r\n";
    for size in [1, 2, 3, 7, response.len()] {
        let pieces: Vec<&[u8]> = response.chunks(size).collect();
        let mut session = answered(request("GET", &[]), &pieces).await;
        assert!(session.resp_header().is_none() && session.get_status().is_none());
        assert_eq!(session.read_response().await.unwrap(), response.len());
        let resp = session.resp_header().unwrap();
        assert_eq!(resp.status, 200);
        assert_eq!(resp.get_reason_phrase(), Some("Fine"));
        assert_eq!(resp.headers.get_all("foo").iter().count(), 2);
        assert_eq!(session.get_status().unwrap(), 200);
        assert_eq!(session.get_header("FOO").unwrap(), "Bar");
        assert_eq!(session.get_header_bytes("none"), b"");
        assert_eq!(session.get_headers_raw_bytes(), &response[..]);
        assert!(session.is_body_done());
        assert_eq!(session.read_body_bytes().await.unwrap(), None);
    }
    let mut session = answered(request("GET", &[]), &[response]).await;
    assert_eq!(session.read_resp_header_parts().await.unwrap().status, 200);
    assert_eq!(session.get_status().unwrap(), 200);
}

#[tokio::test]
async fn says_why_there_is_no_response() {
    use ErrorType::{ConnectionClosed, InvalidHTTPHeader};
    let reused_only = RetryType::ReusedOnly;
    let never = RetryType::Decided(false);
    let table: &[(&[u8], ErrorType, RetryType)] = &[
        (b"", ConnectionClosed, reused_only),
        (b"HTTP/1.1 2", ConnectionClosed, never),
        (b"HTTP/1.1 100 Continue\r\n\r\n", ConnectionClosed, never),
        (b"HTTP/2 200\r\n\r\n", InvalidHTTPHeader, never),
        (b"HTTP/1.1 20 OK\r\n\r\n", InvalidHTTPHeader, never),
        (b"220 ready\r\n\r\n", InvalidHTTPHeader, never),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            InvalidHTTPHeader,
            never,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            InvalidHTTPHeader,
            never,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            InvalidHTTPHeader,
            never,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            InvalidHTTPHeader,
            never,
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            InvalidHTTPHeader,
            never,
        ),
    ];
    for (input, etype, retry) in table {
        let mut session = answered(request("GET", &[]), &[input]).await;
        let e = loop {
            match session.read_response_task().await {
                Ok(HttpTask::Header(head, _)) if head.status.as_u16() == 100 => (),
                Ok(task) => panic!("{} for {}", name_of(&task), input.escape_ascii()),
                Err(e) => break e,
            }
        };
        let shown = input.escape_ascii();
        assert_eq!(
            facts(&e),
            (etype.clone(), ErrorSource::Upstream),
            "{shown}: {e}"
        );
        assert_eq!(e.retry, *retry, "{shown}");
        assert!(session.reuse().await.is_none());
    }
}

#[tokio::test]
async fn a_slow_server_times_out() {
    let (mut session, mut server) = connected(1024);
    session.read_timeout = Some(SOON);
    ask(&mut session, "GET", &[]).await;
    let e = session.read_response().await.unwrap_err();
    assert_eq!(facts(&e), (ErrorType::ReadTimedout, ErrorSource::Upstream));
    drop(session);
    server.read_to_end(&mut vec![]).await.unwrap();

    let (mut session, _server) = asked("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").await;
    session.read_timeout = Some(SOON);
    session.read_response().await.unwrap();
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "hel");
    let e = session.read_body_bytes().await.unwrap_err();
    assert_eq!(facts(&e), (ErrorType::ReadTimedout, ErrorSource::Upstream));
    assert!(!session.will_keepalive());
}

#[tokio::test]
async fn a_head_survives_a_dropped_future() {
    let (mut session, mut server) = asked("HTTP/1.1 204 No Co").await;
    assert!(
        tokio::time::timeout(SOON, session.read_response())
            .await
            .is_err()
    );
    server.write_all(b"ntent\r\n\r\n").await.unwrap();
    session.read_response().await.unwrap();
    assert_eq!(session.get_status().unwrap(), 204);
}

// --- response bodies ---

#[tokio::test]
async fn reads_the_body_its_head_announces() {
    let table = [
        ("GET", "200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        ("GET", "200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x\r\nbc\r\n0\r\n\r\n",
            "abc",
        ),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
            "abc",
        ),
        ("GET", "200 OK\r\n\r\nabc", "abc"),
        ("GET", "200 OK\r\n\r\n", ""),
        ("GET", "204 No Content\r\n\r\n", ""),
        ("GET", "304 Not Modified\r\nContent-Length: 3\r\n\r\n", ""),
        ("HEAD", "200 OK\r\nContent-Length: 3\r\n\r\n", ""),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
        (
            "GET",
            "404 Not Found\r\ncontent-length: 3\r\n\r\nabc",
            "abc",
        ),
    ];
    for (method, response, body) in table {
        let response = format!("HTTP/1.1 {response}");
        for size in [1, 2, 5, response.len()] {
            let pieces: Vec<&[u8]> = response.as_bytes().chunks(size).collect();
            let mut session = answered(request(method, &[]), &pieces).await;
            session.read_response().await.unwrap();
            let mut read = vec![];
            while let Some(data) = session.read_body_ref().await.unwrap() {
                assert!(!data.is_empty(), "an empty piece tells nothing");
                read.extend_from_slice(data);
            }
            assert_eq!(read, body.as_bytes(), "{method}: {response}");
            assert!(session.is_body_done());
            assert_eq!(session.body_bytes_received(), body.len());
            assert_eq!(session.read_body_bytes().await.unwrap(), None, "again");
        }
    }
}

#[tokio::test]
async fn says_why_a_body_broke_off() {
    use ErrorType::{ConnectionClosed, InvalidHTTPHeader};
    let table = [
        ("Content-Length: 4\r\n\r\nabc", ConnectionClosed),
        (
            "Transfer-Encoding: chunked\r\n\r\n3\r\nab",
            ConnectionClosed,
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
            ConnectionClosed,
        ),
        ("Transfer-Encoding: chunked\r\n\r\n\r\n", InvalidHTTPHeader),
        (
            "Transfer-Encoding: chunked\r\n\r\n-1\r\n",
            InvalidHTTPHeader,
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            InvalidHTTPHeader,
        ),
    ];
    for (response, etype) in table {
        let response = format!("HTTP/1.1 200 OK\r\n{response}");
        let mut session = answered(request("GET", &[]), &[response.as_bytes()]).await;
        session.read_response().await.unwrap();
        let e = loop {
            match session.read_body_bytes().await {
                Ok(Some(_)) => (),
                Ok(None) => panic!("{response} counts as whole"),
                Err(e) => break e,
            }
        };
        assert_eq!(facts(&e), (etype, ErrorSource::Upstream), "{response}: {e}");
        assert!(!e.retry(), "a part of the response was read");
        assert!(session.reuse().await.is_none());
    }
}

#[tokio::test]
async fn may_tolerate_a_length_that_is_none() {
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nbody";
    let mut session = answered(request("GET", &[]), &[response]).await;
    session.set_allow_h1_response_invalid_content_length(true);
    session.read_response().await.unwrap();
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "body");
    assert_eq!(session.read_body_bytes().await.unwrap(), None);
    assert!(session.reuse().await.is_none());
}

#[tokio::test]
async fn takes_its_options_from_a_peer() {
    let mut peer = HttpPeer::new("127.0.0.1:80", false, String::new());
    peer.options.read_timeout = Some(Duration::from_secs(1));
    peer.options.write_timeout = Some(Duration::from_secs(2));
    peer.options.allow_h1_response_invalid_content_length = true;
    let mut mock = Builder::new();
    mock.read(b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n");
    let mut session = HttpSession::new_with_options(Box::new(mock.build()), &peer);
    assert_eq!(session.read_timeout, Some(Duration::from_secs(1)));
    assert_eq!(session.write_timeout, Some(Duration::from_secs(2)));
    session.read_response().await.unwrap();
}

// --- tasks ---

#[tokio::test]
async fn a_response_is_a_sequence_of_tasks() {
    let table: &[(&str, &str, &[&str])] = &[
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            &["200 false", "abc true"],
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            &["200 true"],
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            &["200 true"],
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", &["204 true"]),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", &["304 true"]),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
            &["200 false", "abc false", "trailers 1"],
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\n\r\nabc",
            &["200 false", "abc false", "done"],
        ),
        (
            "GET",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            &["103 false", "200 true"],
        ),
    ];
    for (method, response, expected) in table {
        let mut session = answered(request(method, &[]), &[response.as_bytes()]).await;
        let mut seen = vec![];
        loop {
            let task = session.read_response_task().await.unwrap();
            seen.push(name_of(&task));
            if task.is_end() {
                break;
            }
            assert!(session.resp_header().is_some());
        }
        assert_eq!(seen, *expected, "{method}: {response}");
        assert_eq!(next_task(&mut session).await, "done", "after the end");
    }
}

#[tokio::test]
async fn informational_responses_are_bounded() {
    let endless = "HTTP/1.1 102 Processing\r\n\r\n".repeat(100);
    let mut session = answered(request("GET", &[]), &[endless.as_bytes()]).await;
    let mut read = 0;
    while session.read_response().await.is_ok() {
        read += 1;
    }
    assert!((10..100).contains(&read), "{read}");
}

// --- upgrades ---

#[tokio::test]
async fn a_101_makes_a_tunnel() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
    let (mut session, mut server) = connected(1024);
    let head = session.write_request_header(upgrade()).await.unwrap();
    assert!(session.is_upgrade_req() && !session.was_upgraded());
    server.write_all(switch.as_bytes()).await.unwrap();
    assert_eq!(next_task(&mut session).await, "101 false");
    assert!(session.was_upgraded());
    session.maybe_upgrade_body_writer();
    assert_eq!(next_task(&mut session).await, "tunnel hello false");
    assert_eq!(session.write_body(b"ping").await.unwrap(), Some(4));
    server.shutdown().await.unwrap();
    assert_eq!(next_task(&mut session).await, "tunnel - true");
    assert!(!session.will_keepalive());
    assert!(session.reuse().await.is_none());
    let mut wire = vec![];
    server.read_to_end(&mut wire).await.unwrap();
    assert_eq!(&wire[head..], b"ping");
}

#[tokio::test]
async fn a_refused_upgrade_is_a_response() {
    let response = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno";
    let mut session = answered(upgrade(), &[response]).await;
    session.maybe_upgrade_body_writer();
    assert_eq!(next_task(&mut session).await, "400 false");
    session.maybe_upgrade_body_writer();
    assert_eq!(session.write_body(b"ping").await.unwrap(), None);
    assert_eq!(next_task(&mut session).await, "no true");
    assert!(!session.was_upgraded());
}

// --- what becomes of the connection ---

#[tokio::test]
async fn a_whole_exchange_leaves_a_connection() {
    let table = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 0\r\n\r\n",
            false,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        (
            "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        // Bytes nobody asked for would answer the next request.
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", false),
        (
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r\n",
            false,
        ),
    ];
    for (response, reusable) in table {
        let (mut session, _server) = asked(response).await;
        while !session.read_response_task().await.unwrap().is_end() {}
        session.respect_keepalive();
        let stream: Option<Stream> = session.reuse().await;
        assert_eq!(stream.is_some(), reusable, "{response}");
    }
}

#[tokio::test]
async fn what_cannot_be_reused() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";

    // The response was not read.
    let (session, _server) = asked(response).await;
    assert!(session.reuse().await.is_none());

    // Its body was not read.
    let (mut session, _server) = asked(response).await;
    session.read_response().await.unwrap();
    assert!(session.will_keepalive());
    assert!(session.reuse().await.is_none());

    // The request was not sent to its end.
    let (mut session, mut server) = connected(1024);
    ask(&mut session, "POST", &[("Content-Length", "3")]).await;
    server.write_all(response.as_bytes()).await.unwrap();
    while !session.read_response_task().await.unwrap().is_end() {}
    assert!(session.reuse().await.is_none());

    // Shut down: the server sees the end.
    let (mut session, mut server) = asked(response).await;
    session.shutdown().await;
    server.read_to_end(&mut vec![]).await.unwrap();
    assert!(session.reuse().await.is_none());
}

#[tokio::test]
async fn a_connection_carries_the_next_request() {
    let (mut session, mut server) = asked("HTTP/1.1 204 No Content\r\n\r\n").await;
    session.read_response().await.unwrap();
    let mut session = HttpSession::new(session.reuse().await.unwrap());
    ask(&mut session, "GET", &[]).await;
    server
        .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    session.read_response().await.unwrap();
    assert_eq!(session.get_status().unwrap(), 404);
}

// --- the rest ---

#[tokio::test]
async fn tells_about_its_connection() {
    let (mut session, _server) = connected(64);
    assert!(session.server_addr().is_none() && session.client_addr().is_none());
    assert!(session.digest().ssl_digest.is_none());
    session.digest_mut().timing_digest.clear();
    assert_eq!(session.id(), session.stream().id());
    assert!(session.into_inner().into_any().is::<DuplexStream>());
}

#[test]
fn a_head_without_a_target_has_no_wire_form() {
    let mut req = RequestHeader::build("GET", b"", None).unwrap();
    assert!(http_req_header_to_wire(&req).is_some_and(|wire| wire.starts_with(b"GET / ")));
    req.set_method(Method::CONNECT);
    assert!(http_req_header_to_wire(&req).is_some());
}
