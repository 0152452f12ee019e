//! What a proxy logs about failures, and what programs can keep out of the log.

use std::net::SocketAddr;
use std::sync::{Mutex, Once};

use async_trait::async_trait;
use log::{Level, LevelFilter, Log, Metadata, Record};
use pingora::prelude::*;
use pingora::proxy::ProxyWarnLogContext;
use pingora_e2e::harness;
use pingora_test_support::client::{self, Client};
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::within;
use tokio::sync::mpsc;

/// Keeps warnings and errors; the process has one, so lines are told apart by their paths.
struct Lines(Mutex<Vec<(Level, String)>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = (record.level(), record.args().to_string());
            self.0.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}

impl Lines {
    fn start() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            log::set_logger(&LINES).expect("no other test sets one");
            log::set_max_level(LevelFilter::Warn);
        });
    }

    /// Returns what was logged about the request for this path.
    fn about(path: &str) -> Vec<(Level, String)> {
        let lines = LINES.0.lock().unwrap();
        let about = lines.iter().filter(|(_, line)| line.contains(path));
        about.cloned().collect()
    }
}

/// Tries twice; is silent about paths that say so.
struct Twice {
    upstream: SocketAddr,
    logged: mpsc::UnboundedSender<()>,
}

#[async_trait]
impl ProxyHttp for Twice {
    type CTX = usize;
    fn new_ctx(&self) -> usize {
        0
    }

    async fn upstream_peer(&self, _: &mut Session, tries: &mut usize) -> Result<Box<HttpPeer>> {
        *tries += 1;
        Ok(harness::peer(self.upstream))
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        _: &mut Session,
        mut e: Box<Error>,
        tries: &mut usize,
        _: bool,
    ) -> Box<Error> {
        e.set_retry(*tries < 2);
        e
    }

    fn suppress_error_log(&self, session: &Session, _: &usize, e: &Error) -> bool {
        assert_eq!(*e.etype(), ConnectionClosed);
        session.req_header().uri.path().starts_with("/silent")
    }

    fn suppress_proxy_warn_log(
        &self,
        session: &Session,
        _: &usize,
        _: &Error,
        context: ProxyWarnLogContext,
    ) -> bool {
        assert_eq!(context, ProxyWarnLogContext::UpstreamRetry);
        session.req_header().uri.path().starts_with("/silent")
    }

    fn request_summary(&self, session: &Session, tries: &usize) -> String {
        format!("{} by {tries}", session.as_downstream().request_summary())
    }

    async fn logging(&self, _: &mut Session, _: Option<&Error>, _: &mut usize) {
        let _ = self.logged.send(());
    }
}

#[test]
fn failures_are_logged_once() {
    harness::run(async {
        Lines::start();
        let origin = Origin::start(|_| Reply::nothing().close()).await;
        let (send, mut logged) = mpsc::unbounded_channel();
        let proxy = harness::proxy(Twice {
            upstream: origin.addr(),
            logged: send,
        })
        .await;
        for path in ["/loud-failure", "/silent-failure"] {
            assert_eq!(client::get(proxy.addr(), path).await.status, 502);
            within("the log", logged.recv()).await.unwrap();
        }
        assert_eq!(Lines::about("/silent-failure"), []);
        let lines = Lines::about("/loud-failure");
        let [(Level::Warn, retried), (Level::Error, failed)] = &*lines else {
            panic!("{lines:?}");
        };
        assert!(
            retried.contains("GET /loud-failure, Host: test by 1"),
            "{retried}"
        );
        for part in [
            "Upstream ConnectionClosed",
            "status: 502",
            "tries: 2",
            "GET /loud-failure, Host: test by 2",
        ] {
            assert!(failed.contains(part), "{failed}");
        }
    });
}

/// A client that goes away is nothing an operator has to know.
#[test]
fn clients_that_go_away_are_not_logged() {
    harness::run(async {
        Lines::start();
        let origin = Origin::start(|_| Reply::nothing()).await;
        let (send, mut logged) = mpsc::unbounded_channel();
        let proxy = harness::proxy(Twice {
            upstream: origin.addr(),
            logged: send,
        })
        .await;
        let mut client = Client::connect(proxy.addr()).await;
        let request = client::request("GET", "/gone-away", &[], "");
        client.send(request).await;
        origin.wait_for_requests(1).await;
        client.reset();
        within("the log", logged.recv()).await.unwrap();
        let errors = Lines::about("/gone-away");
        assert!(
            !errors.iter().any(|(level, _)| *level == Level::Error),
            "{errors:?}"
        );
    });
}
