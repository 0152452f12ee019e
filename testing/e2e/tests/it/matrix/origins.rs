//! Origins of either version that answer the same.

use std::future::poll_fn;
use std::net::SocketAddr;

use ::h2::Reason;
use bytes::Bytes;
use http::HeaderMap;
use pingora_e2e::h2::{self, Exchange, H2Origin, response};
use pingora_test_support::limit::Gate;
use pingora_test_support::origin::{self, Reply, Request};
use pingora_test_support::within;

use super::Version;

pub(super) enum Origin {
    H1(origin::Origin),
    H2(H2Origin, Gate),
}

impl Origin {
    pub(super) async fn start(version: Version) -> Self {
        match version {
            Version::H1 => Origin::H1(origin::Origin::start(h1_reply).await),
            Version::H2 => Self::start_h2().await,
        }
    }

    /// Starts one that answers when it has read the head.
    pub(super) async fn start_on_head(version: Version) -> Self {
        match version {
            Version::H1 => Origin::H1(origin::Origin::start_on_head(h1_reply).await),
            Version::H2 => Self::start_h2().await,
        }
    }

    async fn start_h2() -> Self {
        let aborted = Gate::new();
        let gate = aborted.clone();
        let serve = move |exchange| {
            let gate = gate.clone();
            async move {
                // The proxy may have given up: the tests look at what the client got.
                let _ = h2_reply(exchange, gate).await;
            }
        };
        Origin::H2(H2Origin::start(serve).await, aborted)
    }

    pub(super) fn addr(&self) -> SocketAddr {
        match self {
            Origin::H1(origin) => origin.addr(),
            Origin::H2(origin, _) => origin.addr(),
        }
    }

    pub(super) fn connections(&self) -> usize {
        match self {
            Origin::H1(origin) => origin.connections(),
            Origin::H2(origin, _) => origin.counts().connections,
        }
    }

    pub(super) fn errors(&self) -> Vec<String> {
        match self {
            Origin::H1(origin) => origin.errors(),
            Origin::H2(..) => Vec::new(),
        }
    }

    /// Returns once a request has come.
    pub(super) async fn seen(&self) {
        match self {
            Origin::H1(origin) => origin.wait_for_requests(1).await,
            Origin::H2(origin, _) => origin.wait_for("a stream", |seen| seen.streams > 0).await,
        }
    }

    /// Returns once the request was given up.
    pub(super) async fn aborted(&self) {
        match self {
            Origin::H1(origin) => origin.wait_for_closed(1).await,
            Origin::H2(_, aborted) => within("the end of a stream", aborted.opened()).await,
        }
    }
}

fn h1_reply(request: &Request) -> Reply {
    const ENDLESS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    match &*request.target {
        "/echo" if request.method == "HEAD" => {
            Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        }
        "/echo" => {
            let body = String::from_utf8_lossy(&request.body);
            Reply::ok(format!("{} {body}", request.method))
        }
        "/pieces" => Reply::chunked(["hel", "lo"]),
        "/204" => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => Reply::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        "/hints" => Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            .then("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        "/trailers" => Reply::raw(format!("{ENDLESS}0\r\nX-Checksum: 5\r\nHost: evil\r\n\r\n")),
        "/early" => Reply::status(403, "no"),
        "/abort" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").close(),
        "/abort-pieces" => Reply::raw(ENDLESS).close(),
        "/abort-before" => Reply::nothing().reset(),
        "/wait" => Reply::nothing(),
        "/upgrade" => {
            assert!(
                request
                    .header("sec-websocket-key")
                    .is_some_and(|key| key.len() == 24)
            );
            Reply::raw(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            )
            .echo()
        }
        other => panic!("{other}"),
    }
}

async fn h2_reply(exchange: Exchange, aborted: Gate) -> Result<(), ::h2::Error> {
    let (request, mut respond) = exchange;
    let (head, mut body) = request.into_parts();
    assert!(!head.headers.contains_key("host") && !head.headers.contains_key("connection"));
    match head.uri.path() {
        "/echo" if head.method == "HEAD" => {
            respond.send_response(response(200, &[("content-length", "5")]), true)?;
        }
        "/echo" => {
            let (body, _) = h2::read(body).await?;
            let text = format!("{} {}", head.method, String::from_utf8_lossy(&body));
            let length = text.len().to_string();
            let head = response(200, &[("content-length", &length)]);
            let mut stream = respond.send_response(head, false)?;
            h2::write(&mut stream, text.into()).await?;
            stream.send_data(Bytes::new(), true)?;
        }
        "/pieces" => {
            let mut stream = respond.send_response(response(200, &[]), false)?;
            stream.send_data("hel".into(), false)?;
            stream.send_data("lo".into(), true)?;
        }
        "/204" => drop(respond.send_response(response(204, &[]), true)?),
        "/304" => drop(respond.send_response(response(304, &[("content-length", "5")]), true)?),
        "/hints" => {
            respond.send_informational(response(103, &[("link", "</a>")]))?;
            let head = response(200, &[("content-length", "5")]);
            respond
                .send_response(head, false)?
                .send_data("hello".into(), true)?;
        }
        "/trailers" => {
            let mut stream = respond.send_response(response(200, &[]), false)?;
            stream.send_data("hello".into(), false)?;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", "5".parse().unwrap());
            trailers.insert("host", "evil".parse().unwrap());
            stream.send_trailers(trailers)?;
        }
        "/request-trailers" => {
            let (_, trailers) = h2::read(body).await?;
            let text: Vec<String> = trailers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            let mut stream = respond.send_response(response(200, &[]), false)?;
            stream.send_data(text.join(",").into(), true)?;
        }
        "/early" => {
            let mut stream = respond.send_response(response(403, &[]), false)?;
            stream.send_data("no".into(), true)?;
        }
        "/abort" | "/abort-pieces" => {
            let length = [("content-length", "10")];
            let fields = match head.uri.path() {
                "/abort" => &length[..],
                _ => &[],
            };
            let mut stream = respond.send_response(response(200, fields), false)?;
            stream.send_data("hello".into(), false)?;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        "/abort-before" => respond.send_reset(Reason::INTERNAL_ERROR),
        "/wait" => {
            let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
            aborted.open();
        }
        "/upgrade" => {
            assert_eq!(head.method, "CONNECT");
            let protocol = head.extensions.get::<::h2::ext::Protocol>();
            assert_eq!(protocol.unwrap().as_str(), "websocket");
            assert!(!head.headers.contains_key("sec-websocket-key"));
            let mut stream = respond.send_response(response(200, &[]), false)?;
            while let Some(piece) = body.data().await {
                let piece = piece?;
                body.flow_control().release_capacity(piece.len())?;
                h2::write(&mut stream, piece).await?;
            }
            stream.send_data(Bytes::new(), true)?;
        }
        other => panic!("{other}"),
    }
    Ok(())
}
