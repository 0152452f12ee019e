use std::future::poll_fn;

use h2::Reason;
use h2::client::SendRequest;
use h2::server::Connection;
use http::{HeaderValue, Request, StatusCode};
use tokio::io::DuplexStream;

use super::super::engine::Driver;
use super::*;
use crate::protocols::Stream;
use crate::protocols::http::HttpTask;

/// Both ends of a connection; the client's is driven by a task.
async fn connection(
    client: &h2::client::Builder,
    server: Option<H2Options>,
) -> (SendRequest<Bytes>, Connection<Stream, Bytes>) {
    let (near, far): (DuplexStream, _) = tokio::io::duplex(1 << 20);
    let (shaken, served) = tokio::join!(client.handshake(near), handshake(Box::new(far), server));
    let (requests, driver) = shaken.unwrap();
    tokio::spawn(driver);
    (requests, served.unwrap())
}

/// Accepts the next request and keeps the connection going in a task.
async fn accept(mut connection: Connection<Stream, Bytes>) -> HttpSession {
    let digest = Arc::new(Digest::default());
    let accepted = HttpSession::from_h2_conn(&mut connection, digest).await;
    let Some(H2Accept::Session(session)) = accepted.unwrap() else {
        panic!("no valid request");
    };
    tokio::spawn(async move { poll_fn(|cx| connection.poll_closed(cx)).await });
    session
}

fn get() -> Request<()> {
    Request::get("http://example.com/a?b").body(()).unwrap()
}

fn post() -> Request<()> {
    Request::post("http://example.com/").body(()).unwrap()
}

fn response(status: u16, length: Option<usize>) -> Box<ResponseHeader> {
    let mut head = ResponseHeader::build(status, None).unwrap();
    if let Some(length) = length {
        head.set_content_length(length).unwrap();
    }
    Box::new(head)
}

#[tokio::test]
async fn a_request_and_its_response() {
    let (mut requests, connection) = connection(&h2::client::Builder::new(), None).await;
    let (answer, mut body) = requests.send_request(post(), false).unwrap();
    body.send_data("hello".into(), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x", HeaderValue::from_static("y"));
    trailers.insert("host", HeaderValue::from_static("evil"));
    body.send_trailers(trailers).unwrap();

    let mut session = accept(connection).await;
    assert_eq!(session.request_summary(), "POST /, Host: example.com");
    assert_eq!(
        session.pseudo_raw_h1_request_header(),
        "POST / HTTP/1.1\r\nHost: example.com\r\n\r\n"
    );
    assert!(!session.is_body_empty());
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "hello");
    assert_eq!(session.read_body_bytes().await.unwrap(), None);
    let trailers = session.request_trailers().unwrap();
    assert_eq!(trailers.len(), 1, "{trailers:?}");
    assert_eq!(
        (session.body_bytes_read(), session.is_body_done()),
        (5, true)
    );

    session
        .write_response_header(response(103, None), false)
        .unwrap();
    session
        .write_response_header(response(200, Some(4)), false)
        .unwrap();
    session.write_body("too long".into(), true).await.unwrap();
    assert_eq!(session.body_bytes_sent(), 4);
    drop(session);
    let mut answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), "too ");
    assert!(answer.body_mut().data().await.is_none());
}

#[tokio::test]
async fn a_head_and_its_end_are_one_frame() {
    let (mut requests, connection) = connection(&h2::client::Builder::new(), None).await;
    let (answer, _) = requests.send_request(get(), true).unwrap();
    let mut session = accept(connection).await;
    assert!(session.is_body_empty() && session.is_body_done());
    session
        .queue_task(HttpTask::Header(response(200, None), false))
        .unwrap();
    session.queue_task(HttpTask::Done).unwrap();
    session.flush_queued().await.unwrap();
    assert!(answer.await.unwrap().body().is_end_stream());
}

#[tokio::test]
async fn a_short_body_resets() {
    for end in [true, false] {
        let (mut requests, connection) = connection(&h2::client::Builder::new(), None).await;
        let (answer, _) = requests.send_request(get(), true).unwrap();
        let mut session = accept(connection).await;
        session
            .write_response_header(response(200, Some(9)), false)
            .unwrap();
        session.write_body("short".into(), false).await.unwrap();
        if end {
            session.finish().unwrap_err();
        }
        drop(session);
        let e = match answer.await {
            Ok(mut answer) => loop {
                if let Err(e) = answer.body_mut().data().await.expect("an error first") {
                    break e;
                }
            },
            Err(e) => e,
        };
        assert_eq!(e.reason(), Some(Reason::INTERNAL_ERROR));
    }
}

#[tokio::test]
async fn a_session_that_says_nothing_resets() {
    let (mut requests, connection) = connection(&h2::client::Builder::new(), None).await;
    let (answer, _) = requests.send_request(get(), true).unwrap();
    drop(accept(connection).await);
    assert_eq!(answer.await.unwrap_err().reason(), Some(Reason::CANCEL));
}

#[tokio::test]
async fn a_client_that_resets_is_noticed() {
    let (mut requests, connection) = connection(&h2::client::Builder::new(), None).await;
    let (_answer, mut body) = requests.send_request(post(), false).unwrap();
    let mut session = accept(connection).await;
    body.send_reset(Reason::CANCEL);
    assert_eq!(session.idle().await.unwrap(), Reason::CANCEL);
    let e = session.read_body_or_idle(true).await.unwrap_err();
    assert_eq!(*e.etype(), pingora_error::ErrorType::ConnectionClosed);
    session
        .write_response_header(response(200, None), true)
        .unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let mut client = h2::client::Builder::new();
    client.initial_window_size(10);
    let (mut requests, connection) = connection(&client, None).await;
    let (answer, _) = requests.send_request(get(), true).unwrap();
    let mut session = accept(connection).await;
    session.set_write_timeout(Some(Duration::from_millis(50)));
    session
        .write_response_header(response(200, None), false)
        .unwrap();
    let e = session
        .write_body(vec![0; 1000].into(), true)
        .await
        .unwrap_err();
    assert_eq!(*e.etype(), pingora_error::ErrorType::WriteTimedout);
    drop(answer);
}

#[tokio::test]
async fn malformed_requests_are_reset() {
    let (mut requests, mut connection) = connection(&h2::client::Builder::new(), None).await;
    let request = Request::get("http://a/")
        .header("host", "b")
        .body(())
        .unwrap();
    let (malformed, _) = requests.send_request(request, true).unwrap();
    let mut request = Request::get("http://a/");
    for _ in 0..101 {
        request = request.header("x", "y");
    }
    let (refused, _) = requests
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    for _ in 0..2 {
        let digest = Arc::new(Digest::default());
        let accepted = HttpSession::from_h2_conn(&mut connection, digest).await;
        assert!(matches!(accepted.unwrap(), Some(H2Accept::Rejected)));
    }
    tokio::spawn(async move { poll_fn(|cx| connection.poll_closed(cx)).await });
    let e = malformed.await.unwrap_err();
    assert_eq!(e.reason(), Some(Reason::PROTOCOL_ERROR));
    assert_eq!(
        refused.await.unwrap().status(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
}

/// A user's options keep what they say and get what they leave open.
#[tokio::test]
async fn options_are_protected() {
    let mut options = H2Options::new();
    options.max_concurrent_streams(7);
    for (options, streams) in [
        (None, 100),
        (Some(H2Options::new()), 100),
        (Some(options), 7),
    ] {
        let (mut requests, connection) = connection(&h2::client::Builder::new(), options).await;
        let (answer, _) = requests.send_request(get(), true).unwrap();
        let mut session = accept(connection).await;
        session
            .write_response_header(response(204, None), true)
            .unwrap();
        answer.await.unwrap();
        assert_eq!(requests.current_max_send_streams(), streams);
    }
    let shown = format!("{:?}", accept::protected(H2Options::new()));
    assert!(shown.contains("max_header_list_size: 65536"), "{shown}");
    assert!(shown.contains("max_concurrent_streams: 100"), "{shown}");
    let window = "initial_target_connection_window_size: Some(6553600)";
    assert!(shown.contains(window), "{shown}");
}

#[tokio::test]
async fn extended_connect() {
    let (mut requests, connection) = connection(&h2::client::Builder::new(), None).await;
    let connect = || {
        let request = Request::connect("http://example.com/chat");
        let protocol = h2::ext::Protocol::from_static("websocket");
        request.extension(protocol).body(()).unwrap()
    };
    let (answer, mut send) = requests.send_request(connect(), false).unwrap();
    let mut session = accept(connection).await;
    assert!(session.is_upgrade_req() && session.is_body_done() && !session.was_upgraded());
    session
        .queue_task(HttpTask::Header(response(101, None), false))
        .unwrap();
    assert!(session.was_upgraded());
    session.flush_queued().await.unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    send.send_data("ping".into(), true).unwrap();
    assert_eq!(session.read_body_bytes().await.unwrap().unwrap(), "ping");
    assert_eq!(session.read_body_bytes().await.unwrap(), None);
    let pong = HttpTask::UpgradedBody(Some("pong".into()), true);
    assert!(session.queue_task(pong).unwrap());
    session.flush_queued().await.unwrap();
    assert_eq!(answer.into_body().data().await.unwrap().unwrap(), "pong");
}

/// A 200 that is no upgrade must not look like one.
#[tokio::test]
async fn extended_connect_that_is_not_granted() {
    let (mut requests, connection) = connection(&h2::client::Builder::new(), None).await;
    let protocol = h2::ext::Protocol::from_static("websocket");
    let request = Request::connect("http://example.com/chat").extension(protocol);
    let (answer, _send) = requests
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    let mut session = accept(connection).await;
    session
        .write_response_header(response(200, Some(5)), false)
        .unwrap();
    session.write_body("hello".into(), true).await.unwrap();
    assert_eq!(answer.await.unwrap().status(), 501);
}

/// A client may be silent for as long as its answer goes on, and only then.
#[tokio::test]
async fn silent_clients_that_listen() {
    let mut sessions = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let (mut requests, connection) = connection(&h2::client::Builder::new(), None).await;
        clients.push(requests.send_request(post(), false).unwrap());
        sessions.push(accept(connection).await);
    }
    let [listener, mute] = &mut sessions[..] else {
        panic!("there are two");
    };
    listener
        .write_response_header(response(200, None), false)
        .unwrap();
    listener.set_read_timeout(Some(Duration::from_millis(1)));
    mute.set_read_timeout(Some(Duration::from_millis(50)));
    // Cancel-safe: the loser is dropped.
    let e = tokio::select! {
        biased;
        read = listener.read_body_bytes() => panic!("{read:?}"),
        read = mute.read_body_bytes() => read.unwrap_err(),
    };
    assert_eq!(*e.etype(), pingora_error::ErrorType::ReadTimedout);
    listener.finish().unwrap();
    let e = listener.read_body_bytes().await.unwrap_err();
    assert_eq!(*e.etype(), pingora_error::ErrorType::ReadTimedout);
}

/// A body that trickles is given up, but not while its client is being answered.
#[tokio::test]
async fn a_body_that_trickles_times_out() {
    for answered in [false, true] {
        let (mut requests, connection) = connection(&h2::client::Builder::new(), None).await;
        let (_answer, mut body) = requests.send_request(post(), false).unwrap();
        let mut session = accept(connection).await;
        session.state.limits = HttpLimits {
            body_grace: Duration::from_millis(50),
            min_body_rate: 1_000_000,
            ..HttpLimits::default()
        };
        if answered {
            session
                .write_response_header(response(200, None), false)
                .unwrap();
        }
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = sent.clone();
        let trickle = tokio::spawn(async move {
            while body.send_data("x".into(), false).is_ok() {
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let outcome = loop {
            match session.read_body_bytes().await {
                Ok(Some(_)) if answered && session.body_bytes_read() > 200 => break Ok(()),
                Ok(Some(_)) => (),
                Ok(None) => panic!("the body has not ended"),
                Err(e) => break Err(e.etype().clone()),
            }
        };
        let expected = match answered {
            false => Err(pingora_error::ErrorType::ReadTimedout),
            true => Ok(()),
        };
        assert_eq!(outcome, expected);
        trickle.abort();
    }
}

/// A connection we frame: the writer leads through a connection of the `h2` crate.
#[tokio::test]
async fn the_writer_of_a_response() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let serving = tokio::spawn(async move {
        let mut driver = Driver::server(Box::new(far), local_settings(None));
        let (digest, limits) = (Arc::new(Digest::default()), HttpLimits::default());
        let arrived = poll_fn(|cx| HttpSession::poll_next(&mut driver, &digest, &limits, cx)).await;
        let Ok(Some(Arrival::Session(mut session))) = arrived else {
            panic!("no valid request");
        };
        tokio::spawn(async move { poll_fn(|cx| driver.poll_work(cx)).await });
        assert!(session.take_response_body_writer().is_none());
        session
            .write_response_header(response(200, None), false)
            .unwrap();
        let mut writer = session.take_response_body_writer().unwrap();
        let large = Bytes::from(vec![b'x'; 500_000]);
        super::super::write_body(&mut writer, large, true, None)
            .await
            .unwrap();
        session
    });
    let (mut requests, driver) = h2::client::handshake(near).await.unwrap();
    tokio::spawn(driver);
    let response = requests.send_request(get(), true).unwrap().0.await.unwrap();
    let mut body = response.into_body();
    let mut received = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        received += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(received, 500_000);
    drop(serving.await.unwrap());
}
