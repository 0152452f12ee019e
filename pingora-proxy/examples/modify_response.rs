//! Changing a body on its way: text becomes a page of HTML, piece by piece.
//!
//! `cargo run --release --example modify_response`
//!
//! ```text
//! curl http://127.0.0.1:6193/headers -i
//! ```
//!
//! Nothing is held back, so a body of any size passes in constant memory.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use pingora_core::prelude::*;
use pingora_http::ResponseHeader;
use pingora_proxy::prelude::*;

mod demo;

struct Page {
    upstream: demo::Upstream,
}

/// How far the body of a response is.
enum Body {
    /// Not text: passes as it is.
    Unchanged,
    /// The page has yet to begin.
    Begins,
    /// Text follows.
    Goes,
}

#[async_trait]
impl ProxyHttp for Page {
    type CTX = Body;

    fn new_ctx(&self) -> Body {
        Body::Unchanged
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Body,
    ) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(
            self.upstream.address,
            false,
            String::new(),
        )))
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        upstream_response: &mut ResponseHeader,
        body: &mut Body,
    ) -> Result<()> {
        let content_type = upstream_response.headers.get(CONTENT_TYPE);
        if !content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/plain")) {
            return Ok(());
        }
        *body = Body::Begins;
        // The length changes, and is not known yet.
        upstream_response.remove_header(&CONTENT_LENGTH);
        upstream_response.insert_header("Transfer-Encoding", "chunked")?;
        upstream_response.insert_header(CONTENT_TYPE, "text/html; charset=utf-8")
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        piece: &mut Option<Bytes>,
        end_of_stream: bool,
        body: &mut Body,
    ) -> Result<Option<Duration>> {
        if let Body::Unchanged = body {
            return Ok(None);
        }
        let mut page = Vec::new();
        if let Body::Begins = body {
            page.extend_from_slice(b"<!doctype html>\n<pre>\n");
            *body = Body::Goes;
        }
        for &byte in piece.iter().flatten() {
            match byte {
                b'<' => page.extend_from_slice(b"&lt;"),
                b'&' => page.extend_from_slice(b"&amp;"),
                byte => page.push(byte),
            }
        }
        if end_of_stream {
            page.extend_from_slice(b"</pre>\n");
        }
        *piece = Some(page.into());
        Ok(None)
    }
}

fn main() -> Result<()> {
    let mut server = Server::new(Opt::parse_args())?;
    server.bootstrap();
    let (service, upstream) = demo::backend("text")?;
    server.add_service(service);

    let mut proxy = http_proxy_service(&server.configuration, Page { upstream });
    proxy.add_tcp("127.0.0.1:6193");
    server.add_service(proxy);
    server.run_forever()
}
