//! A whole connection to a server of HTTP/2, whatever it sends: no panic, every request ends, and
//! what comes as a response is well-formed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arbitrary::Arbitrary;
use pingora_core::Result;
use pingora_core::connectors::http::v2::{H2HandshakeSettings, handshake};
use pingora_core::protocols::http::v2::client::Http2Session;
use pingora_http::RequestHeader;

use crate::h2_frames::{Script, Sender, check_fields};
use crate::h2_session::{run, within_turns};

/// Requests at once.
const MAX_STREAMS: usize = 8;

/// Heads of interim responses that are read.
const MAX_INTERIM: usize = 50;

/// Bytes we may send for a byte that came, and for each request beside its body.
const MAX_ANSWER: usize = 16;
const REQUEST: usize = 1000;

/// A server and the requests it gets.
#[derive(Arbitrary, Debug)]
pub struct ClientSession {
    requests: [Option<Ask>; 6],
    pings: bool,
    server: Script,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Ask {
    kind: u8,
    body: u16,
    /// The request is given up instead of its body being read.
    gives_up: bool,
}

/// Makes the requests and waits for the end of each.
pub fn h2_client_session(input: &ClientSession) {
    let stream = input.server.stream(Sender::Server);
    let (received, written) = (stream.received, Arc::clone(&stream.written));
    let asks: Vec<Ask> = input.requests.iter().flatten().copied().collect();
    let bodies: usize = asks.iter().map(|ask| REQUEST + usize::from(ask.body)).sum();
    let mut settings = H2HandshakeSettings::new();
    settings.max_streams = MAX_STREAMS;
    settings.ping_interval = input.pings.then_some(std::time::Duration::from_secs(60));
    run(async move {
        let connecting = tokio::spawn(handshake(Box::new(stream), settings));
        within_turns(|| connecting.is_finished()).await;
        let Ok(connection) = connecting.await.expect("no panic") else {
            return;
        };
        let mut tasks = Vec::new();
        for ask in asks {
            let session = connection.spawn_stream().await.expect("it does not fail");
            tasks.extend(session.map(|session| tokio::spawn(exchange(session, ask))));
        }
        within_turns(|| tasks.iter().all(|task| task.is_finished())).await;
        for task in tasks {
            // What it was told is no matter, as long as it was told.
            let _ = task.await.expect("no panic");
        }
        assert!(connection.is_idle());
        within_turns(|| connection.is_closed()).await;
        let written = written.load(Ordering::Relaxed);
        assert!(
            written <= 1000 + received * MAX_ANSWER + bodies,
            "{written} bytes for {received}"
        );
    });
}

async fn exchange(mut session: Http2Session, ask: Ask) -> Result<()> {
    let method = ["GET", "POST", "HEAD", "GET"][usize::from(ask.kind % 4)];
    let mut request = RequestHeader::build(method, b"/a", None)?;
    request.insert_header("Host", "a.example")?;
    if ask.kind % 4 == 3 {
        request.insert_header("Connection", "Upgrade")?;
        request.insert_header("Upgrade", "websocket")?;
        request.insert_header("Sec-WebSocket-Version", "13")?;
        request.insert_header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")?;
    }
    let with_body = ask.body > 0;
    session.write_request_header(Box::new(request), !with_body)?;
    if with_body {
        let body = vec![b'b'; usize::from(ask.body)];
        session.write_request_body(body.into(), true).await?;
    }
    for _ in 0..MAX_INTERIM {
        session.read_response_header().await?;
        let head = session.response_header().expect("it was read");
        assert!((100..=999).contains(&head.status.as_u16()));
        check_fields(&head.headers, session.was_upgraded());
        if !head.status.is_informational() || session.was_upgraded() {
            break;
        }
    }
    if ask.gives_up {
        session.shutdown();
        return Ok(());
    }
    while session.read_response_body().await?.is_some() {}
    assert!(session.response_finished());
    if let Some(trailers) = session.read_trailers().await? {
        check_fields(&trailers, false);
    }
    Ok(())
}
