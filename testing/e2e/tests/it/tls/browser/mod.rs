//! A browser: Chromium without a window loads a page through the proxy, tries what pages do, and
//! reports what it saw (`testing/fixtures/browser/page.js`). What answers is in `site.rs`.

mod chromium;
mod site;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pingora::modules::http::compression::ResponseCompression;
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora_e2e::harness;

use self::chromium::Chromium;
use self::site::{Pages, Sockets};
use super::settings;

/// Passes pages and WebSockets on to their origins, and compresses `/coded/CODING`.
struct Site {
    pages: std::net::SocketAddr,
    sockets: std::net::SocketAddr,
    /// Whether the origin of WebSockets speaks HTTP/2.
    sockets_are_h2: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request as the proxy sees it.
struct Seen {
    path: String,
    version: http::Version,
    /// The other end of the connection it came on.
    client: String,
}

#[async_trait]
impl ProxyHttp for Site {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, _: &mut ()) -> Result<()> {
        let path = session.req_header().uri.path().to_string();
        if let Some(coding) = path.strip_prefix("/coded/") {
            let accepted = session.req_header().headers.get("accept-encoding");
            let accepted = accepted.expect("a browser takes codings").to_str();
            assert!(accepted.expect("ASCII").contains(coding));
            session
                .req_header_mut()
                .insert_header("Accept-Encoding", coding)?;
            let module = session
                .downstream_modules_ctx
                .get_mut::<ResponseCompression>();
            module.expect("there by default").adjust_level(6);
        }
        let client = session.client_addr().expect("a TCP connection").to_string();
        self.seen.lock().unwrap().push(Seen {
            path,
            version: session.req_header().version(),
            client,
        });
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        if session.req_header().uri.path() != "/socket" {
            return Ok(harness::peer(self.pages));
        }
        let mut peer = harness::peer(self.sockets);
        if self.sockets_are_h2 {
            peer.options.set_http_version(2, 2);
        }
        Ok(peer)
    }
}

/// Loads the page with the browser and compares what it saw; `alpn` is what the proxy takes.
fn load(name: &str, alpn: ALPN, sockets_are_h2: bool) {
    harness::run(async {
        let (is_h2, protocol, uploaded) = match alpn {
            ALPN::H1 => (false, "http/1.1", "TypeError"),
            _ => (true, "h2", "302000 37743622"),
        };
        let mut pages = Pages::start().await;
        let mut sockets = Sockets::start(sockets_are_h2).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let site = Site {
            pages: pages.addr(),
            sockets: sockets.addr(),
            sockets_are_h2,
            seen: Arc::clone(&seen),
        };
        let mut tls = settings("a");
        tls.set_alpn(alpn);
        let proxy = http_proxy(&Arc::new(ServerConf::default()), site);
        let proxy = harness::start_tls(proxy, tls).await;

        let browser = Chromium::open(name, proxy.addr()).await;
        let report = pages.report().await;
        let expected = format!(
            "protocol: {protocol}\n\
             style: rgb(1, 2, 3)\n\
             image: 1x1\n\
             cookies: 1 a=1; b=2\n\
             empty: 204\n\
             head: 26\n\
             redirect: /range\n\
             posted: 1000 124506\n\
             posted much: 300000 37494610\n\
             uploaded: {uploaded}\n\
             streamed: first half read second half\n\
             range: 206 bytes 5-9/26 fghij\n\
             revalidated: 200 same 1 unchanged\n\
             gzip: gzip true\n\
             br: br true\n\
             zstd: zstd true\n\
             many: true\n\
             aborted: AbortError\n\
             messages: echo|hëllo||1000 124506|300000 37494610|4001 enough true\n\
             closed by the origin: 4002 go true\n\
             lost: 1006  false\n\
             refused: 1006  false\n"
        );
        assert_eq!(report, expected);
        assert_eq!(sockets.closed_with().await, "4001 enough");
        pages.endless_was_given_up().await;
        assert_eq!(pages.errors(), Vec::<String>::new());
        browser.close().await;
        check_connections(&seen.lock().unwrap(), is_h2);
    });
}

/// With HTTP/2 everything came over it, WebSockets too: by extended CONNECT, as there is no other way,
/// on connections that have other requests as well. That may be more than one, as the browser likes.
fn check_connections(seen: &[Seen], is_h2: bool) {
    let version = match is_h2 {
        true => http::Version::HTTP_2,
        false => http::Version::HTTP_11,
    };
    for request in seen {
        assert_eq!(request.version, version, "{}", request.path);
    }
    let is_socket = |seen: &&Seen| seen.path == "/socket";
    let sockets: Vec<_> = seen.iter().filter(is_socket).collect();
    assert_eq!(sockets.len(), 3);
    for socket in sockets.into_iter().filter(|_| is_h2) {
        let mut others = seen.iter().filter(|seen| !is_socket(seen));
        assert!(others.any(|other| other.client == socket.client));
    }
}

#[test]
fn over_http1() {
    load("http1", ALPN::H1, false);
}

#[test]
fn over_http1_with_sockets_over_http2() {
    load("http1-2", ALPN::H1, true);
}

#[test]
fn over_http2() {
    load("http2", ALPN::H2H1, false);
}

#[test]
fn over_http2_on_both_sides() {
    load("http2-2", ALPN::H2H1, true);
}
