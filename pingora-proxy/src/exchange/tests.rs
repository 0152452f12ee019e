//! The engine between a client and an upstream that does what a test wants.

use std::task::{Context, Poll};
use std::time::Duration;

use std::any::Any;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module};
use pingora_core::protocols::http::HttpTask;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::Exchange;
use super::leg::Leg;
use crate::session::UpstreamCounters;
use crate::{ProxyHttp, Session};

/// An upstream that takes everything and answers with these pieces as soon as it is asked.
struct Eager {
    tasks: std::vec::IntoIter<HttpTask>,
    pieces: usize,
    /// How many pieces had come when the answer was first asked for.
    answered_after: Option<usize>,
    tunnel: bool,
}

impl Eager {
    fn new(tasks: Vec<HttpTask>) -> Self {
        Eager {
            tasks: tasks.into_iter(),
            pieces: 0,
            answered_after: None,
            tunnel: false,
        }
    }
}

impl Leg for &mut Eager {
    fn prepare(_: &mut RequestHeader, _: bool, _: &HttpPeer) -> Result<()> {
        Ok(())
    }

    fn send_head(&mut self, _: Box<RequestHeader>) -> Result<()> {
        Ok(())
    }

    fn send_body(&mut self, _: Option<Bytes>, _: bool) -> Result<()> {
        self.pieces += 1;
        Ok(())
    }

    fn has_room(&self) -> bool {
        true
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_task(&mut self, _: &mut Context<'_>) -> Poll<Result<HttpTask>> {
        let pieces = self.pieces;
        self.answered_after.get_or_insert(pieces);
        match self.tasks.next() {
            Some(task) => Poll::Ready(Ok(task)),
            None => Poll::Pending,
        }
    }

    fn abandon(&mut self) {}

    fn is_tunnel(&self) -> bool {
        self.tunnel
    }

    fn upgrade(&mut self) {}

    fn normalize(&self, _: &mut ResponseHeader) {}

    fn counters(&self) -> UpstreamCounters {
        UpstreamCounters::default()
    }
}

/// What the filters of a test do.
#[derive(Default)]
struct Filters {
    /// The body a filter makes of trailers.
    trailing: Option<&'static str>,
    status: Option<u16>,
    pause: Option<Duration>,
}

#[async_trait]
impl ProxyHttp for Filters {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(peer())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        head: &mut ResponseHeader,
        _: &mut (),
    ) -> Result<()> {
        match self.status {
            Some(status) => head.set_status(status),
            None => Ok(()),
        }
    }

    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        _: &mut HeaderMap,
        _: &mut (),
    ) -> Result<Option<Bytes>> {
        Ok(self.trailing.map(Bytes::from))
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        Ok(self.pause)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        _: &mut (),
    ) -> Result<Option<Duration>> {
        Ok(self.pause)
    }
}

fn peer() -> Box<HttpPeer> {
    Box::new(HttpPeer::new("127.0.0.1:1", false, String::new()))
}

async fn asked(request: &[u8]) -> (Session, DuplexStream) {
    let (near, mut client) = tokio::io::duplex(64 * 1024);
    let mut session = Session::new_h1(Box::new(near));
    client.write_all(request).await.unwrap();
    assert!(session.read_request().await.unwrap());
    (session, client)
}

fn head(status: u16, end: bool) -> HttpTask {
    HttpTask::Header(Box::new(ResponseHeader::build(status, None).unwrap()), end)
}

/// However much a client has to say, it hears the answer.
#[tokio::test]
async fn a_long_request_does_not_hide_the_answer() {
    const PIECES: usize = 5000;
    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    request.extend_from_slice(&b"1\r\nx\r\n".repeat(PIECES));
    let (mut session, _client) = asked(&request).await;
    let mut leg = Eager::new(vec![head(413, true)]);
    Exchange::new(&Filters::default(), &mut session, &mut (), &mut leg)
        .run(&peer())
        .await
        .unwrap();
    assert!(
        leg.answered_after.unwrap() <= 16,
        "{:?}",
        leg.answered_after
    );
}

/// The other way around: the rest of the request follows while the answer comes.
#[tokio::test]
async fn an_unfinished_answer_does_not_stop_the_request() {
    const PIECES: usize = 100;
    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    request.extend_from_slice(&b"1\r\nx\r\n".repeat(PIECES));
    request.extend_from_slice(b"0\r\n\r\n");
    let (mut session, _client) = asked(&request).await;
    let mut leg = Eager::new(vec![head(200, false)]);
    let run = async {
        Exchange::new(&Filters::default(), &mut session, &mut (), &mut leg)
            .run(&peer())
            .await
    };
    let waited = tokio::time::timeout(Duration::from_millis(20), run).await;
    assert!(waited.is_err(), "the answer has not ended");
    assert_eq!(leg.pieces, PIECES + 1);
}

/// Pauses without an end are no reason to panic.
#[tokio::test]
async fn pauses_add_up_without_overflow() {
    let (mut session, _client) = asked(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let data = HttpTask::Body(Some(Bytes::from_static(b"x")), false);
    let mut leg = Eager::new(vec![head(200, false), data, HttpTask::Done]);
    let filters = Filters {
        pause: Some(Duration::MAX),
        ..Filters::default()
    };
    let run = async {
        Exchange::new(&filters, &mut session, &mut (), &mut leg)
            .run(&peer())
            .await
    };
    let waited = tokio::time::timeout(Duration::from_millis(20), run).await;
    assert!(waited.is_err(), "it pauses");
}

/// A filter can make a refusal out of a granted upgrade: then there is no tunnel.
#[tokio::test]
async fn a_filter_refuses_an_upgrade() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: w\r\n\r\nraw";
    let (mut session, mut client) = asked(request).await;
    let tunnelled = HttpTask::UpgradedBody(Some(Bytes::from_static(b"secret")), false);
    let mut leg = Eager::new(vec![head(101, false), tunnelled]);
    leg.tunnel = true;
    let filters = Filters {
        status: Some(403),
        ..Filters::default()
    };
    Exchange::new(&filters, &mut session, &mut (), &mut leg)
        .run(&peer())
        .await
        .unwrap();
    assert!(!session.was_upgraded());
    assert_eq!(
        leg.pieces, 1,
        "the request's end, and nothing of what followed"
    );
    drop(session);
    let mut seen = String::new();
    client.read_to_string(&mut seen).await.unwrap();
    assert!(
        seen.starts_with("HTTP/1.1 403 ") && !seen.contains("secret"),
        "{seen}"
    );
}

/// Notes the pieces of a response body it sees.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Vec<(String, bool)>>>);

#[async_trait]
impl HttpModule for Witness {
    fn response_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        let text = body.as_deref().unwrap_or_default().to_vec();
        let seen = (String::from_utf8(text).unwrap(), end);
        self.0.lock().unwrap().push(seen);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl HttpModuleBuilder for Witness {
    fn init(&self) -> Module {
        Box::new(self.clone())
    }
}

/// To a module a body ends once, trailers or not.
#[tokio::test]
async fn a_body_ends_once() {
    for (trailing, expected) in [
        (None, vec![("x", false), ("", true)]),
        (Some("y"), vec![("x", false), ("", false), ("y", true)]),
    ] {
        let (near, mut client) = tokio::io::duplex(64 * 1024);
        let witness = Witness::default();
        let mut modules = HttpModules::new();
        modules.add_module(Box::new(witness.clone()));
        let mut session = Session::new_h1_with_modules(Box::new(near), &modules);
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(session.read_request().await.unwrap());
        let data = HttpTask::Body(Some(Bytes::from_static(b"x")), false);
        let trailers = HttpTask::Trailer(Some(Box::default()));
        let mut leg = Eager::new(vec![head(200, false), data, trailers]);
        let filters = Filters {
            trailing,
            ..Filters::default()
        };
        Exchange::new(&filters, &mut session, &mut (), &mut leg)
            .run(&peer())
            .await
            .unwrap();
        let seen = witness.0.lock().unwrap().clone();
        let seen: Vec<_> = seen.iter().map(|(text, end)| (&text[..], *end)).collect();
        assert_eq!(seen, expected);
    }
}
