//! The session as another test suite would see it: through the public API, on mocked streams.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use pingora_error::{Error, ErrorSource, ErrorType};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_test::io::Builder;

use super::HttpSession;
use crate::protocols::http::{HttpLimits, HttpTask};

/// Short enough to wait for, long enough to be a timeout.
const SOON: Duration = Duration::from_millis(20);

/// A connection that delivers these pieces, then its end.
fn receives(pieces: &[&[u8]]) -> HttpSession {
    let mut mock = Builder::new();
    for piece in pieces {
        mock.read(piece);
    }
    HttpSession::new(Box::new(mock.build()))
}

/// A connection that stays open, and its far side.
fn connected(capacity: usize) -> (HttpSession, DuplexStream) {
    let (near, far) = tokio::io::duplex(capacity);
    (HttpSession::new(Box::new(near)), far)
}

/// A session that has read the request in these pieces.
async fn received(pieces: &[&[u8]]) -> HttpSession {
    let mut session = receives(pieces);
    session.read_request().await.unwrap().unwrap();
    session
}

/// A session that has read this request, and the client.
async fn asked(request: &str) -> (HttpSession, DuplexStream) {
    asked_over(64 * 1024, request).await
}

/// The same on a connection that holds so many bytes.
async fn asked_over(capacity: usize, request: &str) -> (HttpSession, DuplexStream) {
    let (mut session, mut client) = connected(capacity);
    client.write_all(request.as_bytes()).await.unwrap();
    session.read_request().await.unwrap().unwrap();
    (session, client)
}

/// What the client has got when the connection ends, with the value of `Date` left out.
async fn seen_by(mut client: DuplexStream) -> String {
    let mut all = String::new();
    client.read_to_string(&mut all).await.unwrap();
    without_date(&all)
}

fn without_date(wire: &str) -> String {
    let Some(start) = wire.find("Date: ") else {
        return wire.to_string();
    };
    let end = start + wire[start..].find("\r\n").unwrap();
    assert_eq!(
        wire[start..end].len(),
        "Date: Thu, 01 Jan 1970 00:00:00 GMT".len()
    );
    format!("{}Date: now{}", &wire[..start], &wire[end..])
}

fn head(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut head = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    head
}

async fn respond(session: &mut HttpSession, status: u16, fields: &[(&'static str, &str)]) {
    let head = head(status, fields);
    session.write_response_header_ref(&head).await.unwrap();
}

fn facts(e: &Error) -> (ErrorType, ErrorSource) {
    (e.etype().clone(), e.esource().clone())
}

async fn read_all(session: &mut HttpSession) -> Vec<u8> {
    let mut body = vec![];
    while let Some(data) = session.read_body_bytes().await.unwrap() {
        assert!(!data.is_empty(), "an empty piece tells nothing");
        body.extend_from_slice(&data);
    }
    body
}

/// Reads a body that breaks off; returns how.
async fn body_error(session: &mut HttpSession, request: &str) -> Box<Error> {
    loop {
        match session.read_body_bytes().await {
            Ok(Some(_)) => (),
            Ok(None) => panic!("{request} counts as whole"),
            Err(e) => return e,
        }
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

// --- heads ---

#[tokio::test]
async fn reads_a_head_however_it_is_cut() {
    let request = b"GET /a?b HTTP/1.1\r\nHost: pingora.org\r\nfOO: Bar\r\nFoo: 2\r\n\r\n";
    for size in [1, 2, 3, 7, request.len()] {
        let pieces: Vec<&[u8]> = request.chunks(size).collect();
        let mut session = receives(&pieces);
        assert_eq!(session.read_request().await.unwrap(), Some(request.len()));
        let req = session.req_header();
        assert_eq!(req.method, "GET");
        assert_eq!((req.uri.path(), req.uri.query()), ("/a", Some("b")));
        assert_eq!(req.version, http::Version::HTTP_11);
        assert_eq!(req.headers.get_all("foo").iter().count(), 2);
        assert_eq!(session.get_header("FOO").unwrap(), "Bar");
        assert_eq!(session.get_header_bytes("host"), b"pingora.org");
        assert_eq!(session.get_header_bytes("none"), b"");
        assert_eq!(session.get_headers_raw_bytes(), &request[..]);
        assert_eq!(session.request_summary(), "GET /a?b, Host: pingora.org");
        assert!(session.validate_request().is_ok());
        assert!(session.is_body_empty() && session.is_body_done());
        assert_eq!(session.read_body_bytes().await.unwrap(), None);
        assert_eq!(session.body_bytes_read(), 0);
    }
}

#[tokio::test]
async fn reads_every_form_of_target() {
    let table = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "/", "a"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*", "a"),
        (
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
            "a:80",
            "a:80",
        ),
        (
            "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
            "http://b/x",
            "b",
        ),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", "/\u{e4}", "a"),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "/", "a"),
        ("GET / HTTP/1.0\r\n\r\n", "/", ""),
    ];
    for (request, target, host) in table {
        let session = received(&[request.as_bytes()]).await;
        assert_eq!(
            session.req_header().raw_path(),
            target.as_bytes(),
            "{request}"
        );
        assert_eq!(
            session.get_header_bytes("host"),
            host.as_bytes(),
            "{request}"
        );
    }
}

#[tokio::test]
async fn says_why_there_is_no_request() {
    use ErrorType::{ConnectionClosed, HTTPStatus, InvalidHTTPHeader};
    let table: &[(&[u8], Option<ErrorType>)] = &[
        (b"", None),
        (b"G", Some(ConnectionClosed)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", Some(ConnectionClosed)),
        (b"GET / HTTP/1.1\r\n\r\n", Some(InvalidHTTPHeader)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", Some(InvalidHTTPHeader)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", Some(InvalidHTTPHeader)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", Some(InvalidHTTPHeader)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Some(InvalidHTTPHeader)),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Some(InvalidHTTPHeader),
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            Some(InvalidHTTPHeader),
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            Some(InvalidHTTPHeader),
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            Some(HTTPStatus(501)),
        ),
    ];
    for (input, expected) in table {
        let mut session = receives(&[input]);
        match (session.read_request().await, expected) {
            (Ok(None), None) => (),
            (Err(e), Some(etype)) => {
                assert_eq!(facts(&e), (etype.clone(), ErrorSource::Downstream), "{e}");
            }
            (other, _) => panic!("{other:?} for {}", input.escape_ascii()),
        }
        assert!(!session.will_keepalive());
    }
}

#[tokio::test]
async fn holds_clients_to_limits() {
    let limits = HttpLimits {
        max_head_bytes: 100,
        max_fields: 3,
        max_target_bytes: 10,
        ..HttpLimits::default()
    };
    let table = [
        (
            "GET /12345678 HTTP/1.1\r\nHost: a\r\n\r\n".to_string(),
            None,
        ),
        (
            "GET /1234567890 HTTP/1.1\r\nHost: a\r\n\r\n".to_string(),
            Some(414),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nb:\r\nc:\r\nd:\r\n\r\n".to_string(),
            Some(431),
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\nb: {}\r\n\r\n",
                "x".repeat(100)
            ),
            Some(431),
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nb: {}", "x".repeat(100)),
            Some(431),
        ),
    ];
    for (request, status) in table {
        let mut session = receives(&[request.as_bytes()]);
        session.set_limits(limits);
        assert_eq!(session.limits().max_fields, 3);
        let etype = session
            .read_request()
            .await
            .err()
            .map(|e| e.etype().clone());
        assert_eq!(etype, status.map(ErrorType::HTTPStatus), "{request}");
    }
}

#[tokio::test]
async fn a_slow_head_times_out() {
    let (mut session, mut client) = connected(1024);
    session.set_read_timeout(Some(SOON));
    assert_eq!(session.get_read_timeout(), Some(SOON));
    assert_eq!(
        session.read_request().await.unwrap(),
        None,
        "nothing was begun"
    );

    let (mut session, mut slow) = connected(1024);
    session.set_read_timeout(Some(SOON));
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let e = session.read_request().await.unwrap_err();
    assert_eq!(
        facts(&e),
        (ErrorType::ReadTimedout, ErrorSource::Downstream)
    );
    client.write_all(b"x").await.unwrap_or_default();
}

#[tokio::test]
async fn a_body_that_trickles_times_out() {
    let request = post("Content-Length: 100000", "");
    let (mut session, mut client) = asked(&request).await;
    session.set_limits(HttpLimits {
        body_grace: SOON,
        min_body_rate: 1_000_000,
        ..HttpLimits::default()
    });
    let trickle = async {
        // One at a time, for as long as somebody listens.
        while client.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let e = tokio::select! {
        () = trickle => panic!("the client stays"),
        e = body_error(&mut session, &request) => e,
    };
    assert_eq!(
        facts(&e),
        (ErrorType::ReadTimedout, ErrorSource::Downstream)
    );
}

#[tokio::test]
async fn the_first_byte_may_take_as_long_as_the_connection_is_kept() {
    let (mut session, client) = connected(1024);
    session.set_server_keepalive(Some(1));
    assert_eq!(session.read_request().await.unwrap(), None);
    drop(client);

    // From then on, the head has its own time.
    let (mut session, mut client) = connected(1024);
    session.set_server_keepalive(Some(3600));
    session.set_read_timeout(Some(SOON));
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let e = session.read_request().await.unwrap_err();
    assert_eq!(
        facts(&e),
        (ErrorType::ReadTimedout, ErrorSource::Downstream)
    );
}

#[tokio::test]
async fn what_is_queued_and_never_sent_is_limited() {
    let (mut session, _client) = asked(GET).await;
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    session.send_proxy_task(HttpTask::Header(Box::new(head(200, &[])), false));
    for _ in 0..100 {
        session.send_proxy_task(HttpTask::Body(Some(piece.clone()), false));
        assert!(session.queued_bytes() < super::response::MAX_TASK_BYTES + (2 << 20));
    }
    assert!(session.write_proxy_tasks().await.is_err());
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_reset_when_it_breaks_off() {
    use crate::protocols::l4::stream::Stream as L4Stream;

    for (finish, kind) in [
        (true, None),
        (false, Some(std::io::ErrorKind::ConnectionReset)),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let mut session = HttpSession::new(Box::new(L4Stream::from(socket)));
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        session.read_request().await.unwrap().unwrap();
        session
            .write_response_header(Box::new(head(200, &[])))
            .await
            .unwrap();
        session.write_body(b"hello").await.unwrap();
        let mut first = [0; 9];
        client.read_exact(&mut first).await.unwrap();
        if finish {
            session.finish_body().await.unwrap();
        }
        assert!(session.reuse().await.unwrap().is_none());
        let ended = client.read_to_end(&mut Vec::new()).await;
        assert_eq!(ended.err().map(|e| e.kind()), kind);
    }
}

#[tokio::test]
async fn a_head_survives_a_dropped_future() {
    let (mut session, mut client) = connected(1024);
    client.write_all(b"GET /a HTTP/1.1\r\nHo").await.unwrap();
    assert!(
        tokio::time::timeout(SOON, session.read_request())
            .await
            .is_err()
    );
    client.write_all(b"st: a\r\n\r\n").await.unwrap();
    session.read_request().await.unwrap().unwrap();
    assert_eq!(session.req_header().uri.path(), "/a");
}

// --- request bodies ---

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}")
}

#[tokio::test]
async fn reads_bodies_however_they_are_cut() {
    let table = [
        (post("Content-Length: 3", "abc"), "abc"),
        (post("Content-Length: 0", ""), ""),
        (
            post("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
            "abc",
        ),
        (
            post(
                "Transfer-Encoding: Chunked",
                "1;x=y\r\na\r\n02\r\nbc\r\n0\r\n\r\n",
            ),
            "abc",
        ),
        (
            post(
                "Transfer-Encoding: chunked",
                "A\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
            ),
            "0123456789",
        ),
        (post("Transfer-Encoding: chunked", "0\r\n\r\n"), ""),
        (
            "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc".to_string(),
            "abc",
        ),
        ("POST / HTTP/1.0\r\n\r\n".to_string(), ""),
    ];
    for (request, body) in table {
        for size in [1, 2, 5, request.len()] {
            let pieces: Vec<&[u8]> = request.as_bytes().chunks(size).collect();
            let mut session = received(&pieces).await;
            assert_eq!(read_all(&mut session).await, body.as_bytes(), "{request}");
            assert!(session.is_body_done());
            assert_eq!(session.is_body_empty(), body.is_empty(), "{request}");
            assert_eq!(session.body_bytes_read(), body.len());
            assert_eq!(session.read_body_bytes().await.unwrap(), None, "again");
        }
    }
}

#[tokio::test]
async fn says_why_a_body_broke_off() {
    use ErrorType::{ConnectionClosed, InvalidHTTPHeader};
    let table = [
        (post("Content-Length: 4", "abc"), ConnectionClosed),
        (
            post("Transfer-Encoding: chunked", "3\r\nab"),
            ConnectionClosed,
        ),
        (
            post("Transfer-Encoding: chunked", "3\r\nabc\r\n"),
            ConnectionClosed,
        ),
        (
            post("Transfer-Encoding: chunked", "0\r\n"),
            ConnectionClosed,
        ),
        (
            post("Transfer-Encoding: chunked", "\r\nabc\r\n0\r\n\r\n"),
            InvalidHTTPHeader,
        ),
        (
            post("Transfer-Encoding: chunked", "3\r\nabcd\r\n0\r\n\r\n"),
            InvalidHTTPHeader,
        ),
        (
            post("Transfer-Encoding: chunked", "xyz\r\n"),
            InvalidHTTPHeader,
        ),
        (
            post("Transfer-Encoding: chunked", "fffffffffffffffff\r\n"),
            InvalidHTTPHeader,
        ),
    ];
    for (request, etype) in table {
        let mut session = receives(&[request.as_bytes()]);
        session.set_server_keepalive(Some(1));
        session.read_request().await.unwrap().unwrap();
        let e = body_error(&mut session, &request).await;
        assert_eq!(
            facts(&e),
            (etype, ErrorSource::Downstream),
            "{request}: {e}"
        );
        assert!(!session.will_keepalive(), "{request}");
    }
}

#[tokio::test]
async fn a_slow_body_times_out() {
    let (mut session, _client) = asked(&post("Content-Length: 3", "ab")).await;
    session.set_read_timeout(Some(SOON));
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "ab");
    let e = session.read_body_bytes().await.unwrap_err();
    assert_eq!(
        facts(&e),
        (ErrorType::ReadTimedout, ErrorSource::Downstream)
    );
}

#[tokio::test]
async fn keeps_the_body_for_another_try() {
    let mut session = received(&[post("Content-Length: 6", "abc").as_bytes(), b"def"]).await;
    session.enable_retry_buffering();
    assert_eq!(session.get_retry_buffer(), None);
    session.read_body_bytes().await.unwrap();
    assert_eq!(session.get_retry_buffer().unwrap(), "abc");
    session.read_body_bytes().await.unwrap();
    assert_eq!(session.get_retry_buffer().unwrap(), "abcdef");
    assert!(!session.retry_buffer_truncated());

    let big = "x".repeat(64 * 1024 + 1);
    let request = post(&format!("Content-Length: {}", big.len()), &big);
    let mut session = received(&[request.as_bytes()]).await;
    session.enable_retry_buffering();
    assert_eq!(read_all(&mut session).await.len(), big.len());
    assert!(session.retry_buffer_truncated());
    assert_eq!(
        session.get_retry_buffer(),
        None,
        "a part of a body is of no use"
    );
}

#[tokio::test]
async fn waits_for_a_client_to_leave() {
    let (mut session, client) = asked(&post("Content-Length: 2", "ab")).await;
    assert_eq!(
        session.read_body_or_idle(false).await.unwrap().unwrap(),
        "ab"
    );
    drop(client);
    let e = session.read_body_or_idle(true).await.unwrap_err();
    assert_eq!(
        facts(&e),
        (ErrorType::ConnectionClosed, ErrorSource::Downstream)
    );
    assert!(session.is_half_closed());

    let (mut session, mut client) = asked(GET).await;
    client.write_all(b"next").await.unwrap();
    assert_eq!(session.idle().await.unwrap(), 4);
    drop(client);
    assert_eq!(session.idle().await.unwrap(), 0);
}

// --- 100 Continue ---

/// A session that has read a request whose client sends the body when told to, once.
async fn expected() -> HttpSession {
    let expect = post("Expect: 100-continue\r\nContent-Length: 2", "");
    let mut mock = Builder::new();
    mock.read(expect.as_bytes())
        .write(b"HTTP/1.1 100 Continue\r\n\r\n")
        .read(b"ab");
    let mut session = HttpSession::new(Box::new(mock.build()));
    session.read_request().await.unwrap().unwrap();
    session
}

#[tokio::test]
async fn reading_the_body_sends_the_continue_waited_for() {
    let mut session = expected().await;
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "ab");
    session.write_continue_response().await.unwrap();

    // Sent by hand: not twice.
    let mut session = expected().await;
    session.write_continue_response().await.unwrap();
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "ab");

    // Nobody waits.
    let mut session = received(&[post("Content-Length: 2", "ab").as_bytes()]).await;
    session.write_continue_response().await.unwrap();
}

// --- responses ---

#[tokio::test]
async fn writes_what_its_head_announces() {
    let v10 = "GET / HTTP/1.0\r\n\r\n";
    let head_request = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let five = &[("Content-Length", "5")][..];
    let chunked = &[("Transfer-Encoding", "chunked")][..];
    let both = &[("Content-Length", "5"), ("Transfer-Encoding", "chunked")][..];
    let table: &[(&str, u16, &[(&'static str, &str)], &[&str], &str)] = &[
        (
            GET,
            200,
            five,
            &["he", "llo"],
            "200 OK|Content-Length: 5|Connection: close|Date: now||hello",
        ),
        (
            GET,
            200,
            five,
            &["hello, world"],
            "200 OK|Content-Length: 5|Connection: close|Date: now||hello",
        ),
        (
            GET,
            200,
            chunked,
            &["he", "", "llo"],
            "200 OK|Transfer-Encoding: chunked|Connection: close|Date: now||2|he|3|llo|0||",
        ),
        (
            GET,
            404,
            &[],
            &["no"],
            "404 Not Found|Transfer-Encoding: chunked|Connection: close|Date: now||2|no|0||",
        ),
        (
            GET,
            200,
            both,
            &["a"],
            "200 OK|Transfer-Encoding: chunked|Connection: close|Date: now||1|a|0||",
        ),
        (
            v10,
            200,
            &[],
            &["a", "b"],
            "200 OK|Connection: close|Date: now||ab",
        ),
        (
            v10,
            200,
            chunked,
            &["a", "b"],
            "200 OK|Connection: close|Date: now||ab",
        ),
        (
            v10,
            200,
            five,
            &["hello"],
            "200 OK|Content-Length: 5|Connection: close|Date: now||hello",
        ),
        (
            head_request,
            200,
            five,
            &["hello"],
            "200 OK|Content-Length: 5|Connection: close|Date: now||",
        ),
        (
            head_request,
            200,
            &[],
            &["hello"],
            "200 OK|Connection: close|Date: now||",
        ),
        (
            GET,
            204,
            &[],
            &["hello"],
            "204 No Content|Connection: close|Date: now||",
        ),
        (
            GET,
            204,
            chunked,
            &["hello"],
            "204 No Content|Connection: close|Date: now||",
        ),
        (
            GET,
            304,
            five,
            &["hello"],
            "304 Not Modified|Content-Length: 5|Connection: close|Date: now||",
        ),
        (
            GET,
            599,
            &[("Content-Length", "0"), ("dAtE", "mine")],
            &[],
            "599 |Content-Length: 0|dAtE: mine|Connection: close||",
        ),
        (
            GET,
            200,
            &[
                ("Content-Length", "0"),
                ("Connection", "x"),
                ("connection", "y"),
            ],
            &[],
            "200 OK|Content-Length: 0|Connection: close|Date: now||",
        ),
    ];
    for (request, status, fields, pieces, expected) in table {
        for by_reference in [false, true] {
            let (mut session, client) = asked(request).await;
            let head = head(*status, fields);
            if by_reference {
                session.write_response_header_ref(&head).await.unwrap();
            } else {
                session.write_response_header(Box::new(head)).await.unwrap();
            }
            assert_eq!(session.response_written().unwrap().status, *status);
            for piece in *pieces {
                session.write_body(piece.as_bytes()).await.unwrap();
            }
            session.finish_body().await.unwrap();
            session.finish_body().await.unwrap();
            assert!(session.reuse().await.unwrap().is_none());
            let expected = format!("HTTP/1.1 {}", expected.replace('|', "\r\n"));
            assert_eq!(seen_by(client).await, expected, "{request}");
        }
    }
}

#[tokio::test]
async fn counts_the_bytes_of_a_body() {
    let (mut session, _client) = asked(GET).await;
    respond(&mut session, 200, &[("Content-Length", "5")]).await;
    assert_eq!(session.write_body(b"hel").await.unwrap(), Some(3));
    assert_eq!(session.write_body(b"lo, world").await.unwrap(), Some(2));
    assert_eq!(session.write_body(b"more").await.unwrap(), None);
    assert_eq!(session.finish_body().await.unwrap(), Some(5));
    assert_eq!(session.body_bytes_sent(), 5);
}

#[tokio::test]
async fn a_body_cut_short_is_an_error_and_closes() {
    let (mut session, client) = asked(GET).await;
    session.set_server_keepalive(Some(1));
    respond(&mut session, 200, &[("Content-Length", "5")]).await;
    session.write_body(b"hel").await.unwrap();
    let e = session.finish_body().await.unwrap_err();
    assert_eq!(facts(&e), (ErrorType::WriteError, ErrorSource::Downstream));
    drop(client);
    assert!(session.reuse().await.unwrap().is_none());
}

#[tokio::test]
async fn a_body_needs_a_head() {
    let (mut session, _client) = asked(GET).await;
    assert!(session.response_written().is_none());
    assert!(session.write_body(b"x").await.is_err());
}

#[tokio::test]
async fn a_second_head_is_dropped() {
    let (mut session, client) = asked(GET).await;
    let first = head(200, &[("Content-Length", "0")]);
    session.write_response_header_ref(&first).await.unwrap();
    respond(&mut session, 500, &[]).await;
    assert_eq!(session.response_written().unwrap().status, 200);
    drop(session);
    assert!(!seen_by(client).await.contains("500"));
}

#[tokio::test]
async fn informational_heads_precede_the_final_one() {
    for (version, ignored, seen) in [
        ("1.1", false, true),
        ("1.1", true, false),
        ("1.0", false, false),
    ] {
        let (mut session, client) =
            asked(&format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n")).await;
        session.set_ignore_info_resp(ignored);
        let hints = head(103, &[("Link", "</a.css>; rel=preload")]);
        session.write_response_header_ref(&hints).await.unwrap();
        assert!(session.response_written().is_none());
        respond(&mut session, 200, &[("Content-Length", "0")]).await;
        assert_eq!(session.response_written().unwrap().status, 200);
        drop(session);
        let wire = seen_by(client).await;
        let info = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
        assert_eq!(wire.starts_with(info), seen, "{wire}");
        assert!(
            wire.ends_with("Content-Length: 0\r\nConnection: close\r\nDate: now\r\n\r\n"),
            "{wire}"
        );
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_times_out() {
    let (mut session, _client) = asked_over(64, GET).await;
    session.set_write_timeout(Some(SOON));
    assert_eq!(session.get_write_timeout(), Some(SOON));
    let e = session
        .write_response_header_ref(&head(200, &[("X", &"x".repeat(1000))]))
        .await;
    assert_eq!(
        facts(&e.unwrap_err()),
        (ErrorType::WriteTimedout, ErrorSource::Downstream)
    );

    let (mut session, _client) = asked_over(64, GET).await;
    session.set_min_send_rate(Some(1_000_000));
    let e = session
        .write_response_header_ref(&head(200, &[("X", &"x".repeat(1000))]))
        .await;
    assert_eq!(e.unwrap_err().etype(), &ErrorType::WriteTimedout);
}

#[tokio::test]
async fn writing_to_a_client_that_left_fails() {
    let (mut session, client) = asked(GET).await;
    drop(client);
    let e = session
        .write_response_header_ref(&head(200, &[]))
        .await
        .unwrap_err();
    assert_eq!(
        facts(&e),
        (ErrorType::ConnectionClosed, ErrorSource::Downstream)
    );
}

// --- tasks ---

fn data(bytes: &'static str, end: bool) -> HttpTask {
    HttpTask::Body(Some(Bytes::from_static(bytes.as_bytes())), end)
}

#[tokio::test]
async fn tasks_make_a_response() {
    let fields = "Transfer-Encoding: chunked\r\nConnection: close\r\nDate: now\r\n\r\n";
    let begin = || HttpTask::Header(Box::new(head(200, &[])), false);
    let bodiless = || HttpTask::Header(Box::new(head(204, &[])), true);
    let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("t"))]);
    let table = [
        (vec![begin()], false, fields.to_string()),
        (
            vec![begin(), data("a", false)],
            false,
            format!("{fields}1\r\na\r\n"),
        ),
        (
            vec![begin(), data("a", true)],
            true,
            format!("{fields}1\r\na\r\n0\r\n\r\n"),
        ),
        (
            vec![
                begin(),
                data("a", false),
                HttpTask::Body(None, false),
                HttpTask::Done,
            ],
            true,
            format!("{fields}1\r\na\r\n0\r\n\r\n"),
        ),
        (
            vec![begin(), HttpTask::Body(None, true)],
            true,
            format!("{fields}0\r\n\r\n"),
        ),
        (
            vec![begin(), HttpTask::Trailer(None)],
            true,
            format!("{fields}0\r\n\r\n"),
        ),
        (
            vec![begin(), HttpTask::Trailer(Some(Box::new(trailers)))],
            true,
            format!("{fields}0\r\netag: t\r\n\r\n"),
        ),
        (
            vec![bodiless()],
            true,
            "Connection: close\r\nDate: now\r\n\r\n".to_string(),
        ),
    ];
    for (tasks, end, expected) in table {
        let (mut session, client) =
            asked("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n").await;
        assert_eq!(session.response_duplex_vec(tasks).await.unwrap(), end);
        drop(session);
        let wire = seen_by(client).await;
        assert_eq!(wire.split_once("\r\n").unwrap().1, expected);
    }
}

#[tokio::test]
async fn a_failed_task_fails_the_response() {
    let (mut session, client) = asked(GET).await;
    session.set_server_keepalive(Some(1));
    let tasks = vec![
        HttpTask::Header(Box::new(head(200, &[])), false),
        HttpTask::Failed(Error::new_up(ErrorType::ReadError)),
    ];
    let e = session.response_duplex_vec(tasks).await.unwrap_err();
    assert_eq!(facts(&e), (ErrorType::ReadError, ErrorSource::Upstream));
    drop(client);
    assert!(session.reuse().await.unwrap().is_none());
}

#[tokio::test]
async fn queued_tasks_are_sent_when_asked_to() {
    let (mut session, client) = asked(GET).await;
    assert!(!session.proxy_tasks_enabled());
    session.set_proxy_tasks_enabled(true);
    assert!(session.proxy_tasks_enabled() && !session.has_pending_proxy_tasks());
    session.send_proxy_task(HttpTask::Header(
        Box::new(head(200, &[("Content-Length", "1")])),
        false,
    ));
    assert!(session.has_pending_proxy_tasks());
    assert!(!session.write_proxy_tasks().await.unwrap());
    assert!(!session.has_pending_proxy_tasks());
    session.send_proxy_task(data("a", true));
    assert!(session.write_proxy_tasks().await.unwrap());
    drop(session);
    assert!(seen_by(client).await.ends_with("\r\n\r\na"));
}

// --- upgrades ---

const UPGRADE: &str =
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test]
async fn a_101_makes_a_tunnel() {
    let (mut session, mut client) = asked(UPGRADE).await;
    assert!(session.is_upgrade_req() && !session.was_upgraded());
    let switch = head(101, &[("Upgrade", "websocket"), ("Connection", "Upgrade")]);
    assert_eq!(session.is_upgrade(&switch), Some(true));
    assert_eq!(session.is_upgrade(&head(200, &[])), Some(false));
    session.write_response_header_ref(&switch).await.unwrap();
    assert!(session.was_upgraded());
    assert!(!session.is_body_done());

    client.write_all(b"ping").await.unwrap();
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "ping");
    session.write_body(b"pong").await.unwrap();
    let tunnel = HttpTask::UpgradedBody(Some(Bytes::from_static(b"!")), false);
    assert!(!session.response_duplex_vec(vec![tunnel]).await.unwrap());
    client.shutdown().await.unwrap();
    assert_eq!(session.read_body_bytes().await.unwrap(), None);
    assert!(session.is_body_done());
    session.finish_body().await.unwrap();
    assert!(session.reuse().await.unwrap().is_none());
    assert_eq!(
        seen_by(client).await,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\npong!"
    );
}

#[tokio::test]
async fn a_refused_upgrade_is_a_response() {
    let (mut session, client) = asked(UPGRADE).await;
    session.set_server_keepalive(Some(1));
    respond(&mut session, 403, &[("Content-Length", "0")]).await;
    assert!(!session.was_upgraded());
    assert!(session.reuse().await.unwrap().is_some());
    assert!(
        seen_by(client)
            .await
            .contains("\r\nConnection: keep-alive\r\n")
    );
}

#[tokio::test]
async fn only_upgrades_that_were_asked_for_are_granted() {
    for request in [
        GET,
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let (mut session, _client) = asked(request).await;
        assert!(!session.is_upgrade_req());
        assert_eq!(session.is_upgrade(&head(101, &[])), None);
        let switch = head(101, &[("Upgrade", "websocket"), ("Connection", "Upgrade")]);
        assert!(
            session.write_response_header_ref(&switch).await.is_err(),
            "{request}"
        );
    }
}

// --- what becomes of the connection ---

#[tokio::test]
async fn both_sides_agree_on_keep_alive() {
    let table = [
        ("1.1", "", Some(60), true),
        ("1.1", "", Some(0), true),
        ("1.1", "", None, false),
        ("1.1", "Connection: close", Some(60), false),
        ("1.1", "Connection: Keep-Alive", Some(60), true),
        ("1.1", "Connection: keep-alive, close", Some(60), false),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: Close",
            Some(60),
            false,
        ),
        ("1.1", "Connection: x-close", Some(60), true),
        ("1.0", "", Some(60), false),
        ("1.0", "Connection: keep-alive", Some(60), true),
        ("1.0", "Connection: keep-alive", None, false),
    ];
    for (version, field, server, kept) in table {
        let field = if field.is_empty() {
            String::new()
        } else {
            format!("{field}\r\n")
        };
        let request = format!("GET / HTTP/{version}\r\nHost: a\r\n{field}\r\n");
        let (mut session, client) = asked(&request).await;
        session.set_server_keepalive(server);
        session.respect_keepalive();
        assert_eq!(session.will_keepalive(), kept, "{request}");
        assert_eq!(
            session.get_keepalive_timeout(),
            if kept { server } else { None },
            "{request}"
        );
        respond(&mut session, 200, &[("Content-Length", "0")]).await;
        session.finish_body().await.unwrap();
        let reused = session.reuse().await.unwrap();
        assert_eq!(reused.is_some(), kept, "{request}");
        drop(reused);
        let told = if kept {
            "Connection: keep-alive\r\n"
        } else {
            "Connection: close\r\n"
        };
        assert!(seen_by(client).await.contains(told), "{request}");
    }
}

#[tokio::test]
async fn a_connection_carries_the_next_request() {
    let (mut session, mut client) = asked(&post("Content-Length: 3", "abc")).await;
    session.set_server_keepalive(Some(60));
    respond(&mut session, 200, &[("Content-Length", "0")]).await;
    let (stream, rest) = session.reuse().await.unwrap().unwrap().into_parts();
    assert!(rest.is_none(), "the body nobody read is gone");

    let mut session = HttpSession::new(stream);
    client
        .write_all(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    session.read_request().await.unwrap().unwrap();
    assert_eq!(session.req_header().uri.path(), "/2");
}

#[tokio::test]
async fn bytes_behind_a_request_are_the_next_one_or_the_end() {
    let two = format!("{GET}GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut session, _client) = asked(&two).await;
    session.set_server_keepalive(Some(60));
    session.set_pipelining_enabled(true);
    assert!(session.pipelining_enabled());
    respond(&mut session, 200, &[("Content-Length", "0")]).await;
    let (stream, rest) = session.reuse().await.unwrap().unwrap().into_parts();
    let mut session = HttpSession::new(stream);
    session.set_pipelined_prefix(rest.unwrap());
    session.read_request().await.unwrap().unwrap();
    assert_eq!(session.req_header().uri.path(), "/2");

    let (mut session, client) = asked(&two).await;
    session.set_server_keepalive(Some(60));
    assert!(!session.pipelining_enabled());
    respond(&mut session, 200, &[("Content-Length", "0")]).await;
    drop(client);
    assert!(session.reuse().await.unwrap().is_none());
}

#[tokio::test]
async fn what_cannot_be_reused() {
    // No response.
    let (mut session, client) = asked(GET).await;
    session.set_server_keepalive(Some(60));
    drop(client);
    assert!(session.reuse().await.unwrap().is_none());

    // The last request the connection may carry.
    let (mut session, client) = asked(GET).await;
    session.set_server_keepalive(Some(60));
    session.set_keepalive_reuses_remaining(Some(0));
    assert_eq!(session.get_keepalive_reuses_remaining(), Some(0));
    respond(&mut session, 200, &[("Content-Length", "0")]).await;
    assert!(session.reuse().await.unwrap().is_none());
    assert!(seen_by(client).await.contains("Connection: close"));

    // Answered before the body came.
    let (mut session, client) = asked(&post("Content-Length: 3", "ab")).await;
    session.set_server_keepalive(Some(60));
    session.set_close_on_response_before_downstream_finish(true);
    respond(&mut session, 200, &[("Content-Length", "0")]).await;
    drop(client);
    assert!(session.reuse().await.unwrap().is_none());

    // Shut down.
    let (mut session, client) = asked(GET).await;
    session.set_server_keepalive(Some(60));
    session.shutdown().await;
    assert!(!session.will_keepalive());
    assert_eq!(seen_by(client).await, "");
}

#[tokio::test]
async fn drains_within_limits() {
    let (mut session, mut client) =
        asked(&post("Transfer-Encoding: chunked", "3\r\nabc\r\n")).await;
    client.write_all(b"0\r\n\r\n").await.unwrap();
    session.drain_request_body().await.unwrap();
    assert!(session.is_body_done());
    session.drain_request_body().await.unwrap();

    let (mut session, _client) = asked(&post("Content-Length: 99999999", "abc")).await;
    session.set_server_keepalive(Some(60));
    assert!(session.drain_request_body().await.is_err());
    assert!(!session.will_keepalive());

    let (mut session, _client) = asked(&post("Content-Length: 5", "abc")).await;
    session.set_total_drain_timeout(Some(SOON));
    assert_eq!(session.get_total_drain_timeout(), Some(SOON));
    let e = session.drain_request_body().await.unwrap_err();
    assert_eq!(
        facts(&e),
        (ErrorType::ReadTimedout, ErrorSource::Downstream)
    );
}

// --- the rest ---

/// Idle connections would keep it, and requests pay for it.
#[tokio::test]
async fn reading_a_request_makes_no_digest() {
    let (near, mut far) = tokio::io::duplex(64);
    let mut session = crate::protocols::http::ServerSession::new_http1(Box::new(near));
    far.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(session.read_request().await.unwrap());
    assert!(session.as_http1().unwrap().state.digest.get().is_none());
}

#[tokio::test]
async fn remembers_what_belongs_to_the_connection() {
    let (near, _far) = tokio::io::duplex(64);
    let mut session = HttpSession::new(Box::new(near));
    session.set_connection_user_context(Some(Box::new(7_u32)));
    let context = session.take_connection_user_context().unwrap();
    assert_eq!(context.downcast_ref::<u32>(), Some(&7));
    assert!(session.take_connection_user_context().is_none());

    assert!(session.client_addr().is_none() && session.server_addr().is_none());
    assert!(session.digest().ssl_digest.is_none());
    session.digest_mut().timing_digest.clear();
    assert!(session.stream().as_any().is::<DuplexStream>());
    let stream = session.into_inner();
    assert!(stream.into_any().is::<DuplexStream>());
}

#[tokio::test]
async fn takes_bytes_received_before_it_was_made() {
    let (mut session, mut client) = connected(1024);
    session.set_pipelined_prefix(BytesMut::from("GET /a HTTP/1.1\r\nHo"));
    client.write_all(b"st: a\r\n\r\n").await.unwrap();
    session.read_request().await.unwrap().unwrap();
    assert_eq!(session.req_header().uri.path(), "/a");
    session.req_header_mut().set_method(http::Method::PUT);
    assert_eq!(session.req_header().method, "PUT");
}
