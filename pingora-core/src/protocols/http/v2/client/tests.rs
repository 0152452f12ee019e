//! The same requests on a connection we frame and on one a program has made by the `h2` crate.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;

use bytes::Bytes;
use h2::{RecvStream, server};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tokio::io::DuplexStream;
use tokio::sync::watch;

use super::super::write_body;
use super::*;
use crate::connectors::http::v2::{H2HandshakeSettings, handshake};

/// Who frames the client's side.
#[derive(Clone, Copy, Debug)]
enum Framed {
    ByUs,
    ByH2,
}

const BOTH: [Framed; 2] = [Framed::ByUs, Framed::ByH2];

/// Returns a connection to a server that echoes bodies and trailers.
async fn connect(framed: Framed) -> ConnectionRef {
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(serve(far));
    match framed {
        Framed::ByUs => handshake(Box::new(near), H2HandshakeSettings::new())
            .await
            .unwrap(),
        Framed::ByH2 => {
            let (send, connection) = h2::client::handshake(near).await.unwrap();
            let (ended, closed) = watch::channel(false);
            let timed_out = Arc::new(AtomicBool::new(false));
            let drive = drive_connection(connection, 1, ended, None, Arc::clone(&timed_out));
            tokio::spawn(drive);
            ConnectionRef::new(send, closed, timed_out, 1, 1, Digest::default())
        }
    }
}

async fn serve(far: DuplexStream) {
    let mut connection = server::handshake(far).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond));
    }
}

async fn answer(request: Request<RecvStream>, mut respond: server::SendResponse<Bytes>) {
    if request.uri().path() == "/reset" {
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    }
    let mut early = Response::new(());
    *early.status_mut() = StatusCode::EARLY_HINTS;
    respond.send_informational(early).unwrap();
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    let mut received = request.into_body();
    while let Some(data) = received.data().await {
        let data = data.unwrap();
        received
            .flow_control()
            .release_capacity(data.len())
            .unwrap();
        write_body(&mut body, data, false, None).await.unwrap();
    }
    match received.trailers().await.unwrap() {
        Some(trailers) => body.send_trailers(trailers).unwrap(),
        None => body.send_data(Bytes::new(), true).unwrap(),
    }
}

fn post(path: &str) -> Box<RequestHeader> {
    let mut req = RequestHeader::build("POST", path.as_bytes(), None).unwrap();
    req.insert_header("Host", "a.example").unwrap();
    Box::new(req)
}

async fn read(session: &mut Http2Session) -> (Vec<u8>, Option<HeaderMap>) {
    let mut body = Vec::new();
    while let Some(data) = session.read_response_body().await.unwrap() {
        body.extend_from_slice(&data);
    }
    assert!(session.response_finished());
    assert_eq!(session.body_bytes_received(), body.len());
    (body, session.read_trailers().await.unwrap())
}

#[tokio::test]
async fn a_body_and_trailers_there_and_back() {
    for framed in BOTH {
        let conn = connect(framed).await;
        let mut session = conn.spawn_stream().await.unwrap().unwrap();
        session.write_request_header(post("/"), false).unwrap();
        session.read_response_header().await.unwrap();
        assert_eq!(session.response_header().unwrap().status(), 103);
        session.read_response_header().await.unwrap();
        assert_eq!(session.response_header().unwrap().status(), 200);
        let large = Bytes::from(vec![b'x'; 500_000]);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        session.queue_body(large.clone()).unwrap();
        session.queue_trailers(trailers.clone()).unwrap();
        // What comes back must be read for the rest to be taken.
        let mut got = Vec::new();
        let mut has_sent = false;
        poll_fn(|cx| {
            has_sent = has_sent || session.poll_flush(cx).map(Result::unwrap).is_ready();
            loop {
                match session.poll_read_response_body(cx) {
                    Poll::Ready(Some(data)) => got.extend_from_slice(&data.unwrap()),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        assert!(has_sent && got == large, "{framed:?}");
        assert_eq!(session.read_trailers().await.unwrap(), Some(trailers));
        drop(session);
        assert!(conn.is_idle(), "{framed:?}");
    }
}

/// As programs send bodies from elsewhere.
#[tokio::test]
async fn the_writer_of_a_body() {
    for framed in BOTH {
        let conn = connect(framed).await;
        let mut session = conn.spawn_stream().await.unwrap().unwrap();
        assert!(session.take_request_body_writer().is_none());
        session.write_request_header(post("/"), false).unwrap();
        let mut writer = session.take_request_body_writer().unwrap();
        let large = Bytes::from(vec![b'x'; 500_000]);
        let sent = large.clone();
        let writing = tokio::spawn(async move {
            write_body(&mut writer, sent, false, None).await.unwrap();
            write_body(&mut writer, "end".into(), true, None)
                .await
                .unwrap();
        });
        session.read_response_header().await.unwrap();
        session.read_response_header().await.unwrap();
        let (got, trailers) = read(&mut session).await;
        writing.await.unwrap();
        assert!(got == [&large[..], b"end"].concat(), "{framed:?}");
        assert!(trailers.is_none());
    }
}

#[tokio::test]
async fn the_writer_learns_of_a_reset() {
    for framed in BOTH {
        let conn = connect(framed).await;
        let mut session = conn.spawn_stream().await.unwrap().unwrap();
        session.write_request_header(post("/reset"), false).unwrap();
        let mut writer = session.take_request_body_writer().unwrap();
        let reason = poll_fn(|cx| writer.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, Reason::REFUSED_STREAM, "{framed:?}");
        let e = session.read_response_header().await.unwrap_err();
        // The server has not seen the request.
        assert!(e.retry(), "{framed:?}: {e}");
    }
}

/// What HTTP/2 cannot express is refused before anything is sent.
#[tokio::test]
async fn requests_that_cannot_be_sent() {
    for framed in BOTH {
        let conn = connect(framed).await;
        for (method, path, host) in [("GET", "/", None), ("GET", "/", Some("u@a.example"))] {
            let mut session = conn.spawn_stream().await.unwrap().unwrap();
            let mut req = RequestHeader::build(method, path.as_bytes(), None).unwrap();
            if let Some(host) = host {
                req.insert_header("Host", host).unwrap();
            }
            let sent = session.write_request_header(Box::new(req), true);
            let e = sent.unwrap_err();
            assert_eq!(e.etype(), &ErrorType::InvalidHTTPHeader, "{framed:?}");
            assert!(!e.retry(), "{framed:?} {method} {e}");
        }
    }
}
