//! A whole connection of a client of HTTP/2, whatever it sends: no panic, no more requests at once
//! than is allowed, each of them well-formed, and everything ends when the client has ended.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use arbitrary::Arbitrary;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use pingora_core::Result;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;
use tokio::sync::watch;

use crate::h2_frames::{Script, Sender, check_fields};

/// Turns of the runtime in which everything must have ended: no input needs a tenth.
const MAX_TURNS: usize = 300_000;

/// Streams a client may have at once, and as many that it has reset and whose end we have not seen.
const MAX_LIVE: usize = 200;

/// The largest body the application makes, and what may come around it.
const LARGE: usize = 300_000;

/// Bytes we may answer to a byte: a frame of 9 bytes may be answered by a reset and a GOAWAY.
const MAX_ANSWER: usize = 16;

/// A client, and what the application does with its requests.
#[derive(Arbitrary, Debug)]
pub struct Session {
    actions: [u8; 4],
    client: Script,
}

/// Serves a connection until it ends.
pub fn h2_session(input: &Session) {
    let app = Arc::new(App {
        actions: input.actions,
        facts: Facts::default(),
    });
    let stream = input.client.stream(Sender::Client);
    let (received, written) = (stream.received, Arc::clone(&stream.written));
    let served = Arc::clone(&app);
    run(async move {
        let (_stop, shutdown) = watch::channel(false);
        let serving = tokio::spawn(async move {
            served.process_new(Box::new(stream), &shutdown).await;
        });
        let facts = &app.facts;
        within_turns(|| serving.is_finished()).await;
        serving.await.expect("no panic");
        within_turns(|| facts.live.load(Ordering::Relaxed) == 0).await;
        assert!(!facts.panicked.load(Ordering::Relaxed));
        let answered = facts.requests.load(Ordering::Relaxed) * (LARGE + 1000);
        let written = written.load(Ordering::Relaxed);
        assert!(
            written <= 1000 + received * MAX_ANSWER + answered,
            "{written} bytes for {received}"
        );
    });
}

/// Runs `work` on a runtime of this thread.
pub(crate) fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(work);
}

/// Lets tasks run until `reached`. There is nothing to wait for: a task that is not woken is stuck.
pub(crate) async fn within_turns(reached: impl Fn() -> bool) {
    for _ in 0..MAX_TURNS {
        if reached() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not end");
}

struct App {
    actions: [u8; 4],
    facts: Facts,
}

#[derive(Default)]
struct Facts {
    requests: AtomicUsize,
    live: AtomicUsize,
    panicked: AtomicBool,
}

/// A request counts as alive until this is dropped.
struct Alive<'a>(&'a Facts);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
        if thread::panicking() {
            self.0.panicked.store(true, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let number = self.facts.requests.fetch_add(1, Ordering::Relaxed);
        let live = self.facts.live.fetch_add(1, Ordering::Relaxed) + 1;
        let _alive = Alive(&self.facts);
        assert!(live <= MAX_LIVE, "{live} requests at once");
        assert!(session.is_http2());
        check_request(&session);
        let action = self.actions[number % self.actions.len()];
        // The client may break off whenever it likes.
        let _ = answer(&mut session, action).await;
        if action & 0x80 != 0 {
            let _ = session.finish().await;
        }
        None
    }
}

fn check_request(session: &ServerSession) {
    let head = session.req_header();
    let is_upgrade = session.is_upgrade_req();
    check_fields(&head.headers, is_upgrade);
    assert!(!head.method.as_str().is_empty());
    let path = head.raw_path();
    let is_well_formed = path.starts_with(b"/")
        || (path == b"*" && head.method == Method::OPTIONS)
        || head.method == Method::CONNECT;
    assert!(is_well_formed, "{} {}", head.method, path.escape_ascii());
    assert!(!path.iter().any(|byte| byte.is_ascii_whitespace()));
    assert!(head.headers.get_all("host").iter().count() <= 1);
    assert!(head.headers.get_all("cookie").iter().count() <= 1);
}

async fn answer(session: &mut ServerSession, action: u8) -> Result<()> {
    match action % 8 {
        0 => {
            let body = read(session).await?;
            let mut head = ResponseHeader::build(200, None)?;
            head.set_content_length(body.len())?;
            session.write_response_header(Box::new(head)).await?;
            session.write_response_body(body.into(), true).await
        }
        1 => {
            session
                .write_response_header(Box::new(ResponseHeader::build(204, None)?))
                .await
        }
        2 => Ok(()),
        3 => {
            session
                .write_response_header(Box::new(ResponseHeader::build(103, None)?))
                .await?;
            session
                .write_response_header(Box::new(ResponseHeader::build(200, None)?))
                .await?;
            session.write_response_body("piece".into(), false).await?;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", HeaderValue::from_static("5"));
            session.write_response_trailers(trailers).await
        }
        4 => {
            session.read_request_body().await?;
            session.respond_error(500).await
        }
        5 if session.is_upgrade_req() => tunnel(session).await,
        5 => session.drain_request_body().await,
        6 => {
            session
                .write_response_header(Box::new(ResponseHeader::build(200, None)?))
                .await?;
            let piece = Bytes::from_static(&[b'l'; 10_000]);
            for _ in 0..LARGE / piece.len() {
                session.write_response_body(piece.clone(), false).await?;
            }
            session.finish_body().await
        }
        _ => {
            read(session).await?;
            session.shutdown().await;
            Ok(())
        }
    }
}

/// Reads a body to its end; it has the length that was announced.
async fn read(session: &mut ServerSession) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = session.read_request_body().await? {
        body.extend_from_slice(&piece);
    }
    if let Some(length) = session.get_header("content-length") {
        let length = length.to_str().expect("digits").parse::<usize>();
        assert_eq!(length, Ok(body.len()));
    }
    // What the echo adds is within the bound for each request.
    body.truncate(LARGE);
    Ok(body)
}

async fn tunnel(session: &mut ServerSession) -> Result<()> {
    let mut head = ResponseHeader::build(101, None)?;
    head.insert_header("Upgrade", "websocket")?;
    head.insert_header("Connection", "Upgrade")?;
    session.write_response_header(Box::new(head)).await?;
    let mut left = LARGE;
    while let Some(piece) = session.read_request_body().await? {
        left = left.saturating_sub(piece.len());
        if left == 0 {
            break;
        }
        session.write_response_body(piece, false).await?;
    }
    session.finish_body().await
}
